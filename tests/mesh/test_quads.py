import numpy as np
import pytest
import trimesh

from sdi_engine.errors import JobCancelledError
from sdi_engine.mesh import quads
from sdi_engine.mesh.topology import non_manifold_edges
from sdi_engine.mesh.unwrap import unwrap
from sdi_engine.system.occasions import at_occasions


def box_of_quads(across=4):
    """A cube of side 1, 6 · across² quads."""
    corners = np.array(np.meshgrid(*[np.arange(across + 1) / across - 0.5] * 2, indexing="ij")).reshape(2, -1).T
    corner = (np.arange(across)[:, None] * (across + 1) + np.arange(across)).ravel()
    side = np.stack([corner, corner + across + 1, corner + across + 2, corner + 1], axis=1)
    places, faces = [], []
    for axis in range(3):
        for sign in (1, -1):
            place = np.insert(corners, axis, 0.5 * sign, axis=1)
            faces.append((side if (sign == 1) != (axis == 1) else side[:, ::-1]) + len(corners) * len(places))
            places.append(place)
    unique, number = np.unique(np.concatenate(places), axis=0, return_inverse=True)
    return unique, number.reshape(-1)[np.concatenate(faces)]


@pytest.fixture
def box():
    return trimesh.creation.box()


@pytest.fixture
def made(monkeypatch):
    """What Instant Meshes is asked for, and what it makes."""
    found = {"asked": [], "mesh": box_of_quads()}

    def answer(mesh, count):
        found["asked"].append(count)
        return found["mesh"]

    monkeypatch.setattr(quads.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(quads, "_instant_meshes", answer)
    return found


def test_quads_come_as_pairs_of_triangles_and_no_more_than_wanted(box, made):
    mesh = quads.remeshed(box, 192)
    assert len(mesh.faces) == 192
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1.0)
    for one, other in mesh.faces.reshape(-1, 2, 3):
        assert len(set(one) & set(other)) == 2
    assert quads.remeshed(box, 190) is None
    assert made["asked"][1:] == sorted(made["asked"][1:], reverse=True)  # it was asked for ever less
    assert len(set(made["asked"][1:])) > 1


@pytest.mark.parametrize("wrong", ["open", "crowded", "small", "two", "failed"])
def test_what_is_no_sound_mesh_is_not_taken(box, made, wrong):
    vertices, faces = box_of_quads()
    made["mesh"] = {
        "open": (vertices, faces[1:]),
        "crowded": (vertices, np.concatenate([faces, faces[:1]])),
        "small": (vertices * 0.9, faces),
        "two": (np.concatenate([vertices, vertices * 0.1]), np.concatenate([faces, faces + len(vertices)])),
        "failed": None,
    }[wrong]
    assert quads.remeshed(box, 1000) is None


def test_no_seam_parts_the_halves_of_a_quad():
    vertices, faces = box_of_quads(8)
    turn = trimesh.transformations.euler_matrix(0.3, 0.5, 0.7)[:3, :3]
    ball = vertices / np.linalg.norm(vertices, axis=1, keepdims=True) @ turn
    mesh = trimesh.Trimesh(ball, quads._halves(ball, faces), process=False)
    halves = np.arange(len(mesh.faces)).reshape(-1, 2)
    for together, parted in ((halves, False), (None, True)):
        pairs = unwrap(mesh, 128, 2, together).faces.reshape(-1, 2, 3)
        assert any(len(set(one) & set(other)) < 2 for one, other in pairs) == parted


def test_instant_meshes_makes_closed_quads_of_a_ball():
    pytest.importorskip("pynanoinstantmeshes")
    ball = trimesh.creation.icosphere(4, 0.5)
    mesh = quads.remeshed(ball, 1000)
    assert mesh is not None
    assert 600 < len(mesh.faces) <= 1000
    assert not len(non_manifold_edges(mesh.faces))
    assert mesh.volume == pytest.approx(ball.volume, rel=0.06)
    sides = np.linalg.norm(np.diff(mesh.vertices[mesh.faces[::2]], axis=1), axis=2)
    assert (sides.min(axis=1) > 0.25 * sides.max(axis=1)).mean() > 0.9  # they are square rather than long


def test_a_remeshing_that_takes_long_is_ended_when_the_job_is_cancelled(box, tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    slow = f"""
import time
from pathlib import Path
def remesh(*arrays, **options): Path({str(begun)!r}).touch(); time.sleep(60)
"""
    (tmp_path / "pynanoinstantmeshes.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(quads.importlib.util, "find_spec", lambda name: True)

    def look():
        if begun.exists():
            raise JobCancelledError("The job was cancelled.")

    with at_occasions(look), pytest.raises(JobCancelledError):
        quads.remeshed(box, 1000)
