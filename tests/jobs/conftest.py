"""The extension as a package, without Blender, and a stand-in for its engine."""

import sys
from pathlib import Path

import pytest

import headless

headless.load()

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


@pytest.fixture
def fake_python(tmp_path):
    """A program that takes the place of the engine's Python."""
    program = tmp_path / "fake python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_WORKER}" "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def engine(fake_python):
    from sdi_text_to_3d.jobs.engine import Engine

    return Engine(fake_python, headless.ROOT)
