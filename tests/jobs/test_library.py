"""The list of jobs: every job folder is a row, whatever is in it, and nothing outside is accessed."""

import json
import os
import random
import shutil
import time
import unicodedata

import pytest
from made_jobs import fake_worker
from sdi_text_to_3d.jobs import library
from sdi_text_to_3d.jobs.library import Library, read_entry, seconds_of
from sdi_text_to_3d.jobs.placement import Placement
from sdi_text_to_3d.sdi_engine.config.parameters import SCHEMA_VERSION
from sdi_text_to_3d.sdi_engine.contract import events
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder, storage_errors
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest
from sdi_text_to_3d.sdi_engine.errors import StorageError


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def shelf(results):
    results.mkdir()
    return Library(results)


def finished(results, name="job"):
    """A job that is done."""
    folder = JobFolder.create(results / name, JobRequest("a red mug"))
    folder.preview_file.write_bytes(fake_worker.png(16, (1, 2, 3)))
    folder.result_file.write_text(json.dumps({"seconds": {"load": 1.0, "optimise": 60.0, "optimise_2d": 50.0}}))
    Placement.at((1.0, 2.0, 3.0), scene="Scene").write(folder)
    return folder


def look(shelf):
    shelf.refresh()
    wait_until(shelf.poll)
    return {entry.name: entry for entry in shelf.entries}


def wait_until(condition):
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this person may not make links")


def test_a_job_that_is_done_says_so(shelf, results):
    finished(results)
    entry = look(shelf)["job"]
    assert (entry.title, entry.state, entry.seconds, entry.trouble) == ("a red mug", "done", 61.0, "")
    assert entry.preview == results / "job" / "preview.png"
    assert entry.is_pending
    assert look(shelf)["job"] == entry  # which is not read again


def test_a_job_has_one_name_also_where_a_file_system_of_macos_takes_it_apart(shelf, results, monkeypatch):
    name = unicodedata.normalize("NFC", "ガラス")
    finished(results, name)
    monkeypatch.setattr(library.files.sys, "platform", "darwin")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [unicodedata.normalize("NFD", each) for each in listed(folder)])
    assert list(look(shelf)) == [name]


@pytest.mark.parametrize(
    ("said", "flag", "state"),
    [
        (events.RUNNING, None, events.FAILED),
        (events.RUNNING, "pause", events.PAUSED),
        (events.RUNNING, "cancel", events.CANCELLED),
        (events.RUNNING, "finish", events.FAILED),
        (events.PAUSED, "cancel", events.PAUSED),
        (events.CANCELLED, None, events.CANCELLED),
    ],
)
def test_a_job_without_an_engine_is_what_was_said_or_asked_last(results, said, flag, state):
    folder = JobFolder.create(results / "job", JobRequest("a red mug"))
    folder.append(events.StateChanged(said))
    folder.beat(1.0)
    assert read_entry(folder).state == said, "this process is at it"
    dead = folder.status() | {"process_start": "another process had this id then"}
    folder.status_file.write_text(json.dumps(dead))
    if flag is not None:
        (folder.path / flag).touch()
    assert read_entry(folder).state == state
    assert read_entry(folder, {"job"}).state == events.QUEUED
    folder.result_file.write_text("{}")
    assert read_entry(folder).state == events.DONE


@pytest.mark.parametrize(
    ("request_json", "words"),
    [
        ("", "is damaged"),
        ('{"prompt": 1e400}', "is damaged"),
        (f'{{"prompt": "x", "schema": {SCHEMA_VERSION + 1}}}', "update the extension"),
        ('{"prompt": "", "schema": 1}', "prompt is empty"),
        (" " * 5_000_000, "larger than any file of its kind"),
    ],
)
def test_a_damaged_one_is_a_row_that_says_what_is_wrong(shelf, results, request_json, words):
    finished(results)
    (results / "bad\x1b]0;owned\x07").mkdir()
    (results / "bad\x1b]0;owned\x07" / "request.json").write_text(request_json)
    found = look(shelf)
    assert found["job"].state == "done"
    bad = found["bad\x1b]0;owned\x07"]
    assert words in bad.trouble
    assert bad.title == r"bad\x1b]0;owned\x07"
    assert (bad.request, bad.state, bad.trouble.isprintable()) == (None, "failed", True)


def test_an_unexpected_error_is_a_row_too(shelf, results, monkeypatch):
    finished(results, "one")
    finished(results, "two")

    def fail(folder, waiting):
        if folder.path.name == "one":
            raise ZeroDivisionError("nobody has thought of this")
        return read_entry(folder, waiting)

    monkeypatch.setattr(library, "read_entry", fail)
    found = look(shelf)
    assert "ZeroDivisionError: nobody has thought of this" in found["one"].trouble
    assert found["two"].state == "done"


def test_a_repaired_job_is_read_again(shelf, results):
    folder = finished(results)
    request = folder.request_file.read_text()
    folder.request_file.write_text("{")
    assert look(shelf)["job"].trouble
    folder.request_file.write_text(request)  # this does not change the folder itself
    assert look(shelf)["job"].state == "done"


def test_a_queue_that_is_a_link_hides_no_job(shelf, results, tmp_path):
    finished(results)
    (tmp_path / "documents").mkdir()
    link(results / ".engine", tmp_path / "documents")
    assert look(shelf)["job"].state == "done"


def test_folders_that_are_no_jobs_are_not_listed(shelf, results):
    (results / "empty").mkdir()
    (results / ".hidden").mkdir()
    (results / "file").write_text("")
    link(results / "nowhere", results / "gone")
    assert look(shelf) == {}


@pytest.mark.skipif(os.name == "nt", reason="on Windows nobody looks behind a link, which may lead to a server")
def test_of_a_job_that_is_a_link_only_the_link_is_deleted(shelf, results, tmp_path):
    theirs = finished(tmp_path, "theirs")
    link(results / "job", theirs.path)
    assert "is a link" in look(shelf)["job"].trouble
    shelf.delete("job")
    assert not os.path.lexists(results / "job")
    assert theirs.result() is not None
    assert shelf.entries == []


def test_deleting_leaves_what_is_not_ours(shelf, results, tmp_path):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "side-0.png").write_text("mine")
    folder = finished(results)
    (folder.path / "mug.obj").write_text("mine")
    link(folder.turntable_folder, documents)
    look(shelf)
    shelf.delete("job")
    assert shelf.entries == []
    wait_until((results / "job" / "mug.obj").exists)
    assert [file.name for file in (results / "job").iterdir()] == ["mug.obj"]
    assert (documents / "side-0.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (5, "open in another program: close it"),  # ERROR_ACCESS_DENIED
        (32, "open in another program: close it"),  # ERROR_SHARING_VIOLATION
        (None, r"cannot be used \(Permission denied\)"),
    ],
)
def test_deleting_what_another_program_has_open_on_windows_says_so(shelf, results, monkeypatch, number, words):
    finished(results)

    def refuse(path, target):
        error = PermissionError(13, "Permission denied")
        error.winerror = number
        raise error

    monkeypatch.setattr(library.Path, "rename", refuse)
    with pytest.raises(StorageError, match=words), storage_errors(results):
        shelf.delete("job")


def test_deleting_several_times_under_one_name(shelf, results):
    left = [".deleted-job", ".deleted-job-2"]
    for name in left:
        (results / name).mkdir()
        (results / name / "mine.txt").write_text("")
    finished(results)
    shelf.delete("job")
    wait_until(lambda: sorted(file.name for file in results.iterdir()) == left)


@pytest.mark.parametrize(
    "seconds",
    [None, 5, [1.0], {"load": "1"}, {"load": None}, {"load": -1}, {"load": 1e300}, {"a": {"b": 1}}],
)
def test_invalid_seconds(seconds):
    assert seconds_of({"seconds": seconds}) is None
    assert seconds_of(None) is None


def test_an_invalid_picture_is_not_offered(shelf, results):
    folder = finished(results)
    folder.preview_file.write_bytes(b"\x89PNG, or so it says")
    assert look(shelf)["job"].preview is None


def test_whatever_is_in_a_folder_all_are_listed_and_nothing_else_is_touched(shelf, results, tmp_path):
    """Files damaged, swapped, removed, or replaced by folders, links and pipes: at random, many times."""
    lot = random.Random(3)
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("mine")
    finished(results, "whole")
    names = [file.name for file in (results / "whole").iterdir()] + ["status.json", "checkpoint", "turntable", "live"]
    for number in range(150):
        damaged = results / f"damaged-{number}"
        shutil.copytree(results / "whole", damaged)
        for _ in range(lot.randrange(1, 4)):
            _damage(damaged / lot.choice(names), documents, lot)
    found = look(shelf)
    with_request = {path.name for path in results.iterdir() if os.path.lexists(path / "request.json")}
    assert set(found) == with_request
    assert all(entry.state in events.STATES and (entry.trouble or entry.request) for entry in found.values())
    for name in found:
        shelf.delete(name)
    wait_until(lambda: not list(results.glob(".deleted-*")))
    assert [file.name for file in documents.iterdir()] == ["letter.txt"]
    assert (documents / "letter.txt").read_text() == "mine"


def _damage(file, documents, lot):
    content = file.read_bytes() if file.is_file() else b"{}"
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    way = lot.randrange(7)
    if way == 0:
        return
    if way == 1:
        file.mkdir()
    elif way == 2:
        link(file, lot.choice((documents, documents / "letter.txt", documents / "nowhere")))
    elif way == 3 and hasattr(os, "mkfifo"):
        os.mkfifo(file)
    elif way == 4:
        file.write_bytes(
            lot.choice((b"", b"[" * 5000, b"\xff\xfe\x00", b'{"a": NaN}', b'{"pid": 1e999}', b"null", b"[]"))
        )
    else:
        damaged = bytearray(content)
        for _ in range(lot.randrange(1, 6)):
            damaged[lot.randrange(len(damaged))] = lot.choice((*b'"[]{}:,09-e.', lot.randrange(256)))
        file.write_bytes(damaged[: lot.randrange(1, len(damaged) + 1)])
