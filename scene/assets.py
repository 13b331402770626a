"""Results as assets: description, tags, thumbnail, and the catalog "SDI".

Blender keeps the names of catalogs in a text file beside the .blend file, or at the root of the asset library that
contains the .blend file. So a catalog can only be written once the .blend file has been saved.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import bpy

from ..jobs.inspection import is_picture
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.system.files import write_atomically
from . import origin
from .handlers import Handlers

CATALOG = "SDI"
CATALOG_ID = "6c1d1a4e-0f7b-4b8e-9c53-5d1f2a7e3b90"
CATALOGS_FILE = "blender_assets.cats.txt"

_HEADER = """# This is an Asset Catalog Definition file for Blender.
#
# Empty lines and lines starting with `#` will be ignored.
# The first non-ignored line should be the version indicator.
# Other lines are of the format "UUID:catalog/path/for/assets:simple catalog name"

VERSION 1
"""
_STOP_WORDS = {"a", "an", "the", "of", "on", "with", "and", "in"}

log = logging.getLogger(__name__)


def catalog_handlers() -> Handlers:
    """Handlers that write our catalog beside every saved file that has assets in it."""
    return Handlers((bpy.app.handlers.save_post, _write_catalog_of_saved_file))


def mark(context: bpy.types.Context, placed: bpy.types.Object, catalog_id: str = CATALOG_ID) -> None:
    """Make one of our objects an asset, with description, tags and thumbnail. The caller makes the undo step."""
    placed.asset_mark()
    prompt = str(placed[origin.PROMPT])
    data = placed.asset_data
    data.description = prompt
    for word in tags(prompt):
        data.tags.new(word, skip_if_exists=True)
    data.catalog_id = catalog_id
    _give_thumbnail(context, placed)


def tags(prompt: str) -> list[str]:
    """The words of a prompt without stop words and duplicates."""
    words: dict[str, str] = {}
    for word in re.findall(r"\w+(?:['’-]\w+)*", prompt):
        words.setdefault(word.lower(), word)
    return [word for lower, word in words.items() if lower not in _STOP_WORDS]


def write_catalog(context: bpy.types.Context, blend_file: Path) -> str:
    """Add our catalog to the asset library of a .blend file; returns the id of the catalog "SDI" in it.

    An existing catalog of that name is used; all others in the file are kept.

    Raises:
        OSError: the file cannot be read or written.
    """
    file = _catalogs_file(context, blend_file)
    known = file.read_bytes().decode("utf-8", errors="surrogateescape") if file.is_file() else _HEADER
    found = _find_catalog(known)
    if found is None:
        known += "" if known.endswith("\n") else "\n"
        known += f"{CATALOG_ID}:{CATALOG}:{CATALOG}\n"
        write_atomically(file, known.encode("utf-8", errors="surrogateescape"))
    return found or CATALOG_ID


def _find_catalog(text: str) -> str | None:
    """The id of our catalog, or of another of its name, in the text of a catalogs file."""
    ids = {}
    for line in text.splitlines():
        identifier, _, rest = line.strip().partition(":")
        if not identifier.startswith("#") and rest:
            ids.setdefault(rest.partition(":")[0], identifier)
            if identifier == CATALOG_ID:
                return CATALOG_ID
    return ids.get(CATALOG)


def _catalogs_file(context: bpy.types.Context, blend_file: Path) -> Path:
    """The file in which Blender expects the catalogs of a .blend file."""
    folder = blend_file.parent
    if (folder / CATALOGS_FILE).is_file():
        return folder / CATALOGS_FILE
    libraries = [Path(bpy.path.abspath(each.path)) for each in context.preferences.filepaths.asset_libraries]
    root = next((library for library in libraries if folder.is_relative_to(library)), folder)
    return root / CATALOGS_FILE


def _give_thumbnail(context: bpy.types.Context, placed: bpy.types.Object) -> None:
    """Use the job's last picture as thumbnail, or, if that is gone, let Blender render one."""
    picture = JobFolder(str(placed.get(origin.FOLDER, ""))).preview_file
    try:
        if is_picture(picture):
            with context.temp_override(id=placed):
                bpy.ops.ed.lib_id_load_custom_preview(filepath=str(picture))
            return
    except (RuntimeError, OSError) as error:
        log.info("No thumbnail from %s: %s", picture, error)
    placed.asset_generate_preview()


def _write_catalog_of_saved_file(file: str = "", *_: object) -> None:
    """Write the catalog where the file was saved, for assets marked before its first save or before a Save As."""
    blend_file = Path(file or bpy.data.filepath)
    ours = (each.asset_data for each in bpy.data.objects if each.asset_data is not None and each.library is None)
    if not any(data.catalog_id == CATALOG_ID for data in ours):
        return
    try:
        write_catalog(bpy.context, blend_file)
    except OSError as error:  # the assets still work, just without a catalog
        log.warning('The catalog "%s" could not be written beside %s: %s', CATALOG, blend_file, error)
