"""Undo in a real Blender of today, without a window: `test_markers` walks in the bpy module only."""

from pathlib import Path

import pytest
from driver import Blender
from installed import need, suites

WALK = Path(__file__).resolve().parents[1] / "undo_walk.py"


@pytest.mark.parametrize("suite", suites())
def test_blender_survives_any_order_of_events(suite, tmp_path):
    need(suite)
    blender = Blender(suite, tmp_path / "home", [WALK.parents[2]])
    options = ("--background", "--factory-startup", "--python-exit-code", "1")
    said = blender.run("blender", *options, "--python", str(WALK), "--", "0", str(tmp_path / "jobs"))
    assert "\n299 " in said
    assert "Traceback" not in said  # Blender goes on where one of our handlers fails
