"""The engine that serves a queue: on a tiny model, in this process, and as the program that Blender starts."""

import errno
import json
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from fake_cluster import ADDRESS, NO_ANSWER, NOBODY, FakeCluster
from tiny_models import write_stable_diffusion

from sdi_engine import __version__
from sdi_engine.cli import commands
from sdi_engine.cli.parser import make_parser
from sdi_engine.contract import events, identity
from sdi_engine.contract.attendance import is_attended
from sdi_engine.contract.identity import Identity
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME, SAMPLE, JobQueue
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import loading
from sdi_engine.errors import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_ENVIRONMENT,
    EXIT_OUT_OF_MEMORY,
    EXIT_STORAGE,
    JobCancelledError,
    OutOfMemoryError,
)
from sdi_engine.run import text_to_mesh
from sdi_engine.run.guidance import Guidance
from sdi_engine.service import cluster, pools, worker
from sdi_engine.service import serve as serve_module
from sdi_engine.service.device import Device
from sdi_engine.service.own_process import OwnProcess
from sdi_engine.service.pool import Outcome
from sdi_engine.service.serve import serve
from sdi_engine.system import machine
from sdi_engine.system.locks import ProcessLock

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def loads(monkeypatch):
    """The loads of models, in order."""
    calls = []
    load = loading.load_prior
    monkeypatch.setattr(loading, "load_prior", lambda *arguments: calls.append(arguments) or load(*arguments))
    return calls


def request(model_name, **changes):
    defaults = {
        "model": model_name,
        "preset": "draft",
        "steps": 3,
        "resolution": 16,
        "texture_size": 64,
        "face_budget": 200,
        "device": "cpu",
        "overrides": {"mesh_resolution": 16, "samples_per_ray": 16},
    }
    return JobRequest("a red mug", **(defaults | changes))


class Pretend(OwnProcess):
    """A pool that only calls `do` with a job's folder."""

    def __init__(self, do):
        super().__init__()
        self._pretend = do

    def do(self, job, verb="run", listener=None):
        return Outcome(self._pretend(JobFolder(job)) or EXIT_DONE)


def states(folder):
    said = events.read_new(folder.events_file, 0)[0]
    return [event.state for event in said if isinstance(event, events.StateChanged)]


def vertices(folder):
    (mesh,) = trimesh.load(folder.mesh_file).geometry.values()
    return np.asarray(mesh.vertices)


def test_the_model_is_loaded_once_and_the_results_are_as_from_a_fresh_engine(model, tmp_path, loads):
    queue = JobQueue(tmp_path / "results")
    folders = [JobFolder.create(queue.results / name, request(model)) for name in ("one", "two")]
    for folder in folders:
        queue.add(folder.path.name)
    assert serve(queue.results, idle_seconds=0.0) == EXIT_DONE
    assert len(loads) == 1
    alone = JobFolder.create(tmp_path / "alone", request(model))
    assert worker.run(alone.path, resume=False) == EXIT_DONE
    for folder in folders:
        np.testing.assert_array_equal(vertices(folder), vertices(alone))
    assert queue.status() is None
    assert not queue.status_file.exists()


def test_another_model_replaces_the_kept_one(model, tmp_path, loads):
    jobs = OwnProcess()
    for name, changes in (("a", {}), ("b", {"seed": 1}), ("c", {"model": "starter"}), ("d", {})):
        folder = JobFolder.create(tmp_path / name, request(model, steps=1, **changes))
        assert jobs.do(folder.path).exit_code == EXIT_DONE
    assert [arguments[0] for arguments in loads] == [model, "starter", model]


def test_what_is_printed_goes_into_the_jobs_own_log(model, tmp_path):
    program = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from sdi_engine.service.own_process import OwnProcess\n"
        "from sdi_engine.service.pool import Outcome\n"
        "from sdi_engine.service.serve import serve\n"
        "class Talkative(OwnProcess):\n"
        "    def do(self, job, verb, listener):\n"
        "        print('working on', job.name)\n"
        "        subprocess.run([sys.executable, '-c', 'print(\"from another program\")'], check=True)\n"
        "        return Outcome(0)\n"
        "serve(Path(sys.argv[1]), 0.0, Talkative())\n"
        "print('served')\n"
    )
    queue = JobQueue(tmp_path)
    for name in ("one", "two"):
        JobFolder.create(tmp_path / name, request(model))
        queue.add(name)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "served\n"
    for name in ("one", "two"):
        assert (tmp_path / name / "worker.log").read_text() == f"working on {name}\nfrom another program\n"


def test_a_full_disk_for_what_is_printed_is_not_the_end_of_the_engine(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.fileno = file.fileno

        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    queue, done = JobQueue(tmp_path), []
    for name in ("one", "two"):
        JobFolder.create(tmp_path / name, request("starter"))
        queue.add(name)
    with (tmp_path / "printed").open("wb") as file:
        monkeypatch.setattr(sys, "stdout", Full(file))
        assert serve(tmp_path, 0.0, Pretend(lambda folder: done.append(folder.path.name))) == EXIT_DONE
    assert done == ["one", "two"]


def test_pause_keeps_the_step_and_resume_goes_on_to_the_same_result(model, tmp_path, monkeypatch):
    whole, paused = (JobFolder.create(tmp_path / name, request(model)) for name in ("whole", "paused"))
    jobs = OwnProcess()
    jobs.do(whole.path)
    advance = text_to_mesh.Optimisation.advance

    def advance_and_pause(optimisation):
        done = advance(optimisation)
        if done.step == 2:
            paused.pause_flag.touch()
        return done

    monkeypatch.setattr(text_to_mesh.Optimisation, "advance", advance_and_pause)
    assert jobs.do(paused.path).exit_code == EXIT_CANCELLED
    assert states(paused)[-1] == events.PAUSED
    monkeypatch.setattr(text_to_mesh.Optimisation, "advance", advance)
    assert jobs.do(paused.path, RESUME).exit_code == EXIT_DONE
    assert not paused.pause_flag.exists()
    assert paused.result()["steps"] == 3
    np.testing.assert_allclose(vertices(paused), vertices(whole), atol=1e-5)


def test_a_live_mesh_stands_as_the_result_will_and_changes_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(text_to_mesh, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(text_to_mesh, "LIVE_SHARE", 1e9)
    seen, unseen = (JobFolder.create(tmp_path / name, request("starter", height=2.0)) for name in ("seen", "unseen"))
    seen.live_flag.touch()
    for folder in (seen, unseen):
        assert worker.run(folder.path, resume=False) == EXIT_DONE
    said = events.read_new(seen.events_file, 0)[0]
    assert [event.step for event in said if isinstance(event, events.LiveMeshSaved)] == [1, 2, 3]
    assert not unseen.live_file.exists()
    np.testing.assert_array_equal(vertices(seen), vertices(unseen))
    live = np.load(seen.live_file)
    assert live["vertices"].dtype == np.float32
    assert live["vertices"][:, 2].min() == pytest.approx(0.0, abs=1e-6)
    assert live["vertices"][:, 2].max() == pytest.approx(2.0, abs=1e-5)
    assert live["faces"].dtype == np.int32
    assert 4 <= len(live["faces"]) <= 4000
    assert live["faces"].max() == len(live["vertices"]) - 1
    assert live["colours"].shape == live["vertices"].shape
    assert live["colours"].dtype == np.uint8
    sides = sorted(file.name for file in seen.turntable_folder.iterdir())
    assert sides == [f"side-{number}.png" for number in range(6)]


def test_a_2d_preview_uses_the_kept_model_and_can_be_cancelled(model, tmp_path, loads):
    jobs = OwnProcess()
    folder = JobFolder.create(tmp_path / "look", request(model, seed=7))
    assert jobs.do(folder.path, SAMPLE).exit_code == EXIT_DONE
    images = folder.result()["images"]
    assert [image["seed"] for image in images] == [7, 8, 9, 10]
    assert all((folder.path / image["file"]).read_bytes().startswith(b"\x89PNG") for image in images)
    cancelled = JobFolder.create(tmp_path / "cancelled", request(model))
    cancelled.cancel_flag.touch()
    assert jobs.do(cancelled.path, SAMPLE).exit_code == EXIT_CANCELLED
    assert cancelled.result() is None
    assert len(loads) == 1


def test_a_model_that_ran_out_of_memory_is_not_kept(model, tmp_path, loads, monkeypatch):
    jobs = OwnProcess()
    assert jobs.do(JobFolder.create(tmp_path / "a", request(model, steps=1)).path).exit_code == EXIT_DONE

    def out_of_memory(*_):
        raise OutOfMemoryError("too little")

    with monkeypatch.context() as patch:
        patch.setattr(text_to_mesh.Optimisation, "advance", out_of_memory)
        assert jobs.do(JobFolder.create(tmp_path / "b", request(model)).path).exit_code == EXIT_OUT_OF_MEMORY
    assert jobs.do(JobFolder.create(tmp_path / "c", request(model, steps=1)).path).exit_code == EXIT_DONE
    assert len(loads) == 2


def test_after_a_job_a_gpu_keeps_nothing_but_the_model(model, tmp_path, loads, monkeypatch):
    given_back = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(len(loads)))
    jobs = OwnProcess()
    for name in "ab":
        folder = JobFolder.create(tmp_path / name, request(model, steps=1, device="cpu"))
        assert jobs.do(folder.path).exit_code == EXIT_DONE
    # before the first model is loaded, and after each job
    assert given_back == [0, 1, 1]


def test_text_encoders_of_a_job_that_was_stopped_while_they_read_do_not_stay(model, tmp_path, monkeypatch):
    """The next job would find too little memory for a model that fits."""
    loaded = []

    def stopped(guidance, *_):
        guidance.prior.text(["a red mug"])
        raise JobCancelledError("stopped")

    def load(*asked):
        loaded.append(loading.load_prior(*asked))
        return loaded[0]

    monkeypatch.setattr(Guidance, "read_all", stopped)
    folder = JobFolder.create(tmp_path / "job", request(model))
    assert OwnProcess(load).do(folder.path).exit_code == EXIT_CANCELLED
    assert not loaded[0].text_encoders.are_loaded


class Program:
    """`python -m sdi_engine serve`, with invalid jobs, which take no time."""

    def __init__(self, results, idle_minutes):
        command = [sys.executable, "-m", "sdi_engine", "serve", str(results), "--idle-minutes", str(idle_minutes)]
        self.queue = JobQueue(results)
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def until(self, condition):
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self):
        self.until(lambda: self.queue.status() is not None)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def test_the_program_ends_when_told_and_a_second_one_exits_at_once(tmp_path):
    with Program(tmp_path, idle_minutes=5) as program:
        assert program.queue.status()["pid"] == program.process.pid
        second = subprocess.run([sys.executable, "-m", "sdi_engine", "serve", str(tmp_path)], timeout=60)
        assert second.returncode == EXIT_DONE
        program.queue.leave_flag.touch()
        assert program.process.wait(60) == EXIT_DONE
        assert not program.queue.leave_flag.exists()


def test_the_program_ends_when_idle(tmp_path):
    with Program(tmp_path, idle_minutes=0.02) as program:
        assert program.process.wait(60) == EXIT_DONE


def test_the_program_ends_at_sigterm(tmp_path):
    with Program(tmp_path, idle_minutes=5) as program:
        program.process.terminate()
        assert program.process.wait(60) == EXIT_CANCELLED
        assert program.queue.status() is None


def test_two_engines_never_compute_at_once(tmp_path, model, monkeypatch):
    """Two results folders, two engines, one device, which each asks for again while the other has it."""
    acquire, refused = Device.acquire, []
    monkeypatch.setattr(Device, "acquire", lambda self: acquire(self) or refused.append(self))
    at_work, done, together = [], [], []

    def until(condition):
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def do(folder):
        at_work.append(folder)
        together.append(len(at_work))
        before = len(refused)
        until(lambda: done or len(refused) > before or len(at_work) > 1)
        done.append(at_work.pop())

    lock = ProcessLock("device")
    assert lock.acquire()
    queues = [JobQueue(tmp_path / name) for name in ("a", "b")]
    for queue in queues:
        JobFolder.create(queue.results / "job", request(model))
        queue.add("job")
    threads = [threading.Thread(target=serve, args=(queue.results, 2.0, Pretend(do))) for queue in queues]
    for thread in threads:
        thread.start()
    until(lambda: len(set(refused)) == 2)
    assert not together  # another engine has the device
    assert all(queue.waiting() for queue in queues)
    lock.release()
    for thread in threads:
        thread.join()
    assert together == [1, 1]


def test_an_engine_that_waits_for_another_one_says_so(tmp_path):
    queue, heard = JobQueue(tmp_path), []
    JobFolder.create(tmp_path / "job", request("starter"))
    queue.add("job")
    lock = ProcessLock("device")
    assert lock.acquire()
    do = Pretend(lambda folder: heard.append(queue.status()["waits"]))
    thread = threading.Thread(target=serve, args=(tmp_path, 0.0, do))
    thread.start()
    deadline = time.monotonic() + 60.0
    while not (queue.status() or {}).get("waits") and time.monotonic() < deadline:
        time.sleep(0.01)
    waited = queue.status()["waits"]
    lock.release()
    thread.join()
    assert waited
    assert heard == [False]


def test_a_results_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "results").write_text("a file")
    command = [sys.executable, "-m", "sdi_engine", "serve", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 6
    assert "choose a results folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_heartbeat_names_the_running_job(tmp_path, model):
    queue = JobQueue(tmp_path)
    JobFolder.create(tmp_path / "job", request(model))
    queue.add("job")
    heard = []

    def do(folder):
        deadline = time.monotonic() + 60.0
        while not (json.loads(queue.status_file.read_text())["job"] or time.monotonic() > deadline):
            time.sleep(0.01)
        heard.append(queue.status()["jobs"])
        return EXIT_DONE

    serve(tmp_path, 0.0, Pretend(do))
    assert heard == [["job"]]


def test_a_job_queued_by_somebody_else_is_left_alone(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path / "results")
    JobFolder.create(queue.results / "theirs", request("starter"))
    with monkeypatch.context() as patch:
        patch.setenv(machine.FOLDER_VARIABLE, str(tmp_path / "somebody else"))
        JobQueue(queue.results).add("theirs")
    assert serve(queue.results, 0.0, Pretend(lambda folder: pytest.fail("it was done"))) == EXIT_DONE
    assert [ticket.name for ticket in queue.waiting()] == ["theirs"]


def test_a_job_looks_attended_from_before_it_is_taken_until_it_is_left(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path)
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    queue.add("job")
    seen = []
    tear_up = JobQueue.tear_up

    def slow_tear_up(self, ticket):
        seen.append((is_attended(folder), queue.status()["jobs"]))
        return tear_up(self, ticket)

    def do(folder):
        seen.append((is_attended(folder), queue.status()["jobs"]))
        return EXIT_DONE

    monkeypatch.setattr(JobQueue, "tear_up", slow_tear_up)
    monkeypatch.setattr(JobFolder, "leave", lambda self: seen.append((is_attended(folder), queue.status()["jobs"])))
    serve(tmp_path, 0.0, Pretend(do))
    assert seen == [(True, ["job"]), (True, ["job"]), (False, [])]  # also if the status cannot be removed


def test_an_engine_reports_its_identity(tmp_path, monkeypatch):
    wanted = Identity("/as/it/was/started", "then", online=True, version="0.0.1")
    monkeypatch.setenv(identity.STARTED_AS_VARIABLE, json.dumps(wanted.to_json()))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # set by the person: no reason to replace the engine again and again
    queue = JobQueue(tmp_path)
    JobFolder.create(tmp_path / "job", request("starter"))
    queue.add("job")
    said = []
    serve(tmp_path, 0.0, Pretend(lambda folder: said.append(queue.status()["engine"])))
    assert said == [wanted.to_json()]
    monkeypatch.setenv(identity.STARTED_AS_VARIABLE, '{"python": "damaged"}')
    assert (Identity.ours().python, Identity.ours().online) == (sys.executable, False)
    monkeypatch.delenv(identity.STARTED_AS_VARIABLE)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert Identity.ours() == Identity.of(sys.executable, online=True)


def test_there_is_one_version_number():
    manifest = tomllib.loads((Path(__file__).parents[2] / "blender_manifest.toml").read_text())
    assert manifest["version"] == __version__ == Identity.ours().version


def test_a_folder_deleted_under_the_engine_ends_that_job_with_a_sentence_and_no_other(tmp_path, caplog):
    queue = JobQueue(tmp_path)
    for name in ("deleted", "next"):
        JobFolder.create(tmp_path / name, request("starter"))
        queue.add(name)

    def work(folder, request, resume, report):
        if folder.path.name == "deleted":
            folder.path.rename(tmp_path / ".bin")
        report(events.Progress("Optimising", 1, 2))

    codes = []
    serve(tmp_path, 0.0, Pretend(lambda folder: codes.append(worker.run(folder.path, resume=False, work=work))))
    assert codes == [EXIT_STORAGE, EXIT_DONE]
    assert f'The folder "{tmp_path / "deleted"}" is gone' in caplog.text
    assert not (tmp_path / "deleted").exists()


@pytest.mark.parametrize("is_lost", [True, False])
def test_an_engine_that_has_lost_its_graphics_card_does_not_fail_all_other_jobs(tmp_path, monkeypatch, caplog, is_lost):
    def answer():
        if is_lost:
            raise RuntimeError("CUDA error: unspecified launch failure")

    queue = JobQueue(tmp_path)
    for name in ("one", "two"):
        JobFolder.create(tmp_path / name, request("starter"))
        queue.add(name)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", answer)
    assert serve(tmp_path, 0.0, Pretend(lambda folder: 1)) == (EXIT_CANCELLED if is_lost else EXIT_DONE)
    assert [ticket.name for ticket in queue.waiting()] == (["two"] if is_lost else [])
    assert ("does not answer this process any more" in caplog.text) == is_lost


def test_an_engine_outlasts_a_drive_that_is_away(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path)
    for name in ("one", "two"):
        JobFolder.create(tmp_path / name, request("starter"))
        queue.add(name)
    refusals = iter([OSError(5, "Input/output error")] * 3)
    names = JobQueue._file_names

    def read_or_fail(self):
        for error in refusals:
            raise error
        return names(self)

    monkeypatch.setattr(JobQueue, "_file_names", read_or_fail)
    done = []
    assert serve(tmp_path, 1.0, Pretend(lambda folder: done.append(folder.path.name))) == EXIT_DONE
    assert done == ["one", "two"]


class Several(Pretend):
    """Does two jobs at once, in threads."""

    capacity = 2

    def __init__(self, do):
        super().__init__(do)
        self._threads = ThreadPoolExecutor(self.capacity)

    def submit(self, job, verb="run", listener=None):
        return self._threads.submit(self.do, job)

    def close(self, *, pause=False):
        self._threads.shutdown()


def test_a_pool_of_several_has_as_many_jobs_as_it_does_at_once(tmp_path):
    queue = JobQueue(tmp_path)
    for name in ("one", "two", "three"):
        JobFolder.create(tmp_path / name, request("starter"))
        queue.add(name)
    both = threading.Barrier(2)
    seen = {}

    def do(folder):
        if folder.path.name != "three":
            both.wait(60)
            status = queue.status()
            seen[folder.path.name] = (sorted(status["jobs"]), status["capacity"], is_attended(folder))
            both.wait(60)

    assert serve(tmp_path, 0.0, Several(do)) == EXIT_DONE
    assert seen == dict.fromkeys(("one", "two"), (["one", "two"], 2, True))
    assert not queue.waiting()
    assert not list(tmp_path.glob("*/status.json"))
    device = ProcessLock("device")
    assert device.acquire(), "it was given back"
    device.release()


class TestOnACluster:
    @pytest.fixture
    def nodes(self, monkeypatch):
        """A cluster that does nothing but say so."""

        class Nodes(FakeCluster):
            @staticmethod
            def do(job, verb, listener, pausing):
                JobFolder(job).result_file.write_text("{}")
                return Outcome(EXIT_DONE)

        monkeypatch.setattr(cluster, "ClusterPool", Nodes)
        monkeypatch.setattr(serve_module, "step_back", lambda: None)
        return Nodes

    @pytest.fixture
    def queue(self, tmp_path):
        queue = JobQueue(tmp_path / "results")
        for name in ("one", "two"):
            JobFolder.create(queue.results / name, request("starter"))
            queue.add(name)
        return queue

    def command(self, queue, address):
        return commands.main(["serve", str(queue.results), "--idle-minutes", "0", "--cluster", address])

    def test_the_one_at_the_address_does_the_queues_jobs_and_the_device_here_is_free(self, nodes, queue, monkeypatch):
        monkeypatch.setattr(Device, "acquire", lambda self: pytest.fail("The device was taken."))
        assert self.command(queue, ADDRESS) == EXIT_DONE
        assert nodes.opened == 1
        assert [JobFolder(queue.results / name).result() for name in ("one", "two")] == [{}, {}]
        assert not queue.waiting()

    def test_where_nobody_answers_all_jobs_wait_for_an_engine_that_does(self, nodes, queue, caplog):
        assert self.command(queue, NOBODY) == EXIT_ENVIRONMENT
        assert caplog.messages == [NO_ANSWER]
        assert [ticket.name for ticket in queue.waiting()] == ["one", "two"]
        assert self.command(queue, ADDRESS) == EXIT_DONE
        assert not queue.waiting()


def test_a_2d_preview_is_stopped_as_any_job_is(model, tmp_path):
    folder = JobFolder.create(tmp_path / "look", request(model, steps=None))
    said = []

    def pause(event):
        said.append(event)
        folder.pause_flag.touch()

    assert OwnProcess().do(folder.path, SAMPLE, pause).exit_code == EXIT_CANCELLED
    assert states(folder)[-1] == events.PAUSED
    assert folder.result() is None


def test_processes_that_suit_are_one_a_core_or_one_on_a_gpu(monkeypatch):
    monkeypatch.setattr(pools, "core_count", lambda: 5)
    for device, count in (("cpu", 5), ("cuda", 1), ("mps", 1)):
        monkeypatch.setattr(text_to_mesh, "choose_device", lambda name, device=device: torch.device(device))
        with pools.open_pool(None) as pool:
            assert pool.capacity == count
    assert make_parser().parse_args(["serve", "results", "--processes", "auto"]).processes is None
