"""What this Blender knows: what a person sets, the jobs that it watches, what panels draw."""
