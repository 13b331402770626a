import struct

import numpy as np
import pytest
import torch
from PIL import Image

from sdi_engine.errors import BadInputError
from sdi_engine.mesh_files.mesh_file import source_from_file
from sdi_engine.surface.look import Look

L_SHAPE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]


def header(form, vertices, faces, vertex="", face="", comment=""):
    return (
        f"ply\nformat {form} 1.0\n{comment}element vertex {vertices}\nproperty float x\nproperty float y\n"
        f"property float z\n{vertex}element face {faces}\nproperty list uchar int vertex_indices\n{face}end_header\n"
    ).encode()


def written(form, points, polygons, **more):
    """A file of polygons, whose faces have a number each behind their corners."""
    head = header(form, len(points), len(polygons), face="property double quality\n", **more)
    if form == "ascii":
        lines = [" ".join(map(str, each)) for each in points]
        lines += [" ".join(map(str, [len(each), *each, 0.5])) for each in polygons]
        return head + "\n".join(lines).encode() + b"\n"
    order = "<" if "little" in form else ">"
    body = b"".join(struct.pack(f"{order}3f", *each) for each in points)
    return head + body + b"".join(struct.pack(f"{order}B{len(each)}id", len(each), *each, 0.5) for each in polygons)


def read(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    return source_from_file(tmp_path / "a.ply")


def looks(source):
    faces = torch.arange(len(source.faces))
    return Look(source, torch.device("cpu")).colours(faces, torch.full((len(faces), 3), 1 / 3)).numpy() * 255


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_polygons_of_all_sizes_keep_their_outlines(tmp_path, form):
    points = [(*point, 5) for point in L_SHAPE] + [(4, 0, 5), (5, 0, 5), (5, 1, 5), (4, 1, 5)]
    for first in range(6):
        polygon = [(first + each) % 6 for each in range(6)]
        source, _ = read(tmp_path, written(form, points, [polygon, [6, 7, 8], [6, 8, 9]]))
        corners = source.vertices[source.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert len(corners) == 6
        assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(4)  # no triangle outside, none turned over
        assert normals[:, 2].min() > 0


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("second", [[3, 4, 5, 6], [4, 5, 6]])
def test_a_file_that_ends_early_is_refused(tmp_path, form, second):
    content = written(form, [(*point, 0) for point in [*L_SHAPE, (9, 9)]], [[0, 1, 2], second])
    read(tmp_path, content)
    short = content.rsplit(b" ", 1)[0] if form == "ascii" else content[:-1]
    with pytest.raises(BadInputError, match="not complete"):
        read(tmp_path, short)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "does not exist"),
        (header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 two\n", "damaged"),
        (header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n-3 0 1 2\n", "not complete|damaged"),
        (header("binary_middle_endian", 3, 1), "damaged"),
        (header("ascii", 10**15, 1) + b"0 0 0\n", "not complete"),
        (header("ascii", 3, 0) + b"0 0 0\n1 0 0\n0 1 0\n", "no faces"),
    ],
)
def test_a_damaged_file_gets_a_sentence(tmp_path, content, said):
    with pytest.raises(BadInputError, match=said):
        read(tmp_path, content)


COLOURED = "property {0} red\nproperty {0} green\nproperty {0} blue\n"


@pytest.mark.parametrize(
    ("kind", "red", "expected"), [("uchar", 128, 128), ("float", 0.5, 128), ("ushort", 32896, 128)]
)
def test_colours_of_vertices_are_read_also_beside_a_uv_map(tmp_path, kind, red, expected):
    vertex = "property float s\nproperty float t\n" + COLOURED.format(kind)
    rows = "".join(f"{x} {y} 0 {x} {y} {red} 0 0\n" for x, y in [(0, 0), (1, 0), (0, 1)])
    source, _ = read(tmp_path, header("ascii", 3, 1, vertex) + f"{rows}3 0 1 2\n".encode())
    np.testing.assert_allclose(source.look_corners[0], [[expected, 0, 0]] * 3, atol=1)
    np.testing.assert_allclose(source.uv[0], [[0, 0], [1, 0], [0, 1]])


def test_colours_of_faces_are_those_of_all_triangles_of_a_polygon(tmp_path):
    rows = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n2 2 0\n4 0 1 2 3 255 0 0\n3 2 4 3 0 0 255\n"
    source, _ = read(tmp_path, header("ascii", 5, 2, face=COLOURED.format("uchar")) + rows.encode())
    np.testing.assert_array_equal(source.look_corners[:, 0], [RED, RED, BLUE])


def test_several_pictures_lie_on_the_corners_of_their_faces(tmp_path):
    for name, colour in (("one.png", RED), ("two three.png", BLUE)):
        Image.new("RGB", (8, 8), tuple(colour)).save(tmp_path / name)
    face = "property list uchar float texcoord\nproperty int texnumber\n"
    comment = "comment TextureFile one.png\ncomment TextureFile C:\\work\\two three.png\n"
    rows = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 6 0 0 .4 0 .4 .4 0\n3 0 2 3 6 .5 .5 .9 .9 .5 .9 1\n"
    source, notices = read(tmp_path, header("ascii", 4, 2, face=face, comment=comment) + rows.encode())
    np.testing.assert_allclose(looks(source), [RED, BLUE], atol=2)
    np.testing.assert_allclose(source.uv[0], [[0, 0], [0.4, 0], [0.4, 0.4]], atol=1e-6)
    assert notices == ()


def test_a_picture_that_is_missing_is_told(tmp_path):
    vertex = "property float u\nproperty float v\n"
    rows = "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n"
    _, notices = read(tmp_path, header("ascii", 3, 1, vertex, comment="comment TextureFile a.png\n") + rows.encode())
    assert '"a.png"' in notices[0]


def test_a_picture_that_no_uv_coordinates_lead_to_is_told(tmp_path):
    Image.new("RGB", (8, 8), tuple(RED)).save(tmp_path / "a.png")
    vertex = "property float u\nproperty float v\n"
    rows = "0 0 0 nan 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n"
    _, notices = read(tmp_path, header("ascii", 3, 1, vertex, comment="comment TextureFile a.png\n") + rows.encode())
    assert len(notices) == 1
    assert 'no UV coordinates: "a.png"' in notices[0]


def test_triangle_strips_are_turned_as_they_begin(tmp_path):
    head = header("ascii", 4, 1).replace(b"element face", b"element tristrips")
    source, _ = read(tmp_path, head + b"0 0 0\n1 0 0\n0 1 0\n1 1 0\n8 0 1 2 3 -1 0 1 2\n")
    corners = source.vertices[source.faces]
    assert np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].tolist() == [1, 1, 1]
