"""Operators under their former names, which people's key maps and scripts call; the search does not show them."""

from __future__ import annotations

import bpy

from .generate import ClosePreview2D, Preview2D, UseSeed


class SDI_OT_look(Preview2D, bpy.types.Operator):
    __doc__ = Preview2D.__doc__
    bl_idname = "sdi.look"
    bl_options = {"INTERNAL"}


class SDI_OT_use_look(UseSeed, bpy.types.Operator):
    __doc__ = UseSeed.__doc__
    bl_idname = "sdi.use_look"
    bl_options = {"UNDO", "INTERNAL"}


class SDI_OT_close_looks(ClosePreview2D, bpy.types.Operator):
    __doc__ = ClosePreview2D.__doc__
    bl_idname = "sdi.close_looks"
    bl_options = {"INTERNAL"}


CLASSES = (SDI_OT_look, SDI_OT_use_look, SDI_OT_close_looks)
