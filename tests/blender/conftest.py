"""The extension enabled in PyPI's bpy, with a stand-in for its engine and an empty home."""

import atexit
import os
import sys
import tempfile

import pytest
from blender_desk import PROMPT, App, Desk
from made_jobs import make_job

import headless
from sdi_engine.contract.job_queue import ENGINE_FOLDER, JobQueue

_home = tempfile.TemporaryDirectory(prefix="sdi-blender-home-")
os.environ["BLENDER_USER_RESOURCES"] = _home.name  # before bpy is imported: it must not read the person's own


@pytest.fixture
def bpy():
    """A fresh Blender, with a cube, a camera and a light."""
    bpy = pytest.importorskip("bpy")
    bpy.ops.wm.read_factory_settings()
    return bpy


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def extension(bpy, fake_python, results):
    """The enabled extension's package."""
    extension = headless.enable(engine_python=fake_python, results_folder=results)
    model_index = extension.sdi_engine.diffusion.model_index
    with pytest.MonkeyPatch.context() as patch:  # what the stand-in is to do is said by words that no model knows
        patch.setattr(model_index, "words_of", lambda folder: {})
        yield extension
    headless.disable()


@pytest.fixture
def put(bpy, extension, results):
    """One of our objects, selected and active."""

    def put_into_scene(prompt=PROMPT, name="job-1"):
        folder = make_job(extension, results, name, prompt)
        return extension.scene.importer.put_into_scene(bpy.context, folder, extension.jobs.placement.Placement())

    return put_into_scene


@pytest.fixture
def desk(bpy, extension, monkeypatch, tmp_path):
    state = extension.state
    asks_for_a_window = (state.announcement, state.arrivals, state.desks, state.session, state.watcher)
    for module in (*asks_for_a_window, extension.operators.generate, extension.operators.texture_jobs):
        fake = type("bpy", (), {"__getattr__": lambda self, name: getattr(bpy, name), "app": App(bpy.app)})()
        monkeypatch.setattr(module, "bpy", fake)
    monkeypatch.setattr(extension.jobs.notify, "notify", lambda message: None)
    desk = Desk(bpy, extension, monkeypatch)
    yield desk
    # an engine that is left would block those of the next test; some serve folders that no desk has any more
    runners = desk.session.desks.all()
    starting = {runner._process._process for runner in runners} - {None}
    left = [JobQueue(folder.parent) for folder in tmp_path.glob(f"*/{ENGINE_FOLDER}")]
    queues = [runner.queue for runner in runners] + left
    serving = {status["pid"] for queue in queues if (status := queue.status()) is not None}
    for pid in serving | {process.pid for process in starting}:
        extension.jobs.process.end_tree(pid)


def pytest_sessionfinish(session, exitstatus):
    session.config.blender_exit_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Leave without Blender's destructors where it was imported: as a module it may wait in them without end, for a
    thread that closes files. Processes of xdist are ended by the one that has started them."""
    if "bpy" in sys.modules and not hasattr(config, "workerinput"):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.blender_exit_status)
