import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine.contract import events, job_folder
from sdi_engine.contract.identity import Identity
from sdi_engine.contract.job_folder import JobFolder, make_folder, storage_errors
from sdi_engine.contract.job_queue import JobQueue
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import BadInputError, StorageError
from sdi_engine.system import files, processes
from sdi_engine.system.files import write_atomically

REQUEST = JobRequest("a red mug")


def test_create_then_open(tmp_path):
    JobFolder.create(tmp_path / "deep" / "job", REQUEST)
    assert JobFolder.open(tmp_path / "deep" / "job").request() == REQUEST


def test_an_occupied_folder_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(BadInputError, match="not empty"):
        JobFolder.create(tmp_path, REQUEST)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_a_folder_for_results_is_empty_or_holds_a_file_of_ours(tmp_path):
    make_folder(tmp_path / "deep" / "results", "plan.json")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadInputError, match="not empty"):
        make_folder(tmp_path, "plan.json")
    (tmp_path / "plan.json").touch()
    make_folder(tmp_path, "plan.json")
    with pytest.raises(BadInputError, match="not empty"):
        make_folder(tmp_path)


@pytest.mark.skipif(sys.platform == "darwin", reason="all its file names are text")
def test_who_is_at_a_job_is_known_in_a_folder_whose_name_is_no_text(tmp_path):
    folder = JobFolder.create(tmp_path / "m\udcf6bel" / "job", REQUEST)
    folder.beat(1.0)
    assert processes.is_ourselves(folder.status())
    assert folder.is_where(folder.status())
    folder.leave()
    assert not folder.status_file.exists()
    queue = JobQueue(folder.path.parent)
    queue.make_folders()
    python = str(tmp_path / "m\udcf6bel" / "python")
    queue.beat(1.0, [], "starter", Identity.of(python, online=False).to_json())
    assert Identity.of(python, online=False).is_that_of(queue.status())


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be used"):
        JobFolder.create(tmp_path / "file" / "job", REQUEST)


def test_folders_within_each_other_deeper_than_python_calls_itself(tmp_path):
    deep = tmp_path.joinpath(*["a"] * 1800)
    with pytest.raises(BadInputError, match="too long"):
        JobFolder.create(deep, REQUEST)
    with pytest.raises(BadInputError, match="too long"):
        JobFolder.create_new(deep, "job", REQUEST)


def test_a_folder_that_is_no_job(tmp_path):
    with pytest.raises(BadInputError, match="not a job folder"):
        JobFolder.open(tmp_path)
    with pytest.raises(BadInputError, match="not a job folder"):
        JobFolder.open(tmp_path / "nothing")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_a_new_job_needs_besides_its_request_is_complete_or_the_folder_is_gone(tmp_path, monkeypatch, number):
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    with folder.completed():
        folder.source_file.touch()
    assert folder.source_file.exists()
    with pytest.raises(StorageError, match="is full: free some space"), folder.completed():
        raise OSError(number, "No space left")
    assert not folder.path.exists()
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    with pytest.raises(KeyboardInterrupt), folder.completed():
        raise KeyboardInterrupt
    assert not folder.path.exists()
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    monkeypatch.setattr(files, "remove_files", _in_use)
    with pytest.raises(StorageError, match="is full: free some space"), folder.completed():
        raise OSError(number, "No space left")


def _in_use(*_):
    raise PermissionError(errno.EACCES, "in use")


def test_only_who_is_at_a_job_leaves_it(tmp_path):
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    folder.leave()
    folder.beat(1.0)
    status = folder.status()
    folder.status_file.write_text(json.dumps(status | {"process_start": "another process had this id then"}))
    folder.leave()
    assert folder.status_file.exists()
    folder.beat(1.0)
    folder.leave()
    assert not folder.status_file.exists()


def on_windows(number):
    error = PermissionError(errno.EACCES, "Access is denied")
    error.winerror = number
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (files.UnsafeFileError("It is a link."), r"^It is a link\.$"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "is too long for its disk: choose a results folder"),
        (on_windows(206), "is too long for its disk: choose a results folder"),
        (on_windows(32), "is open in another program: close it"),
        (on_windows(5), r"cannot be used \(Access is denied\): choose a results folder that you may write to"),
        (FileNotFoundError(errno.ENOENT, "No such file"), r"here.* cannot be used \(No such file\)"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "away.* is gone: connect its drive"),
        (OSError("strange"), r"cannot be used \(strange\)"),
    ],
)
def test_what_the_system_refuses_is_named_with_its_cure(tmp_path, error, words):
    (tmp_path / "here").mkdir()
    with pytest.raises(StorageError, match=words), storage_errors(tmp_path / ("away" if "away" in words else "here")):
        raise error


@pytest.mark.parametrize(
    ("name", "length", "words"),
    [
        ("here", 260, "is too long for its disk: choose a results folder with a short name"),
        ("here", 259, r"here.* cannot be used \(No such file\)"),
        ("away", 260, "away.* is gone: connect its drive"),
    ],
)
def test_a_path_that_is_too_long_for_windows_which_it_calls_missing(tmp_path, monkeypatch, name, length, words):
    monkeypatch.setattr(job_folder.sys, "platform", "win32")
    (tmp_path / "here").mkdir()
    file = str(tmp_path / name / "x")
    file += "x" * (length - len(file))
    with pytest.raises(StorageError, match=words), storage_errors(tmp_path / name):
        raise FileNotFoundError(errno.ENOENT, "No such file", file)


def test_a_full_disk_is_named_with_its_cure(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a device that is always full")
    with pytest.raises(StorageError, match=r"is full: free some space"), storage_errors(tmp_path):
        Path("/dev/full").write_bytes(b"x" * 100_000)


@pytest.mark.parametrize("refused", ["create", "write_atomically", "append"])
def test_a_disk_that_is_full_before_there_is_a_job(tmp_path, monkeypatch, refused):
    """Nothing could be resumed, and what is left of the attempt would be in the way of the next one."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = {"create": files, "write_atomically": job_folder, "append": JobFolder}[refused]
    with monkeypatch.context() as disk:
        disk.setattr(owner, refused, full)
        for create in (
            lambda: JobFolder.create(tmp_path / "job", REQUEST),
            lambda: JobFolder.create_new(tmp_path, "job", REQUEST),
        ):
            with pytest.raises(StorageError, match="is full: free some space, then try again"):
                create()
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    with pytest.raises(StorageError, match="then resume the job"), storage_errors(folder.path):
        full()


def test_a_disk_that_has_no_room_for_a_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "make_folder_with_parents", full)
    with pytest.raises(StorageError, match="is full: free some space, then try again"):
        JobFolder.create(tmp_path / "job", REQUEST)
    with pytest.raises(StorageError, match="is full: free some space, then try again"):
        JobFolder.create_new(tmp_path, "job", REQUEST)


def test_an_event_after_a_half_written_line_is_not_lost(tmp_path):
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    with folder.events_file.open("ab") as file:
        file.write(b'{"type": "prog')
    folder.append(events.StateChanged(events.STARTING))
    folder.append(events.StateChanged(events.RUNNING))
    seen, _ = events.read_new(folder.events_file, 0)
    assert [event.state for event in seen] == ["queued", "starting", "running"]
    assert folder.events_file.read_bytes().count(b"\n") == 4


def test_an_event_may_name_a_file_whose_name_is_no_text(tmp_path):
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    folder.append(events.Notice("The file caf\udce9 is damaged."))
    [_, notice], _ = events.read_new(folder.events_file, 0)
    assert notice.message == "The file caf? is damaged."


def test_atomic_writing_leaves_no_temporary_files(tmp_path):
    write_atomically(tmp_path / "result.json", "one")
    write_atomically(tmp_path / "result.json", "two")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "two"


def test_the_contract_needs_no_torch():
    """Blender's Python, which has no torch, imports these."""
    code = (
        "import sys, sdi_engine, sdi_engine.contract.request, sdi_engine.contract.events, "
        "sdi_engine.contract.job_folder, sdi_engine.errors, "
        "sdi_engine.service.worker, sdi_engine.cli.commands, sdi_engine.doctor\n"
        "foreign = {'torch', 'numpy', 'diffusers', 'tqdm', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {foreign}' if foreign else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_that_a_job_may_have_is_deleted_with_it(tmp_path):
    folder = JobFolder.create(tmp_path / "job", REQUEST)
    for name, path in vars(folder).items():
        if name.endswith(("_file", "_flag")):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    assert folder.remove()
    assert not folder.path.exists()
