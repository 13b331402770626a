"""No link inside a job is followed, for writing, reading or deleting, and only files that we write are deleted."""

import errno
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder, storage_errors, why_not_read
from sdi_engine.contract.job_queue import RUN, JobQueue, Ticket
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import EXIT_DONE, EXIT_STORAGE, BadInputError, StorageError
from sdi_engine.service import own_process, worker
from sdi_engine.system import files
from sdi_engine.system.files import UnsafeFileError, write_atomically

REQUEST = JobRequest("a red mug")


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "results" / "job", REQUEST)


@pytest.fixture
def documents(tmp_path):
    """A person's own folder, and its content."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in ("state.safetensors", "side-0.png", "letter.txt"):
        (documents / name).write_text("mine")
    return documents


def is_untouched(documents):
    return {file.name: file.read_text() for file in documents.iterdir()} == dict.fromkeys(
        ("state.safetensors", "side-0.png", "letter.txt"), "mine"
    )


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this person may not make links")


NAMES = [name for name, value in vars(JobFolder("x")).items() if name not in ("path", "checkpoint_file")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resume", [False, True])
def test_a_job_with_a_link_is_refused_before_anything_is_written(folder, documents, name, resume):
    place = getattr(folder, name)
    place.unlink(missing_ok=True)
    link(place, documents if name.endswith("_folder") else documents / "letter.txt")

    def work(*arguments):
        raise AssertionError("it must not begin")

    assert worker.run(folder.path, resume=resume, work=work) == EXIT_STORAGE
    assert files.is_link(place)
    assert is_untouched(documents)


def test_the_sentence_names_the_link_and_the_cure(folder, documents, caplog):
    link(folder.checkpoint_folder, documents)
    worker.run(folder.path, resume=False)
    assert f'"{folder.checkpoint_folder}" is a link, and links inside a job are not followed: delete it.' in caplog.text


def test_only_the_checkpoint_itself_is_forgotten(folder):
    folder.checkpoint_folder.mkdir()
    for name in ("state.safetensors", ".state.safetensors.123.part", "letter.txt", "state.safetensors.txt"):
        (folder.checkpoint_folder / name).write_text("")
    folder.forget_checkpoint()
    assert sorted(file.name for file in folder.checkpoint_folder.iterdir()) == ["letter.txt", "state.safetensors.txt"]


def test_what_a_killed_engine_was_writing_is_removed_by_the_next(folder):
    folder.turntable_folder.mkdir()
    left = [".status.json.123.part", ".live.npz.123.part", "turntable/.side-0.png.123.part"]
    kept = [
        ".placement.json.123.part",
        ".notes.txt.123.part",
    ]  # one that Blender may be writing, and one that is not ours
    for name in (*left, *kept):
        (folder.path / name).write_text("")
    assert worker.run(folder.path, resume=True, work=lambda *_: None) == EXIT_DONE
    assert [name for name in (*left, *kept) if (folder.path / name).exists()] == kept


def test_a_log_that_is_a_link_or_a_pipe_is_not_written(folder, documents, capfd):
    link(folder.log_file, documents / "letter.txt")
    with own_process._printing_into(folder.log_file):
        print("a line of the log", flush=True)
    assert is_untouched(documents)
    folder.log_file.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder.log_file)
        with own_process._printing_into(folder.log_file):  # opening a pipe would wait for a reader for ever
            print("a line of the log", flush=True)
    assert "a line of the log" in capfd.readouterr().out


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_events_go_into_no_other_file(folder, documents, make):
    folder.events_file.unlink()
    try:
        getattr(folder.events_file, make)(documents / "letter.txt")
    except OSError:
        pytest.skip("this person may not make links, or this disk has none")
    with pytest.raises(UnsafeFileError, match="link"):
        folder.append(events.StateChanged(events.RUNNING))
    assert is_untouched(documents)


def test_a_link_is_replaced_by_what_is_written(folder, documents):
    link(folder.result_file, documents / "letter.txt")
    link(folder.path / f".result.json.{os.getpid()}.part", documents / "side-0.png")
    write_atomically(folder.result_file, "{}")
    assert folder.result_file.read_text() == "{}"
    assert not files.is_link(folder.result_file)
    assert is_untouched(documents)


def test_no_folder_of_ours_is_a_link(tmp_path, documents):
    link(tmp_path / "turntable", documents)
    with pytest.raises(UnsafeFileError, match="is a link"):
        files.make_folder_of_ours(tmp_path / "turntable")
    with pytest.raises(UnsafeFileError, match="is a link"):
        files.remove_files(tmp_path / "turntable", re.compile(".*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        files.make_folder_of_ours(tmp_path / "file")
    assert is_untouched(documents)


def test_flags_create_nothing_outside_the_job(folder, tmp_path):
    link(folder.cancel_flag, tmp_path / "elsewhere")
    with pytest.raises(UnsafeFileError, match="is a link"):
        files.touch(folder.cancel_flag)
    assert not (tmp_path / "elsewhere").exists()
    files.touch(folder.pause_flag)
    files.touch(folder.pause_flag)
    assert folder.pause_flag.exists()


@pytest.mark.parametrize("name", [".engine", ".engine/queue"])
def test_a_queue_behind_a_link_is_not_used(tmp_path, documents, name):
    ticket = Ticket(1, RUN, "job").file_name
    (documents / "queue").mkdir()
    for place in (documents / ticket, documents / "queue" / ticket):
        place.write_text("mine")
    results = tmp_path / "results"
    (results / name).parent.mkdir(parents=True, exist_ok=True)
    link(results / name, documents)
    queue = JobQueue(results)
    for use in (queue.waiting, queue.take, queue.hold, lambda: queue.add("job"), lambda: queue.remove("job")):
        with pytest.raises(UnsafeFileError, match="is a link"):
            use()
    assert (documents / ticket).exists()
    assert (documents / "queue" / ticket).exists()


def test_what_is_read_is_an_ordinary_file_of_bounded_size(folder, documents, tmp_path):
    link(folder.result_file, documents / "letter.txt")
    with pytest.raises(UnsafeFileError, match="is a link"):
        files.read_bytes(folder.result_file)
    with pytest.raises(OSError, match=r"."):
        files.read_bytes(documents)
    with pytest.raises(UnsafeFileError, match="larger"):
        files.read_bytes(documents / "letter.txt", limit=3)
    assert files.read_bytes(documents / "letter.txt", limit=4) == b"mine"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UnsafeFileError, match="not an ordinary file"):  # and it does not wait for a writer
            files.read_bytes(tmp_path / "pipe")
        with pytest.raises(OSError, match=r"."):
            files.open_to_append(tmp_path / "pipe")


def test_a_request_behind_a_link_is_not_read(folder, documents):
    (documents / "letter.txt").write_text(REQUEST.to_json())
    folder.request_file.unlink()
    link(folder.request_file, documents / "letter.txt")
    with pytest.raises(StorageError, match="is a link"):
        JobFolder.open(folder.path).request()


def test_removing_a_job_leaves_what_is_not_ours(folder, documents):
    folder.checkpoint_folder.mkdir()
    folder.checkpoint_file.write_bytes(b"x")
    folder.previews_folder.mkdir()
    (folder.previews_folder / "step-000001.png").write_bytes(b"x")
    (folder.previews_folder / "mine.png").write_bytes(b"x")
    (folder.path / "mug.obj").write_text("mine")
    link(folder.turntable_folder, documents)
    assert not folder.remove()
    left = sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*"))
    assert left == ["mug.obj", "previews", os.path.join("previews", "mine.png")]  # noqa: PTH118
    assert is_untouched(documents)
    (folder.path / "mug.obj").unlink()
    (folder.previews_folder / "mine.png").unlink()
    assert folder.remove()
    assert not folder.path.exists()


def test_of_two_that_make_a_job_in_one_empty_folder_one_succeeds(tmp_path, monkeypatch):
    """Both have checked that it is empty before either writes."""
    monkeypatch.setattr("sdi_engine.contract.job_folder.make_folder", lambda path: path.mkdir(exist_ok=True))
    JobFolder.create(tmp_path / "job", JobRequest("first"))
    with pytest.raises(BadInputError, match="not empty"):
        JobFolder.create(tmp_path / "job", JobRequest("second"))
    assert JobFolder.open(tmp_path / "job").request().prompt == "first"


def test_a_name_that_is_too_long_is_reported_as_such(tmp_path):
    with pytest.raises(BadInputError, match=r"too long for its disk: choose a results folder with a short name"):
        JobFolder.create_new(tmp_path / ("x" * 300), "job", REQUEST)
    with pytest.raises(BadInputError, match="too long"):
        JobFolder.create(tmp_path / ("x" * 300), REQUEST)


def test_why_a_results_folder_is_not_read(tmp_path, documents):
    said = []
    for results in (tmp_path / ("x" * 300), tmp_path, documents / "letter.txt"):
        if results == tmp_path:
            link(tmp_path / ".engine", documents)
        try:
            JobQueue(results).waiting()
        except OSError as error:
            said.append(why_not_read(results, error))
    assert said[0].endswith("too long): choose one with a short name.")
    assert said[1].endswith('.engine" is a link, and links inside a job are not followed: delete it.')
    assert said[2].endswith("is its drive connected?")


def test_each_gets_a_folder_of_its_own(tmp_path):
    made = [JobFolder.create_new(tmp_path / "results", "mug", REQUEST).path.name for _ in range(3)]
    assert made == ["mug", "mug-2", "mug-3"]


def test_nothing_is_left_of_a_job_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sdi_engine.contract.job_folder.write_atomically", refuse)
    with pytest.raises(StorageError, match="is full"):
        JobFolder.create_new(tmp_path, "mug", REQUEST)
    assert list(tmp_path.iterdir()) == []


def test_many_at_the_same_moment_get_a_folder_each(tmp_path):
    """As when Generate is pressed in several Blenders at once."""
    barrier = threading.Barrier(8)

    def make(number):
        barrier.wait()
        return JobFolder.create_new(tmp_path, "mug", JobRequest(f"mug {number}"))

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert len({folder.path for folder in made}) == 8
    assert [folder.request().prompt for folder in made] == [f"mug {number}" for number in range(8)]


def as_on_windows(monkeypatch, name, times):
    """Windows keeps the file of this name as it is for so many calls; the seconds that are waited meanwhile."""
    kept, waited, open_file = [], [], os.open

    def unless_kept(act):
        def called(*arguments, **options):
            paths = [Path(argument).name for argument in arguments if isinstance(argument, str | Path)]
            reads = act is open_file and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
            if name in paths and not reads and len(kept) < times:
                kept.append(paths)
                raise PermissionError(errno.EACCES, "Permission denied")
            return act(*arguments, **options)

        return called

    for owner, method in ((Path, "replace"), (Path, "unlink"), (os, "open")):
        monkeypatch.setattr(owner, method, unless_kept(getattr(owner, method)))
    monkeypatch.setattr(files, "_ON_WINDOWS", True)
    monkeypatch.setattr(files.time, "sleep", waited.append)
    return waited


FILES_OF_OTHERS = {
    "events.jsonl": lambda folder: folder.append(events.Notice("hello")),
    "status.json": lambda folder: folder.beat(1.0),
    "texture.png": lambda folder: folder.remove(),
    "result.json": lambda folder: worker._forget_last_run(folder, resume=True),
    "worker.log": lambda folder: files.open_to_append(folder.log_file).close(),
}


@pytest.mark.parametrize("name", FILES_OF_OTHERS)
def test_a_file_that_another_program_has_open_on_windows_is_waited_for(folder, monkeypatch, name):
    (folder.path / name).touch()
    with monkeypatch.context() as windows:
        waited = as_on_windows(windows, name, 3)
        FILES_OF_OTHERS[name](folder)
        assert waited == [0.05] * 3
    with monkeypatch.context() as windows:
        folder.path.mkdir(exist_ok=True)
        (folder.path / name).touch()
        waited = as_on_windows(windows, name, 100)
        with pytest.raises(StorageError, match="open in another program"), storage_errors(folder.path):
            FILES_OF_OTHERS[name](folder)
        assert 0.9 < sum(waited) < 1.1


@pytest.mark.parametrize(("is_windows", "times", "is_read"), [(True, 2, True), (True, 100, False), (False, 1, False)])
def test_a_file_that_is_just_being_replaced_is_read_on_windows(folder, monkeypatch, is_windows, times, is_read):
    folder.beat(1.0)
    tries, open_file = [], os.open

    def open_or_refuse(path, *arguments):
        tries.append(path)
        if len(tries) <= times:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(path, *arguments)

    monkeypatch.setattr(files, "_ON_WINDOWS", is_windows)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "open", open_or_refuse)
    assert (folder.status() is not None) == is_read
    assert len(tries) == (3 if is_read else 4 if is_windows else 1)


def test_who_leaves_a_job_waits_for_who_reads_its_status_on_windows(folder, monkeypatch):
    folder.beat(1.0)
    as_on_windows(monkeypatch, "status.json", 3)
    folder.leave()
    assert not folder.status_file.exists()


def test_what_is_missing_was_deleted_only_where_its_device_is_there(tmp_path):
    place = tmp_path / "results" / "job"
    place.mkdir(parents=True)
    device = files.device_of(place)
    assert not files.was_deleted(place, device)
    place.rmdir()
    assert files.was_deleted(place, device)
    assert not files.was_deleted(place, -1), "its drive is away, and was mounted at the folder around it"
    assert not files.was_deleted(place, None)
    place.parent.rmdir()
    assert files.was_deleted(place, device)
    assert files.device_of(place) is None
