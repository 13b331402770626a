import errno
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from sdi_engine.contract import job_queue
from sdi_engine.contract.attendance import is_attended, is_ours_to_end
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME, RUN, SAMPLE, JobQueue, Ticket
from sdi_engine.contract.request import JobRequest
from sdi_engine.system import files, machine, processes


@pytest.fixture
def queue(tmp_path):
    return JobQueue(tmp_path)


def names(queue):
    return [ticket.name for ticket in queue.waiting()]


def test_first_come_first_served_except_with_first(queue):
    assert queue.waiting() == []
    queue.add("a")
    queue.add("b", RESUME)
    queue.add("c", SAMPLE, first=True)
    assert [(ticket.name, ticket.verb) for ticket in queue.waiting()] == [("c", SAMPLE), ("a", RUN), ("b", RESUME)]
    queue.add("b", RESUME, first=True)  # it replaces the first ticket
    assert names(queue) == ["b", "c", "a"]
    assert queue.take().name == "b"
    assert names(queue) == ["c", "a"]


def test_many_in_the_same_microsecond_keep_their_order(queue, monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    for name in "cabed":
        queue.add(name)
    assert names(queue) == ["c", "a", "b", "e", "d"]


def test_no_job_is_lost_beside_tickets_whose_turns_are_the_first_and_the_last_that_there_are(queue):
    queue.make_folders()
    for turn in (0, 10**16 - 1):
        (queue.tickets_folder / f"{turn:016d} run somebody's").write_text("{}")
    queue.add("a")
    queue.add("b", first=True)
    assert {"a", "b"} < set(names(queue))


def test_a_job_whose_name_a_file_system_of_macos_takes_apart_is_known_again(queue, monkeypatch):
    name = unicodedata.normalize("NFC", "ガラスの머그")
    monkeypatch.setattr(files.sys, "platform", "darwin")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [unicodedata.normalize("NFD", each) for each in listed(folder)])
    queue.add(name)
    assert queue.next_of_ours().name == name


def test_neighbours_swap_places(queue):
    for name in "abc":
        queue.add(name)
    queue.move("a", 1)
    assert names(queue) == ["b", "a", "c"]
    queue.move("c", -1)
    assert names(queue) == ["b", "c", "a"]
    for name, by in (("b", -1), ("a", 1), ("x", 1)):
        queue.move(name, by)
    assert names(queue) == ["b", "c", "a"]


def test_a_job_that_was_just_taken_is_not_moved(queue, monkeypatch):
    queue.add("a")
    queue.add("b")
    replace_file = job_queue.replace_file

    def replace_or_miss(source, target):
        if source.name.endswith(" a"):
            source.unlink()
        replace_file(source, target)

    monkeypatch.setattr(job_queue, "replace_file", replace_or_miss)
    queue.move("b", -1)
    assert names(queue) == ["b"]


def test_a_queue_may_be_held_before_there_is_one(queue):
    queue.release()
    queue.hold()
    queue.add("a")
    assert queue.take() is None
    queue.release()
    queue.release()
    assert queue.take().name == "a"


def test_a_job_is_taken_once_and_not_while_held(queue, tmp_path):
    queue.add("a")
    queue.hold()
    assert queue.is_held
    assert queue.take() is None
    queue.release()
    assert queue.take().name == "a"
    assert JobQueue(tmp_path).take() is None
    assert not queue.remove("a")


def test_a_name_may_hold_spaces_and_other_files_do_no_harm(queue):
    queue.add("a b  c")
    (queue.tickets_folder / "notes.txt").touch()
    assert names(queue) == ["a b  c"]
    assert queue.remove("a b  c")


def test_the_status_is_that_of_a_living_engine_only(queue):
    assert queue.status() is None
    queue.make_folders()
    queue.beat(1.0, ["job"], "starter", {"online": True})
    status = queue.status()
    assert status | {"heartbeat": 0} == {
        **processes.ourselves(),
        "started": 1.0,
        "heartbeat": 0,
        "job": "job",
        "jobs": ["job"],
        "capacity": 1,
        "model": "starter",
        "engine": {"online": True},
        "waits": False,
    }
    for changes in (
        {"pid": 4194305},
        {"pid": 10**400},
        {"process_start": "another process had this id then"},
        {"boot": "before the machine was started again"},
        {"machine": "another"},
        {"namespace": "another container"},
    ):
        queue.status_file.write_text(json.dumps(status | changes))
        assert queue.status() is None, changes
    queue.status_file.write_text("{")
    assert queue.status() is None


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ({"capacity": 3}, {"capacity": 3}),
        ({"capacity": 0}, {"capacity": 1}),
        ({"capacity": "3"}, {"capacity": 1}),
        ({"model": 5}, {"model": ""}),
        ({"jobs": ["a", "", 5, "b"]}, {"jobs": ["a", "b"]}),
        ({"jobs": "ab"}, {"jobs": []}),
    ],
)
def test_what_an_engines_status_says_has_its_types(queue, said, understood):
    queue.make_folders()
    queue.beat(1.0, ["job"], "starter")
    status = queue.status()
    queue.status_file.write_text(json.dumps(status | said))
    assert queue.status() == status | understood


def test_an_engine_works_on_some_jobs_or_none_and_one_of_an_earlier_version_on_one_or_none(queue):
    assert job_queue.jobs_of({"job": "a"}) == ["a"]
    assert job_queue.jobs_of({"job": ""}) == job_queue.jobs_of({}) == []
    queue.make_folders()
    queue.beat(1.0, [], "starter")
    assert queue.status()["jobs"] == []


def test_many_keep_their_order_and_the_queue_is_read_once(queue, monkeypatch):
    queue.add("early")
    looks = []
    waiting = JobQueue.waiting
    monkeypatch.setattr(JobQueue, "waiting", lambda self: looks.append(1) or waiting(self))
    many = [f"job-{number}" for number in range(200)]
    assert list(queue.add_all(many)) == many
    assert len(looks) == 1
    assert names(queue) == ["early", *many]
    assert list(queue.add_all(["last", "early"], first=True)) == ["last", "early"]
    assert names(queue) == ["last", "early", *many]
    looks.clear()
    assert list(queue.remove_all({"job-7", "job-3", "nobody"})) == ["job-3", "job-7"]
    assert len(looks) == 1


def test_a_disk_error_midway_tells_which_jobs_were_queued(queue, monkeypatch):
    write_atomically = job_queue.write_atomically

    def refuse(path, content):
        if "third" in path.name:
            raise OSError(28, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr(job_queue, "write_atomically", refuse)
    told = []
    with pytest.raises(OSError, match="No space"):
        told.extend(queue.add_all(["first", "second", "third", "fourth"]))
    assert told == names(queue) == ["first", "second"]


@pytest.mark.parametrize("first", [False, True])
def test_a_job_that_is_queued_again_on_a_full_disk_waits_as_before(queue, monkeypatch, first):
    for name in "abc":
        queue.add(name)

    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(job_queue, "write_atomically", refuse)
        with pytest.raises(OSError, match="No space left"):
            queue.add("b", RESUME, first=first)
    assert [(ticket.name, ticket.verb) for ticket in queue.waiting()] == [("a", RUN), ("b", RUN), ("c", RUN)]


@pytest.mark.parametrize("turn", [0, 10**16 - 2])
def test_a_job_that_gets_the_turn_that_it_has_keeps_it(queue, turn):
    queue.make_folders()
    queue._write(Ticket(turn, RUN, "a"))
    queue.add("a", first=turn == 0)
    assert [(ticket.turn, ticket.name) for ticket in queue.waiting()] == [(turn, "a")]


def test_a_job_that_an_engine_takes_while_it_is_queued_again_does_not_wait_besides(queue, monkeypatch):
    queue.add("a")
    write = job_queue.write_atomically

    def write_later(path, content):
        assert JobQueue(queue.results).take().name == "a"
        write(path, content)

    monkeypatch.setattr(job_queue, "write_atomically", write_later)
    queue.add("a", first=True)
    assert names(queue) == []


def test_an_old_ticket_that_windows_keeps_is_not_joined_by_another(queue, monkeypatch):
    queue.add("a")
    unlink = Path.unlink
    old = queue.waiting()[0].file_name

    def kept(path, *arguments, **options):
        if path.name == old:
            raise PermissionError(errno.EACCES, "in use")
        unlink(path, *arguments, **options)

    with monkeypatch.context() as windows:
        windows.setattr(Path, "unlink", kept)
        windows.setattr(files.time, "sleep", lambda seconds: None)
        with pytest.raises(PermissionError):
            queue.add("a", first=True)
    assert [ticket.file_name for ticket in queue.waiting()] == [old]


def test_who_takes_a_job_takes_all_its_tickets(queue):
    """A process that was killed while it queued the job again leaves two."""
    queue.add("a")
    queue._write(Ticket(7, RUN, "a"))
    queue.add("b")
    assert names(queue) == ["a", "a", "b"]
    assert queue.take().turn == 7
    assert names(queue) == ["b"]


def as_somebody_else(queue, monkeypatch, tmp_path, host="nas"):
    """The same folder, used by another person or on another machine."""
    monkeypatch.setenv(machine.FOLDER_VARIABLE, str(tmp_path / host))
    return JobQueue(queue.results)


def write_request(queue, name, prompt="a red mug"):
    folder = queue.results / name
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "request.json").write_text(prompt)


def ours(queue):
    return [ticket.name for ticket in queue.waiting() if ticket.is_ours]


def test_only_what_this_person_queued_is_taken(queue, monkeypatch, tmp_path):
    queue.make_folders()
    with monkeypatch.context() as patch:
        as_somebody_else(queue, patch, tmp_path).add("theirs")
    (queue.tickets_folder / "0000000000000002 run old").touch()  # in the format of version 0.1
    (queue.tickets_folder / "0000000000000003 run damaged").write_text('{"author": [], "seal": [')
    (queue.tickets_folder / "0000000000000004 run nested").write_text("[" * 9000)
    (queue.tickets_folder / "0000000000000005 run folder").mkdir()
    (queue.tickets_folder / "0000000000000006 run list").write_text("[]")
    (queue.tickets_folder / "0000000000000007 run unsealed").write_text('{"author": {}}')
    (queue.tickets_folder / "0000000000000008 run ..").touch()
    queue.add("mine")
    assert set(names(queue)) == {"theirs", "old", "damaged", "nested", "folder", "list", "unsealed", "mine"}
    assert ours(queue) == ["mine"]
    assert JobQueue(tmp_path).take().name == "mine"
    assert queue.take() is None
    assert queue.waiting()[-1].host == machine.here().host


def test_a_ticket_for_another_request_or_job_or_machine_is_not_ours(queue, monkeypatch):
    for name in ("a", "b"):
        write_request(queue, name)
    queue.add("a")
    ticket = queue.waiting()[0]
    file = queue.tickets_folder / ticket.file_name
    assert ours(JobQueue(queue.results)) == ["a"]
    copied = file.read_text()
    for forged in ("0000000000000007 run b", "0000000000000008 resume a"):
        (queue.tickets_folder / forged).write_text(copied)
    assert ours(JobQueue(queue.results)) == ["a"]
    with monkeypatch.context() as patch:
        patch.setattr(machine, "here", lambda: machine.Place("nas", "another", "", "", ""))
        assert ours(JobQueue(queue.results)) == []
    write_request(queue, "a", "something else")
    assert ours(queue) == ["a"]  # from when it was last read
    assert queue.take() is None  # but it is read again before it is taken
    assert ours(queue) == []


def test_a_ticket_from_elsewhere_is_sealed_anew_by_queueing_it_again(queue, monkeypatch, tmp_path):
    write_request(queue, "theirs")
    with monkeypatch.context() as patch:
        as_somebody_else(queue, patch, tmp_path).add("theirs")
    assert ours(queue) == []
    queue.add("theirs")
    assert names(queue) == ours(queue) == ["theirs"]


def test_a_copy_of_a_running_job_says_nothing_of_who_may_be_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "is_ours_to_end", lambda status: True)
    folder = JobFolder.create(tmp_path / "results" / "a", JobRequest("a red mug"))
    folder.beat(1.0)
    shutil.copytree(tmp_path / "results", tmp_path / "stick")
    assert is_ours_to_end(folder)
    assert not is_ours_to_end(JobFolder(tmp_path / "stick" / "a"))


def test_what_was_copied_or_moved_waits_from_elsewhere(tmp_path):
    queue = JobQueue(tmp_path / "results")
    write_request(queue, "a")
    queue.add("a")
    (tmp_path / "link").symlink_to(tmp_path / "results", target_is_directory=True)
    assert ours(queue) == ours(JobQueue(tmp_path / "link")) == ["a"]
    shutil.copytree(tmp_path / "results", tmp_path / "stick")
    copied = JobQueue(tmp_path / "stick")
    assert ours(copied) == []
    assert copied.take() is None
    assert [ticket.host for ticket in copied.waiting()] == [machine.here().host]
    assert ours(queue) == ["a"]
    (tmp_path / "results").rename(tmp_path / "moved")
    moved = JobQueue(tmp_path / "moved")
    assert ours(moved) == []
    moved.add("a")  # by the button
    assert moved.take().name == "a"


def test_an_engine_that_sees_another_file_system_knows_the_folder_by_the_name_that_blender_called_it(tmp_path):
    queue = JobQueue(tmp_path / "results")
    write_request(queue, "a")
    queue.add("a")
    queue.results.rename(tmp_path / "var")
    tmp_path.joinpath("results").symlink_to(tmp_path / "var", target_is_directory=True)
    assert ours(JobQueue(tmp_path / "results")) == ["a"]


def test_tickets_are_opened_once_and_again_where_their_job_was_away(queue, monkeypatch):
    for name in ("a", "b"):
        write_request(queue, name)
        queue.add(name)
    fresh = JobQueue(queue.results)
    opened = []
    read_text = job_queue.read_text
    monkeypatch.setattr(job_queue, "read_text", lambda *arguments: opened.append(1) or read_text(*arguments))
    for _ in range(3):
        fresh.waiting()
    assert len(opened) == 2
    fresh.move("b", -1)  # this needs no new seal
    assert names(fresh) == ours(fresh) == ["b", "a"]
    (queue.results / "a").rename(queue.results / "away")
    fresh = JobQueue(queue.results)
    assert ours(fresh) == ["b"]
    (queue.results / "away").rename(queue.results / "a")
    assert ours(fresh) == ["b", "a"]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "in use just now"), OSError(errno.EIO, "away")])
def test_a_ticket_that_could_not_be_read_is_read_again(queue, monkeypatch, error):
    queue.add("a")

    def refused(*_):
        raise error

    with monkeypatch.context() as drive:
        drive.setattr(job_queue, "read_text", refused)
        if isinstance(error, PermissionError):
            assert (names(queue), ours(queue)) == (["a"], [])
        else:
            with pytest.raises(OSError, match="away"):
                queue.waiting()
    assert ours(queue) == ["a"]


def test_a_queue_behind_a_link_is_not_read(queue, tmp_path):
    other = JobQueue(tmp_path / "elsewhere")
    other.add("a")
    queue.folder.symlink_to(other.folder, target_is_directory=True)
    with pytest.raises(OSError, match="link"):
        queue.waiting()


def test_where_the_queue_was_deleted_nothing_waits(queue):
    queue.add("a")
    assert names(queue) == ["a"]
    shutil.rmtree(queue.folder)
    assert queue.waiting() == []


def test_a_ticket_that_is_taken_while_the_queue_is_read_is_none(queue, monkeypatch):
    queue.add("a")
    [ticket] = queue.waiting()
    monkeypatch.setattr(queue, "_file_names", lambda: [ticket.file_name, "0000000000000001 run taken"])
    assert names(queue) == ["a"]


def test_a_job_is_announced_before_its_ticket_is_gone(queue, monkeypatch):
    """On a slow disk there was a moment in which a job seemed neither queued nor taken."""
    write_request(queue, "job")
    queue.add("job")
    folder = queue.job_folder(queue.waiting()[0])
    seen = []
    tear_up, beat = JobQueue.tear_up, JobFolder.beat

    def slow_beat(folder, started):
        assert names(JobQueue(queue.results)) == ["job"]
        beat(folder, started)

    def slow_tear_up(queue, ticket):
        seen.append((processes.is_ourselves(folder.status()), is_attended(folder)))
        return tear_up(queue, ticket)

    monkeypatch.setattr(JobFolder, "beat", slow_beat)
    monkeypatch.setattr(JobQueue, "tear_up", slow_tear_up)
    announced = []
    assert queue.take(announced.append).name == "job"
    assert seen == [(True, True)]
    assert announced == [Ticket(announced[0].turn, RUN, "job")]


def test_a_job_that_another_engine_takes_first_is_not_announced_for_long(queue, monkeypatch):
    write_request(queue, "job")
    queue.add("job")
    folder = queue.job_folder(queue.waiting()[0])
    assert queue.take(lambda ticket: queue.remove("job")) is None
    assert folder.status() is None


@pytest.mark.parametrize(
    ("changes", "is_taken_over"), [({"machine": "another"}, False), ({"process_start": "of one that ended"}, True)]
)
def test_the_status_of_an_engine_that_has_ended_is_replaced_and_no_other(queue, tmp_path, changes, is_taken_over):
    """Whether one elsewhere still works on the job is for `worker.run` to find out."""
    folder = JobFolder.create(tmp_path / "job", JobRequest("a mug"))
    queue.add("job")
    folder.status_file.write_text(json.dumps(processes.ourselves() | changes))
    assert queue.take().name == "job"
    assert processes.is_ourselves(folder.status()) == is_taken_over


def test_an_engine_that_was_told_to_leave_takes_no_job(queue):
    queue.add("a", first=True)
    queue.leave_flag.touch()
    assert queue.take() is None
    queue.leave_flag.unlink()
    assert queue.take().name == "a"


def test_a_ticket_that_became_invalid_after_it_was_read_is_not_taken(queue):
    queue.add("a")
    [ticket] = queue.waiting()
    assert ticket.is_ours
    (queue.tickets_folder / ticket.file_name).write_text("no ticket any more")
    assert queue.take() is None


def _status_is_a_folder(folder):
    folder.status_file.mkdir()


def _is_a_file(folder):
    folder.remove()
    folder.path.write_text("no folder any more")


@pytest.mark.parametrize("spoil", [_status_is_a_folder, _is_a_file])
def test_a_damaged_job_blocks_no_other(spoil, queue, tmp_path):
    for name in ("spoilt", "sound"):
        JobFolder.create(tmp_path / name, JobRequest("a mug"))
        queue.add(name)
    spoil(JobFolder(tmp_path / "spoilt"))
    assert "sound" in [ticket.name for ticket in (queue.take(), queue.take()) if ticket]


@pytest.mark.parametrize("unreadable", ["ticket", "request.json"])
def test_an_unreadable_file_blocks_no_other_job(unreadable, queue, tmp_path, monkeypatch):
    """For example the ticket of another person, whose files nobody else may read."""
    for name in ("theirs", "mine"):
        JobFolder.create(tmp_path / name, JobRequest("a mug"))
        queue.add(name)
    [theirs] = [ticket for ticket in JobQueue(tmp_path).waiting() if ticket.name == "theirs"]
    closed = theirs.file_name if unreadable == "ticket" else str(tmp_path / "theirs" / "request.json")
    opened = files.open_to_read

    def refused(path):
        if str(path).endswith(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(files, "open_to_read", refused)
    assert queue.take().name == "mine"
    assert names(queue) == ["theirs"]


def test_of_two_processes_one_gets_the_ticket(queue, tmp_path):
    program = (
        "import sys; from pathlib import Path; from sdi_engine.contract.job_queue import JobQueue\n"
        "queue = JobQueue(Path(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "while queue.waiting():\n"
        "    ticket = queue.take()\n"
        "    if ticket is not None: print(ticket.name)\n"
    )
    every = [f"job-{number}" for number in range(30)]
    for name in every:
        write_request(queue, name)
    list(queue.add_all(every))
    command = [sys.executable, "-c", program, str(tmp_path)]
    takers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for taker in takers:
        taker.stdout.readline()
    for taker in takers:
        taker.stdin.write("go\n")
        taker.stdin.flush()
    taken = [name for taker in takers for name in taker.communicate(timeout=60)[0].split()]
    assert sorted(taken) == sorted(every)


def test_an_engine_of_the_first_version_is_asked_to_end_since_it_takes_every_ticket(queue):
    queue.make_folders()
    queue.dismiss_earlier_version()
    for pid in (4194305, 2**31, 10**400, -1, "1"):
        (queue.folder / "status.json").write_text(json.dumps({"pid": pid, "heartbeat": 1.0}))
        queue.dismiss_earlier_version()
    assert not (queue.folder / "leave").exists()
    (queue.folder / "status.json").write_text(json.dumps({"pid": os.getpid(), "heartbeat": 1.0}))
    queue.dismiss_earlier_version()
    assert (queue.folder / "leave").exists()
