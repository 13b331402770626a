"""What a normal map stands for is what the fine surface has."""

import numpy as np
import pytest
import trimesh

from sdi_engine.mesh import normal_map
from sdi_engine.mesh.bake import Canvas
from sdi_engine.mesh.normal_map import FineNormals, bake_normals, tangents_of
from sdi_engine.mesh.unwrap import UnwrappedMesh, unwrap
from sdi_engine.system.occasions import at_occasions

SIZE = 128


@pytest.fixture(scope="module")
def fine():
    """A ball of radius 0.6 with grooves around it."""
    axis = np.linspace(-1.0, 1.0, 48)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2) - 0.6 - 0.02 * np.sin(10.0 * z)
    return FineNormals((60.0 / (1.0 + np.exp(distance / 0.02))).astype(np.float32), 30.0, 2.0 / 47, np.full(3, -1.0))


def decoded(picture, canvas):
    """The normals (N, 3) in space that a renderer makes of a normal map."""
    along = picture[canvas.row, canvas.column] / 127.5 - 1.0
    tangents = tangents_of(canvas.mesh)
    normal, tangent = canvas.normals, canvas.blended(tangents[:, :3])
    bitangent = canvas.blended(tangents[:, 3:]) * np.cross(normal, tangent)
    found = along[:, :1] * tangent + along[:, 1:2] * bitangent + along[:, 2:] * normal
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_smooth_ball_is_shaded_like_the_grooved_one(fine, is_mirrored):
    smooth = unwrap(trimesh.creation.icosphere(3, 0.6), SIZE, 2)
    if is_mirrored:
        smooth = UnwrappedMesh(smooth.vertices, smooth.normals, smooth.faces, smooth.uv[:, ::-1].copy())
    canvas = Canvas.of(smooth, SIZE)
    points = canvas.blended(smooth.vertices)
    wanted = points / np.linalg.norm(points, axis=1, keepdims=True)
    wanted[:, 2] -= 0.2 * np.cos(10.0 * points[:, 2])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)

    def off_by(normals):
        return np.degrees(np.quantile(np.arccos((normals * wanted).sum(axis=1).clip(-1.0, 1.0)), 0.9))

    assert off_by(canvas.normals) > 8.0
    assert off_by(decoded(bake_normals(fine, canvas), canvas)) < 2.5


def test_in_parts_it_is_the_same_map_and_a_person_is_heard_between_them(fine, monkeypatch):
    canvas = Canvas.of(unwrap(trimesh.creation.icosphere(3, 0.6), SIZE, 2), SIZE)
    whole, asked = bake_normals(fine, canvas), []
    monkeypatch.setattr(normal_map, "AT_ONCE", len(canvas.face) // 10)
    with at_occasions(lambda: asked.append(True)):
        in_parts = bake_normals(fine, canvas)
    np.testing.assert_array_equal(in_parts, whole)
    assert len(asked) >= 10, "of memory no more than for a part is taken, and a person is heard in between"


def test_green_is_up_and_red_is_right():
    """A square in the plane of its map, whose fine surface slopes: normals lean against the slope."""
    square = UnwrappedMesh(
        np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]], np.float32),
        np.tile(np.float32([0, -1, 0]), (4, 1)),
        np.array([[0, 1, 2], [0, 2, 3]]),
        np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
    )
    axis = np.linspace(-1.0, 1.0, 48)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    for slope, channel in ((0.3 * x, 0), (0.3 * z, 1)):
        density = (60.0 / (1.0 + np.exp((slope - y) / 0.05))).astype(np.float32)
        fine = FineNormals(density, 30.0, 2.0 / 47, np.full(3, -1.0, np.float32))
        colour = bake_normals(fine, Canvas.of(square, 32))[16, 16].astype(float) / 127.5 - 1.0
        assert colour[channel] == pytest.approx(0.287, abs=0.03)
        assert colour[1 - channel] == pytest.approx(0.0, abs=0.03)
        assert colour[2] == pytest.approx(0.958, abs=0.03)
