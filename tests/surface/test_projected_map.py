import numpy as np
import trimesh

from sdi_engine.surface import projected_map as module
from sdi_engine.surface import uv_map
from sdi_engine.surface.source import SourceMesh
from sdi_engine.surface.uv_map import overlap_of, uv_map_for


def test_a_large_mesh_gets_few_charts_with_room_for_every_triangle(monkeypatch):
    monkeypatch.setattr(uv_map, "MOST_FOR_UNWRAP", 1000)
    ball = trimesh.creation.icosphere(4)
    rough = ball.vertices * np.random.default_rng(0).normal(1.0, 0.003, (len(ball.vertices), 1))
    source = SourceMesh(rough.astype(np.float32), ball.faces.astype(np.int32))
    place = source.place()
    made = uv_map_for(source, place, 256)
    corners = place.normalised(source.vertices)[source.faces]
    assert made.is_new
    assert made.uv.min() > 0
    assert made.uv.max() < 1
    assert overlap_of(made.uv, corners, 0.01) < 0.001
    on_map = np.abs(np.linalg.det(made.uv[:, 1:] - made.uv[:, :1]))
    in_space = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    share = np.sqrt(on_map / in_space)
    assert share.min() > 0.3 * np.median(share)
    chart, _ = module._charts(corners.reshape(-1, 3), np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3))
    assert chart.max() < 60


def test_triangles_without_neighbours_are_laid_out_in_a_grid(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARTS", 20)
    vertices = np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32)
    uv = module.projected_map(vertices, np.arange(99, dtype=np.int32).reshape(-1, 3), 64, 2)
    assert uv.min() > 0
    assert uv.max() < 1
    assert overlap_of(uv, vertices.reshape(-1, 3, 3), 0.01) == 0
