import sys
import time

import pytest
import tiny_packages
from sdi_text_to_3d.jobs import installation
from sdi_text_to_3d.jobs.engine import Engine
from sdi_text_to_3d.jobs.installation import Cleanup, Installation, Removal
from sdi_text_to_3d.sdi_engine import install

import headless


@pytest.fixture
def environment(tmp_path):
    return tmp_path / "lent by Blender" / "engine"


@pytest.fixture
def begin(tmp_path, environment, monkeypatch):
    """Starts the installation of one tiny package, with settings of pip as keywords; `quick` borrows pip."""

    def begin(quick=True, **pip):
        if quick:
            tiny_packages.install_quickly(monkeypatch, Engine)
        for name, value in tiny_packages.pip_environment(**pip).items():
            monkeypatch.setenv(name, value)
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("sdi-tiny==1.0\n")
        return Installation(sys.executable, environment, headless.ROOT, requirements=requirements)

    return begin


def follow(installation, until=lambda: False):
    """Poll to the end, or until a condition is true; returns the phases."""
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
    installation = begin(quick=False, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert follow(installation)[-3:] == ["Making the environment", "Installing sdi-tiny (1 of 1)", "Checking it"]
    assert installation.succeeded, installation.sentence
    assert installation.fraction == pytest.approx(2 / 3)
    assert install.python_of(environment).is_file()
    assert not installation.poll()


@pytest.mark.parametrize(("index", "options"), [("https://torch.lan", ["--torch-index=https://torch.lan"]), ("", [])])
def test_what_cannot_be_started_is_a_sentence_and_is_told_where_torch_comes_from(
    environment, monkeypatch, index, options
):
    commands = []

    def start(command, *_):
        commands.append(command)
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(installation.process, "start", start)
    refused = Installation(sys.executable, environment, headless.ROOT, index)
    assert commands == [[sys.executable, "-m", "sdi_engine.install", str(environment), *options]]
    assert (refused.is_over, refused.succeeded) == (True, False)
    assert "could not be started (Exec format error): try another Python" in refused.sentence


@pytest.fixture
def working(environment):
    """An environment that an earlier version of the extension made."""
    program = install._program(environment)
    program.parent.mkdir(parents=True)
    program.touch()
    (environment / install.STAMP).write_text("of an earlier version")
    return program


def test_a_failure_is_one_sentence_and_leaves_nothing_but_the_log(begin, environment):
    installation = begin(PIP_NO_INDEX="1")
    follow(installation)
    assert not installation.succeeded
    assert installation.sentence.startswith("There is no sdi-tiny 1.0")
    assert not environment.exists()
    assert "ResolutionImpossible" in installation.log_file.read_text()


def test_a_failure_leaves_the_environment_that_works(begin, environment, working):
    installation = begin(PIP_NO_INDEX="1")
    follow(installation)
    assert not installation.succeeded
    assert install.python_of(environment) == working
    assert install.state_of(environment) == install.OUTDATED


def test_cancel_stops_it_at_once_and_removes_what_was_made(begin, environment, working):
    with tiny_packages.deaf_server() as server:
        installation = begin(PIP_INDEX_URL=server)
        follow(installation, until=lambda: installation.phase.startswith("Installing"))
        assert (environment / "1").is_dir()
        installation.cancel()
        assert installation.is_cancelling
        assert not installation.is_over
        follow(installation)
    assert not installation.succeeded
    assert installation.sentence == "The installation was cancelled."
    assert not (environment / "1").exists()
    assert install.python_of(environment) == working


def test_a_second_blender_does_not_disturb_a_running_installation(begin, environment, working):
    with tiny_packages.deaf_server() as server:
        first = begin(PIP_INDEX_URL=server)
        follow(first, until=lambda: first.phase.startswith("Installing"))
        second = begin(PIP_INDEX_URL=server)
        follow(second)
        assert "under way: wait until it ends" in second.sentence
        assert not first.poll()
        assert (environment / "1").is_dir()
        assert first.log_file != second.log_file
        assert "under way" not in first.log_file.read_text()
        first.cancel()
        follow(first)
    assert install.python_of(environment) == working


def test_a_base_that_cannot_run_is_one_sentence(environment, tmp_path):
    installation = Installation(tmp_path / "nothing", environment, headless.ROOT)
    assert installation.is_over
    assert "could not be started" in installation.sentence


def test_a_base_that_ends_without_output_is_one_sentence(environment):
    installation = Installation("/bin/false", environment, headless.ROOT)
    follow(installation)
    assert "exit code 1" in installation.sentence


def done(removal):
    deadline = time.monotonic() + 60
    while not removal.poll():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return removal.sentence


def test_an_environment_is_removed_in_the_background(environment, working):
    assert done(Removal(environment)) == ""
    assert install.state_of(environment) == install.MISSING


def test_what_is_not_ours_is_not_removed(environment):
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch()
    assert "remove it yourself" in done(Removal(environment))
    assert done(Cleanup(environment)) == ""
    assert (environment / "bin" / "python").is_file()


def test_a_removal_waits_a_little_for_a_process_that_ends(environment, working, monkeypatch):
    answers = iter([True, True])
    monkeypatch.setattr(installation, "_SECONDS_BETWEEN_TRIES", 0.0)
    monkeypatch.setattr(install, "_is_used", lambda _: next(answers, False))
    assert done(Removal(environment)) == ""
    assert not working.exists()


def test_nothing_is_removed_while_another_blender_installs(environment, working, monkeypatch):
    monkeypatch.setattr(installation, "_SECONDS_BETWEEN_TRIES", 0.0)
    with install.lock_of(environment) as lock:
        assert lock.acquire()
        assert "under way: wait until it ends" in done(Removal(environment))
    assert working.is_file()
