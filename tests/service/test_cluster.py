"""Jobs on a Ray cluster of two nodes on this machine, of which one is killed in the middle of its job.

The cluster requires a token, since Ray listens on all of the computer's networks.
"""

import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from fake_ray import FakeRay
from safetensors.torch import save_file
from tiny_models import write_lora, write_stable_diffusion

from sdi_engine import errors
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME
from sdi_engine.contract.request import JobRequest, Lora
from sdi_engine.errors import BadInputError, EnvironmentMissingError
from sdi_engine.run import text_to_mesh
from sdi_engine.service import cluster, cluster_connection, cluster_crew, cluster_node, worker
from sdi_engine.service.cluster import ClusterPool
from sdi_engine.service.cluster_connection import connect
from sdi_engine.service.cluster_crew import Crew
from sdi_engine.surface.source import SourceMesh, write_source

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "no_monitor": True}
STEPS = 12
PATIENCE = 400.0
"""Seconds; long, since a hanging pool is a failure, but a slow machine is not."""


class Machines:
    """A cluster of a head that does no work and nodes of one core each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.client_port = _free_port()
        address = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"  # Ray takes 127.0.0.1 for another address
        self._node = NODE | {"node_ip_address": address}
        head = self._node | {"num_cpus": 0, "ray_client_server_port": self.client_port}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = {}
        self.address = self._cluster.address

    def ensure(self, count):
        """Add nodes, called "one" and "two", until there are so many; returns the names of all."""
        for name in ("one", "two"):
            if name not in self._nodes and len(self._nodes) < count:
                self._nodes[name] = self._cluster.add_node(**self._node, node_name=name)
        return list(self._nodes)

    def kill(self, name):
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def shutdown(self):
        self._cluster.shutdown()


@pytest.fixture(scope="module", autouse=True)
def told():
    """Environment variables that Ray reads when it is imported, so nothing here may import it before."""
    # A socket's path may have 103 to 107 bytes, which pytest's folders use up.
    top = "/tmp" if sys.platform != "win32" else None
    with tempfile.TemporaryDirectory(prefix="sdi-", dir=top, ignore_cleanup_errors=True) as short:
        yield from _told(short)


def _told(folder):
    told = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(round(PATIENCE)),
        "RAY_worker_niceness": "0",  # or the nodes would be starved by other tests
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread, as on a node of one core, since the order of additions depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def machines(told):
    Path(os.environ["RAY_TMPDIR"], "ray").mkdir(exist_ok=True)
    machines = Machines()
    yield machines
    machines.shutdown()


@pytest.fixture(scope="module")
def opened(machines):
    """A pool that stays open, since its processes take long to load torch; its runs are slow, and save every step."""
    import ray

    def prepare(node):
        from sdi_engine.run import checkpoint_writer, previews
        from sdi_engine.run.optimisation import Optimisation

        previews.MAX_PREVIEW_RESOLUTION, previews.TURNTABLE_RESOLUTION = 16, 8
        checkpoint_writer.seconds_apart = lambda size, seconds: 0.0
        advance = Optimisation.advance

        def slowly(run):
            time.sleep(0.1)
            return advance(run)

        Optimisation.advance = slowly

    machines.ensure(2)
    with ClusterPool(machines.address, cores=1) as pool:
        has_greeted = pool._crew._has_greeted

        def has_greeted_and_is_prepared(actor, stop):
            greeted = has_greeted(actor, stop)
            if greeted:
                ray.get(actor.handle.__ray_call__.remote(prepare))
            return greeted

        pool._crew._has_greeted = has_greeted_and_is_prepared
        yield pool


@pytest.fixture
def pool(machines, opened):
    """It has at least one node."""
    machines.ensure(1)
    return opened


@pytest.fixture
def pair(machines, opened):
    """The pool with two nodes."""
    machines.ensure(2)
    return opened


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def job(model, tmp_path):
    def make(name="job", **changes):
        fields = {"model": model, "preset": "draft", "steps": STEPS, "texture_size": 64, "face_budget": 300}
        fields["overrides"] = {"mesh_resolution": 24, "samples_per_ray": 16}
        return JobFolder.create(tmp_path / name, JobRequest("a red mug", **(fields | {"device": "cpu"} | changes)))

    return make


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory):
    """The mesh of the job from `job`, made by this process."""
    folder = tmp_path_factory.mktemp("here")
    fields = {"model": model, "preset": "draft", "steps": STEPS, "texture_size": 64, "face_budget": 300}
    fields["overrides"] = {"mesh_resolution": 24, "samples_per_ray": 16}
    made = JobFolder.create(folder / "job", JobRequest("a red mug", **fields, device="cpu"))
    assert worker.run(made.path, resume=False) == errors.EXIT_DONE
    return made


def _free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def said(folder):
    return events.read_new(folder.events_file, 0)[0]


def states(folder):
    return [event.state for event in said(folder) if isinstance(event, events.StateChanged)]


def steps_by_node(folder):
    """(node, step) of all reported progress of the optimisation."""
    progress = [event for event in said(folder) if isinstance(event, events.Progress)]
    return [(event.phase.split()[-1], event.step) for event in progress if event.phase.startswith("Optimising on ")]


def once(condition, do):
    """A listener that does something once a condition is true."""
    done = threading.Event()

    def listen(event):
        if isinstance(event, events.Progress) and not done.is_set() and condition(event):
            done.set()
            do()

    return listen


def at_step(number, do):
    return once(lambda event: event.phase.startswith("Optimising") and event.step >= number, do)


def test_each_node_says_what_it_lacks(machines):
    from sdi_engine.service import cluster_doctor

    name = machines.ensure(1)[0]
    command = [sys.executable, "-m", "sdi_engine", "doctor", "--cluster", f"ray://127.0.0.2:{machines.client_port}"]
    for _ in range(3):  # on a busy computer Ray's own server for a client does not always start
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=PATIENCE)
        report = json.loads(done.stdout)
        if not any(said in report.get("error", "") for said in ("Initialization failure", "has not answered")):
            break
    assert "nodes" in report, done.stdout + done.stderr
    assert {name} < set(report["nodes"])
    assert done.returncode == (errors.EXIT_DONE if report["ok"] else errors.EXIT_ENVIRONMENT)
    assert report["nodes"][name]["resources"] == {"CPU": 1.0}
    assert {"torch", "diffusers"} <= {check["name"] for check in report["nodes"][name]["checks"]}
    assert "(raylet)" not in done.stdout + done.stderr
    lacking = {**report["nodes"][name], "ok": False}
    lacking["checks"] = [{"name": "torch", "ok": False, "detail": "not installed", "fix": "pip install torch"}]
    lines = cluster_doctor.report_lines({"nodes": {"one": lacking, "two": {"ok": False, "error": "it is away"}}})
    assert lines[1:] == [
        "    MISSING torch: not installed",
        "            fix: pip install torch",
        "two: MISSING: it does not answer (it is away)",
    ]


@pytest.fixture
def mute():
    """The port of a Ray Client server that says that it is there, and then nothing."""
    import grpc
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    ended = threading.Event()

    class Driver(ray_client_pb2_grpc.RayletDriverServicer):
        def ClusterInfo(self, request, context):
            return ray_client_pb2.ClusterInfoResponse(json="{}")

        def KVExists(self, request, context):
            return ray_client_pb2.KVExistsResponse(exists=True)

    class Data(ray_client_pb2_grpc.RayletDataStreamerServicer):
        def Datapath(self, request_iterator, context):
            ended.wait(PATIENCE)
            yield from ()

    with ThreadPoolExecutor() as threads:
        server = grpc.server(threads)
        ray_client_pb2_grpc.add_RayletDriverServicer_to_server(Driver(), server)
        ray_client_pb2_grpc.add_RayletDataStreamerServicer_to_server(Data(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port
        ended.set()
        server.stop(grace=None).wait()


@pytest.mark.parametrize("command", ["doctor --json", "serve . --idle-minutes 1"])
def test_a_cluster_that_is_silent_is_given_up(command, mute, tmp_path):
    hurried = (
        "import sys; from sdi_engine.cli import commands; from sdi_engine.service import cluster_connection;"
        "cluster_connection.CONNECT_SECONDS = 0.5; sys.exit(commands.main(sys.argv[1:]))"
    )
    arguments = [*command.replace(".", str(tmp_path)).split(), "--cluster", f"ray://127.0.0.1:{mute}"]
    done = subprocess.run([sys.executable, "-c", hurried, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == errors.EXIT_ENVIRONMENT
    assert "has not answered for" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("where", ["doctor", "pool"])
def test_a_cluster_that_falls_silent_once_it_is_connected_is_given_up(where, monkeypatch):
    from sdi_engine.service import cluster_doctor

    asked_again = threading.Event()
    ray = SimpleNamespace(nodes=lambda: asked_again.wait(PATIENCE), shutdown=asked_again.set)
    for module in (cluster, cluster_doctor):
        monkeypatch.setattr(module, "connect", lambda address: ray)
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(cluster_doctor, "NODE_SECONDS", 0.0)
    monkeypatch.setattr(cluster_doctor, "SPARE_SECONDS", 0.0)
    ask = {"doctor": cluster_doctor.examine_cluster, "pool": ClusterPool}[where]
    with pytest.raises(EnvironmentMissingError, match='"ray://somewhere" has not answered for 0 s'):
        ask("ray://somewhere")
    assert asked_again.is_set()  # it was left


def test_a_cluster_that_does_not_end_the_connection_is_left(monkeypatch):
    from sdi_engine.service import cluster_doctor

    ended = threading.Event()
    ray = FakeRay(nodes={"a": {}})
    ray.get, ray.shutdown = lambda answer: {"ok": True}, lambda: ended.wait(PATIENCE) or pytest.fail("it waits")
    monkeypatch.setattr(cluster_doctor, "connect", lambda address: ray)
    monkeypatch.setattr(cluster_connection, "LEAVE_SECONDS", 0.0)
    try:
        assert cluster_doctor.examine_cluster("ray://somewhere")["ok"]
        assert not ended.is_set()
    finally:
        ended.set()


def test_nodes_that_do_not_answer_are_told_beside_those_that_do(monkeypatch):
    from sdi_engine.service import cluster_doctor

    ray = FakeRay(nodes={"b": {"CPU": 1.0}}, slow={"a": {}, "c": {}})
    monkeypatch.setattr(ray, "get", lambda answer: {"ok": True})
    ray.shutdown = lambda: None
    monkeypatch.setattr(cluster_doctor, "connect", lambda address: ray)
    assert cluster_doctor.examine_cluster("ray://somewhere") == {
        "ok": False,
        "nodes": {
            "a": {"ok": False, "error": "nothing for 120 s"},
            "b": {"ok": True, "resources": {"CPU": 1.0}},
            "c": {"ok": False, "error": "nothing for 120 s"},
        },
    }


def test_more_jobs_than_nodes_give_the_same_as_here(pair, job, uninterrupted):
    assert pair.capacity == 2
    folders = [job(f"job {number}", seed=number) for number in range(3)]
    outcomes = [future.result(PATIENCE) for future in [pair.submit(folder.path) for folder in folders]]
    assert [outcome.exit_code for outcome in outcomes] == [errors.EXIT_DONE] * 3
    assert all(outcome.seconds > 0.0 and outcome.model_evaluations > 0 for outcome in outcomes)
    assert {node for folder in folders for node, _ in steps_by_node(folder)} == {"one", "two"}
    assert states(folders[0]) == ["queued", "starting", "running", "exporting", "done"]
    assert folders[0].mesh_file.read_bytes() == uninterrupted.mesh_file.read_bytes()
    here = {file.relative_to(uninterrupted.path) for file in uninterrupted.path.rglob("*")}
    there = {file.relative_to(folders[0].path) for file in folders[0].path.rglob("*")}
    only_here = {uninterrupted.texts_file.relative_to(uninterrupted.path)}  # sealed by the machine that wrote it
    assert there - {folders[0].log_file.relative_to(folders[0].path)} == here - only_here
    assert "Unwrapping" in folders[0].log_file.read_text()
    ours, theirs = (folder.result() for folder in (uninterrupted, folders[0]))
    assert {**theirs, "seconds": 0, "peak_memory_mb": 0} == {**ours, "seconds": 0, "peak_memory_mb": 0}


def test_the_job_of_a_node_that_is_killed_goes_on_at_another_and_ends_the_same(pair, machines, job, uninterrupted):
    folder = job()
    killed = []

    def kill():
        killed.append(steps_by_node(folder)[-1])
        machines.kill(killed[0][0])

    listen = once(lambda event: folder.checkpoint_file.is_file() and event.step >= 4, kill)
    assert pair.submit(folder.path, listener=listen).result(PATIENCE).exit_code == errors.EXIT_DONE
    first, _ = killed[0]
    nodes = list(dict.fromkeys(node for node, _ in steps_by_node(folder)))
    assert nodes[0] == first
    assert len(nodes) == 2
    went_on_at = next(at for node, at in steps_by_node(folder) if node == nodes[1])
    assert went_on_at > 0  # a checkpoint may be ahead of the last reported step
    notices = [event.message for event in said(folder) if isinstance(event, events.Notice)]
    assert f"{first} was lost: resuming on another node from the last checkpoint." in notices
    assert folder.mesh_file.read_bytes() == uninterrupted.mesh_file.read_bytes()


@pytest.mark.parametrize(("flag", "state"), [("pause_flag", events.PAUSED), ("cancel_flag", events.CANCELLED)])
def test_a_job_that_is_stopped_goes_on_from_where_it_was(flag, state, pool, job, uninterrupted):
    folder = job()
    stop = at_step(3, getattr(folder, flag).touch)
    assert pool.submit(folder.path, listener=stop).result(PATIENCE).exit_code == errors.EXIT_CANCELLED
    assert states(folder)[-1] == state
    assert folder.status() is None
    reached = steps_by_node(folder)[-1][1]
    assert pool.submit(folder.path, RESUME).result(PATIENCE).exit_code == errors.EXIT_DONE
    assert [step for _, step in steps_by_node(folder)].count(0) == 1
    assert reached >= 3
    assert folder.mesh_file.read_bytes() == uninterrupted.mesh_file.read_bytes()


def test_a_lora_goes_to_the_node_and_is_named_as_here(pool, job, model, tmp_path):
    file = write_lora(tmp_path / "style.safetensors", model)
    there, here = (job(name, steps=2, loras=(Lora(str(file), 0.8),)) for name in ("there", "here"))
    assert pool.submit(there.path).result(PATIENCE).exit_code == errors.EXIT_DONE
    torch.set_num_threads(1)  # as on a node, beginning with the merging of the LoRA
    assert worker.run(here.path, resume=False) == errors.EXIT_DONE
    assert there.mesh_file.read_bytes() == here.mesh_file.read_bytes()
    assert there.result()["loras"] == here.result()["loras"] == [{"file": str(file), "weight": 0.8}]
    assert there.result()["model"] == model


def test_what_fails_on_a_node_says_so_in_the_sentence_that_it_would_say_here(pool, job, tmp_path):
    file = tmp_path / "no lora.safetensors"
    save_file({"weight": torch.zeros(1)}, file)
    outcomes = []
    for run in (lambda path: pool.submit(path).result(PATIENCE), None):
        folder = job("there" if run else "here", loras=(Lora(str(file)),))
        code = run(folder.path).exit_code if run else worker.run(folder.path, resume=False)
        outcomes.append((code, [event.message for event in said(folder) if isinstance(event, events.Failed)]))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == errors.EXIT_BAD_INPUT
    assert str(file) in outcomes[0][1][0]


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_missing_cluster_is_reported_at_once(prefix):
    with pytest.raises(EnvironmentMissingError, match="No Ray cluster answers at"):
        connect(f"{prefix}127.0.0.1:{_free_port()}")


def test_invalid_addresses_and_other_servers_are_refused(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(cluster_connection, "ANSWER_SECONDS", 0.3)
        with pytest.raises(EnvironmentMissingError, match="No Ray cluster answers at"):
            connect(f"127.0.0.1:{other.getsockname()[1]}")
    for text in ("", "http://a.b", "host:0", "host:99999", "a b"):
        with pytest.raises(BadInputError, match="is no address of a Ray cluster"):
            connect(text)


def test_auto_without_a_cluster_and_a_missing_package_are_one_sentence(monkeypatch):
    monkeypatch.setattr(cluster_connection, "_head", lambda address: None)
    with pytest.raises(EnvironmentMissingError, match="is no node of a Ray cluster"):
        connect("auto")
    monkeypatch.setattr(cluster_connection.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentMissingError, match=r'lacks the package "ray".*requirements-cluster\.txt'):
        connect("auto")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_nodes_stay_offline_where_the_person_does(name, monkeypatch):
    told = []
    ray = SimpleNamespace(init=lambda target, runtime_env, **rest: told.append(runtime_env["env_vars"]))
    monkeypatch.setattr(cluster_connection, "_imported", lambda: ray)
    monkeypatch.setattr(cluster_connection, "_checked", lambda address: address)
    monkeypatch.setenv(name, "1")
    connect("head:6379")
    assert told[0][name] == "1"


@pytest.fixture
def impatient(monkeypatch):
    for name in ("GREETING_SECONDS", "EMPTY_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(cluster_crew, name, 0.0)


def hire(crew, model="any"):
    return crew.hire(model, avoid=(), shun=(), stop=lambda: None)


def test_a_slow_actor_is_not_replaced_and_works_once_it_has_started(impatient):
    ray = FakeRay(slow={"a": {"CPU": 1.0}}, nodes={"b": {"CPU": 1.0}})
    crew = Crew(ray, cores=1)
    first = hire(crew)
    assert first.place.name == "b"  # while the one on a still starts
    ray.hurry("a")
    assert hire(crew).place.name == "a"
    assert ray.made == ["a", "b"]
    assert ray.killed == []


def test_where_there_are_accelerators_each_has_an_actor_with_its_share_of_the_cores(impatient):
    ray = FakeRay(nodes={"cards": {"GPU": 2.0, "CPU": 9.0}, "none": {"CPU": 64.0}})
    crew = Crew(ray, cores=4)
    (place,) = crew.places()
    assert (place.name, place.slots, place.threads) == ("cards", 2, 4)
    assert place.options == {"num_gpus": 1, "num_cpus": 1}
    assert [hire(crew).place.name for _ in range(2)] == ["cards", "cards"]
    assert [options["num_gpus"] for options in ray.options] == [1, 1]


def test_a_job_for_which_no_node_is_left_says_so(impatient):
    with pytest.raises(EnvironmentMissingError, match="No node of the Ray cluster is left"):
        hire(Crew(FakeRay(), cores=1))


def test_the_mesh_of_a_job_goes_to_the_node_and_its_result_comes_back(impatient, job, small_pictures, monkeypatch):
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
    changes = {"task": "refine", "steps": 2, "resolution": 16, "overrides": {}}
    there, here = (job(name, **changes) for name in ("there", "here"))
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    for folder in (there, here):
        write_source(folder.source_file, SourceMesh(box.vertices.astype(np.float32), box.faces.astype(np.int32)))
    errand = cluster._Errand(
        Crew(FakeRay(nodes={"a": {"CPU": 1.0}}, works=True), cores=1), cluster.Packer(), threading.Event()
    )
    outcome = errand.run(there.path, "run", lambda event: None)
    assert (outcome.exit_code, outcome.error) == (errors.EXIT_DONE, "")
    assert worker.run(here.path, resume=False) == errors.EXIT_DONE
    for name in ("texture.png", "uv.npz", "moved.npz", "mesh.glb"):
        assert (there.path / name).read_bytes() == (here.path / name).read_bytes(), name
    assert there.result()["task"] == "refine"


def test_a_job_that_no_node_has_room_for_says_so(impatient, job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cluster_node.Node, "start", full)
    ray = FakeRay(nodes={name: {"CPU": 1.0} for name in "ab"}, works=True)
    errand = cluster._Errand(Crew(ray, cores=1), cluster.Packer(), threading.Event())
    outcome = errand.run(job().path, "run", lambda event: None)
    assert outcome.exit_code == errors.EXIT_STORAGE
    assert "a cannot keep the files of the job" in outcome.error
    assert "No space left on device" in outcome.error
    assert ray.killed == ["a", "b"]


def test_a_process_of_a_node_whose_job_ended_in_an_unexpected_error_does_no_other(impatient, job, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(text_to_mesh, "make", fail)
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
    ray = FakeRay(nodes={"a": {"CPU": 1.0}}, works=True)
    errand = cluster._Errand(Crew(ray, cores=1), cluster.Packer(), threading.Event())
    outcome = errand.run(job().path, "run", lambda event: None)
    assert outcome.exit_code == 1
    assert ray.killed == ["a"]


def test_a_cluster_that_is_gone_in_the_middle_of_a_job_is_one_sentence(impatient, job, monkeypatch):
    ray = FakeRay(nodes={"a": {"CPU": 1.0}}, deaf=True)
    answers = [ray.nodes()]

    def nodes():
        if not answers:
            raise ConnectionError("Client is disconnected")
        return answers.pop()

    monkeypatch.setattr(ray, "nodes", nodes)
    errand = cluster._Errand(Crew(ray, cores=1), cluster.Packer(), threading.Event())
    outcome = errand.run(job().path, "run", lambda event: None)
    assert outcome.exit_code == errors.EXIT_ENVIRONMENT
    assert "The Ray cluster does not answer any more (Client is disconnected)" in outcome.error


def test_a_file_that_goes_away_before_it_is_sent_is_named(impatient, job, tmp_path):
    file = tmp_path / "style.safetensors"
    file.write_bytes(b"of a LoRA")

    def remove(event):
        if isinstance(event, events.Progress):
            file.unlink(missing_ok=True)

    ray = FakeRay(nodes={"a": {"CPU": 1.0}}, works=True)
    errand = cluster._Errand(Crew(ray, cores=1), cluster.Packer(), threading.Event())
    outcome = errand.run(job(loras=(Lora(str(file)),)).path, "run", remove)
    assert outcome.exit_code == errors.EXIT_BAD_INPUT
    assert f'"{file}" cannot be read' in outcome.error


def test_a_job_that_loses_three_actors_ends_and_names_their_nodes(impatient, job):
    ray = FakeRay(nodes={name: {"CPU": 1.0} for name in "abcd"}, deaf=True)
    errand = cluster._Errand(Crew(ray, cores=1), cluster.Packer(), threading.Event())
    folder = job()
    outcome = errand.run(folder.path, "run", lambda event: None)
    assert outcome.exit_code == errors.EngineError.exit_code
    assert "lost one after the other (a, b, c)" in outcome.error
    assert folder.request().prompt == "a red mug"
    assert len(ray.killed) == 3
