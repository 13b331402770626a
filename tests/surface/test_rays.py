"""Rays against triangle meshes: every way of casting them finds the same points."""

import dataclasses
import os

import pytest
import torch
import trimesh

from sdi_engine import kernels
from sdi_engine import threads as worker_threads
from sdi_engine.cameras import Cameras, orbit
from sdi_engine.config.settings import PRESETS
from sdi_engine.surface import rays, sight
from sdi_engine.surface.rasteriser import can_rasterise, rasterised
from sdi_engine.surface.rays import EmbreeRayCaster, Hits, TorchRayCaster, WarpRayCaster, ray_caster
from sdi_engine.surface.sight import Sight

CPU = torch.device("cpu")


def corners_of(mesh):
    return torch.tensor(mesh.vertices[mesh.faces], dtype=torch.float32)


@pytest.fixture(scope="module")
def ball_before_box():
    """A ball, and a box around its middle with a lid that has no area."""
    ball = trimesh.creation.icosphere(2, 0.4)
    box = trimesh.creation.box((0.9, 0.5, 0.2))
    nothing = torch.zeros(1, 3, 3)
    return torch.cat([corners_of(ball), corners_of(box), nothing])


@pytest.fixture(scope="module")
def cameras():
    return orbit(PRESETS["standard"].cameras, [0.0, 50.0], 25.0, CPU)


@pytest.fixture(scope="module")
def views(cameras):
    return cameras.rays(40)


def test_embree_finds_what_plain_torch_finds(ball_before_box, views):
    pytest.importorskip("embreex")
    assert_alike(EmbreeRayCaster(ball_before_box), ball_before_box, views)


@pytest.mark.parametrize("kind", [TorchRayCaster, EmbreeRayCaster])
def test_what_hits_nothing_is_0_where_the_first_triangle_has_no_area(kind, ball_before_box, views):
    if kind is EmbreeRayCaster:
        pytest.importorskip("embreex")
    hits = kind(ball_before_box.flip(0)).first_hits(*views)
    assert not hits.barycentric[~hits.is_hit].count_nonzero()
    assert hits.interpolate(ball_before_box).isfinite().all()


def test_a_triangle_seen_edge_on_is_not_hit(monkeypatch):
    """What finds faces may say otherwise, by rounding."""
    caster = TorchRayCaster(torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]]))
    monkeypatch.setattr(caster, "_first_faces", lambda origins, directions: torch.zeros(1, 1, 1, dtype=torch.int64))
    hits = caster.first_hits(torch.tensor([[[[0.0, -2.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0, 0.0]]]]))
    assert not hits.is_hit.any()
    assert not hits.barycentric.count_nonzero()
    assert not hits.distance.count_nonzero()


@pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get("SDI_TEST_WARP"),
    reason="Warp compiles for ten seconds: where it is used, on CUDA, or with SDI_TEST_WARP=1",
)
def test_warp_finds_what_plain_torch_finds(ball_before_box, views, capfd):
    pytest.importorskip("warp")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert_alike(WarpRayCaster(ball_before_box.to(device)), ball_before_box, views)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("threads", [1, 3])
def test_drawing_finds_what_plain_torch_finds(ball_before_box, cameras, views, threads, monkeypatch, capfd):
    pytest.importorskip("warp")
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(threads)
    assert can_rasterise(CPU)
    hits = rasterised(ball_before_box, cameras, 40)
    assert_alike_hits(hits, ball_before_box, views)
    assert capfd.readouterr() == ("", "")


def test_drawing_sees_triangles_that_reach_behind_the_camera_and_none_that_are_behind_it(cameras):
    """As the ground does that a camera stands on, far to all sides."""
    pytest.importorskip("warp")
    position, (_, up, forward) = cameras.position, cameras.axes()
    far = torch.tensor([[-3.0, -4.0], [4.0, -3.0], [0.0, 5.0]]) * 10.0
    right = cameras.axes()[0]
    ground = torch.stack(
        [position[0] - 0.3 * up[0] + x * right[0] + y * (forward[0] + 0.01 * up[0]) for x, y in far.tolist()]
    )
    behind = torch.stack([position[0] + z * up[0] + x * right[0] - forward[0] for x, z in far.tolist()])
    one = Cameras(**{field.name: getattr(cameras, field.name)[:1] for field in dataclasses.fields(cameras)})
    assert_alike_hits(rasterised(torch.stack([behind, ground]), one, 40), torch.stack([behind, ground]), one.rays(40))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_drawing_does_not_see_triangles_that_are_nowhere_and_sees_all_others(ball_before_box, cameras, value):
    """A preview may be asked for before a run notices that its vertices are no numbers any more."""
    pytest.importorskip("warp")
    nowhere = ball_before_box[:30].clone()
    for corner in range(3):
        nowhere[corner::3, corner] = value
    expected = rasterised(ball_before_box, cameras, 40)
    hits = rasterised(torch.cat([ball_before_box, nowhere]), cameras, 40)
    assert torch.equal(hits.face, expected.face)
    assert torch.equal(hits.distance, expected.distance)


def test_drawing_leaves_no_gap_between_neighbours():
    """A wall of many triangles that covers the image."""
    pytest.importorskip("warp")
    n = 60
    y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, n)] * 2, indexing="ij")
    place = torch.stack([x, 0.1 * torch.sin(9.0 * x), y], dim=-1) + 1e-3 * torch.randn(n, n, 3)
    corner = [place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1]]
    wall = torch.cat([torch.stack([corner[0], corner[k], corner[k + 1]], dim=2).view(-1, 3, 3) for k in (1, 2)])
    hits = rasterised(wall, orbit(PRESETS["standard"].cameras, [0.0], 0.0, CPU), 200)
    assert hits.is_hit.all()


def test_many_triangles_that_stay_are_seen_by_rays_and_few_or_moving_ones_are_drawn(
    ball_before_box, cameras, monkeypatch
):
    pytest.importorskip("warp")
    drawn = []
    monkeypatch.setattr(sight, "rasterised", lambda *arguments: drawn.append(arguments) or rasterised(*arguments))
    for size, is_still, expected in ((40, True, 1), (8, True, 0), (8, False, 1)):
        drawn.clear()
        Sight(ball_before_box, is_still).hits(cameras, size)
        assert len(drawn) == expected


def assert_alike(caster, corners, views):
    hits = caster.first_hits(*(rays.to(caster.corners.device) for rays in views))
    assert_alike_hits(hits, corners, views)


def assert_alike_hits(hits, corners, views):
    twin = TorchRayCaster(corners).first_hits(*views)
    hits = Hits(hits.face.cpu(), hits.barycentric.cpu(), hits.distance.cpu())
    assert 0.2 < twin.is_hit.float().mean() < 0.8
    # a ray that passes an edge within rounding may be said to hit either face, or to miss a silhouette
    same = hits.face == twin.face
    assert same.float().mean() > 0.99
    torch.testing.assert_close(hits.distance[same], twin.distance[same], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hits.barycentric[same], twin.barycentric[same], atol=1e-4, rtol=0)


def test_the_points_lie_on_the_ray_and_on_the_surface(ball_before_box, views):
    origins, directions = views
    hits = ray_caster(ball_before_box).first_hits(origins, directions)
    points = hits.interpolate(ball_before_box)
    expected = origins + hits.distance[..., None] * directions
    torch.testing.assert_close(points[hits.is_hit], expected[hits.is_hit], atol=1e-5, rtol=0)
    assert (hits.barycentric[~hits.is_hit] == 0.0).all()
    assert (hits.face[~hits.is_hit] == -1).all()


def test_the_nearer_of_two_triangles_is_hit_from_either_side():
    square = torch.tensor([[-1.0, -1.0, 0.0], [3.0, -1.0, 0.0], [-1.0, 3.0, 0.0]])
    corners = torch.stack([square, square + torch.tensor([0.0, 0.0, 1.0])])
    origins = torch.tensor([[0.1, 0.2, 5.0], [0.1, 0.2, -5.0], [9.0, 9.0, 5.0]]).view(1, 1, 3, 3)
    directions = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]).view(1, 1, 3, 3)
    for caster in (TorchRayCaster(corners), ray_caster(corners)):
        hits = caster.first_hits(origins, directions)
        assert hits.face.flatten().tolist() == [1, 0, -1]
        torch.testing.assert_close(hits.distance.flatten(), torch.tensor([4.0, 5.0, 0.0]))


def test_plain_torch_forgets_no_triangle_when_it_looks_at_few(ball_before_box, views, monkeypatch):
    """Blocks of rays meet only what is in a cone around them, some triangles at a time: nothing may be lost by that."""
    twin = TorchRayCaster(ball_before_box)
    in_blocks = twin.first_hits(*views)
    monkeypatch.setattr(rays, "PAIRS_AT_ONCE", 5000)
    monkeypatch.setattr(TorchRayCaster, "_near", lambda self, *_rays: torch.arange(len(self.corners)))
    assert torch.equal(twin.first_hits(*views).face, in_blocks.face)


@pytest.fixture
def asked_anew():
    """Which ways of casting rays work, which is kept for a process."""
    rays._works.cache_clear()
    yield
    rays._works.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_what_is_installed_is_taken(ball_before_box, monkeypatch):
    pytest.importorskip("embreex")
    assert type(ray_caster(ball_before_box)) is EmbreeRayCaster
    rays._works.cache_clear()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda package: None)
    assert type(ray_caster(ball_before_box)) is TorchRayCaster


@pytest.mark.usefixtures("asked_anew")
def test_what_is_installed_and_does_not_work_is_passed_over_with_a_line_for_each_reason(
    ball_before_box, views, monkeypatch, caplog
):
    """Such as Warp, where no kernel can be written to a full disk."""

    def broken(*_arguments):
        raise OSError("no space left for this test")

    kernels._say_once.cache_clear()
    for kind in (EmbreeRayCaster, WarpRayCaster):
        monkeypatch.setattr(kind, "__init__", broken)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda package: package)
    for _ in range(2):
        hits = ray_caster(ball_before_box).first_hits(*views)
        assert_alike_hits(hits, ball_before_box, views)
        rays._works.cache_clear()
    assert [record.message.partition(" does not work")[0] for record in caplog.records] == ["Embree", "Warp"]
    assert "no space left for this test" in caplog.text
