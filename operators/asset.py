"""Mark as Asset: adds results to the Asset Browser."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..scene import assets, origin
from ..scene.source_mesh import check


class SDI_OT_mark_as_asset(bpy.types.Operator):
    """Make the selected objects assets in the catalog "SDI", with the prompt as description and tags"""

    bl_idname = "sdi.mark_as_asset"
    bl_label = "Mark as Asset"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to Object Mode first")
            return False
        if not _chosen(context):
            reasons = (check(each) for each in context.selected_objects if origin.is_ours(each))
            otherwise = "Select an object that this extension has made from a prompt"
            cls.poll_message_set(next(reasons, otherwise).removesuffix("."))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        catalog_id, when = assets.CATALOG_ID, ""
        if bpy.data.filepath:
            try:
                catalog_id = assets.write_catalog(context, Path(bpy.data.filepath))
            except OSError as error:
                self.report(
                    {"WARNING"},
                    f'The catalog "{assets.CATALOG}" cannot be written ({error.strerror or error}): '
                    "save the file in a folder that you may write to.",
                )
        else:
            when = f'; save the file to have the catalog "{assets.CATALOG}" beside it'
        chosen = _chosen(context)
        for placed in chosen:
            assets.mark(context, placed, catalog_id)
        self.report({"INFO"}, f"{len(chosen)} marked as asset{when}")
        return {"FINISHED"}


def _chosen(context: bpy.types.Context) -> list[bpy.types.Object]:
    ours = (each for each in context.selected_objects if origin.is_ours(each))
    return [each for each in ours if each.library is None and each.override_library is None]


CLASSES = (SDI_OT_mark_as_asset,)
