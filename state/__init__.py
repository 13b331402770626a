"""The extension's state in this Blender: settings and preferences, watched jobs, and what panels draw."""
