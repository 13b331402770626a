"""Jobs seen from outside: start a worker, watch it, cancel it, find it again. Standard library only, no bpy."""
