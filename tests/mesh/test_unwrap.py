"""UV maps: few charts, none of which lies over itself, little stretch."""

import numpy as np
import pytest
import trimesh

from sdi_engine.mesh import unwrap as unwrapping
from sdi_engine.mesh.flatten import flattened
from sdi_engine.mesh.texels import texels
from sdi_engine.mesh.topology import pieces
from sdi_engine.mesh.unwrap import unwrap
from sdi_engine.system.occasions import at_occasions


def charts_in(unwrapped):
    return pieces(unwrapped.faces)[0]


def bumpy(mesh, by=0.01):
    """The mesh with its vertices moved at random, as optimisation leaves them."""
    rough = mesh.copy()
    rough.vertices += np.random.default_rng(0).normal(scale=by, size=rough.vertices.shape)
    return rough


@pytest.mark.parametrize(
    ("thing", "most"),
    [
        (trimesh.creation.icosphere(4), 10),
        (bumpy(trimesh.creation.icosphere(4)), 12),
        (trimesh.creation.torus(1.0, 0.2, 64, 32), 30),
        (trimesh.creation.box().subdivide().subdivide(), 6),
    ],
    ids=["ball", "rough ball", "ring", "box"],
)
def test_few_charts_without_overlaps(thing, most):
    unwrapped = unwrap(thing, 256, 2)
    assert charts_in(unwrapped) <= most
    assert unwrapped.uv.min() >= 0.0
    assert unwrapped.uv.max() <= 1.0
    face, row, column, _ = texels(unwrapped.uv[unwrapped.faces], 512, tolerance=-1e-3)
    _, claims = np.unique(row * 512 + column, return_counts=True)
    assert (claims > 1).mean() < 0.002
    assert len(np.unique(face)) > 0.9 * len(thing.faces)
    np.testing.assert_array_equal(
        unwrapped.vertices[unwrapped.faces], thing.vertices[thing.faces].astype(np.float32), "the same faces in order"
    )


def test_a_ramp_that_winds_over_itself_is_cut():
    """Seen from above, two turns of a spiral staircase lie over each other, though all of it faces up."""
    angle = np.linspace(0.0, 4.2 * np.pi, 200)
    edge = np.stack([np.cos(angle), np.sin(angle), 0.1 * angle], axis=1)
    vertices = np.concatenate([edge * [0.5, 0.5, 1.0], edge])
    low = np.arange(199)
    faces = np.concatenate([np.stack([low, low + 200, low + 201], 1), np.stack([low, low + 201, low + 1], 1)])
    unwrapped = unwrap(trimesh.Trimesh(vertices, faces, process=False), 256, 2)
    assert 2 <= charts_in(unwrapped) <= 8


@pytest.mark.parametrize("faces", [[[0, 1, 2]], [[0, 1, 2], [0, 2, 3], [1, 0, 4], [0, 1, 3]], [[0, 1, 1], [0, 1, 2]]])
def test_any_triangles_have_a_map(faces):
    """One triangle, an edge with several, one without an area."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    unwrapped = unwrap(trimesh.Trimesh(points, faces, process=False), 64, 2)
    assert len(unwrapped.faces) == len(faces)
    assert np.isfinite(unwrapped.uv).all()


def test_charts_are_looked_at_a_few_at_a_time(monkeypatch):
    """Of 600 charts every third lies over itself, and every third is one triangle; their faces come in any order."""
    low, high, other = [[0, 0], [1, 0], [0, 1]], [[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 0.9], [0, 0]]
    corners = np.array([low, high, low, other, low] * 200, float)
    chart = np.repeat(np.arange(600), [2, 2, 1] * 200)
    sizes, occasions = [], []

    def noted(uv, size, tolerance):
        sizes.append(size)
        return texels(uv, size, tolerance)

    monkeypatch.setattr(unwrapping, "texels", noted)
    order = np.random.default_rng(0).permutation(len(chart))
    with at_occasions(lambda: occasions.append(True)):
        over = unwrapping._over_themselves(corners[order], chart[order])
    assert over.tolist() == [False, True, False] * 200
    assert max(sizes) <= 16 * 96
    assert len(occasions) >= len(sizes) == 2


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_triangle_without_a_width_does_not_draw_its_corners_together(turn):
    """Two triangles, and between them one with two corners at the same place."""
    vertices = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    faces = np.array([[0, 1, 2], np.roll([0, 3, 1], turn), [3, 4, 1]])
    flat = flattened(vertices, faces, np.zeros(3, np.int64))
    for one, other in ((0, 1), (0, 2), (3, 4), (2, 4), (0, 3)):
        wanted = np.linalg.norm(vertices[one] - vertices[other])
        assert np.linalg.norm(flat[one] - flat[other]) == pytest.approx(wanted, abs=1e-3)
