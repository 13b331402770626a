import io
import zipfile

import numpy as np
import pytest

from sdi_engine.errors import BadInputError
from sdi_engine.surface.source import SourceMesh, checked, read_source, write_source

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2]], np.float32)
ONE = np.array([[0, 1, 2]], np.int32)


def mesh(**arrays):
    return SourceMesh(TRIANGLE, ONE, **arrays)


def test_what_is_written_is_read_again(tmp_path):
    arrays = {
        "uv": np.full((1, 3, 2), 0.25, np.float32),
        "painted": np.array([True]),
        "look": np.full((4, 4, 3), 9, np.uint8),
        "look_corners": np.full((1, 3, 3), 7, np.uint8),
    }
    write_source(tmp_path / "source.npz", mesh(**arrays))
    read = read_source(tmp_path / "source.npz")
    assert read.normals is None
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(read, name), array)


def stored(file, **arrays):
    """An archive with arrays as they are, or with bytes as they are."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {"vertices": TRIANGLE, "faces": ONE, **arrays}.items():
            content = array
            if isinstance(array, np.ndarray):
                np.lib.format.write_array(buffer := io.BytesIO(), array, allow_pickle=True)
                content = buffer.getvalue()
            archive.writestr(f"{name}.npy", content)
    return file


def header(shape, kind="<f4"):
    np.lib.format.write_array_header_1_0(
        buffer := io.BytesIO(), {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arrays", "said"),
    {
        "a pickle": ({"uv": np.array([[None] * 3], object)}, "uv of another type"),
        "doubles": ({"vertices": TRIANGLE.astype(float)}, "vertices of another type"),
        "terabytes": ({"uv": header((10**11, 3, 2))}, "too large"),
        "more than there is": ({"uv": header((2000, 3, 2))}, "shorter or longer"),
        "more than it says": ({"vertices": header((1, 3)) + bytes(1000)}, "shorter or longer"),
        "a negative size": ({"uv": header((-1, 3, 2))}, "damaged"),
        "an oblong picture": ({"look": np.zeros((2, 3, 3), np.uint8)}, "none of a mesh"),
        "no array at all": ({"uv": b"hello"}, "damaged"),
        "uv of other faces": ({"uv": np.zeros((2, 3, 2), np.float32)}, "another number of faces"),
        "a missing vertex": ({"faces": np.array([[0, 1, 3]], np.int32)}, "vertex that does not exist"),
        "a negative index": ({"faces": np.array([[0, 1, -1]], np.int32)}, "vertex that does not exist"),
        "NaN": ({"vertices": TRIANGLE * np.float32("nan")}, "NaN"),
        "no faces": ({"faces": np.zeros((0, 3), np.int32)}, "no faces"),
        "nothing painted": ({"painted": np.array([False])}, "No face is selected"),
    }.values(),
)
def test_damage_is_named_in_a_sentence(tmp_path, arrays, said):
    with pytest.raises(BadInputError, match=said):
        read_source(stored(tmp_path / "source.npz", **arrays))


def test_other_files_are_no_meshes(tmp_path):
    (tmp_path / "source.npz").write_bytes(b"PK no archive")
    for file in (tmp_path / "source.npz", tmp_path / "missing.npz", tmp_path):
        with pytest.raises(BadInputError):
            read_source(file)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("front", [0.0, 90.0, 33.0])
def test_a_mesh_of_any_size_anywhere_comes_into_the_frame_and_back(scale, front):
    vertices = (np.random.default_rng(0).normal(size=(50, 3)) * scale + [0, 3 * scale, 100 * scale]).astype(np.float32)
    cloud = SourceMesh(vertices, np.arange(48, dtype=np.int32).reshape(-1, 3))
    place = cloud.place(front)
    normalised = place.normalised(vertices[:48])
    low, high = normalised.min(axis=0), normalised.max(axis=0)
    np.testing.assert_allclose(low + high, 0.0, atol=2e-4)
    assert max(np.linalg.norm(normalised[:, :2], axis=1).max() / 0.6, high[2] - low[2]) == pytest.approx(1, abs=1e-4)
    back = place.directions_back(normalised) / place.scale + place.centre
    np.testing.assert_allclose(back, vertices[:48], rtol=0, atol=2e-5 * scale)


def test_the_front_that_is_turned_to_the_right_faces_the_camera_in_front():
    place = SourceMesh(np.array([[-1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32), ONE).place(90.0)
    assert place.normalised(np.array([1.0, 0.0, 0.0]))[1] < -0.5
    np.testing.assert_allclose(place.normalised_directions(np.array([1.0, 0.0, 0.0])), [0.0, -1.0, 0.0], atol=1e-7)


def test_a_point_has_no_place():
    with pytest.raises(BadInputError, match="single point"):
        SourceMesh(np.ones((3, 3), np.float32), ONE).place()


def test_a_mesh_that_is_lost_in_rounding_far_from_the_origin_has_no_place():
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    SourceMesh(triangle + np.float32(1e4), ONE).place()
    with pytest.raises(BadInputError, match="far from the origin"):
        SourceMesh(triangle + np.float32(5e5), ONE).place()


def test_normals_are_sound_where_triangles_and_given_normals_are_not():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]], np.float32) * 1e-3
    faces = np.array([[0, 1, 2], [0, 1, 3], [3, 3, 3]], np.int32)
    given = np.zeros((3, 3, 3), np.float32)
    given[0, 0] = [0, 0, 5]
    given[0, 1] = np.nan
    for each in (None, given):
        normals = SourceMesh(vertices, faces, normals=each).shading_normals
        np.testing.assert_allclose(normals, np.broadcast_to([0, 0, 1], (3, 3, 3)), atol=1e-6)


def test_a_cube_has_edges_and_a_ball_is_round():
    import trimesh

    cube, ball = trimesh.creation.box(), trimesh.creation.icosphere(2)
    for solid, wanted in ((cube, np.repeat(cube.face_normals[:, None], 3, 1)), (ball, ball.vertices[ball.faces])):
        soup = solid.vertices[solid.faces].reshape(-1, 3).astype(np.float32)  # no vertex is shared
        normals = SourceMesh(soup, np.arange(len(soup), dtype=np.int32).reshape(-1, 3)).shading_normals
        np.testing.assert_allclose(normals, wanted, atol=0.05)


def test_a_vertex_far_away_that_no_face_has_is_of_no_account():
    far = np.concatenate([0.01 * TRIANGLE, np.float32([[1e7, 0, 0]])])
    assert checked(SourceMesh(far, ONE)).place().scale == checked(SourceMesh(far[:3], ONE)).place().scale
