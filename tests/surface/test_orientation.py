import numpy as np
import trimesh

from sdi_engine.surface.orientation import inside_out


def told(*solids):
    together = trimesh.util.concatenate(solids)
    return inside_out(together.vertices.astype(np.float32), together.faces.astype(np.int32))


def turned(solid):
    return trimesh.Trimesh(solid.vertices, solid.faces[:, ::-1], process=False)


def box(size=1.0, x=0.0):
    return trimesh.creation.box((size, size, size), trimesh.transformations.translation_matrix([x, 0, 0]))


def test_closed_pieces_that_are_inside_out_are_told_one_by_one():
    np.testing.assert_array_equal(told(box(), turned(box(x=5.0))), np.repeat([False, True], 12))


def test_the_walls_of_a_cavity_are_not_inside_out():
    assert not told(box(), turned(box(0.5))).any()


def test_vertices_may_be_split():
    soup = turned(box())
    vertices = soup.vertices[soup.faces].reshape(-1, 3)
    assert inside_out(vertices.astype(np.float32), np.arange(36, dtype=np.int32).reshape(-1, 3)).all()


def test_open_and_contradictory_meshes_are_left_alone():
    lid_off = turned(box())
    lid_off.update_faces(np.arange(12) > 1)
    mixed = box()
    mixed.faces[:7] = mixed.faces[:7, ::-1]
    for solid in (lid_off, mixed):
        assert not told(solid).any()
