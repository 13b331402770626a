"""The static repository that `dev.py package` makes, as a person's own Blender installs from it.

Runs where `test_window.py` does, by the same rules; it opens no window.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from driver import Blender
from real_blender import SUITES, CannotRun, require

import dev

EXTENSION = ("blender", "--online-mode", "--command", "extension")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """What `dev.py package` makes without any Blender installed."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dev, "PACKAGE_FOLDER", folder)
        patch.setattr(dev, "set_up", lambda: Path(sys.executable))
        patch.setattr(sys, "argv", ["dev.py", "package"])
        assert dev.main() == 0
    return folder


@pytest.mark.parametrize("suite", SUITES)
def test_blender_installs_the_extension_from_a_folder(suite, packages, tmp_path):
    try:
        require(suite)
    except CannotRun as reason:
        if os.environ.get("SDI_REQUIRE_WINDOW") == "1" and suite == "sid":
            pytest.fail(f"SDI_REQUIRE_WINDOW is set, but {reason}")
        pytest.skip(str(reason))
    blender = Blender(suite, tmp_path / "home", [packages])
    # Without the other repositories, which are on the network.
    add = ("repo-add", "--clear-all", "--name", "SDI", "--url", (packages / "index.json").as_uri(), "sdi")
    blender.run(*EXTENSION, *add)
    blender.run(*EXTENSION, "sync")
    assert "sdi_text_to_3d" in blender.run(*EXTENSION, "list")
    blender.run(*EXTENSION, "install", "--enable", "sdi_text_to_3d")
    ask = (
        "import bpy; print('enabled:', 'bl_ext.sdi.sdi_text_to_3d' in bpy.context.preferences.addons); "
        "print('model:', bpy.context.scene.sdi.model)"
    )
    said = blender.run("blender", "--background", "--python-exit-code", "1", "--python-expr", ask)
    assert "enabled: True" in said
    assert "model: starter" in said
