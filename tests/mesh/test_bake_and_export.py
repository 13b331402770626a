import io
import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from sdi_engine.mesh.bake import Canvas, bake
from sdi_engine.mesh.export import standing_on_ground, write_glb
from sdi_engine.mesh.unwrap import unwrap
from sdi_engine.system.occasions import at_occasions

SIZE = 128


def place(points, normals):
    """A colour that encodes the position: red grows with x, green with y, blue with z."""
    return points.clamp(-0.5, 0.5) + 0.5


@pytest.fixture(scope="module")
def ball():
    return unwrap(trimesh.creation.icosphere(subdivisions=3, radius=0.5), SIZE, 2)


@pytest.fixture(scope="module")
def albedo(ball):
    return bake(place, Canvas.of(ball, SIZE), torch.device("cpu"), 1000)


def sampled(albedo, uv):
    """Nearest texel of uv, v upwards."""
    column = (uv[:, 0] * SIZE).astype(int).clip(0, SIZE - 1)
    row = ((1.0 - uv[:, 1]) * SIZE).astype(int).clip(0, SIZE - 1)
    return albedo[row, column] / 255.0


def test_charts_lie_in_the_unit_square_and_keep_the_surface(ball):
    assert ball.uv.min() >= 0.0
    assert ball.uv.max() <= 1.0
    assert len(ball.faces) == 1280
    torch.testing.assert_close(torch.tensor(np.linalg.norm(ball.vertices, axis=1)), torch.full((len(ball.uv),), 0.5))


def test_every_face_has_texels_of_its_own_place(ball):
    canvas = Canvas.of(ball, SIZE)
    assert len(np.unique(canvas.row * SIZE + canvas.column)) > 0.3 * SIZE**2
    position = canvas.blended(ball.vertices)
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 0.5, atol=0.01)
    np.testing.assert_allclose(canvas.normals, position / 0.5, atol=0.03)


def test_the_texture_shows_the_surfaces_colour_at_every_corner_and_face_centre(ball, albedo):
    at_corners = sampled(albedo, ball.uv)
    np.testing.assert_allclose(at_corners, ball.vertices + 0.5, atol=0.08)
    centres_uv, centres = ball.uv[ball.faces].mean(axis=1), ball.vertices[ball.faces].mean(axis=1)
    np.testing.assert_allclose(sampled(albedo, centres_uv), centres + 0.5, atol=0.08)


def test_standing_on_ground():
    vertices = np.array([[-1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [0.0, 3.0, 4.0]], dtype=np.float32)
    placed = standing_on_ground(vertices, 0.5)
    np.testing.assert_allclose(placed.min(axis=0), [-0.5, -0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(placed.max(axis=0), [0.5, 0.25, 0.5], atol=1e-6)
    simpler = standing_on_ground(vertices[:1] + 0.5, 0.5, like=vertices)
    np.testing.assert_allclose(simpler, placed[:1] + 0.5 * 0.25, atol=1e-6)  # 2 m high is now 0.5 m


def test_glb_is_upright_textured_and_outward(ball, albedo, tmp_path):
    file = tmp_path / "ball.glb"
    write_glb(file, ball, albedo, "a ball")
    scene = trimesh.load(file)
    (mesh,) = scene.geometry.values()
    # glTF: Y up, front +Z; ours: Z up, front -Y
    np.testing.assert_allclose(mesh.vertices[:, 1], ball.vertices[:, 2], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices[:, 2], -ball.vertices[:, 1], atol=1e-6)
    assert mesh.volume > 0.4
    assert (np.einsum("ij,ij->i", mesh.vertex_normals, mesh.vertices) > 0.0).all()
    material = mesh.visual.material
    assert material.metallicFactor == 0.0
    stored = io.BytesIO()
    material.baseColorTexture.save(stored, "PNG")
    assert np.array_equal(np.asarray(Image.open(stored).convert("RGB")), albedo)


def test_a_glb_names_its_parts_and_keeps_vertices_and_normals(ball, albedo, tmp_path):
    file = tmp_path / "ball.glb"
    write_glb(file, ball, albedo, "a ball")
    data = file.read_bytes()
    gltf = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (mesh,) = gltf["meshes"]
    (primitive,) = mesh["primitives"]
    assert mesh["name"] == gltf["materials"][0]["name"] == "a ball"
    assert "a ball" in [node["name"] for node in gltf["nodes"]]
    for attribute in ("POSITION", "NORMAL", "TEXCOORD_0"):
        assert gltf["accessors"][primitive["attributes"][attribute]]["count"] == len(ball.vertices)


def test_a_person_is_heard_while_a_picture_is_written(ball, tmp_path):
    """At 8192 × 8192 that takes many seconds, in which nobody was heard."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)  # of which nothing can be left out
    heard = []
    with at_occasions(lambda: heard.append(True)):
        content = write_glb(tmp_path / "ball.glb", ball, noise, "a ball", noise)
    assert len(heard) >= 2 * noise.nbytes / 2**17
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), noise)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), at_occasions(stop):
        write_glb(tmp_path / "stopped.glb", ball, noise, "a ball")
    assert not (tmp_path / "stopped.glb").exists()


def test_in_parts_it_is_the_same_texture_and_a_person_is_heard_between_them(ball, albedo):
    heard = []
    with at_occasions(lambda: heard.append(True)):
        in_parts = bake(place, Canvas.of(ball, SIZE), torch.device("cpu"), 100)
    np.testing.assert_array_equal(in_parts, albedo)
    assert len(heard) >= len(Canvas.of(ball, SIZE).face) / 100
