import sys
import time

import pytest
import tiny_packages
from sdi_text_to_3d.jobs.installation import Installation, Removal
from sdi_text_to_3d.sdi_engine import install

import headless


@pytest.fixture
def environment(tmp_path):
    return tmp_path / "lent by Blender" / "engine"


@pytest.fixture
def begin(tmp_path, environment, monkeypatch):
    """Start the installation of one tiny package, with pip's settings from the keywords."""

    def begin(**pip):
        for name, value in tiny_packages.pip_environment(**pip).items():
            monkeypatch.setenv(name, value)
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("sdi-tiny==1.0\n")
        return Installation(sys.executable, environment, headless.ROOT, requirements=requirements)

    return begin


def follow(installation, until=lambda: False):
    """The phases up to the end, or until a condition holds."""
    phases = []
    deadline = time.monotonic() + 60
    while not installation.is_over and not until():
        assert time.monotonic() < deadline, installation.log_file.read_text()
        installation.poll()
        phases += [installation.phase] if phases[-1:] != [installation.phase] else []
        time.sleep(0.02)
    return phases


def test_it_shows_its_progress_and_ends(begin, environment, tmp_path):
    tiny_packages.write_wheel(tmp_path / "wheels", "sdi-tiny")
    installation = begin(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert follow(installation)[-2:] == ["Making the environment", "Installing sdi-tiny (1 of 1)"]
    assert installation.succeeded, installation.sentence
    assert installation.fraction == 0.5
    assert install.python_of(environment).is_file()
    assert not installation.poll()


def test_a_failure_is_one_sentence_and_leaves_nothing_but_the_log(begin, environment):
    installation = begin(PIP_NO_INDEX="1")
    follow(installation)
    assert not installation.succeeded
    assert installation.sentence.startswith("There is no sdi-tiny 1.0")
    assert not environment.exists()
    assert "ResolutionImpossible" in installation.log_file.read_text()


def test_cancel_stops_it_at_once_and_removes_what_was_made(begin, environment):
    with tiny_packages.deaf_server() as server:
        installation = begin(PIP_INDEX_URL=server)
        follow(installation, until=lambda: installation.phase.startswith("Installing"))
        assert environment.is_dir()
        installation.cancel()
        assert installation.is_cancelling
        assert not installation.is_over
        follow(installation)
    assert not installation.succeeded
    assert installation.sentence == "The installation was cancelled."
    assert not environment.exists()


def test_a_base_that_cannot_run_is_one_sentence(environment, tmp_path):
    installation = Installation(tmp_path / "nothing", environment, headless.ROOT)
    assert installation.is_over
    assert "could not be started" in installation.sentence


def test_a_base_that_ends_without_a_word_is_one_sentence(environment):
    installation = Installation("/bin/false", environment, headless.ROOT)
    follow(installation)
    assert "exit code 1" in installation.sentence


def test_an_environment_is_removed_while_nobody_waits(environment):
    (environment / "lib").mkdir(parents=True)
    (environment / install.STAMP).touch()
    removal = Removal(environment)
    deadline = time.monotonic() + 10
    while not removal.poll():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not environment.exists()
    assert removal.sentence == ""
