"""What Blender and the engine agree on: a folder of files. Standard library only, since Blender's Python imports it."""
