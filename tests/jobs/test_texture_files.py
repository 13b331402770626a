"""What became of a mesh: its new UV map, and where its vertices are after its shape was refined; files that may be
anybody's."""

import numpy as np
import pytest
from sdi_text_to_3d.jobs.arrays import UnsoundFileError
from sdi_text_to_3d.jobs.texture_files import read, read_moved
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest

VERTICES = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.int32([[0, 2, 1], [0, 1, 3]])


@pytest.fixture
def job(tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a mug", task="refine"))
    np.savez(folder.source_file, vertices=VERTICES, faces=FACES)
    np.savez(folder.moved_file, vertices=VERTICES + np.float32(0.01))
    return folder


def test_vertices_before_and_after(job):
    read = read_moved(job)
    assert np.array_equal(np.frombuffer(read.after, "<f4").reshape(-1, 3), VERTICES + np.float32(0.01))
    assert (read.before, read.faces) == (VERTICES.tobytes(), FACES.tobytes())


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"vertices": VERTICES[:3]}, "another mesh"),
        ({"vertices": VERTICES.astype(np.float64)}, "another type"),
        ({"vertices": VERTICES.T.copy()}, "another type"),
        ({"vertices": np.where(VERTICES > 0, np.float32(np.nan), VERTICES)}, "NaN or infinite"),
        ({"vertices": np.array([{"a": "pickle"}])}, "another|damaged|larger"),
        ({"corners": VERTICES}, "missing"),
    ],
)
def test_others_are_refused(job, arrays, words):
    np.savez(job.moved_file, **arrays)
    with pytest.raises(UnsoundFileError, match=words):
        read_moved(job)


def test_damaged_files_and_links_are_refused(job, tmp_path):
    whole = job.moved_file.read_bytes()
    job.moved_file.write_bytes(whole[:-40])
    with pytest.raises(UnsoundFileError, match="damaged"):
        read_moved(job)
    job.moved_file.unlink()
    with pytest.raises(FileNotFoundError):
        read_moved(job)
    (tmp_path / "elsewhere.npz").write_bytes(whole)
    try:
        job.moved_file.symlink_to(tmp_path / "elsewhere.npz")
    except OSError:
        return  # links need a permission on Windows
    with pytest.raises(OSError, match="link"):
        read_moved(job)


def test_a_face_without_its_vertex_is_refused(job):
    np.savez(job.source_file, vertices=VERTICES, faces=np.int32([[0, 1, 4]]))
    with pytest.raises(UnsoundFileError, match="does not exist"):
        read_moved(job)


CORNERS = np.int32([[0, 1, 2], [3, 4, 5]])
SOURCE = {"corners": CORNERS, "topology": np.int64([6, 2, 3, 7])}
UV = np.float32([[[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 1], [0, 1]]])


def test_a_source_and_its_new_uv_map(job):
    np.savez(job.source_file, **SOURCE)
    found = read(job)
    assert (found.corners, found.topology) == (CORNERS.tobytes(), SOURCE["topology"].tobytes())
    assert found.uv is found.new_uv is found.painted is None
    unmapped = np.full_like(UV, np.nan)  # which a mesh of somebody's may have
    np.savez(job.source_file, **SOURCE, uv=unmapped, painted=np.array([True, False]))
    np.savez(job.uv_file, uv=UV)
    found = read(job)
    assert (found.uv, found.new_uv, found.painted) == (unmapped.tobytes(), UV.tobytes(), b"\1\0")


@pytest.mark.parametrize(
    ("source", "new_uv", "words"),
    [
        ({"corners": None}, None, "not written by Blender"),
        ({"topology": None}, None, "not written by Blender"),
        ({"topology": np.int64([6, 2, 3])}, None, "not written by Blender"),
        ({"corners": -CORNERS}, None, "a corner does not exist"),
        ({"uv": UV[:1]}, None, "its uv is of another mesh"),
        ({"painted": np.array([True])}, None, "its painted is of another mesh"),
        ({}, UV[:1], "its new UV map is of another mesh"),
        ({}, np.where(UV > 0, np.float32(np.inf), UV), "a UV is NaN or infinite"),
    ],
)
def test_a_source_or_a_uv_map_that_does_not_fit_is_refused(job, source, new_uv, words):
    arrays = {name: array for name, array in (SOURCE | source).items() if array is not None}
    np.savez(job.source_file, **arrays)
    if new_uv is not None:
        np.savez(job.uv_file, uv=new_uv)
    with pytest.raises(UnsoundFileError, match=words):
        read(job)


def test_what_may_expand_is_refused(job):
    np.savez_compressed(job.source_file, **SOURCE)
    with pytest.raises(UnsoundFileError, match="compressed"):
        read(job)
    np.savez(job.source_file, **SOURCE | {"topology": np.zeros(100, np.int64)})
    with pytest.raises(UnsoundFileError, match='its "topology" is larger'):
        read(job)
