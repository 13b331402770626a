"""The extension enabled in PyPI's bpy, with a stand-in for its engine and an empty home."""

import os
import tempfile

import pytest

import headless

_home = tempfile.TemporaryDirectory(prefix="sdi-blender-home-")
os.environ["BLENDER_USER_RESOURCES"] = _home.name  # before bpy is imported: it must not see the person's own


@pytest.fixture
def bpy():
    """Blender as it starts, with a cube, a camera and a light."""
    bpy = pytest.importorskip("bpy")
    bpy.ops.wm.read_factory_settings()
    return bpy


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def extension(bpy, fake_python, results):
    """The enabled extension's package."""
    yield headless.enable(engine_python=fake_python, results_folder=results)
    headless.disable()
