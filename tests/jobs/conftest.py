"""The extension as a package, without Blender, and a stand-in for its engine."""

import pytest

import headless

headless.load()


@pytest.fixture
def engine(fake_python):
    from sdi_text_to_3d.jobs.engine import Engine

    return Engine(fake_python, headless.ROOT)
