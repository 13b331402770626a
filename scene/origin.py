"""Records how an object, or a texture's material, was made in its custom properties, so that it can be made again.

sdi_prompt, sdi_seed, sdi_model    the request's most important fields
sdi_request                        the whole request, from `JobRequest.to_json`
sdi_settings                       JSON: every setting, including those that the preset and the model chose
sdi_versions                       JSON: versions of the extension, Blender, the engine and its packages
sdi_job_folder                     the job folder's path
"""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import bpy

from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.contract.request import JobRequest

PROMPT = "sdi_prompt"
SEED = "sdi_seed"
MODEL = "sdi_model"
REQUEST = "sdi_request"
SETTINGS = "sdi_settings"
VERSIONS = "sdi_versions"
FOLDER = "sdi_job_folder"

_MANIFEST = Path(__file__).resolve().parent.parent / "blender_manifest.toml"


def describe(placed: bpy.types.Object | bpy.types.Material, folder: JobFolder, request: JobRequest) -> None:
    """Set the custom properties of an object, or of a texture's material, from its job."""
    result = folder.result() or {}
    settings: dict[str, Any] = json.loads(request.to_json())
    settings |= _object_in(result, "settings")
    versions = {
        "extension": extension_version(),
        "blender": bpy.app.version_string,
        **_object_in(result, "versions"),
    }
    placed[PROMPT] = request.prompt
    placed[SEED] = request.seed
    placed[MODEL] = request.model
    placed[REQUEST] = request.to_json()
    placed[SETTINGS] = json.dumps(settings, ensure_ascii=False)
    placed[VERSIONS] = json.dumps(versions, ensure_ascii=False)
    placed[FOLDER] = str(folder.path)


def is_ours(thing: bpy.types.Object | None) -> bool:
    """Whether an object is a result of this extension, or a copy of one."""
    return thing is not None and PROMPT in thing


def has_our_textures(thing: bpy.types.Object) -> bool:
    """Whether an object is a result of this extension, or has a material of one of its textures."""
    return is_ours(thing) or any(slot.material is not None and PROMPT in slot.material for slot in thing.material_slots)


def is_of(thing: bpy.types.Object, folder: JobFolder) -> bool:
    """Whether an object is the result of this job, or a copy of it."""
    return thing.get(FOLDER) == str(folder.path)


@functools.cache
def extension_version() -> str:
    """The version in the manifest."""
    return str(tomllib.loads(_MANIFEST.read_text(encoding="utf-8"))["version"])


def _object_in(result: dict[str, Any], name: str) -> dict[str, Any]:
    value = result.get(name)
    return value if isinstance(value, dict) else {}
