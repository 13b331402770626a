import numpy as np
import pytest
import torch
from sources import by_place, cube, grid

from sdi_engine.errors import BrokenNumbersError
from sdi_engine.surface.baking import bake
from sdi_engine.surface.look import Look
from sdi_engine.surface.seams import seam_difference, seam_points
from sdi_engine.surface.texels import texels_of
from sdi_engine.surface.uv_map import uv_map_for

CPU = torch.device("cpu")
SIZE = 64


def place_as_colour(points):
    return (points * 0.5 + 0.5).clamp(0, 1)


def baked(source, colours=place_as_colour, size=SIZE):
    """A texture whose colours follow from the places of its points."""
    place = source.place()
    uv_map = uv_map_for(source, place, size)
    return bake(by_place(source, place, colours), source, place, uv_map, size, CPU, patch=1000), uv_map, place


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


def stripes(points):
    """As hard as a picture can be: black and white, without anything between."""
    return ((points.sum(dim=1, keepdim=True) * 5).floor() % 2).expand(-1, 3)


@pytest.mark.parametrize("uv", ["own", "new"])
def test_both_sides_of_a_seam_show_the_same(uv):
    source = cube() if uv == "own" else cube(uv=None)
    for ask in (place_as_colour, stripes):
        texture, uv_map, _ = baked(source, ask, 128)
        difference = seam_difference(texture, seam_points(source, uv_map.uv, 128))
        assert len(difference) > 200
        assert difference.max() <= 2.0


def test_a_seam_that_shows_is_measured():
    source = cube()
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32] = 200  # three sides of the cube, and the other three
    difference = seam_difference(texture, seam_points(source, source.uv, 64))
    assert difference.max() == pytest.approx(200)
    assert difference.min() == 0


def test_what_is_not_painted_keeps_its_look():
    look = np.zeros((64, 64, 3), np.uint8)
    look[..., 0], look[..., 1] = np.arange(64)[:, None], np.arange(64)
    plain = cube(look=look)
    painted = np.arange(len(plain.faces)) < 4
    source = cube(look=look, painted=painted)
    place, before = source.place(), Look(source, CPU)
    uv_map = uv_map_for(source, place, 64)

    def white_where_painted(face, weights):
        return torch.where(torch.from_numpy(painted)[face][:, None], 1.0, before.colours(face, weights))

    texture = bake(white_where_painted, source, place, uv_map, 64, CPU)
    texels = texels_of(uv_map.uv, 64, uv_map.rank, source.vertices[source.faces])
    new = painted[texels.face]
    assert new.any()
    flat = texture.reshape(-1, 3)[texels.index]
    np.testing.assert_array_equal(flat[new], 255)
    np.testing.assert_array_equal(flat[~new], look.reshape(-1, 3)[texels.index[~new]])


def test_broken_numbers_are_named():
    with pytest.raises(BrokenNumbersError, match="NaN"):
        baked(grid(), lambda points: points * float("nan"))


def test_no_texel_of_a_chart_is_left_out_and_none_shows_a_background():
    texture, _, _ = baked(cube(), lambda points: torch.full_like(points, 0.5))
    assert (texture == 128).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38])
def test_a_look_is_a_colour_wherever_its_uv_map_is_broken(broken):
    uv = grid().uv.copy()
    uv[0] = broken
    look = Look(grid(uv=uv, look=np.full((4, 4, 3), 51, np.uint8)), CPU)
    assert torch.allclose(look.colours(torch.tensor([0, 1]), torch.full((2, 3), 1.0 / 3.0)), torch.tensor(0.2))
