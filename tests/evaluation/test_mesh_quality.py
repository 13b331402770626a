"""Meshes whose faults are known."""

import numpy as np
import pytest
import trimesh

from sdi_engine.evaluation.examiner import Examiner
from sdi_engine.evaluation.mesh_quality import MeshQuality
from sdi_engine.mesh.export import write_glb
from sdi_engine.mesh.unwrap import UnwrappedMesh


def split(mesh, uv_of_corners):
    """Vertices, faces and UVs of a mesh whose every triangle has corners of its own."""
    order = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    return mesh.vertices[mesh.faces].reshape(-1, 3), order, np.reshape(uv_of_corners, (-1, 2))


def flat_map(mesh):
    """Seen from above, in 0…0.5: a map without stretch for what is flat."""
    return (
        (mesh.vertices[mesh.faces][..., :2] - mesh.vertices[:, :2].min(axis=0)) / 2 / np.ptp(mesh.vertices, axis=0)[0]
    )


@pytest.fixture
def square():
    """Two triangles, 1 by 1."""
    return trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)


@pytest.fixture
def box():
    return trimesh.creation.box()


def test_a_closed_mesh_is_closed_across_the_seams_of_its_map(box):
    every_triangle_alone = np.tile([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]], (12, 1, 1)) + np.arange(12)[:, None, None] / 20
    quality = MeshQuality.of(*split(box, every_triangle_alone))
    assert quality.non_manifold_edges == 0
    assert quality.charts == 12


def test_holes_and_shared_edges_and_turned_faces_are_not_manifold(box):
    uv = np.zeros((len(box.vertices), 2))
    assert MeshQuality.of(box.vertices, box.faces[:-1], uv).non_manifold_edges == 3
    assert MeshQuality.of(box.vertices, np.array([box.faces[0][::-1], *box.faces[1:]]), uv).non_manifold_edges == 3
    beside = trimesh.util.concatenate([box, box.copy().apply_translation([1.0, 1.0, 0.0])])
    assert MeshQuality.of(beside.vertices, beside.faces, np.zeros((16, 2))).non_manifold_edges == 1


def test_triangles_that_touch_in_a_corner_are_two_charts(square):
    both = flat_map(square)
    assert MeshQuality.of(*split(square, both)).charts == 1
    both[1, 1] += 0.1
    assert MeshQuality.of(*split(square, both)).charts == 2


def test_stretch_is_that_of_the_singular_values(square):
    """A map twice as wide as high: (Γ² + γ²) / 2 / (Γ γ) = 5/4 whatever the scale."""
    assert MeshQuality.of(*split(square, flat_map(square))).stretch == pytest.approx(1.0)
    squeezed = flat_map(square) * [1.0, 0.5]
    assert MeshQuality.of(*split(square, squeezed)).stretch == pytest.approx(1.25**0.5)
    assert MeshQuality.of(*split(square, squeezed)).texture_fill == pytest.approx(0.125)


def test_it_is_asked_of_objects_of_any_prompt(box, tmp_path):
    vertices, faces, uv = split(box, np.tile([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], (12, 1, 1)))
    mesh = UnwrappedMesh(vertices.astype(np.float32), np.tile(box.face_normals, (1, 3)).reshape(-1, 3), faces, uv)
    write_glb(tmp_path / "mesh.glb", mesh, np.zeros((8, 8, 3), np.uint8), "a box")
    found = Examiner(["an iguana"]).examine(tmp_path / "mesh.glb", "an iguana").values
    assert (found["non_manifold"], found["charts"]) == (0.0, 12.0)
    assert found["stretch"] == pytest.approx(MeshQuality.of(vertices, faces, uv).stretch)
