import numpy as np
import pytest
import torch
from sources import cube, grid

from sdi_engine.surface.baking import bake
from sdi_engine.surface.uv_map import uv_map_for

CPU = torch.device("cpu")
SIZE = 64


def place_as_colour(points, normals):
    return (points * 0.5 + 0.5).clamp(0, 1)


def baked(source, ask=place_as_colour, size=SIZE):
    place = source.place()
    uv_map = uv_map_for(source, place, size)
    return bake(ask, source, place, uv_map, size, CPU, patch=1000), uv_map, place


def shown(texture, uv):
    """The texture's colours at UV coordinates (N, 2), bilinear."""
    n = len(texture)
    x, y = uv[:, 0] * n - 0.5, (1 - uv[:, 1]) * n - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[:, None], (y - top)[:, None]
    rows, columns = [(top + k) % n for k in (0, 1)], [(left + k) % n for k in (0, 1)]
    (a, b), (c, d) = ([texture[row, column].astype(float) for column in columns] for row in rows)
    return ((a * (1 - across) + b * across) * (1 - down) + (c * (1 - across) + d * across) * down) / 255


@pytest.mark.parametrize("source", [grid(), cube(), cube(uv=None), cube(1e3, (5e3, 0, 0)), cube(1e-3)])
def test_every_point_of_the_surface_shows_its_own_colour(source):
    texture, uv_map, place = baked(source)
    weights = np.random.default_rng(0).dirichlet([0.5] * 3, size=(len(source.faces), 50))
    weights[:, :3] = np.eye(3)  # also at the very corners
    points = np.einsum("fsk,fkc->fsc", weights, place.normalised(source.vertices)[source.faces]).reshape(-1, 3)
    uv = np.einsum("fsk,fkc->fsc", weights, uv_map.uv).reshape(-1, 2)
    np.testing.assert_allclose(shown(texture, uv), points * 0.5 + 0.5, atol=0.012)
