import bpy

bpy.context.scene.sdi.use_recommended()
bpy.context.scene.sdi.model = "stable-diffusion"
bpy.context.scene.sdi.vae = ""
bpy.context.scene.sdi.text_encoders = ""
bpy.context.scene.sdi.tokenizer = ""
bpy.context.scene.sdi.tiny_vae = ""
bpy.context.scene.sdi.preset = "standard"
bpy.context.scene.sdi.face_budget = 20000
bpy.context.scene.sdi.texture_size = 2048
