import numpy as np
import pytest
from PIL import Image

from sdi_engine.errors import BadInputError
from sdi_engine.mesh_files.mesh_file import source_from_file

TRIANGLE = "v 0 0 0{0}\nv 1 0 0{0}\nv 0 1 0{0}\n"
MAP = "vt 0 0\nvt 1 0\nvt 0 1\n"


def read(tmp_path, text, material=""):
    (tmp_path / "a.mtl").write_text(material)
    (tmp_path / "a.obj").write_text(text)
    return source_from_file(tmp_path / "a.obj")


@pytest.mark.parametrize(
    "rest",
    [
        "f 1 2 3\n",
        MAP + "f 1/1 2/2 3/3\n",
        "mtllib a.mtl\nusemtl a\nf 1 2 3\n",
        MAP + "mtllib a.mtl\nusemtl a\nf 1/1 2/2 3/3\n",
    ],
    ids=["alone", "map", "material", "both"],
)
@pytest.mark.parametrize(("colour", "expected"), [(" .5 0 1", [128, 0, 255]), (" 128 0 255", [128, 0, 255])])
def test_colours_of_vertices_are_kept_beside_a_material_and_a_map(tmp_path, rest, colour, expected):
    source, notices = read(tmp_path, TRIANGLE.format(colour) + rest, "newmtl a\nKd 0 1 0\n")
    np.testing.assert_allclose(source.look_corners[0], [expected] * 3, atol=1)
    assert (source.uv is None) == ("vt" not in rest)
    assert notices == ()


def test_a_fourth_number_is_no_colour(tmp_path):
    source, _ = read(tmp_path, TRIANGLE.format(" 1.0") + "f 1 2 3\n")
    assert source.look_corners is None


@pytest.mark.parametrize(
    ("said", "linear"), [("1 0 .5", [255, 0, 188]), ("1", [255] * 3), ("spectral a.rfl", [255] * 3)]
)
def test_the_plain_colour_of_a_material(tmp_path, said, linear):
    text = TRIANGLE.format("") + "mtllib a.mtl\nusemtl  the  red\nf 1 2 3\n"
    source, notices = read(tmp_path, text, f"newmtl the red\nKd {said}\nnewmtl other\nKd 0 0 0\n")
    np.testing.assert_allclose(source.look_corners[0, 0], linear, atol=1)
    assert notices == ()


def test_materials_are_in_several_files_whose_names_have_spaces(tmp_path):
    for name, colour in (("one", "1 0 0"), ("two three", "0 0 1")):
        (tmp_path / f"{name}.mtl").write_text(f"newmtl {name}\nKd {colour}\n")
    text = TRIANGLE.format("") + "v 9 9 9\nmtllib one.mtl a.mtl\nmtllib two three.mtl\n"
    source, notices = read(tmp_path, text + "usemtl two three\nf 1 2 3\nusemtl one\nf 3 2 1\n")
    assert {tuple(each) for each in source.look_corners[:, 0]} == {(255, 0, 0), (0, 0, 255)}
    assert len(source.vertices) == 6  # not all of the file's for each material
    assert notices == ()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gbk"])
def test_names_that_are_not_ascii_are_the_same_in_both_files(tmp_path, encoding):
    name = "\u6728" if encoding == "gbk" else "gr\u00fcn\u00a0 e"
    (tmp_path / "a.mtl").write_bytes(f"newmtl {name}\nKd 0 1 0\n".encode(encoding))
    text = TRIANGLE.format("") + f"mtllib a.mtl\nusemtl {name}\nf 1 2 3\n"
    (tmp_path / "a.obj").write_bytes(text.encode(encoding))
    source, notices = source_from_file(tmp_path / "a.obj")
    assert source.look_corners[0, 0].tolist() == [0, 255, 0]
    assert notices == ()


def test_a_picture_in_quotation_marks_is_found(tmp_path):
    Image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "my wood.png")
    text = TRIANGLE.format("") + MAP + "mtllib a.mtl\nusemtl a\nf 1/1 2/2 3/3\n"
    source, notices = read(tmp_path, text, 'newmtl a\nmap_Kd "my wood.png"\n')
    assert source.look[0, 0].tolist() == [10, 20, 30]
    assert notices == ()


def test_faces_of_thousands_of_materials_in_any_order_keep_their_colours(tmp_path):
    order = np.random.default_rng(0).permutation(6000) % 3000
    text = TRIANGLE.format("") + "mtllib a.mtl\n" + "".join(f"usemtl m{number}\nf 1 2 3\n" for number in order)
    material = "".join(f"newmtl m{number}\nKd 1 {number % 2} {number % 3 // 2}\n" for number in range(3000))
    source, notices = read(tmp_path, text, material)
    colours, counts = np.unique(source.look_corners[:, 0], axis=0, return_counts=True)
    assert dict(zip(map(tuple, colours.tolist()), counts.tolist(), strict=True)) == {
        (255, 0, 0): 2000,
        (255, 255, 0): 2000,
        (255, 0, 255): 1000,
        (255, 255, 255): 1000,
    }
    assert notices == ()


@pytest.mark.parametrize("line", ["f 1/1 2/2 3/4", "f 1 2 three", "v 0 zero 0\nf 1 2 3"])
def test_a_damaged_line_gets_a_sentence(tmp_path, line):
    with pytest.raises(BadInputError, match="damaged"):
        read(tmp_path, TRIANGLE.format("") + MAP + line + "\n")
