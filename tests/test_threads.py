"""Work that is shared out among threads."""

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
