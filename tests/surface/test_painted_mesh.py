"""A painted mesh: what the model is shown of it, what takes a gradient, and what comes out."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh
from exact_prior import ExactPrior
from PIL import Image
from resumed import make_both
from sources import cube, grid

from sdi_engine.cameras import orbit
from sdi_engine.config.parameters import PARAMETERS
from sdi_engine.config.settings import preset_for
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.representation import START, Step
from sdi_engine.run import text_to_mesh
from sdi_engine.run.resolve import resolve
from sdi_engine.surface import painted_mesh
from sdi_engine.surface.light_mesh import light_mesh
from sdi_engine.surface.look import UNKNOWN
from sdi_engine.surface.painted_mesh import PaintedMesh, TextureTask
from sdi_engine.surface.source import SourceMesh, write_source
from sdi_engine.surface.uv_map import uv_map_for

CPU = torch.device("cpu")
RED = torch.tensor([0.9, 0.1, 0.1])


def painted(source, changes_look=False, **changes):
    request = JobRequest("a cube", task="texture", preset="draft", device="cpu")
    settings = dataclasses.replace(resolve(request, ModelHints(), 16), **changes)
    task = TextureTask(source, uv_map_for(source, source.place(), 64), 0.0, changes_look)
    return PaintedMesh(task, settings, Step(0, START, settings.steps), CPU)


def views(mesh, *azimuths):
    return orbit(mesh.settings.cameras, list(azimuths), 20.0, CPU)


def with_look(source, **changes):
    corners = np.random.default_rng(0).integers(0, 256, (len(source.faces), 3, 3), dtype=np.uint8)
    return dataclasses.replace(source, look_corners=corners, **changes)


def test_the_gradient_of_the_images_reaches_the_field_also_in_parts(monkeypatch):
    """Deferred back-propagation gives the gradient that one graph gives."""
    gradients = []
    for at_once in (10**6, 100):
        monkeypatch.setitem(painted_mesh.SAMPLES_AT_ONCE, "cpu", at_once)
        mesh = painted(cube())
        rendering = mesh.render(views(mesh, 30.0), 16, Step(0, 1, 10))
        (rendering.images * torch.linspace(0.0, 1.0, 16)).square().sum().backward()
        rendering.backward()
        gradients.append([parameter.grad for parameter in mesh.field.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-3)
    assert max(gradient.abs().max() for gradient in gradients[0]) > 0.0


def test_faces_that_are_not_painted_show_their_look_and_take_no_gradient():
    source = with_look(cube(), painted=np.arange(12) >= 6)
    mesh = painted(source)
    face, weights = torch.arange(12), torch.tensor([0.2, 0.3, 0.5]).expand(12, 3)
    colours = mesh.colours_at(face, weights)
    look = torch.from_numpy(source.look_corners / 255.0).float()
    expected = (look * weights[..., None]).sum(dim=1)
    torch.testing.assert_close(colours[:6], expected[:6])
    assert (colours[6:] - expected[6:]).abs().max() > 0.05
    colours[:6].sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in mesh.field.parameters())


def test_without_a_look_what_is_not_painted_is_grey():
    mesh = painted(dataclasses.replace(cube(), painted=np.arange(12) < 1))
    colours = mesh.colours_at(torch.arange(1, 12), torch.full((11, 3), 1 / 3))
    torch.testing.assert_close(colours, torch.full_like(colours, UNKNOWN))


def test_a_change_of_the_look_begins_as_the_look_and_learns_even_where_it_is_white():
    source = dataclasses.replace(cube(), look_corners=np.full((12, 3, 3), 255, np.uint8))
    mesh = painted(source, changes_look=True)
    face, weights = torch.arange(12), torch.full((12, 3), 1 / 3)
    colours = mesh.colours_at(face, weights)
    torch.testing.assert_close(colours, torch.ones(12, 3))
    colours.sum().backward()
    assert mesh.field.output.bias.grad.abs().min() > 1.0


def test_the_two_sides_of_a_sheet_may_differ():
    flat = grid()
    both = SourceMesh(
        np.tile(flat.vertices, (2, 1)), np.concatenate([flat.faces, flat.faces[:, ::-1] + len(flat.vertices)])
    )
    mesh = painted(both)
    with torch.no_grad():
        for level in mesh.field.grids:
            level.normal_()
    middle = torch.full((1, 3), 1 / 3)
    front, back = mesh.colours_at(torch.tensor([0]), middle), mesh.colours_at(torch.tensor([len(flat.faces)]), middle)
    assert (front - back).abs().max() > 1e-3


def test_colours_do_not_jump_at_an_edge_however_sharp():
    """Both triangles of an edge ask the field at one point, so no seam of a UV map can show."""
    mesh = painted(cube())
    with torch.no_grad():
        for level in mesh.field.grids:
            level.normal_()
    corners = mesh.corners.reshape(-1, 3)
    colours = mesh.colours_at(torch.arange(36) // 3, torch.eye(3).repeat(12, 1))
    for corner in corners.unique(dim=0):
        at_it = colours[(corners == corner).all(dim=1)]
        torch.testing.assert_close(at_it, at_it[:1].expand_as(at_it), atol=1e-5, rtol=0)


def test_lit_images_are_darker_where_the_surface_turns_away_and_the_points_lie_on_the_surface():
    mesh = painted(cube(), textureless=0.5, lit=0.5, shading_start=0.0)
    cameras = views(mesh, 0.0, 90.0)
    lit = mesh.render(cameras, 16, Step(0, 5, 10))
    mesh.settings = dataclasses.replace(mesh.settings, textureless=0.0, lit=0.0)
    bare = mesh.render(cameras, 16, Step(0, 5, 10))
    inside = (bare.opacity == 1.0).expand_as(bare.images)
    assert (lit.images[inside] < bare.images[inside]).all()
    surface = bare.surface(8)
    edge = mesh.corners.abs().max()
    on_object = surface.position[(surface.opacity > 0.5).squeeze(-1)]
    torch.testing.assert_close(on_object.abs().amax(dim=-1), edge.expand(len(on_object)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("most", [12, 400, 5])
def test_a_light_mesh_has_the_source_s_shape_and_no_more_triangles_than_allowed(most):
    source = cube(100.0, (5000.0, 0.0, 0.0))
    light = light_mesh(source, most)
    assert 0 < len(light.triangles) <= most
    assert light.triangles.max() < len(light.vertices) == len(light.face)
    if most >= 12:
        mesh = trimesh.Trimesh(light.vertices, light.triangles)
        assert mesh.volume == pytest.approx(trimesh.Trimesh(source.vertices, source.faces).volume, rel=1e-3)
        on_face = np.einsum("vk,vkc->vc", light.barycentric, source.vertices[source.faces[light.face]])
        np.testing.assert_allclose(on_face, light.vertices, rtol=1e-5)


def test_a_vertex_far_away_that_no_face_has_does_not_coarsen_a_light_mesh():
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = np.concatenate([[[1e9, 0.0, 0.0]], ball.vertices]).astype(np.float32)
    light = light_mesh(SourceMesh(vertices, ball.faces.astype(np.int32) + 1), 400)
    assert trimesh.Trimesh(light.vertices, light.triangles).volume == pytest.approx(ball.volume, rel=0.1)
    on_face = np.einsum("vk,vkc->vc", light.barycentric, vertices[ball.faces[light.face] + 1])
    np.testing.assert_allclose(on_face, light.vertices, atol=0.2)


@pytest.fixture
def new_job(tmp_path):
    def create(name, source=None, **changes):
        source = cube(2.0, (10.0, 0.0, 0.0), uv=None) if source is None else source
        small = {
            "preset": "draft",
            "steps": 24,
            "texture_size": 64,
            "device": "cpu",
            "resolution": 16,
            "noise": "cached-3d",
        }
        folder = JobFolder.create(tmp_path / name, JobRequest("a red cube", task="texture", **small | changes))
        write_source(folder.source_file, source)
        return folder

    return create


def make(folder, report=lambda event: None, resume=False):
    images = RED[:, None, None].expand(3, 16, 16)[None]
    text_to_mesh.make(folder, folder.request(), resume, report, load=lambda *_: ExactPrior({"cube": images}))


def test_a_job_paints_the_mesh_in_its_own_place_on_a_new_uv_map(new_job, small_pictures, monkeypatch):
    monkeypatch.setattr(text_to_mesh, "LIVE_SECONDS", 0.0)
    folder, happened = new_job("job"), []
    folder.live_flag.touch()
    make(folder, happened.append)
    texture = np.asarray(Image.open(folder.texture_file))
    assert texture.shape == (64, 64, 3)
    assert texture.reshape(-1, 3).mean(axis=0) / 255.0 == pytest.approx(RED.tolist(), abs=0.12)
    source = np.load(folder.source_file)
    uv = np.load(folder.uv_file)["uv"]
    assert uv.shape == (12, 3, 2)
    mesh = trimesh.load(folder.mesh_file).to_geometry()
    y_up = source["vertices"][:, [0, 2, 1]] * [1, 1, -1]
    np.testing.assert_allclose(mesh.triangles, y_up[source["faces"]], atol=1e-5)
    result = json.loads(folder.result_file.read_text())
    assert result["task"] == "texture"
    assert [event.message for event in happened if isinstance(event, events.Notice)] == result["notices"]
    assert "no UV map" in result["notices"][0]
    live = np.load(folder.live_file)
    np.testing.assert_allclose(live["vertices"].max(axis=0), source["vertices"].max(axis=0), atol=1e-4)


def test_it_resumes_to_the_same_bytes(new_job, small_pictures):
    whole, interrupted = new_job("whole"), new_job("interrupted")
    make_both(make, whole, interrupted, step=9)
    assert interrupted.texture_file.read_bytes() == whole.texture_file.read_bytes()


def test_no_strength_leaves_the_look_as_it_is(new_job):
    source = with_look(cube())
    source.look_corners[:] = [200, 0, 255]
    folder = new_job("job", source, strength=0.0)
    make(folder)
    assert (np.asarray(Image.open(folder.texture_file)) == [200, 0, 255]).all()
    assert not folder.uv_file.exists()


@pytest.mark.parametrize("preset", PARAMETERS["preset"].words)
def test_a_lower_strength_runs_the_end_of_the_schedule(preset):
    whole, half = (
        resolve(JobRequest("a cube", task="texture", preset=preset, strength=strength), ModelHints(), 64)
        for strength in (1.0, 0.5)
    )
    assert whole.steps == preset_for(preset, "texture").steps == 2 * half.steps
    assert half.t.first == pytest.approx((whole.t.first + whole.t.last) / 2.0)
    assert half.t.last == whole.t.last
