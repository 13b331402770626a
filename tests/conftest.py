"""For all tests.

One thread of torch each, since their tensors are small and threads would only wait for each other; and a folder for
temporary files of their own, and one that takes the place of the person's.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Engines at work on this machine, of other tests or of a person, must not hold ours up by their lock.
_temporary = tempfile.TemporaryDirectory(prefix="sdi-tests-")
tempfile.tempdir = os.environ["TMPDIR"] = _temporary.name

# Nor may they read or write what a person keeps: locks, and the secret that seals tickets.
os.environ["SDI_ENGINE_STATE"] = str(Path(_temporary.name) / "state")

FAKE_WORKER = Path(__file__).parent / "jobs" / "fake_worker.py"


@pytest.fixture
def fake_python(tmp_path):
    """A program that takes the place of the engine's Python."""
    program = tmp_path / "fake python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_WORKER}" "$@"\n')
    program.chmod(0o755)
    return program
