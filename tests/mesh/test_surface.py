import sys

import numpy as np
import pytest
import trimesh

from sdi_engine.mesh.surface import automatic_threshold, marching_cubes, simplified


def test_threshold_cuts_off_fog_around_the_object():
    axis = np.linspace(-1.0, 1.0, 48)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(axis, axis, axis, indexing="ij")))
    density = np.where(radius < 0.5, 80.0, 0.05).astype(np.float32)
    assert 0.05 < automatic_threshold(density, 2.0 / 47) < 80.0


def test_simplification_keeps_to_the_budget():
    sphere = trimesh.creation.icosphere(subdivisions=4)
    assert len(simplified(sphere, 500).faces) <= 500
    assert simplified(sphere, 10**6) is sphere


def test_scikit_image_stands_in_for_pymcubes(monkeypatch):
    """Where PyMCubes has no build: the same solid, turned the same way out."""
    axis = np.linspace(-1.0, 1.0, 40)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = 0.6 - np.sqrt(x**2 + y**2 + (0.7 * z) ** 2)
    meshes = []
    for module in ("as it is", None):
        if module is None:
            monkeypatch.setitem(sys.modules, "mcubes", None)
        meshes.append(trimesh.Trimesh(*marching_cubes(volume, 0.0), process=True))
    ours, other = meshes
    assert ours.volume > 0.0
    assert other.volume == pytest.approx(ours.volume, rel=1e-3)
    assert other.is_watertight
    assert np.allclose(other.bounds, ours.bounds, atol=1e-3)
