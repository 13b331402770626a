"""Locks between processes, and the places of their files."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sdi_engine import errors
from sdi_engine.system import machine
from sdi_engine.system.locks import ProcessLock

ROOT = Path(__file__).resolve().parents[2]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither flock nor file modes")


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    monkeypatch.setenv(machine.FOLDER_VARIABLE, str(folder))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return folder


def holder(subject):
    """Another process that holds the lock."""
    program = "import sys; from sdi_engine.system.locks import ProcessLock\n"
    program += "lock = ProcessLock(sys.argv[1]); print(lock.acquire(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, subject], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "True\n"
    return process


def test_one_at_a_time_until_its_holder_dies():
    process = holder("a")
    assert not ProcessLock("a").acquire()
    with ProcessLock("b") as other:
        assert other.acquire()
    process.kill()
    process.communicate()
    with ProcessLock("a") as lock:
        assert lock.acquire()
        assert not ProcessLock("a").acquire()
    assert ProcessLock("a").acquire()


@needs_posix
def test_the_file_is_in_the_persons_own_folder_and_for_nobody_else(own, tmp_path):
    with ProcessLock("a") as lock:
        assert lock.acquire()
    (file,) = own.rglob("*.lock")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not list((tmp_path / "temporary").iterdir())


def test_the_file_of_a_lock_that_is_for_once_goes_with_its_holder(own):
    lock = ProcessLock("a", is_for_once=True)
    assert lock.acquire()
    assert not ProcessLock("a", is_for_once=True).acquire()
    lock.release()
    assert not list(own.rglob("*.lock"))


@needs_posix
def test_a_file_that_was_removed_after_it_was_opened_is_no_lock(own, monkeypatch):
    first, second, open_file = ProcessLock("a", is_for_once=True), ProcessLock("a", is_for_once=True), os.open
    assert first.acquire()

    def open_and_be_late(*arguments):
        file = open_file(*arguments)
        monkeypatch.setattr(os, "open", open_file)
        first.release()
        return file

    monkeypatch.setattr(os, "open", open_and_be_late)
    assert second.acquire()
    assert not ProcessLock("a").acquire()


@needs_posix
def test_a_link_in_its_place_is_not_followed(own, tmp_path):
    with ProcessLock("a") as lock:
        lock.acquire()
    (file,) = own.rglob("*.lock")
    file.unlink()
    file.symlink_to(tmp_path / "of the person")
    with ProcessLock("a") as lock:
        assert lock.acquire()
    assert not (tmp_path / "of the person").exists()


@needs_posix
def test_a_home_without_locks_has_the_temporary_folder_in_its_place(own, tmp_path, monkeypatch):
    import fcntl

    real = fcntl.flock
    asked = []

    def flock(file, operation):
        asked.append(file)
        if len(asked) % 2:  # the first of the two places
            raise OSError(errno.ENOLCK, "No locks available")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    first, second = ProcessLock("a"), ProcessLock("a")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    (folder,) = (tmp_path / "temporary").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@needs_posix
@pytest.mark.parametrize("taken_as", ["link", "file", "open folder"])
def test_a_system_without_locks_is_one_sentence(own, tmp_path, monkeypatch, taken_as):
    own.touch()  # a file, so that no folder can be made there
    place = tmp_path / "temporary" / f"sdi-engine-{os.getuid()}"
    if taken_as == "link":
        place.symlink_to(tmp_path)
    elif taken_as == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(
        errors.StorageError, match=f"{machine.FOLDER_VARIABLE} name a folder of your own on a local disk"
    ):
        ProcessLock("a").acquire()
    assert not list(tmp_path.glob("*.lock"))


def test_an_engine_that_cannot_lock_says_so_and_ends(own, tmp_path, monkeypatch):
    own.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    program = "import logging, pathlib, sys, tempfile; tempfile.tempdir = sys.argv[2]; logging.basicConfig()\n"
    program += "from sdi_engine.service.serve import serve; sys.exit(serve(pathlib.Path(sys.argv[1]), 0.0))"
    command = [sys.executable, "-c", program, str(tmp_path / "results"), str(own)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == errors.EXIT_STORAGE
    assert "No lock file can be made" in done.stderr
    assert "Traceback" not in done.stderr
