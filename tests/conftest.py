"""Fixtures and settings of all tests.

torch uses one thread, since the tensors are small and threads would only wait for each other. Temporary files, and the
engine's state, which would be in the person's own folder, go into a folder of this test run.
"""

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# The locks of other engines on this machine, of other tests or of a person, must not block ours.
_temporary = tempfile.TemporaryDirectory(prefix="sdi-tests-")
tempfile.tempdir = os.environ["TMPDIR"] = _temporary.name

# Nor may tests use a person's own state: locks, and the secret that seals tickets.
os.environ["SDI_ENGINE_STATE"] = str(Path(_temporary.name) / "state")

# Kernels are compiled for the tests, which takes seconds; those in the person's own folder stay as they are.
os.environ.setdefault("WARP_CACHE_PATH", str(Path(_temporary.name) / "kernels"))

FAKE_WORKER = Path(__file__).parent / "jobs" / "fake_worker.py"
WINDOWS = "tests/blender/window/"
LONGEST = (
    WINDOWS,
    "tests/starter/test_train.py",
    "tests/diffusion/test_families.py",
    "tests/diffusion/test_parts.py",
    "tests/test_install.py",
    "tests/diffusion/test_single_file.py",
    "tests/studies/test_commands.py",
    "tests/service/",
    "tests/run/test_optimisation.py",
    "tests/diffusion/test_packed.py",
    "tests/blender/test_session.py",
    "tests/jobs/test_runner.py",
    "tests/cli/test_cli.py",
    "tests/diffusion/",
)
"""What takes longest: all windows, then files of 50 down to 15 s of processor time, as `--durations=0` has them."""


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that no process is left with one at the end."""

    def rank(item):
        return next((rank for rank, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))

    items.sort(key=rank)


def pytest_collection_finish():
    """Leave what was imported out of garbage collections: engines do a whole one for each job, which takes long."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    """Skip a test whose fixtures make links where this account may not."""
    return (yield from _skipped_without_links())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Skip a test that makes links where this account may not."""
    return (yield from _skipped_without_links())


def _skipped_without_links():
    try:
        return (yield)
    except OSError as error:
        if getattr(error, "winerror", None) == 1314:  # ERROR_PRIVILEGE_NOT_HELD
            pytest.skip("On this Windows links need the developer mode or an administrator.")
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run the tests of a file in one process, since they share slow fixtures, and all window tests in one, too.

    Windows in several processes would wait too long for each other's frames, and they share one installed Blender.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return WINDOWS if nodeid.startswith(WINDOWS) else nodeid.split("::")[0]

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def torch_as_it_starts():
    """Reset torch's random numbers and threads, whatever ran before in the same process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def small_pictures(monkeypatch):
    """Render small previews: those of normal size take longer than the few steps of a test."""
    from sdi_engine.run import previews

    monkeypatch.setattr(previews, "MAX_PREVIEW_RESOLUTION", 16)
    monkeypatch.setattr(previews, "TURNTABLE_RESOLUTION", 8)


@pytest.fixture
def fake_python(tmp_path):
    """A program that stands in for the engine's Python."""
    program = tmp_path / "fake python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_WORKER}" "$@"\n')
    program.chmod(0o755)
    return program
