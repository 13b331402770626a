"""One 3D of those that there are: a radiance field in a volume, and a renderer for it. Knows no diffusion model.

Axes are Blender's: Z up, the object's front faces −Y, lengths in scene units (the field is a cube around the origin).
"""
