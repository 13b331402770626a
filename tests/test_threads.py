"""Work that is shared out among threads."""

import os
import signal
import sys
import threading

import pytest
import torch

from sdi_engine import threads as worker_threads
from sdi_engine.threads import run_each, shares

CPU = torch.device("cpu")


@pytest.mark.parametrize(("count", "threads"), [(0, 2), (1, 2), (5, 2), (6, 3), (2, 3)])
def test_shares_are_everything_once_and_no_more_than_there_are_threads(count, threads):
    torch.set_num_threads(threads)
    parts = shares(count, CPU)
    assert [place for start, end in parts for place in range(start, end)] == list(range(count))
    assert len(parts) <= threads


def test_in_each_thread_torch_computes_alone_and_without_gradients_and_the_caller_keeps_its_own(monkeypatch):
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(3)
    together = threading.Barrier(3)

    def work(number):
        together.wait()  # all three at once
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    assert run_each(work, [(0,), (1,), (2,)], 10, CPU) == [(number, 1, False) for number in range(3)]
    assert torch.get_num_threads() == 3
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [3]


def test_little_work_is_done_by_the_caller():
    torch.set_num_threads(3)
    work = [(0,), (1,)]
    assert run_each(lambda _: threading.current_thread(), work, 10, CPU) == [threading.current_thread()] * 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_thread_is_the_callers(failing, monkeypatch):
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(2)

    def work(number):
        if number == failing:
            raise ValueError(number)

    with pytest.raises(ValueError, match=str(failing)):
        run_each(work, [(0,), (1,), (2,)], 10, CPU)


def test_where_not_all_threads_can_be_started_none_is_left_that_waits_for_the_others(monkeypatch):
    """The process would never end: it waits for them."""
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(3)
    worker_threads._workers.cache_clear()
    started, start = [], threading.Thread.start

    def start_two(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="start new thread"):
        run_each(lambda number: number, [(0,), (1,), (2,)], 10, CPU)
    assert torch.get_num_threads() == 3
    for thread in started:
        thread.join(60.0)
        assert not thread.is_alive()
    monkeypatch.undo()
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    assert run_each(lambda number: number, [(0,), (1,), (2,)], 10, CPU) == [0, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="only there do programs go on in forks of themselves")
def test_a_fork_of_the_process_starts_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(2)
    work = [(0,), (1,), (2,)]
    assert run_each(lambda number: number, work, 10, CPU) == [0, 1, 2]
    child = os.fork()
    if not child:
        signal.alarm(60)  # it ends if it waits for the parent's threads
        os._exit(0 if run_each(lambda number: number, work, 10, CPU) == [0, 1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0
