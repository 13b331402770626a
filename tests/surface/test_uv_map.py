import numpy as np
import pytest
import torch
import trimesh
from sources import by_place, cube, grid

from sdi_engine.errors import BadInputError
from sdi_engine.surface.baking import bake
from sdi_engine.surface.islands import islands_of, shared_edges
from sdi_engine.surface.own_map import udim_tiles
from sdi_engine.surface.source import SourceMesh
from sdi_engine.surface.texels import texels_of
from sdi_engine.surface.uv_map import uv_map_for

SIZE = 64


def mapped(source, size=SIZE):
    return uv_map_for(source, source.place(), size)


def test_a_sound_map_is_kept_and_nothing_is_said():
    source = cube()
    uv_map = mapped(source)
    assert uv_map.uv is not None
    np.testing.assert_allclose(uv_map.uv, source.uv, atol=1e-6)
    assert (uv_map.is_new, uv_map.overlap, uv_map.notices) == (False, 0.0, ())


def with_nan(uv):
    uv[0, 0] = np.nan
    return uv


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "has no UV map"),
        (with_nan, "NaN"),
        (lambda uv: uv * 0 + 0.5, "no area"),
        (lambda uv: uv * [1, 0], "no area"),
        (lambda uv: uv * 0.05, "only 0."),
        (lambda uv: uv * 20, "repeats its texture"),
    ],
)
def test_a_map_that_cannot_hold_a_picture_is_replaced_and_that_is_said(change, said):
    source = cube(uv=None if change is None else change(cube().uv.copy()).astype(np.float32))
    uv_map = mapped(source)
    assert uv_map.is_new
    assert said in uv_map.notices[0]
    assert "new one was made" in uv_map.notices[0]
    assert uv_map.uv.min() > 0.0
    assert uv_map.uv.max() < 1.0
    area = np.abs(np.linalg.det(uv_map.uv[:, 1:] - uv_map.uv[:, :1]))
    assert (area > 1e-3).all()


def test_tiles_beside_each_other_are_refused_and_one_tile_elsewhere_is_not():
    source = cube()
    spread = source.uv + np.array([1, 0], np.float32) * (np.arange(12) < 6)[:, None, None]
    with pytest.raises(BadInputError, match="2 UDIM tiles"):
        mapped(cube(uv=spread.astype(np.float32)))
    moved = mapped(cube(uv=source.uv + np.float32(3.0)))
    np.testing.assert_allclose(moved.uv, source.uv, atol=1e-5)


def test_squares_over_which_islands_lie_are_no_tiles():
    source = grid()
    corners = source.vertices[source.faces]
    assert udim_tiles(source.uv * 2, corners) == 1, "each triangle lies in one square"
    apart = 0.9 * source.uv + np.floor(2.0 * source.uv.mean(axis=1, keepdims=True))
    assert udim_tiles(apart, corners) == 4
    assert udim_tiles(apart - 1.0, corners) == 1, "no tile has negative coordinates"
    assert udim_tiles(apart + np.float32([10.0, 0.0]), corners) == 1, "a row has ten tiles"
    assert udim_tiles(np.full_like(source.uv, np.nan), corners) == 1


def test_objects_that_share_a_mesh_share_the_new_map():
    mesh = trimesh.creation.icosphere(subdivisions=2)
    rest, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)

    def uv_of(linear, at=(0.0, 0.0, 0.0)):
        placed = (rest @ np.asarray(linear, np.float32).T + np.float32(at)).astype(np.float32)
        return mapped(SourceMesh(placed, faces, rest=rest)).uv

    turned = trimesh.transformations.rotation_matrix(1.0, [1, 2, 3])[:3, :3]
    np.testing.assert_array_equal(uv_of(np.eye(3)), uv_of(3.0 * turned, (5.0, -2.0, 1.0)))
    assert not np.array_equal(uv_of(np.eye(3)), uv_of(np.diag([1.0, 1.0, 4.0]))), "whose shape is another one"
    as_it_stands = mapped(SourceMesh(rest * np.float32([1, 1, 4]), faces)).uv
    np.testing.assert_array_equal(uv_of(np.diag([1.0, 1.0, 4.0])), as_it_stands)
    unknown = mapped(SourceMesh(rest, faces, rest=np.full_like(rest, np.nan))).uv
    assert np.isfinite(unknown).all()


def test_a_map_that_reaches_outside_repeats_and_that_is_said():
    source = grid()
    uv_map = mapped(grid(uv=source.uv * 2))
    assert "texture repeats" in uv_map.notices[0]
    texels = texels_of(uv_map.uv, SIZE, uv_map.rank, source.vertices[source.faces])
    assert len(texels) == SIZE**2


def test_mirrored_halves_show_the_picture_of_the_one_in_front_and_that_is_said():
    front, back = grid(), grid()
    vertices = np.concatenate([back.vertices + np.array([0, 1, 0]), front.vertices]).astype(np.float32)
    faces = np.concatenate([back.faces[:, ::-1], front.faces + len(back.vertices)]).astype(np.int32)
    source = SourceMesh(vertices, faces, np.concatenate([back.uv[:, ::-1], front.uv]))
    uv_map = mapped(source)
    assert uv_map.overlap > 0.9
    assert "more than one part" in uv_map.notices[0]
    place = source.place()
    ask = by_place(source, place, lambda points: (points[:, 1:2] > 0).float().expand(-1, 3))
    texture = bake(ask, source, place, uv_map, SIZE, CPU)
    assert texture.max() == 0  # y < 0 is in front
    turned = source.place(180.0)
    uv_map = uv_map_for(source, turned, SIZE)
    ask = by_place(source, turned, lambda points: (points[:, 1:2] > 0).float().expand(-1, 3))
    texture = bake(ask, source, turned, uv_map, SIZE, CPU)
    assert texture.max() == 0


CPU = torch.device("cpu")


def test_what_is_painted_goes_before_what_is_not_where_both_share_texels():
    once = grid()
    source = SourceMesh(
        np.concatenate([once.vertices - [0, 1, 0], once.vertices]).astype(np.float32),
        np.concatenate([once.faces, once.faces + len(once.vertices)]).astype(np.int32),
        np.concatenate([once.uv, once.uv]),
        painted=np.repeat([False, True], len(once.faces)),
    )
    uv_map = mapped(source)
    texture = bake(lambda _, weights: torch.ones_like(weights), source, source.place(), uv_map, SIZE, CPU)
    assert texture.min() == 255


ODD = {
    "one triangle": ([[0, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 2]]),
    "duplicate vertices": ([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 2], [3, 4, 5]]),
    "a triangle without an area": ([[0, 0, 0], [1, 0, 0], [0, 0, 1], [2, 0, 0]], [[0, 1, 3], [0, 1, 2], [2, 2, 2]]),
    "three triangles on one edge": (
        [[0, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 1, 0], [-1, -1, 0]],
        [[0, 1, 2], [0, 1, 3], [0, 1, 4]],
    ),
    "a millimetre": ([[0, 0, 0], [1e-3, 0, 0], [0, 0, 1e-3]], [[0, 1, 2]]),
    "a kilometre, far away": ([[1e5, 0, 0], [1e5 + 1e3, 0, 0], [1e5, 0, 1e3]], [[0, 1, 2]]),
    "an unused vertex at the end of the world": ([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1e9, 0, 0]], [[0, 1, 2]]),
    "the same triangle twice": ([[0, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 2], [2, 1, 0]]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_meshes_get_a_map_in_their_own_order_and_a_texture(name):
    vertices, faces = (np.array(array, kind) for array, kind in zip(ODD[name], (np.float32, np.int32), strict=True))
    source = SourceMesh(vertices, faces)
    place = source.place()
    uv_map = uv_map_for(source, place, SIZE)
    ask = by_place(source, place, lambda points: points.clamp(-1, 1) * 0.4 + 0.5)
    texture = bake(ask, source, place, uv_map, SIZE, CPU)
    corners = place.normalised(source.vertices)[faces]
    assert np.abs(corners).max() <= 0.61
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    middle = uv_map.uv.mean(axis=1)
    row, column = ((1 - middle[:, 1]) * SIZE).astype(int), (middle[:, 0] * SIZE).astype(int)
    shown = texture[row, column] / 255
    np.testing.assert_allclose(shown[area > 1e-6], (corners.mean(axis=1) * 0.4 + 0.5)[area > 1e-6], atol=0.03)
    assert np.isfinite(source.shading_normals).all()


def ribbon(long=10):
    """A row of squares in the plane, without a UV map."""
    x = np.arange(long + 1.0)
    vertices = np.concatenate([np.stack([x, 0 * x, at + 0 * x], axis=1) for at in (0, 1)]).astype(np.float32)
    low = np.arange(long)
    faces = np.concatenate(
        [np.stack([low, low + 1, low + long + 2], axis=1), np.stack([low, low + long + 2, low + long + 1], axis=1)]
    )
    return SourceMesh(vertices, faces.astype(np.int32))


@pytest.mark.parametrize("sheet", [grid(uv=None), ribbon()], ids=["sheet", "ribbon"])
def test_each_side_of_a_sheet_is_one_island_of_a_new_map(sheet):
    """Both sides are at the same places, so that there four triangles meet at every edge."""
    back = sheet.faces[:, ::-1] + len(sheet.vertices)
    source = SourceMesh(np.tile(sheet.vertices, (2, 1)), np.concatenate([sheet.faces, back]).astype(np.int32))
    uv = mapped(source).uv
    assert islands_of(uv, shared_edges(source.vertices, source.faces)).max() == 1
