"""The pool of local processes: its control with fake processes, and objects made by real ones."""

import json
import os
import sys
import textwrap
import threading
import time

import pytest
from tiny_models import write_stable_diffusion

from sdi_engine import errors
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME, RUN
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import BadInputError, EnvironmentMissingError
from sdi_engine.service import local_pool, worker
from sdi_engine.service.local_pool import LocalPool
from sdi_engine.service.own_process import OwnProcess
from sdi_engine.service.pool import CRASHED

FAKE = """
    import json, os, sys, time
    from pathlib import Path
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["job"])
        seen = {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"], "began": time.monotonic(), **order}
        (folder / "seen.json").write_text(json.dumps(seen))
        outcome, leaves = {"exit_code": 0, "seconds": 4.0}, False
        if "crash" in folder.name:
            sys.exit(9)
        if "killed" in folder.name:
            os.kill(os.getpid(), 9)
        if "long" in folder.name:
            sys.stdin.read()
            outcome = {"exit_code": 130}
        if "deaf" in folder.name:
            time.sleep(600)
        if "leaves" in folder.name:
            outcome, leaves = {"exit_code": 130}, True
        while "together" in folder.name and len(list(folder.parent.glob("together */seen.json"))) < 2:
            time.sleep(0.01)
        print(json.dumps({"type": "progress", "phase": "Optimising", "step": 1, "steps": 2, "time": 1.0}))
        print("what is no event of ours")
        print(json.dumps({"outcome": outcome, "leaves": leaves}), flush=True)
        if leaves:
            break
"""


@pytest.fixture
def pool_of(tmp_path):
    """A pool of fake processes, whose behaviour is in the jobs' names."""
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE))
    return lambda processes: LocalPool(processes, command=[sys.executable, str(script)])


@pytest.fixture
def job(tmp_path):
    def make(name, request=None):
        return JobFolder.create(tmp_path / name, request or JobRequest("a mug")).path

    return make


def seen(path):
    return json.loads((path / "seen.json").read_text())


def until(condition):
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_process_does_all_jobs_in_order_and_reports_their_events(pool_of, job):
    jobs = [job(name) for name in ("one", "two", "three")]
    heard = []
    with pool_of(1) as pool:
        assert pool.capacity == 1
        futures = [pool.submit(path, RESUME if path.name == "two" else RUN, heard.append) for path in jobs]
    assert [future.result().exit_code for future in futures] == [0, 0, 0]
    assert futures[0].result().seconds == 4.0
    assert [seen(path)["verb"] for path in jobs] == [RUN, RESUME, RUN]
    assert len({seen(path)["pid"] for path in jobs}) == 1
    assert [seen(path)["began"] for path in jobs] == sorted(seen(path)["began"] for path in jobs)
    assert heard == [events.Progress("Optimising", 1, 2, time=1.0)] * 3


def test_processes_work_at_once_and_share_the_cores(pool_of, job, monkeypatch):
    monkeypatch.setattr(local_pool, "core_count", lambda: 5)
    jobs = [job("together a"), job("together b")]
    with pool_of(2) as pool:
        futures = [pool.submit(path) for path in jobs]
        for future in futures:
            assert future.result(60).exit_code == 0
    assert {seen(path)["threads"] for path in jobs} == {"2"}
    assert len({seen(path)["pid"] for path in jobs}) == 2


def test_the_crash_of_a_process_is_the_end_of_its_job_only(pool_of, job):
    jobs = [job(name) for name in ("one", "crash", "two", "three")]
    heard = []
    with pool_of(1) as pool:
        outcomes = [future.result() for future in [pool.submit(path, listener=heard.append) for path in jobs]]
    assert [outcome.exit_code for outcome in outcomes] == [0, CRASHED, 0, 0]
    assert outcomes[1].error == f'The process of this job ended unexpectedly (code 9): see "{jobs[1] / "worker.log"}".'
    said = events.read_new(jobs[1] / "events.jsonl", 0)[0]
    assert said[-2].message == outcomes[1].error
    assert said[-1].state == events.FAILED
    assert said[-1] in heard
    assert seen(jobs[2])["pid"] == seen(jobs[3])["pid"] != seen(jobs[0])["pid"]


@pytest.mark.skipif(sys.platform == "win32", reason="which says nothing of how a process ended")
def test_a_process_that_the_system_killed_is_told_with_the_likely_cause(pool_of, job):
    with pool_of(2) as pool:
        outcome = pool.submit(job("killed")).result()
    assert outcome.exit_code == CRASHED
    assert "perhaps because memory ran out: make fewer objects at once" in outcome.error


def test_a_process_that_somebody_ended_is_given_no_other_job(pool_of, job):
    with pool_of(1) as pool:
        outcomes = [future.result() for future in [pool.submit(job(name)) for name in ("leaves", "next")]]
    assert [outcome.exit_code for outcome in outcomes] == [errors.EXIT_CANCELLED, 0]


def test_a_process_that_did_not_stop_and_was_killed_for_it_is_no_crash(pool_of, job):
    path = job("deaf")
    with pool_of(1) as pool:
        future = pool.submit(path)
        until((path / "seen.json").exists)
        (path / "cancel").touch()
        until(lambda: (path / "seen.json").stat().st_size)
        os.kill(seen(path)["pid"], 9)
        assert future.result(60).exit_code == errors.EXIT_CANCELLED
    assert events.last_state(path / "events.jsonl") == events.QUEUED, "who killed it says so"


def test_an_exception_pauses_running_jobs_and_starts_no_others(pool_of, job):
    jobs = [job(name) for name in ("one", "long", "later")]
    futures = []

    def be_interrupted():
        with pool_of(1) as pool:
            futures.extend(pool.submit(path) for path in jobs)
            until((jobs[1] / "seen.json").exists)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert [future.result().exit_code for future in futures[:2]] == [0, errors.EXIT_CANCELLED]
    assert futures[2].cancelled()
    assert not (jobs[2] / "seen.json").exists()


def test_a_process_that_does_not_exit_is_killed(pool_of, job, monkeypatch):
    monkeypatch.setattr(local_pool, "LEAVING_SECONDS", 0.1)
    path = job("deaf")
    pool = pool_of(1)
    future = pool.submit(path)
    until((path / "seen.json").exists)
    pool.close(pause=True)
    assert future.result().exit_code == errors.EXIT_CANCELLED
    with pytest.raises(RuntimeError):
        pool.submit(path)


def test_impossible_pools_are_refused_in_one_sentence(job, tmp_path):
    with pytest.raises(BadInputError, match='"processes" is 0'):
        LocalPool(0)
    with (
        LocalPool(1, command=[str(tmp_path / "no program")]) as pool,
        pytest.raises(EnvironmentMissingError, match="No process could be started"),
    ):
        pool.submit(job("one")).result()


def test_the_end_of_the_orders_pauses_the_current_job(job):
    one, two = job("one"), job("two")
    reader, writer = os.pipe()
    orders = iter(local_pool._Orders(os.fdopen(reader, "rb", buffering=0)))
    os.write(writer, (json.dumps({"job": str(one), "verb": RUN}) + "\n").encode())
    assert next(orders) == (one, RUN)
    os.write(writer, (json.dumps({"job": str(two), "verb": RUN}) + "\n").encode())
    threading.Timer(0.05, os.close, [writer]).start()
    until((one / "pause").exists)
    assert list(orders) == []
    assert not (one / "pause").exists()


REAL = """
    import runpy, time
    from sdi_engine.run import attention
    from sdi_engine.run.checkpoint_writer import CheckpointWriter

    def save_and_wait_after_step_3(self, run):
        self.save(run)
        time.sleep(600.0 if run.step == 3 else 0.0)

    attention.PROGRESS_SECONDS = 0.0
    CheckpointWriter.save_if_due = save_and_wait_after_step_3
    runpy.run_module("sdi_engine.service.local_pool", run_name="__main__")
"""
"""A process as it is started, but that it reports and saves every step, and waits after its third to be killed."""


@pytest.fixture(scope="module")
def real_pool(tmp_path_factory):
    """A pool of one real process, which takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_pool, "core_count", lambda: int(os.environ["OMP_NUM_THREADS"]))
        log_file = tmp_path_factory.mktemp("real") / "log.txt"
        with LocalPool(1, log_file, command=[sys.executable, "-c", textwrap.dedent(REAL)]) as pool:
            yield pool


@pytest.fixture
def model(tmp_path):
    return write_stable_diffusion(tmp_path / "tiny", vae=False)


def request(model, prompt, steps=1):
    changes = {"mesh_resolution": 12, "samples_per_ray": 8}
    sizes = {"preset": "draft", "steps": steps, "noise": "random", "texture_size": 64, "face_budget": 100}
    return JobRequest(prompt, model=str(model), device="cpu", overrides=changes, **sizes)


def spoil(weights):
    """Put zeros in the place of a file's numbers, with its header and time; whoever has mapped that one keeps it."""
    before, content = weights.stat(), weights.read_bytes()
    useless = weights.with_suffix(".useless")
    header = 8 + int.from_bytes(content[:8], "little")
    useless.write_bytes(content[:header].ljust(before.st_size, b"\0"))
    os.utime(useless, ns=(before.st_atime_ns, before.st_mtime_ns))
    useless.replace(weights)


def test_a_real_process_keeps_its_model_and_makes_what_any_other_pool_makes(real_pool, job, model):
    alone = job("alone", request(model, "a hat"))
    assert OwnProcess().do(alone).exit_code == 0
    command = job("command", request(model, "a hat"))
    assert worker.run(command, resume=False) == 0
    mug, hat = job("mug", request(model, "a mug")), job("hat", request(model, "a hat"))
    first = real_pool.submit(mug).result()
    spoil(model / "unet" / "diffusion_pytorch_model.safetensors")
    second = real_pool.submit(hat).result()
    assert (first.exit_code, second.exit_code) == (0, 0), (hat / "worker.log").read_text()
    assert first.model_evaluations > 0
    assert first.load_seconds > second.load_seconds
    assert (hat / "mesh.glb").read_bytes() == (alone / "mesh.glb").read_bytes()
    assert (hat / "mesh.glb").read_bytes() == (command / "mesh.glb").read_bytes()
    assert not (hat / "status.json").exists()


def test_the_job_of_a_real_process_that_is_killed_is_resumed_to_the_same_object(real_pool, job, model):
    """On every system: nothing is forked, and the process has no chance to leave anything in order."""
    whole, killed = (job(name, request(model, "a mug", steps=6)) for name in ("whole", "killed"))
    assert worker.run(whole, resume=False) == 0

    def kill(event):
        if isinstance(event, events.Progress) and event.step == 3:
            os.kill(JobFolder(killed).status()["pid"], 9)

    assert real_pool.submit(killed, listener=kill).result().exit_code == CRASHED
    assert not (killed / "result.json").exists()
    heard = []
    assert worker.run(killed, resume=True, listener=heard.append) == 0
    steps = [event.step for event in heard if isinstance(event, events.Progress) and event.steps == 6]
    assert steps[0] > 0, "it was begun anew"
    assert (killed / "mesh.glb").read_bytes() == (whole / "mesh.glb").read_bytes()
    assert not list(killed.rglob("*.part"))
