"""Gradients with respect to moving geometry agree with finite differences, and fit a silhouette."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
import trimesh

from sdi_engine.cameras import orbit
from sdi_engine.config.settings import PRESETS
from sdi_engine.run.adam import Adam
from sdi_engine.surface.edge_gradients import border_term
from sdi_engine.surface.moving_surface import Moved, MovingSurface
from sdi_engine.surface.normals import computed_normals
from sdi_engine.surface.rays import _intersection, ray_caster

CPU = torch.device("cpu")
CAMERAS = PRESETS["draft"].cameras


def surface_of(mesh):
    vertices, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)
    options = {
        "place": np.arange(len(vertices)),
        "is_held": np.zeros(len(vertices), bool),
        "reach": None,
        "normals": computed_normals(vertices, faces),
        "device": CPU,
    }
    return MovingSurface(vertices, faces, **options)


def test_borders_in_front_of_nothing_and_of_a_surface_have_the_gradient_of_finite_differences():
    """A tetrahedron in front of a triangle."""
    n, step = 128, 0.02
    cameras = orbit(CAMERAS, [25.0], 20.0, CPU)
    cameras = dataclasses.replace(
        cameras, **{field.name: getattr(cameras, field.name).double() for field in dataclasses.fields(cameras)}
    )
    vertices = torch.tensor(
        [
            *([-0.3, -0.2, -0.3], [0.3, -0.25, -0.2], [0.05, 0.2, -0.25], [0.02, -0.05, 0.35]),
            *([-0.5, 0.5, -0.5], [0.6, 0.45, -0.4], [0.0, 0.6, 0.6]),
        ],
        dtype=torch.float64,
    )
    faces = torch.tensor([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1], [4, 5, 6]])
    colours = torch.tensor([[0.9, 0.1, 0.2]] * 4 + [[0.1, 0.8, 0.5]], dtype=torch.float64)
    origins, directions = (each.float() for each in cameras.rays(n))
    y, x = torch.meshgrid(*[torch.linspace(0.0, 1.0, n, dtype=torch.float64)] * 2, indexing="ij")
    weights = torch.stack([torch.sin(3.0 * x) + y, x * y + 0.3, 1.0 - x**2, 0.4 + y], dim=-1)[None] / n**2

    def look(at):
        hits = ray_caster(at[faces]).first_hits(origins, directions)
        seen = F.pad(colours[hits.face.clamp(min=0)], (0, 1), value=1.0)
        return hits, seen * hits.is_hit[..., None]

    leaf = vertices.clone().requires_grad_()
    hits, seen = look(vertices)
    border_term(hits, leaf, faces, cameras, directions, seen, weights).backward()
    measured = torch.zeros_like(vertices)
    for number in range(vertices.numel()):
        way = step * torch.eye(vertices.numel(), dtype=torch.float64)[number].view_as(vertices)
        ahead, behind = ((look(vertices + each)[1] * weights).sum() for each in (way, -way))
        measured.view(-1)[number] = (ahead - behind) / (2.0 * step)
    assert (leaf.grad - measured).norm() < 0.06 * measured.norm()
    assert (measured.norm(dim=1) > 0.02).tolist() == [True, True, False, True, True, True, True], "one is behind"


def test_lit_surfaces_have_the_gradient_of_finite_differences():
    """Of the normals that fixed rays see on a ball: its triangles turn, and the points slide along them."""
    surface = surface_of(trimesh.creation.icosphere(1, 0.4)).double()
    for name in ("start", "normals", "turned_from"):
        setattr(surface, name, getattr(surface, name).double())
    origins, directions = orbit(CAMERAS, [30.0], 20.0, CPU).rays(12)
    moved = Moved(surface)
    hits = ray_caster(moved.sight.corners.float()).first_hits(origins, directions)
    where = hits.is_hit
    face, origin, direction = hits.face[where], origins[where].double(), directions[where].double()
    weights = torch.randn(len(face), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def normals(positions):
        _, barycentric = _intersection(positions[surface.faces[face]], origin, direction)
        blended = (barycentric[..., None] * surface.normals_now(positions)[face]).sum(dim=1)
        facing = (F.normalize(surface.start[surface.faces[face]].mean(dim=1), dim=-1) * direction).sum(dim=-1) < -0.3
        return (F.normalize(blended, dim=-1) * weights)[facing].sum(), facing, barycentric

    start = moved.positions.detach()
    _, facing, barycentric = normals(start)
    seen = moved.normals(face, barycentric, direction)
    (seen * weights)[facing].sum().backward()
    random = torch.Generator().manual_seed(1)
    for _ in range(4):
        way = 1e-5 * torch.randn(start.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            measured = (normals(start + way)[0] - normals(start - way)[0]) / 2.0
        torch.testing.assert_close((moved.positions.grad * way).sum(), measured, rtol=1e-4, atol=1e-9)


def test_the_silhouette_of_a_ball_becomes_that_of_an_ellipsoid_and_its_triangles_keep_their_shape():
    ball = trimesh.creation.icosphere(2, 0.35)
    surface = surface_of(ball)
    ellipsoid = torch.from_numpy(ball.vertices * [0.6, 1.0, 1.5]).float()[torch.from_numpy(ball.faces)]
    cameras = orbit(CAMERAS, [0.0, 60.0, 120.0], 10.0, CPU)
    origins, directions = cameras.rays(40)
    wanted = ray_caster(ellipsoid).first_hits(origins, directions).is_hit
    optimizer = Adam([{"params": [surface.moves], "lr": 0.02, "together": True}], betas=(0.9, 0.99), eps=1e-8)

    def step():
        moved = Moved(surface)
        hits = moved.sight.hits(cameras, 40)
        gradient = 2.0 * (hits.is_hit.float() - wanted.float())[..., None]
        optimizer.zero_grad()
        of_rays = cameras, directions, hits.is_hit[..., None].float(), gradient
        border_term(hits, moved.positions, surface.faces, *of_rays).backward()
        moved.backward()
        optimizer.step()
        return ((hits.is_hit & wanted).sum() / (hits.is_hit | wanted).sum()).item()

    agreement = [step() for _ in range(40)]
    assert agreement[0] < 0.65
    assert agreement[-1] > 0.92
    after = trimesh.Trimesh(surface.positions().detach().numpy(), ball.faces, process=False)
    assert after.volume > 0.0
    assert np.degrees(after.face_angles.min()) > 15.0
