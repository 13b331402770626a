"""Real Blenders with the extension installed, as a person would have them, for the tests in this folder."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from driver import UNDISTURBED, Blender
from packages import make_packages
from real_blender import SUITES, CannotRun, outside, require

REPOSITORY = Path(__file__).resolve().parents[3]
EXTENSION = "bl_ext.user_default.sdi_text_to_3d"
SESSION = f"sys.modules['{EXTENSION}.state.session']"
ARRIVALS = f"sys.modules['{EXTENSION}.state.arrivals']"
SETUP = f"sys.modules['{EXTENSION}.state.engine_setup']"
REDRAWING = f"sys.modules['{EXTENSION}.state.redrawing']"
PREFERENCES = f"preferences.addons['{EXTENSION}'].preferences"


def suites() -> list[str]:
    """Those that are installed, or else one that shall say why it is not."""
    return [suite for suite in SUITES if _why_not(suite) is None] or ["sid"]


def need(suite: str) -> None:
    """Skip the test where the suite is not installed, or let it fail where windows are required."""
    reason = _why_not(suite)
    if reason is not None:
        if os.environ.get("SDI_REQUIRE_WINDOW") == "1":
            pytest.fail(f"SDI_REQUIRE_WINDOW is set, but {reason}")
        pytest.skip(reason)


def with_extension(suite: str, home: Path, engine: Sequence[str] | None) -> Blender:
    """A Blender with the extension, packed from this checkout, installed and set up; skips where there can be none.

    Args:
        home: an empty folder of its own, with the results in `results`.
        engine: the command line that takes the place of the engine's Python; None to set nothing up.
    """
    need(suite)
    shutil.copytree(_installed(suite) / "blender", home / "blender")
    blender = Blender(suite, home, [REPOSITORY])
    wanted = {"results_folder": str(home / "results"), "notify": False}
    if engine is not None:
        python = home / "engine-python"
        python.write_text(outside(engine), encoding="utf-8")
        python.chmod(0o755)
        wanted["engine_python"] = str(python)
    blender.set_preferences(*(f"{PREFERENCES}.{name} = {value!r}" for name, value in wanted.items()))
    blender.undisturbed = True
    return blender


@functools.cache
def packages() -> Path:
    """The folder that `dev.py package` fills, once for all tests of this process."""
    return make_packages(_shared_folder("packages"))


@functools.cache
def _installed(suite: str) -> Path:
    """A home with the extension, once for all tests of this process: they work in copies of it."""
    home = _shared_folder(f"home-{suite}")
    blender = Blender(suite, home, [packages()])
    (package,) = packages().glob("*.zip")
    blender.install_extension(package)
    blender.set_preferences(*UNDISTURBED)
    return home


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """It goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="sdi-windows-")


def _shared_folder(name: str) -> Path:
    folder = Path(_temporary().name) / name
    folder.mkdir()
    return folder


def picture_folder(otherwise: Path) -> Path:
    """Where pictures of the screen go: `SDI_PICTURES`, or else this folder."""
    return Path(os.environ.get("SDI_PICTURES") or otherwise)


def _why_not(suite: str) -> str | None:
    try:
        require(suite)
    except CannotRun as error:
        return str(error)
    return None
