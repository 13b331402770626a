"""`evaluate --cluster` with a stand-in for the cluster, and what Ctrl+C leaves of it."""

import json
import signal

import numpy as np
import pytest
from fake_cluster import ADDRESS, NO_ANSWER, NOBODY, FakeCluster, paused

from sdi_engine import errors
from sdi_engine.cli import commands
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME, RUN
from sdi_engine.evaluation.runs import Record
from sdi_engine.mesh.export import write_glb
from sdi_engine.mesh.unwrap import UnwrappedMesh
from sdi_engine.service import cluster, own_process
from sdi_engine.service.pool import Outcome

PROMPTS = ("a car for iguanas", "a house for unicorns", "a bed for dodos")
"""The judge, which takes long to load, knows none of them, but the starter model knows words of each."""


def write_tetrahedron(file):
    corners = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    positions = corners[[[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]]
    normals = np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0])
    normals = np.repeat(normals / np.linalg.norm(normals, axis=1, keepdims=True), 3, axis=0)
    positions = positions.reshape(-1, 3)
    mesh = UnwrappedMesh(positions, normals.astype(np.float32), np.arange(12).reshape(-1, 3), positions[:, :2])
    write_glb(file, mesh, np.full((8, 8, 3), 200, np.uint8), "tetrahedron")


@pytest.fixture
def nodes(monkeypatch):
    """A cluster that makes tetrahedra; what it did, as (prompt, verb)."""
    did = []

    class Nodes(FakeCluster):
        @staticmethod
        def do(job, verb, listener, pausing):
            folder = JobFolder(job)
            did.append((folder.request().prompt, verb))
            write_tetrahedron(folder.mesh_file)
            folder.result_file.write_text(json.dumps({"attempts": 1}))
            return Outcome(errors.EXIT_DONE, seconds=2.0)

    monkeypatch.setattr(cluster, "ClusterPool", Nodes)
    monkeypatch.setattr(own_process, "OwnProcess", lambda *asked: pytest.fail("This computer did the work."))
    Nodes.did = did
    return Nodes


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Run the command with these prompts; its exit code and the JSON object that it printed."""

    def run(address, *prompts):
        arguments = ["evaluate", "-o", str(tmp_path / "out"), "--samples", "0", "--device", "cpu", "--json"]
        for prompt in prompts:
            arguments += ["--prompt", prompt]
        code = commands.main([*arguments, "--cluster", address])
        return code, json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])

    return run


def records(folder):
    return {JobFolder(file.parent).request().prompt: Record.of(file.parent) for file in folder.glob("jobs/*/run.json")}


def test_the_cluster_at_the_address_makes_the_objects(evaluate, nodes, tmp_path):
    code, said = evaluate(ADDRESS, *PROMPTS)
    assert code == errors.EXIT_DONE, said
    assert nodes.opened == 1
    assert sorted(nodes.did) == sorted((prompt, RUN) for prompt in PROMPTS)
    assert said["settings"]["standard"]["failures"] == 0
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_where_nobody_answers_it_says_so_and_goes_on_at_another_address(evaluate, nodes, tmp_path):
    evaluate(ADDRESS, PROMPTS[0])
    code, said = evaluate(NOBODY, *PROMPTS)
    assert (code, said["error"]) == (errors.EXIT_ENVIRONMENT, NO_ANSWER)
    assert records(tmp_path / "out")[PROMPTS[0]].exit_code == errors.EXIT_DONE
    assert evaluate(ADDRESS, *PROMPTS)[0] == errors.EXIT_DONE
    assert sorted(nodes.did) == sorted((prompt, RUN) for prompt in PROMPTS)  # and none twice


@pytest.fixture
def heard_ctrl_c():
    """SIGINT as in a terminal: a shell that starts the tests in the background lets them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_pauses_what_is_at_work_and_the_same_call_goes_on(evaluate, nodes, tmp_path, monkeypatch):
    do = nodes.do

    def do_until_paused(job, verb, listener, pausing):
        if verb == RESUME or JobFolder(job).request().prompt != PROMPTS[1]:
            return do(job, verb, listener, pausing)
        if not JobFolder(job).checkpoint_folder.exists():
            JobFolder(job).checkpoint_folder.mkdir()
        while not any(record.exit_code == errors.EXIT_DONE for record in records(tmp_path / "out").values()):
            pausing.wait(0.01)
        signal.raise_signal(signal.SIGINT)
        assert pausing.wait(60.0)
        return paused()

    monkeypatch.setattr(nodes, "do", staticmethod(do_until_paused))
    monkeypatch.setattr(nodes, "capacity", 1)  # the third waits when the second is stopped
    code, said = evaluate(ADDRESS, *PROMPTS)
    assert code == errors.EXIT_CANCELLED, said
    kept = records(tmp_path / "out")
    assert {prompt: record.exit_code for prompt, record in kept.items()} == {PROMPTS[0]: 0, PROMPTS[1]: 130}
    assert list((tmp_path / "out").glob("jobs/*/checkpoint")), "what it had reached is there"

    assert evaluate(ADDRESS, *PROMPTS)[0] == errors.EXIT_DONE
    assert nodes.did == [(PROMPTS[0], RUN), (PROMPTS[1], RESUME), (PROMPTS[2], RUN)]
    assert records(tmp_path / "out")[PROMPTS[1]].seconds == 3.0  # of both times
