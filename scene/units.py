"""How long a scene's unit is."""

from __future__ import annotations

import bpy


def metres_in(scene: bpy.types.Scene) -> float:
    """How many metres a unit of the scene is.

    Without a system of units it is one, as for Blender itself, whatever scale was set for another system.
    """
    units = scene.unit_settings
    return 1.0 if units.system == "NONE" else units.scale_length
