import numpy as np

from sdi_engine.mesh.texels import texels


def test_a_triangle_without_an_area_has_no_texels():
    """Else it would have all between its corners, and what other triangles show there would be lost."""
    line = np.float32([[0.125, 0.125], [0.5, 0.5], [0.875, 0.875]])
    whole = np.float32([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    face, *_ = texels(np.stack([whole, line]), 16)
    assert len(face) > 100
    assert (face == 0).all()
