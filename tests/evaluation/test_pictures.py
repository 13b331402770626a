"""Exported meshes, rendered like the world's own things."""

import numpy as np
import pytest
import torch
import trimesh
from made_meshes import write_instance
from PIL import Image

from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.pictures import GREY, load_mesh, on_grey, render_around, textured_mesh
from sdi_engine.starter import world
from sdi_engine.starter.render import sample_surface
from sdi_engine.starter.world import Item, Subject

CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)


@pytest.fixture(scope="module")
def robot():
    return world.make_instance(Subject(Item("robot", "orange", "dotted")), np.random.default_rng(0))


def turned(degrees):
    return trimesh.transformations.rotation_matrix(np.deg2rad(degrees), [0, 0, 1])


def test_an_exported_thing_looks_as_it_did(robot, tmp_path):
    """Whatever its place and size in the file."""
    away = turned(0) @ np.diag([2.5, 2.5, 2.5, 1.0])
    away[:3, 3] = 3.0, -1.0, 0.5
    write_instance(tmp_path / "mesh.glb", robot, away)
    seen = on_grey(render_around(load_mesh(tmp_path / "mesh.glb").surface()))
    truth = on_grey(render_around(sample_surface(robot)))
    assert seen.shape == (8, 3, 64, 64)
    assert (seen - truth).abs().mean() < 0.005


def test_a_turned_thing_shows_its_other_side(robot, tmp_path):
    """By 90 degrees counter-clockwise seen from above: its front is then on +X, where the camera at azimuth 90 is."""
    write_instance(tmp_path / "mesh.glb", robot, turned(90))
    seen = render_around(load_mesh(tmp_path / "mesh.glb").surface(), azimuths=[90.0])
    front, back = render_around(sample_surface(robot), azimuths=[0.0, 180.0])
    assert (seen[0] - front).abs().mean() < 0.005
    assert (seen[0] - back).abs().mean() > 0.02


def test_the_background_is_plain_light_grey(robot):
    pictures = render_around(sample_surface(robot), azimuths=[0.0], elevation=30.0, size=32)
    assert pictures.shape == (1, 32, 32, 4)
    assert on_grey(pictures)[0, :, 0, 0].tolist() == pytest.approx([GREY] * 3)
    inside = pictures[..., 3] == 1
    torch.testing.assert_close(on_grey(pictures).permute(0, 2, 3, 1)[inside], pictures[inside][:, :3])


def test_textures_are_read_between_their_pixels():
    """A cube with a ramp on every side, from black at the texture's bottom to white at its top."""
    box = trimesh.creation.box()
    ramp = np.linspace(1, 0, 101, dtype=np.float32)[:, None, None].repeat(3, axis=2)
    height = box.vertices[:, 2] + 0.5
    mesh = textured_mesh(box.vertices, box.faces, np.stack([height * 0, height], axis=1), ramp)
    surface = mesh.surface()
    middle = (surface.positions[:, 2] - surface.positions[:, 2].min()) / np.ptp(surface.positions[:, 2].numpy())
    torch.testing.assert_close(surface.colors[:, 0], middle, atol=0.01, rtol=0)


def glb(path, *meshes):
    trimesh.Scene(list(meshes)).export(path)
    return path


def textured(vertices, faces):
    visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(vertices), 2)),
        material=trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (4, 4), "red")),
    )
    return trimesh.Trimesh(vertices, faces, visual=visual, process=False)


def test_files_without_one_textured_mesh_are_refused_with_the_reason(tmp_path):
    box = trimesh.creation.box()
    red_box = textured(box.vertices, box.faces)
    (tmp_path / "noise.glb").write_bytes(b"glTF, or so it says")
    (tmp_path / "cut.glb").write_bytes(glb(tmp_path / "whole.glb", red_box).read_bytes()[:400])
    square = textured(np.c_[CORNERS, np.zeros(4)], [[0, 1, 2], [0, 2, 3]])
    line = textured(np.zeros((3, 3)) + np.arange(3)[:, None], [[0, 1, 2]])
    for file, reason in [
        (tmp_path / "nowhere.glb", "cannot be read"),
        (tmp_path / "noise.glb", "cannot be read"),
        (tmp_path / "cut.glb", "cannot be read"),
        (glb(tmp_path / "two.glb", red_box, red_box.copy()), "has 2 meshes"),
        (glb(tmp_path / "bare.glb", box), "no texture"),
        (glb(tmp_path / "flat.glb", square), "is flat"),
        (glb(tmp_path / "line.glb", line), "is empty"),
    ]:
        with pytest.raises(BadInputError, match=reason):
            load_mesh(file)
    assert load_mesh(tmp_path / "whole.glb").faces.shape == (12, 3)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nan_and_infinite_vertices_are_refused(number):
    box = trimesh.creation.box()
    vertices = np.array(box.vertices)
    vertices[3, 1] = number
    with pytest.raises(BadInputError, match="NaN or infinite"):
        textured_mesh(vertices, box.faces, np.zeros((8, 2)), np.zeros((2, 2, 3), np.float32))


def test_no_faces_are_refused():
    with pytest.raises(BadInputError, match="empty"):
        textured_mesh(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, 2)), np.zeros((2, 2, 3), np.float32))
