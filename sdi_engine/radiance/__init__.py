"""The 3D: a radiance field, cameras around it, and a renderer between them. Knows no diffusion model.

Axes are Blender's: Z up, the object's front faces −Y, lengths in scene units (the field is a cube around the origin).
"""
