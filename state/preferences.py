"""The extension's preferences: the engine's Python, the results folder, the model folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from ..jobs.engine import PYTHON_VARIABLE, Engine, find_python
from ..sdi_engine.doctor import SUITABLE_PYTHONS
from ..sdi_engine.system.pasted import as_meant
from .current import session

PACKAGE = (__package__ or "").rpartition(".")[0]
"""The extension's package, of which this is a subpackage."""

EXTENSION_FOLDER = Path(__file__).resolve().parent.parent
PRIVATE_ENVIRONMENT = "engine"
"""The virtual environment's folder in the one that Blender gives to an extension (on Windows: in a shorter path)."""

NEEDS_ONLINE_ACCESS = "Allow Online Access in Preferences, System first"


def _default_results_folder() -> str:
    documents = Path.home() / "Documents"
    return str((documents if documents.is_dir() else Path.home()) / "SDI Results")


def _on_engine_changed(_self: Preferences, _context: bpy.types.Context) -> None:
    session().engine_was_changed()


def _on_cluster_changed(_self: Preferences, _context: bpy.types.Context) -> None:
    session().try_again()


def _on_results_changed(_self: Preferences, context: bpy.types.Context) -> None:
    session().results_were_changed(context)


class Preferences:
    """The preferences' properties; `panels.preferences` draws them."""

    bl_idname = PACKAGE

    engine_python: StringProperty(
        name="Engine Python",
        description=(
            f"The {SUITABLE_PYTHONS}, or the folder of its virtual environment, that has the engine's packages. "
            f"Empty to search: the environment variable {PYTHON_VARIABLE}, the extension's own environment, "
            "then the search path"
        ),
        subtype="FILE_PATH",
        update=_on_engine_changed,
    )  # type: ignore[valid-type]
    torch_index: StringProperty(
        name="Torch Index",
        description=(
            "Where Install Engine Environment gets torch from: the address after --index-url in the command that "
            "pytorch.org gives for your GPU. Empty for the default index, which suits Macs, and NVIDIA GPUs on Linux"
        ),
    )  # type: ignore[valid-type]
    results_folder: StringProperty(
        name="Results",
        description="The folder in which each object gets its own folder with mesh, texture, previews and log",
        default=_default_results_folder(),
        subtype="DIR_PATH",
        update=_on_results_changed,
    )  # type: ignore[valid-type]
    model_folder: StringProperty(
        name="Models",
        description=(
            "A folder of models, such as ComfyUI's or WebUI's folder models: the menus list what is there, and the "
            "text encoders and VAE that a model lacks are taken from it"
        ),
        subtype="DIR_PATH",
    )  # type: ignore[valid-type]
    idle_minutes: IntProperty(
        name="Keep Engine Ready",
        description="Minutes for which an idle engine keeps its model in memory, so that the next object starts sooner",
        default=10,
        min=0,
        max=240,
    )  # type: ignore[valid-type]
    cluster: StringProperty(
        name="Ray Cluster",
        description="Make objects on a Ray cluster instead of this computer: auto for the cluster that this computer "
        "is a node of, or an address such as ray://HOST:10001; only in a network that you trust",
        update=_on_cluster_changed,
    )  # type: ignore[valid-type]
    notify: BoolProperty(
        name="Notify",
        description="Show a notification of the operating system when an object is done",
        default=True,
    )  # type: ignore[valid-type]


def of(context: bpy.types.Context) -> Any:
    """This extension's preferences."""
    return context.preferences.addons[PACKAGE].preferences


def engine(context: bpy.types.Context) -> Engine:
    """How to run the engine, by the preferences."""
    chosen = as_meant(of(context).engine_python)
    python = find_python(bpy.path.abspath(chosen) if chosen else "", private_environment())
    return Engine(python, EXTENSION_FOLDER, online=bpy.app.online_access, cluster=of(context).cluster.strip())


def results_folder(context: bpy.types.Context) -> Path:
    """The folder in which job folders are made; the default one, too, instead of one beside a file that is not saved
    yet, which would be wherever Blender was started."""
    chosen = as_meant(of(context).results_folder)
    if not chosen or (chosen.startswith("//") and not bpy.data.filepath):
        chosen = _default_results_folder()
    return Path(bpy.path.abspath(chosen)).absolute()


def model_folder(context: bpy.types.Context) -> Path | None:
    """The person's own folder of models; None if it is not set."""
    chosen = as_meant(getattr(of(context), "model_folder", ""))
    return Path(bpy.path.abspath(chosen)) if chosen else None


def private_environment() -> Path | None:
    """The folder of the engine's own environment, which need not exist; None if Blender gives the extension none."""
    if not PACKAGE.startswith("bl_ext."):
        return None  # enabled from a checkout: Blender gives a folder to installed extensions only
    local = os.environ.get("LOCALAPPDATA")
    if sys.platform == "win32" and local:  # torch's paths of 170 characters would be too long below Blender's folder
        return Path(local, "SDI", PRIVATE_ENVIRONMENT)
    return Path(bpy.utils.extension_path_user(PACKAGE, path=PRIVATE_ENVIRONMENT))
