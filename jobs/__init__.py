"""Jobs from Blender's side: start the engine, watch its jobs, cancel them, find them again. Standard library only."""
