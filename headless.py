"""Loads the extension from this checkout, in any Blender or in the `bpy` module, without installing it.

    import sys
    sys.path.insert(0, CHECKOUT)
    import headless
    headless.enable(engine_python="…/.venv/bin/python", results_folder="…/results")
    bpy.context.scene.sdi.prompt = "a red mug"
    bpy.ops.sdi.generate()  # in the background it waits, shows its progress, and imports the result

Importing this module imports nothing of the extension, and bpy only in its functions.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "sdi_text_to_3d"
ROOT = Path(__file__).resolve().parent


def load() -> ModuleType:
    """Import this folder as the package `PACKAGE`, without registering it; its modules are `PACKAGE.jobs` and so on."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    return sys.modules[PACKAGE]


def enable(engine_python: str | Path | None = None, results_folder: str | Path | None = None) -> ModuleType:
    """Enable the extension for this process only, and return its package.

    An installed copy is disabled, unless it is this very folder, which is then used as it is. The arguments replace the
    preferences of the same names until the process ends; None keeps them.
    """
    import bpy

    module = _enabled_copy() or _register(load())
    preferences = bpy.context.preferences.addons[module.__name__].preferences
    if engine_python is not None:
        preferences.engine_python = str(engine_python)
    if results_folder is not None:
        preferences.results_folder = str(results_folder)
    return module


def disable() -> None:
    """Undo `enable`."""
    import bpy

    module = load()
    if getattr(module, "__addon_enabled__", False):
        module.__addon_enabled__ = False
        module.unregister()
        addons = bpy.context.preferences.addons
        addons.remove(addons[PACKAGE])


def _enabled_copy() -> ModuleType | None:
    """The installed and enabled extension if it is this folder, or None; every other copy is disabled."""
    import addon_utils
    import bpy

    for name in [addon.module for addon in bpy.context.preferences.addons]:
        module = sys.modules.get(name)
        if module is None or name.rpartition(".")[2] != PACKAGE or not getattr(module, "__addon_enabled__", False):
            continue
        if Path(str(module.__file__)).resolve().parent == ROOT:
            return module
        addon_utils.disable(name)
    return None


def _register(module: ModuleType) -> ModuleType:
    import bpy

    entry = bpy.context.preferences.addons.new()  # without this the extension would have no preferences
    entry.module = PACKAGE
    module.register()
    module.__addon_enabled__ = True  # so Blender calls unregister at its end
    return module
