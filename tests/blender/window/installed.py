"""Real Blenders with the extension installed, for the tests in this folder."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from driver import UNDISTURBED, Blender, Window
from packages import make_packages
from real_blender import SUITES, CannotRun, outside, require

REPOSITORY = Path(__file__).resolve().parents[3]
EXTENSION = "bl_ext.user_default.sdi_text_to_3d"
SESSION = f"sys.modules['{EXTENSION}.state.current'].session()"
ARRIVALS = f"{SESSION}.arrivals"
SETUP = f"{SESSION}.engine_setup"
SMALL = (1024, 800)
"""The window in pixels, small since software OpenGL is slow, but high enough for the tab."""

NEAT = "preferences.system.viewport_aa = 'OFF'"
"""Smooth lines would take software OpenGL a second at each start."""


def suites() -> list[str]:
    """The installed suites, or else one whose tests will say why it is missing."""
    return [suite for suite in SUITES if _why_not(suite) is None] or ["sid"]


def need(suite: str) -> None:
    """Skip the test if the suite is not installed, or fail it if windows are required."""
    reason = _why_not(suite)
    if reason is not None:
        if os.environ.get("SDI_REQUIRE_WINDOW") == "1":
            pytest.fail(f"SDI_REQUIRE_WINDOW is set, but {reason}")
        pytest.skip(reason)


class KeptWindow:
    """A window that stays open between tests, since a start takes long; each test finds it as if just started.

    Where the last one left it in a state from which that cannot be, another is opened.
    """

    def __init__(self, blender: Blender) -> None:
        self._blender = blender
        self._window: Window | None = None

    def anew(self, engine: Sequence[str], results: str) -> Window:
        """The window, with this command line in the place of the engine's Python, and results in a folder of this
        name."""
        python = self._blender.home / f"python-of-{Path(engine[-1]).name}"
        python.write_text(outside(engine), encoding="utf-8")
        python.chmod(0o755)
        folder = str(self._blender.home / results)
        settings = {"engine_python": str(python), "notify": False, "results_folder": folder}
        if self._window is not None:
            try:
                self._window.begin_anew(EXTENSION, settings)
                return self._window
            except AssertionError:
                self.close()
        window = Window(self._blender, size=SMALL).__enter__()
        self._window = window
        window.begin_anew(EXTENSION, settings)
        return window

    def close(self) -> None:
        if self._window is not None:
            self._window.__exit__(None, None, None)
            self._window = None


def with_extension(suite: str, home: Path) -> Blender:
    """A Blender with the extension, packed from this checkout and installed; skips if there cannot be one.

    Args:
        home: an empty folder of its own.
    """
    need(suite)
    shutil.copytree(_installed(suite) / "blender", home / "blender")
    blender = Blender(suite, home, [REPOSITORY])
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
    blender.set_preferences(*UNDISTURBED, NEAT)
    return home


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Remove it when the process ends."""
    return tempfile.TemporaryDirectory(prefix="sdi-windows-")


def _shared_folder(name: str) -> Path:
    folder = Path(_temporary().name) / name
    folder.mkdir()
    return folder


def take_picture(window: Window, name: str, wait: float = 0.7) -> None:
    """Save a picture of the screen in the folder `SDI_PICTURES`, if that is set.

    Args:
        wait: seconds until all is drawn.
    """
    folder = os.environ.get("SDI_PICTURES")
    if folder:
        time.sleep(wait)
        window.screenshot(Path(folder) / f"{name}.png")


def _why_not(suite: str) -> str | None:
    try:
        require(suite)
    except CannotRun as error:
        return str(error)
    return None
