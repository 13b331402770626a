"""Where the vertices of a mesh are after its shape was refined, as a file that may be anybody's."""

import numpy as np
import pytest
from sdi_text_to_3d.jobs.arrays import UnsoundFileError
from sdi_text_to_3d.jobs.texture_files import read_moved
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
