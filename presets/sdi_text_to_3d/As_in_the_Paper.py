import bpy

bpy.context.scene.sdi.model = "stable-diffusion"
bpy.context.scene.sdi.preset = "paper"
bpy.context.scene.sdi.noise = "inversion"
bpy.context.scene.sdi.perp_neg = "preset"
bpy.context.scene.sdi.steps = 0
bpy.context.scene.sdi.guidance = 0.0
bpy.context.scene.sdi.resolution = 0
bpy.context.scene.sdi.face_budget = 100000
bpy.context.scene.sdi.texture_size = 2048
