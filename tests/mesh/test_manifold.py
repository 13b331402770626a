"""Surfaces that touch themselves, and must not any more."""

import numpy as np
import pytest
import trimesh

from sdi_engine.mesh.manifold import cut_apart
from sdi_engine.mesh.topology import non_manifold_edges, pieces, welded


def touching(offset):
    """Two boxes of edge 1, the second moved by `offset`; equal places are one vertex."""
    both = trimesh.util.concatenate([trimesh.creation.box(), trimesh.creation.box().apply_translation(offset)])
    place = welded(both.vertices)
    _, first = np.unique(place, return_index=True)
    return both.vertices[first], place[both.faces]


def is_one_fan_each(faces):
    """Whether the faces around every vertex hang together by edges."""
    return all(pieces(faces[(faces == vertex).any(axis=1)])[0] == 1 for vertex in np.unique(faces))


@pytest.mark.parametrize("offset", [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0)], ids=["an edge", "a corner"])
def test_solids_that_share_an_edge_or_a_corner_come_apart(offset):
    vertices, faces = touching(offset)
    assert len(non_manifold_edges(faces)) or not is_one_fan_each(faces)
    vertices, faces = cut_apart(vertices, faces)
    assert is_one_fan_each(faces)
    assert not len(non_manifold_edges(welded(vertices)[faces])), "not even where equal places are one"
    assert pieces(faces)[0] == 2
    for number in range(2):
        box = trimesh.Trimesh(vertices, faces[pieces(faces)[1] == number], process=False)
        assert box.volume == pytest.approx(1.0, rel=0.1)


def test_hollows_that_share_an_edge_come_apart():
    """The wall between them hangs together beyond both ends of the edge, which would be there twice otherwise."""
    hollows, inside = touching((1.0, 1.0, 0.0))
    block = trimesh.creation.box(extents=(9.0, 9.0, 9.0))
    vertices = np.concatenate([hollows, block.vertices])
    vertices, faces = cut_apart(vertices, np.concatenate([inside[:, ::-1], block.faces + len(hollows)]))
    assert is_one_fan_each(faces)
    assert not len(non_manifold_edges(faces))
    assert not len(non_manifold_edges(welded(vertices)[faces])), "not even where equal places are one"
    assert pieces(faces)[0] == 3
    assert trimesh.Trimesh(vertices, faces, process=False).volume == pytest.approx(9.0**3 - 2.0, abs=0.3)


def test_what_was_collapsed_to_nothing_is_left_out():
    """A box with a fin: two triangles back to back, and one without an area."""
    box = trimesh.creation.box()
    fin = [[0, 1, 8], [1, 0, 8], [0, 0, 8]]
    vertices = np.concatenate([box.vertices, [[5.0, 5.0, 5.0]]])
    cut, faces = cut_apart(vertices, np.concatenate([box.faces, fin]))
    assert len(faces) == 12
    assert len(cut) == 8
    assert trimesh.Trimesh(cut, faces, process=False).is_watertight


def test_a_clean_mesh_stays_as_it_is():
    ball = trimesh.creation.icosphere(2)
    vertices, faces = cut_apart(ball.vertices, ball.faces)
    np.testing.assert_array_equal(vertices[faces], ball.vertices[ball.faces])
    assert len(vertices) == len(ball.vertices)
