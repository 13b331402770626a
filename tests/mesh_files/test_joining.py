import zlib

import numpy as np

from sdi_engine.mesh_files.joining import joined
from sdi_engine.mesh_files.looks import PartLook
from sdi_engine.mesh_files.parts import Part

UV = np.array([[[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]]])


def test_a_picture_that_many_parts_share_is_compared_once(monkeypatch):
    read = []
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda content, *more: read.append(np.size(content)) or crc32(content, *more))
    picture = np.zeros((32, 32, 3), np.uint8)
    triangle = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    parts = [
        Part(triangle + np.array([number, 0, 0]), np.array([[0, 1, 2]]), UV + number / 20, PartLook(picture=picture))
        for number in range(10)
    ]
    mesh, notices = joined(parts)
    assert (len(mesh.faces), notices) == (10, ())
    np.testing.assert_array_equal(mesh.look, picture)
    assert read.count(picture.size) == 1
