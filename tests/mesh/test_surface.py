import sys

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from sdi_engine.mesh.surface import automatic_threshold, marching_cubes, simplified, smoothed, surface_of_density
from sdi_engine.mesh.topology import non_manifold_edges, pieces, welded


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


def sponge(size=24):
    """Densities whose isosurface has many thin bridges and pieces."""
    noise = np.random.default_rng(3).normal(size=(size,) * 3)
    return np.exp(4.0 * ndimage.gaussian_filter(noise, 1.5) / 0.1).astype(np.float32)


@pytest.mark.parametrize("face_budget", [300, 1000, 10**6])
def test_a_surface_is_closed_and_manifold_at_any_budget(face_budget):
    mesh = surface_of_density(sponge(), 1.0, np.zeros(3, np.float32), face_budget)
    assert len(mesh.faces) <= face_budget
    place = welded(np.asarray(mesh.vertices, np.float32))
    assert not len(non_manifold_edges(place[mesh.faces])), "not even where equal places are one vertex"
    assert mesh.is_watertight
    count, piece = pieces(mesh.faces)
    assert all(mesh.submesh([piece == number], append=True).volume > 0.0 for number in range(count))


def test_nothing_is_kept_inside_a_closed_hollow():
    axis = np.linspace(-1.0, 1.0, 40)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(axis, axis, axis, indexing="ij")))
    shell_around_a_ball = np.where((radius < 0.9) & ((radius > 0.7) | (radius < 0.4)), 80.0, 0.0).astype(np.float32)
    mesh = surface_of_density(shell_around_a_ball, 2.0 / 39, np.full(3, -1.0, np.float32), 10**6)
    assert pieces(mesh.faces)[0] == 1
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.8


def test_smoothing_keeps_the_volume_and_thin_parts():
    axis = np.linspace(-1.0, 1.0, 64)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.minimum(
        np.sqrt(x**2 + y**2 + (z + 0.5) ** 2) - 0.4, np.maximum(np.hypot(x, y) - 0.05, np.abs(z) - 0.9)
    )
    density = (60.0 / (1.0 + np.exp(distance / 0.01))).astype(np.float32)
    mesh = surface_of_density(density, 2.0 / 63, np.full(3, -1.0, np.float32), 10**6)
    solid = (density > automatic_threshold(density, 2.0 / 63)).sum() * (2.0 / 63) ** 3
    assert mesh.volume == pytest.approx(solid, rel=0.03)
    assert mesh.bounds[1][2] == pytest.approx(0.9, abs=0.05)


def bumpy(radius=0.5):
    ball = trimesh.creation.icosphere(4, radius)
    ball.vertices *= 1.0 + 0.02 * np.sin(12.0 * ball.vertices / radius).prod(axis=1)[:, None]
    return ball


def test_smoothing_takes_small_bumps_away_and_keeps_volume_and_place():
    both = trimesh.util.concatenate([bumpy(), bumpy(0.2).apply_translation([2.0, 0.0, 0.0])])
    after = smoothed(both, 0.05)
    for large, small in zip(both.split(), after.split(), strict=True):
        assert small.volume == pytest.approx(large.volume, rel=1e-6)
        assert np.allclose(small.vertices.mean(axis=0), large.vertices.mean(axis=0), atol=1e-3)
        radii = [np.linalg.norm(mesh.vertices - mesh.vertices.mean(axis=0), axis=1).std() for mesh in (large, small)]
        assert radii[1] < 0.5 * radii[0]
    assert smoothed(both, 0.0) is both
