"""The extension without a window: `blender --command sdi`, and waiting for one job."""
