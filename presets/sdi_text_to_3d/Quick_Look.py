import bpy

bpy.context.scene.sdi.use_recommended()
bpy.context.scene.sdi.preset = "draft"
bpy.context.scene.sdi.face_budget = 20000
bpy.context.scene.sdi.texture_size = 1024
