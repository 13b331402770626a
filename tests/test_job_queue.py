import json

import pytest

from sdi_engine import job_queue, processes
from sdi_engine.job_queue import RESUME, RUN, SAMPLE, JobQueue


@pytest.fixture
def queue(tmp_path):
    return JobQueue(tmp_path)


def names(queue):
    return [ticket.name for ticket in queue.waiting()]


def test_first_come_first_served_unless_somebody_is_let_in_front(queue):
    assert queue.waiting() == []
    queue.add("a")
    queue.add("b", RESUME)
    queue.add("c", SAMPLE, first=True)
    assert [(ticket.name, ticket.verb) for ticket in queue.waiting()] == [("c", SAMPLE), ("a", RUN), ("b", RESUME)]
    queue.add("b", RESUME, first=True)  # a new turn, not a second one
    assert names(queue) == ["b", "c", "a"]
    assert queue.take().name == "b"
    assert names(queue) == ["c", "a"]


def test_many_in_the_same_microsecond_keep_their_order(queue, monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    for number in range(5):
        queue.add(str(number))
    assert names(queue) == ["0", "1", "2", "3", "4"]


def test_neighbours_change_turns(queue):
    for name in "abc":
        queue.add(name)
    queue.move("a", 1)
    assert names(queue) == ["b", "a", "c"]
    queue.move("c", -1)
    assert names(queue) == ["b", "c", "a"]
    for name, by in (("b", -1), ("a", 1), ("x", 1)):
        queue.move(name, by)
    assert names(queue) == ["b", "c", "a"]


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
    queue.beat(1.0, "job", "starter", {"online": True})
    status = queue.status()
    assert status | {"heartbeat": 0} == {
        **processes.ourselves(),
        "started": 1.0,
        "heartbeat": 0,
        "job": "job",
        "model": "starter",
        "engine": {"online": True},
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


def test_many_come_in_their_order_after_one_look_at_the_queue(queue, monkeypatch):
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
    assert queue.remove_all({"job-7", "job-3", "nobody"}) == ["job-3", "job-7"]
    assert len(looks) == 1


def test_a_disk_that_refuses_midway_leaves_told_which_wait(queue, monkeypatch):
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
