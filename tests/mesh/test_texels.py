import numpy as np
import trimesh

from sdi_engine.mesh import texels as module
from sdi_engine.mesh.texels import texels
from sdi_engine.system.occasions import at_occasions


def test_a_triangle_without_an_area_has_no_texels():
    """Else it would have all between its corners, and what other triangles show there would be lost."""
    line = np.float32([[0.125, 0.125], [0.5, 0.5], [0.875, 0.875]])
    whole = np.float32([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    face, *_ = texels(np.stack([whole, line]), 16)
    assert len(face) > 100
    assert (face == 0).all()


def test_in_parts_the_texels_are_the_same_and_a_person_is_heard_between_them(monkeypatch):
    """At 8192 × 8192 all at once were gigabytes."""
    plane = trimesh.creation.icosphere(2).vertices[trimesh.creation.icosphere(2).faces][..., :2]
    uv = np.concatenate([plane / 2.2 + 0.5, [[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]])  # and one of half of the picture
    whole, asked = texels(uv, 64), []
    monkeypatch.setattr(module, "AT_ONCE", 500)
    with at_occasions(lambda: asked.append(True)):
        in_parts = texels(uv, 64)
    for one, other in zip(in_parts, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(asked) >= len(whole[0]) / 500


def test_a_map_without_triangles_has_no_texels():
    face, row, column, weights = texels(np.zeros((0, 3, 2), np.float32), 16)
    assert len(face) == len(row) == len(column) == len(weights) == 0
