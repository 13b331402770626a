"""From a radiance field to a textured mesh file: surface, clean-up, UV, baking, export. Blender's axes, Z up."""
