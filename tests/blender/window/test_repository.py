"""The static repository that `dev.py package` makes, from which a real Blender installs the extension.

Runs where `test_window.py` does, by the same rules; it opens no window.
"""

from __future__ import annotations

import pytest
from driver import Blender
from installed import need, packages, suites

EXTENSION = ("blender", "--online-mode", "--command", "extension")


@pytest.mark.parametrize("suite", suites())
def test_blender_installs_the_extension_from_a_folder(suite, tmp_path):
    need(suite)
    blender = Blender(suite, tmp_path / "home", [packages()])
    # Without the other repositories, which are on the network.
    add = ("repo-add", "--clear-all", "--name", "SDI", "--url", (packages() / "index.json").as_uri(), "sdi")
    blender.run(*EXTENSION, *add)
    blender.run(*EXTENSION, "install", "--sync", "--enable", "sdi_text_to_3d")
    ask = (
        "import bpy; print('enabled:', 'bl_ext.sdi.sdi_text_to_3d' in bpy.context.preferences.addons); "
        "print('model:', bpy.context.scene.sdi.model)"
    )
    said = blender.run("blender", "--background", "--python-exit-code", "1", "--python-expr", ask)
    assert "enabled: True" in said
    assert "model: starter" in said
