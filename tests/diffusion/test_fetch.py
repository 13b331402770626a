"""A model is downloaded by a process of its own, which is ended when the job is cancelled."""

import json

import pytest

from sdi_engine.diffusion.fetch import fetch
from sdi_engine.diffusion.fetcher import SECONDS
from sdi_engine.diffusion.read_share import told
from sdi_engine.errors import JobCancelledError
from sdi_engine.system.occasions import at_occasions

STAND_IN = """
import json, time
from pathlib import Path
from types import SimpleNamespace
def snapshot_download(name, dry_run=False, tqdm_class=None):
    if dry_run:
        sizes = [(300, True), (100, True), (4000, False)]
        return [SimpleNamespace(file_size=size, will_download=will) for size, will in sizes]
    files, come, sent = tqdm_class(total=2, unit="it"), tqdm_class(total=0, unit="B"), tqdm_class(total=0, unit="B")
    for size in (100, 200, 100):  # the first file, whose size was told, is not here yet
        come.total = sent.total = come.n + size
        sent.update(size // 2)
        come.update(size)
        time.sleep({pause})
    files.update(2)
class SomePipeline:
    @staticmethod
    def download(*names, **options):
        Path({asked!r}).write_text(json.dumps([names, options]))
        {then}
"""


@pytest.fixture
def asked_by(tmp_path, monkeypatch):
    """A stand-in for Diffusers whose download does something; returns the file with what it was asked for."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def create(then):
        asked = tmp_path / "asked.json"
        (tmp_path / "diffusers.py").write_text(STAND_IN.format(asked=str(asked), then=then, pause=2.0 * SECONDS))
        return asked

    return create


def test_what_is_used_of_a_model_is_asked_for(asked_by):
    asked = asked_by("pass")
    fetch("someone/something", "SomePipeline", ["safety_checker"])
    assert json.loads(asked.read_text()) == [["someone/something"], {"use_safetensors": True, "safety_checker": None}]


def test_how_far_it_is_counts_what_is_missing_of_all_files(asked_by):
    asked_by("snapshot_download(*names)")
    shares = []
    with told(lambda share: pytest.fail("nothing was read"), shares.append) as count:
        fetch("someone/something", "SomePipeline", [])
    assert shares == sorted(shares)
    assert shares
    assert set(shares) <= {0.25, 0.75, 1.0}
    assert count.seconds_downloading > 0.0


def test_that_it_failed_is_for_the_reader_to_find_out(asked_by, caplog):
    asked_by("raise OSError('the hub is away')")
    caplog.set_level("INFO")
    fetch("someone/something", "SomePipeline", [])
    assert "the hub is away" in caplog.text


def test_a_download_is_ended_when_the_job_is_cancelled(asked_by, tmp_path):
    went_on = tmp_path / "went on"
    asked = asked_by(f"time.sleep(60); Path({str(went_on)!r}).touch()")

    def look():
        if asked.exists():
            raise JobCancelledError("The job was cancelled.")

    with at_occasions(look), pytest.raises(JobCancelledError):
        fetch("someone/something", "SomePipeline", [])
    assert not went_on.exists()
