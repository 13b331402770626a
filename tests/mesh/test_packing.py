"""Charts are packed by a process of its own, which cannot hang or take the engine along."""

import numpy as np
import pytest

from sdi_engine.errors import JobCancelledError
from sdi_engine.mesh.packing import pack
from sdi_engine.system.occasions import at_occasions

SQUARES = np.array([[0, 0], [1, 0], [1, 1], [0, 1]] * 2, np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
CHART = np.array([0, 0, 1, 1])

STAND_IN = """
import time
from pathlib import Path
import numpy as np
class ChartOptions: pass
class PackOptions: pass
class Atlas:
    width = height = 8
    def add_uv_mesh(self, *arrays): self.arrays = arrays
    def generate(self, *options):
        if {crashes}: raise SystemExit("the atlas is torn")
        if {hangs}: Path({mark!r}).touch(); time.sleep(60)
    def __getitem__(self, index): return np.arange(8), self.arrays[1], self.arrays[0]
    def __del__(self): open({mark!r}, "w").close()
"""


def test_two_squares_lie_side_by_side_in_the_order_in_which_they_came():
    packed = pack(SQUARES, FACES, CHART, padding=2, resolution=64)
    corners = packed.uv[packed.faces]
    assert corners.shape == (4, 3, 2)
    assert corners.min() >= 0.0
    assert corners.max() <= 1.0
    np.testing.assert_allclose(SQUARES[packed.source[packed.faces]], SQUARES[FACES])
    one, other = corners[:2].reshape(-1, 2), corners[2:].reshape(-1, 2)
    assert (one.max(axis=0) < other.min(axis=0)).any() or (other.max(axis=0) < one.min(axis=0)).any()


def test_the_process_leaves_without_clearing_up(tmp_path, monkeypatch):
    """Where xatlas may wait for its threads for ever."""
    (tmp_path / "xatlas.py").write_text(STAND_IN.format(crashes=False, hangs=False, mark=str(tmp_path / "cleared up")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    np.testing.assert_array_equal(pack(SQUARES, FACES, CHART, padding=2).uv, SQUARES)
    assert not (tmp_path / "cleared up").exists()


def test_a_crash_is_an_error_with_what_the_process_said(tmp_path, monkeypatch):
    (tmp_path / "xatlas.py").write_text(STAND_IN.format(crashes=True, hangs=False, mark=str(tmp_path / "cleared up")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="ended with code 1: the atlas is torn"):
        pack(SQUARES, FACES, CHART, padding=2)


def test_a_packing_that_takes_long_is_ended_when_the_job_is_cancelled(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    (tmp_path / "xatlas.py").write_text(STAND_IN.format(crashes=False, hangs=True, mark=str(begun)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def look():
        if begun.exists():
            raise JobCancelledError("The job was cancelled.")

    with at_occasions(look), pytest.raises(JobCancelledError):
        pack(SQUARES, FACES, CHART, padding=2)
