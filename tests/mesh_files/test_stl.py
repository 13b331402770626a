import numpy as np
import pytest
import trimesh

from sdi_engine.errors import BadInputError
from sdi_engine.mesh_files.mesh_file import source_from_file

SOLID = """solid {0}
 facet normal 0 0 1
  outer loop
   vertex 0 0 {0}
   vertex 1 0 {0}
   vertex 0 1 {0}
  endloop
 endfacet
endsolid {0}
"""
TWO = SOLID.format(1) + SOLID.format(25)


def read(tmp_path, content):
    (tmp_path / "a.stl").write_bytes(content if isinstance(content, bytes) else content.encode())
    return source_from_file(tmp_path / "a.stl")[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_solids_of_a_text_are_read_however_its_lines_end(tmp_path, end):
    source = read(tmp_path, TWO.replace("\n", end))
    np.testing.assert_array_equal(np.unique(source.vertices[source.faces][..., 2]), [1, 25])


def test_a_text_that_ends_within_a_solid_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="not complete"):
        read(tmp_path, TWO.rsplit("endfacet", 1)[0])


@pytest.mark.parametrize("header", [b"", b"solid a"])
def test_a_binary_file_is_read_as_far_as_it_says_and_refused_if_it_ends_before(tmp_path, header):
    box = trimesh.creation.box().export(file_type="stl")
    box = header + box[len(header) :]
    assert len(read(tmp_path, box).faces) == len(read(tmp_path, box + bytes(7)).faces) == 12
    with pytest.raises(BadInputError, match="not complete"):
        read(tmp_path, box[:-7])
