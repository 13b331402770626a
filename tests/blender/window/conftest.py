"""Lets the tests import the modules beside them, which are also programs, by their bare names; and their one window."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from installed import KeptWindow, suites, with_extension


@pytest.fixture(scope="session", params=suites())
def kept_window(request, tmp_path_factory):
    kept = KeptWindow(with_extension(request.param, tmp_path_factory.mktemp(f"blender-{request.param}")))
    yield kept
    kept.close()
