"""Real Blenders with the extension installed, as a person would have them, for the tests in this folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from driver import Blender
from real_blender import SUITES, CannotRun, outside, require

REPOSITORY = Path(__file__).resolve().parents[3]
EXTENSION = "bl_ext.user_default.sdi_text_to_3d"
SESSION = f"sys.modules['{EXTENSION}.session']"
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
    blender = Blender(suite, home, [REPOSITORY])
    packages = home / "packages"
    packages.mkdir()
    build = ("extension", "build", "--source-dir", str(REPOSITORY), "--output-dir", str(packages))
    blender.run("blender", "--command", *build, timeout=600)
    (package,) = packages.glob("*.zip")
    blender.install_extension(package)
    blender.set_preferences(
        f"{PREFERENCES}.results_folder = {str(home / 'results')!r}",
        f"{PREFERENCES}.notify = False",
    )
    if engine is not None:
        python = home / "engine-python"
        python.write_text(outside(engine), encoding="utf-8")
        python.chmod(0o755)
        blender.set_preferences(f"{PREFERENCES}.engine_python = {str(python)!r}")
    return blender


def picture_folder(otherwise: Path) -> Path:
    """Where pictures of the screen go: `SDI_PICTURES`, or else this folder."""
    return Path(os.environ.get("SDI_PICTURES") or otherwise)


def _why_not(suite: str) -> str | None:
    try:
        require(suite)
    except CannotRun as error:
        return str(error)
    return None
