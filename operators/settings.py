"""Operators that fill in settings."""

from __future__ import annotations

import random

import bpy

from ..sdi_engine.config.parameters import MAX_SEED


class SDI_OT_random_seed(bpy.types.Operator):
    """Choose a random seed, for another object from the same prompt"""

    bl_idname = "sdi.random_seed"
    bl_label = "Random Seed"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.sdi.seed = random.randint(0, MAX_SEED)
        return {"FINISHED"}


CLASSES = (SDI_OT_random_seed,)
