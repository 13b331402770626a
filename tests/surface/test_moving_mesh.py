"""A mesh that is refined: how far its vertices go, which of them, and what comes out."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh
from exact_prior import ExactPrior
from resumed import make_both
from sources import cube, grid

from sdi_engine.cameras import orbit
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.errors import NoObjectError
from sdi_engine.representation import START, Step
from sdi_engine.run import text_to_mesh
from sdi_engine.run.resolve import resolve
from sdi_engine.surface import painted_mesh
from sdi_engine.surface.moving_mesh import MovingMesh
from sdi_engine.surface.normals import same_places
from sdi_engine.surface.painted_mesh import TextureTask
from sdi_engine.surface.source import SourceMesh, write_source
from sdi_engine.surface.uv_map import uv_map_for

CPU = torch.device("cpu")


def moving(source, max_move=0.1, front=0.0, **changes):
    request = JobRequest("a cube", task="refine", preset="draft", device="cpu")
    settings = dataclasses.replace(resolve(request, ModelHints(), 16), **changes)
    task = TextureTask(source, uv_map_for(source, source.place(front), 64), front, changes_look=False)
    return MovingMesh(task, max_move, settings, Step(0, START, settings.steps), CPU)


def pushed(source, **options):
    """The source's vertices after a push that is far too strong."""
    mesh = moving(source, **options)
    with torch.no_grad():
        mesh.surface.moves.copy_(
            1e3 * torch.randn(mesh.surface.moves.shape, generator=torch.Generator().manual_seed(0))
        )
    return mesh.source_now().vertices


def ball(scale=1.0, at=(0.0, 0.0, 0.0)):
    mesh = trimesh.creation.icosphere(2, 0.5)
    return SourceMesh((mesh.vertices * scale + at).astype(np.float32), mesh.faces.astype(np.int32))


@pytest.mark.parametrize("front", [0.0, 30.0])
@pytest.mark.parametrize(
    "source", [ball(), ball(1e-3, (1.0, 2.0, 3.0)), ball(1e3), ball(1.0, (1e5, -1e5, 0.0)), cube(2.0)]
)
def test_no_vertex_goes_farther_than_allowed(source, front):
    after = pushed(source, max_move=0.1, front=front).astype(np.float64)
    way = np.linalg.norm(after - source.vertices, axis=1)
    extent = np.ptp(source.vertices.astype(np.float64), axis=0).max()
    assert way.max() <= 0.1 * extent
    if np.abs(source.vertices).max() < 1e4 * extent:
        assert way.max() > 0.09 * extent


def test_nothing_moves_where_nothing_may():
    assert np.array_equal(pushed(ball(), max_move=0.0), ball().vertices)


def test_vertices_of_faces_that_are_not_painted_stay_and_so_do_those_of_none():
    source = grid(6)
    loose = np.float32([[9.0, 9.0, 9.0]])
    source = dataclasses.replace(
        source, vertices=np.concatenate([source.vertices, loose]), painted=np.arange(len(source.faces)) < 30
    )
    after = pushed(source)
    stays = np.ones(len(after), bool)
    stays[source.faces[source.painted]] = False
    stays[source.faces[~source.painted]] = True
    assert np.array_equal(after[stays], source.vertices[stays])
    assert (after[~stays] != source.vertices[~stays]).any(axis=1).all()


def test_vertices_of_no_face_hold_nothing_that_is_at_the_same_place():
    left_over = dataclasses.replace(ball(), vertices=np.tile(ball().vertices, (2, 1)))
    count = len(ball().vertices)
    after = pushed(left_over)
    assert np.array_equal(after[:count], pushed(ball()))
    assert np.array_equal(after[count:], ball().vertices)


def test_vertices_at_one_place_stay_together():
    """A cube whose sides have vertices of their own does not tear."""
    box = cube()
    torn = SourceMesh(box.vertices[box.faces].reshape(-1, 3), np.arange(36, dtype=np.int32).reshape(-1, 3))
    after = pushed(torn)
    place = same_places(torn.vertices)
    first = np.unique(place, return_index=True)[1]
    assert np.array_equal(after, after[first][place])
    assert (after != torn.vertices).any()


def test_normals_turn_with_the_surface_and_are_the_source_s_where_it_stays():
    source = dataclasses.replace(cube(), normals=None)
    mesh = moving(source)
    np.testing.assert_allclose(mesh.source_now().shading_normals, source.shading_normals, atol=1e-6)
    moves = mesh.surface.moves
    with torch.no_grad():
        moves[:, 2] = 0.5 * mesh.surface.start[:, 0]  # sheared
    now = mesh.source_now()
    corners = now.vertices[now.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(now.shading_normals, np.repeat(flat[:, None], 3, axis=1), atol=0.02)


def test_gradients_reach_vertices_and_colours_also_in_parts(monkeypatch):
    gradients = []
    for at_once in (10**6, 100):
        monkeypatch.setitem(painted_mesh.SAMPLES_AT_ONCE, "cpu", at_once)
        mesh = moving(ball(), lit=1.0, shading_start=0.0)
        rendering = mesh.render(orbit(mesh.settings.cameras, [30.0], 20.0, CPU), 16, Step(0, 1, 10))
        (rendering.images * torch.linspace(0.0, 1.0, 16)).square().sum().backward()
        rendering.backward()
        gradients.append([parameter.grad for parameter in (mesh.surface.moves, *mesh.field.parameters())])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-3)
    assert all(gradient.abs().max() > 0.0 for gradient in gradients[0][:2])


def test_positions_that_are_no_numbers_are_an_error():
    mesh = moving(ball())
    mesh.surface.moves.data[0] = torch.nan
    with pytest.raises(NoObjectError, match="NaN"):
        mesh.render(orbit(mesh.settings.cameras, [30.0], 20.0, CPU), 16, Step(0, 1, 10))


TRIANGLE = SourceMesh(np.float32([[0, 0, 0], [1, 0, 0], [0, 0, 1]]), np.int32([[0, 1, 2]]))
FAN = SourceMesh(
    np.float32([[0, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0]]), np.int32([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
)
WITHOUT_AREA = SourceMesh(
    np.float32([[0, 0, 0], [1, 0, 0], [0, 0, 1], [2, 0, 0]]), np.int32([[0, 1, 2], [0, 1, 3], [2, 2, 1]])
)


@pytest.mark.parametrize("source", [TRIANGLE, FAN, WITHOUT_AREA, grid(1)])
def test_any_mesh_can_be_refined(new_job, source):
    folder = new_job("job", source, steps=2)
    make(folder)
    moved = np.load(folder.moved_file)["vertices"]
    assert moved.shape == source.vertices.shape
    assert np.isfinite(moved).all()


@pytest.fixture
def new_job(tmp_path):
    def create(name, source, **changes):
        small = {"preset": "draft", "steps": 12, "texture_size": 64, "device": "cpu", "resolution": 16}
        folder = JobFolder.create(tmp_path / name, JobRequest("a red ball", task="refine", **small | changes))
        write_source(folder.source_file, source)
        return folder

    return create


def make(folder, report=lambda event: None, resume=False):
    """A model that knows one picture, a red square which fills the middle half of it."""
    image = torch.full((1, 3, 16, 16), 0.9)
    image[:, 1:, 4:12, 4:12] = 0.1
    text_to_mesh.make(folder, folder.request(), resume, report, load=lambda *_: ExactPrior({"ball": image}))


def test_a_job_moves_the_mesh_in_its_own_place(new_job, small_pictures, monkeypatch):
    monkeypatch.setattr(text_to_mesh, "LIVE_SECONDS", 0.0)
    source = ball(2.0, (10.0, 0.0, 0.0))
    folder = new_job("job", source, max_move=0.2)
    folder.live_flag.touch()
    make(folder)
    moved = np.load(folder.moved_file)["vertices"]
    assert moved.dtype == np.float32
    way = np.linalg.norm(moved - source.vertices, axis=1)
    assert 0.01 < way.max() <= 0.2 * 2.0
    mesh = trimesh.load(folder.mesh_file).to_geometry()
    np.testing.assert_allclose(mesh.triangles, (moved[:, [0, 2, 1]] * [1, 1, -1])[source.faces], atol=1e-5)
    assert json.loads(folder.result_file.read_text())["task"] == "refine"
    assert folder.texture_file.exists()
    live = np.load(folder.live_file)["vertices"]
    assert np.abs(live.max(axis=0) - moved.max(axis=0)).max() < np.abs(moved - source.vertices).max()


def test_it_resumes_to_the_same_bytes(new_job, small_pictures):
    whole, interrupted = (new_job(name, ball()) for name in ("whole", "interrupted"))
    make_both(make, whole, interrupted, step=5)
    assert interrupted.moved_file.read_bytes() == whole.moved_file.read_bytes()
    assert interrupted.texture_file.read_bytes() == whole.texture_file.read_bytes()


def test_no_strength_leaves_the_shape_as_it_is(new_job):
    folder = new_job("job", ball(), strength=0.0)
    make(folder)
    assert np.array_equal(np.load(folder.moved_file)["vertices"], ball().vertices)
