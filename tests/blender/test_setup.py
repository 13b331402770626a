"""The engine's set-up: the operators in Blender, with programs that stand in for Pythons."""

import json
import sys
import time
from pathlib import Path

import pytest
import tiny_packages

import headless


@pytest.fixture
def setup(bpy, extension):
    return extension.state.current.session().engine_setup


@pytest.fixture
def module(extension):
    return extension.state.engine_setup


@pytest.fixture
def report(extension):
    """The text that Copy Report copies."""
    session = extension.state.current.session()
    return lambda: extension.state.report.report(session.engine_setup, session.display.job)


@pytest.fixture
def settings(bpy, extension):
    return bpy.context.preferences.addons[extension.__name__].preferences


@pytest.fixture
def python_that_says(tmp_path):
    """Make a program that answers as the doctor, with these checks failed."""

    def make(*missing, version="3.11.7", name="python3"):
        program = tmp_path / name
        details = {"Python": f"{version} is too old"}
        answer = {
            "ok": not missing,
            "python": version,
            "executable": str(program),
            "prefix": str(tmp_path / f"prefix of {name}"),
            "device": "cpu",
            "checks": [
                {"name": each, "ok": False, "detail": details.get(each, "not installed"), "fix": f"get {each}"}
                for each in missing
            ],
        }
        program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def online(bpy):
    bpy.context.preferences.system.use_online_access = True
    yield
    bpy.context.preferences.system.use_online_access = False


@pytest.fixture
def environment(extension, tmp_path, monkeypatch):
    """Pretend that the extension is installed, so that Blender gives it a folder."""
    folder = tmp_path / "lent by Blender" / "engine"
    monkeypatch.setattr(extension.state.preferences, "private_environment", lambda: folder)
    monkeypatch.delenv("SDI_ENGINE_PYTHON", raising=False)
    return folder


@pytest.fixture
def tiny_installation(extension, module, tmp_path, monkeypatch, settings, online):
    """The engine's requirements are one tiny package; this machine's Pythons are the one that runs the test."""
    requirements = tmp_path / "requirements.txt"
    tiny_packages.install_quickly(monkeypatch, extension.jobs.engine.Engine)
    requirements.write_text("sdi-tiny==1.0\n")
    real, state_of = module.Installation, module.install.state_of
    monkeypatch.setattr(module, "Installation", lambda *given: real(*given, requirements=requirements))
    monkeypatch.setattr(module.install, "state_of", lambda folder: state_of(folder, requirements))
    monkeypatch.setattr(module.pythons, "programs", lambda also: [*also, Path(sys.executable)])
    for name, value in tiny_packages.pip_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels")).items():
        monkeypatch.setenv(name, value)
    settings.engine_python = ""


def why_not(bpy, operator):
    """The reason in a disabled button's tooltip; None if it is enabled."""
    if operator.poll():
        return None
    with pytest.raises(RuntimeError) as error:
        operator()
    return str(error.value)


def wait_until(setup, condition):
    """Tick as the timer does in a window."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        setup.tick()
        time.sleep(0.02)


def glance(setup):
    setup.glance()
    setup.wait()


@pytest.mark.filterwarnings("ignore")
def test_check_says_what_is_missing(bpy, setup, capsys):
    assert bpy.ops.sdi.check_engine() == {"FINISHED"}
    assert not setup.diagnosis.ok
    assert setup.diagnosis.missing[0].fix == "pip install torch==2.13.0"


@pytest.mark.parametrize(
    ("missing", "version", "words"),
    [
        (("torch", "nerfacc"), "3.11.7", "The engine is not set up yet: it needs a Python with torch."),
        (("nerfacc", "xatlas"), "3.11.7", "The engine is not set up yet: its Python lacks nerfacc, xatlas."),
        (("Python",), "3.9.2", "The engine is not set up yet: its Python 3.9.2 is too old."),
        ((), "3.12.1", ""),
    ],
)
def test_the_hint_names_what_is_wrong(setup, settings, python_that_says, missing, version, words):
    settings.engine_python = str(python_that_says(*missing, version=version))
    assert setup.hint() == ""  # nothing is known yet
    glance(setup)
    assert setup.hint() == words


def test_the_hint_without_any_python(setup, settings, monkeypatch, tmp_path, report):
    monkeypatch.delenv("SDI_ENGINE_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings.engine_python = ""
    glance(setup)
    assert setup.hint() == "The engine is not set up yet: it needs a Python with torch."
    assert "No Python for the engine was found" in report()


def test_a_found_python_is_used_with_one_button(bpy, setup, settings, python_that_says, monkeypatch, module):
    poor, rich = python_that_says("torch", name="python3.11"), python_that_says(name="python3.12", version="3.12.1")
    monkeypatch.setattr(module.pythons, "programs", lambda also: [poor, rich])
    assert bpy.ops.sdi.find_pythons() == {"FINISHED"}
    assert [found.program for found in setup.survey.found] == [rich, poor]
    assert [found.summary for found in setup.survey.found] == ["3.12.1 · ready, cpu", "3.11.7 · lacks torch"]
    assert bpy.ops.sdi.use_python(python=str(poor)) == {"FINISHED"}
    assert settings.engine_python == str(poor)
    assert setup.hint()
    bpy.ops.sdi.use_python(python=str(rich))
    assert setup.hint() == ""
    with pytest.raises(RuntimeError, match="No Python is chosen"):  # a script's working folder is not meant
        bpy.ops.sdi.use_python(python="")
    assert settings.engine_python == str(rich)


def test_what_was_chosen_is_among_those_that_are_asked(
    setup, settings, environment, python_that_says, monkeypatch, module
):
    settings.engine_python = str(python_that_says())
    asked = []
    monkeypatch.setattr(module.pythons, "programs", lambda also: asked.extend(also) or [])
    setup.find_pythons()
    setup.wait()
    assert asked == [Path(settings.engine_python), environment / "bin" / "python"]


def test_install_says_why_it_cannot(bpy, setup, environment, online):
    assert bpy.ops.sdi.install_engine.poll()
    bpy.context.preferences.system.use_online_access = False
    assert "Allow Online Access in Preferences, System first" in why_not(bpy, bpy.ops.sdi.install_engine)


def test_a_checkout_has_no_environment(bpy, setup, online):
    assert "runs from a checkout" in why_not(bpy, bpy.ops.sdi.install_engine)
    assert "runs from a checkout" in why_not(bpy, bpy.ops.sdi.remove_environment)


def test_windows_gets_an_environment_of_short_paths(extension, monkeypatch, tmp_path):
    preferences = extension.state.preferences
    monkeypatch.setattr(preferences, "PACKAGE", "bl_ext.user_default.sdi_text_to_3d")
    monkeypatch.setattr(preferences.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert preferences.private_environment() == tmp_path / "SDI" / "engine"


def test_cancel_and_remove_say_why_they_cannot(bpy, setup, environment):
    assert "No installation is running" in why_not(bpy, bpy.ops.sdi.cancel_installation)
    assert "no environment of its own" in why_not(bpy, bpy.ops.sdi.remove_environment)


def test_an_installed_environment_is_in_use_at_once_and_can_be_removed(
    bpy, setup, settings, environment, tiny_installation, tmp_path, module
):
    tiny_packages.write_wheel(tmp_path / "wheels", "sdi-tiny")
    settings.engine_python = str(tmp_path / "another")
    assert bpy.ops.sdi.install_engine() == {"FINISHED"}
    assert setup.environment_state == "ready"
    assert setup.uses_environment
    assert settings.engine_python == ""
    assert setup.python == module.install.python_of(environment)
    assert Path(setup.diagnosis.prefix) == environment / "1"  # it was examined; with one tiny package it is not ready
    assert setup.hint() == "The engine is not set up yet: it needs a Python with torch."

    (tmp_path / "requirements.txt").write_text("sdi-tiny==2.0\n")
    glance(setup)
    assert setup.environment_state == "outdated"
    assert "made for another version" in setup.hint()

    assert bpy.ops.sdi.remove_environment() == {"FINISHED"}
    assert not environment.exists()
    assert setup.environment_state == "missing"
    assert not setup.uses_environment


def test_an_installation_that_fails_says_why(bpy, setup, environment, tiny_installation, report):
    with pytest.raises(RuntimeError, match="There is no sdi-tiny"):
        bpy.ops.sdi.install_engine()
    assert setup.complaint.startswith("There is no sdi-tiny 1.0")
    assert setup.installation_log.is_file()
    assert not environment.exists()
    assert not setup.is_installing()
    assert setup.complaint in report()


def test_an_installation_that_fails_leaves_the_environment_in_use(
    bpy, setup, settings, environment, tiny_installation, tmp_path
):
    wheel = tiny_packages.write_wheel(tmp_path / "wheels", "sdi-tiny")
    bpy.ops.sdi.install_engine()
    python = setup.python
    wheel.unlink()
    with pytest.raises(RuntimeError, match="There is no sdi-tiny"):
        bpy.ops.sdi.install_engine()
    assert (setup.environment_state, setup.uses_environment, setup.python) == ("ready", True, python)
    assert python.is_file()
    assert "being installed" not in setup.hint()


def test_a_python_of_the_environment_is_used_by_the_name_that_lasts(bpy, setup, settings, environment, tmp_path):
    bpy.ops.sdi.use_python(python=str(environment / "1" / "bin" / "python"))
    assert settings.engine_python == str(environment)


def test_an_installation_can_be_cancelled_midway(bpy, setup, environment, tiny_installation, monkeypatch):
    with tiny_packages.deaf_server() as server:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", server)
        setup.start_installation()
        wait_until(setup, lambda: setup.progress()[0] == "Installing sdi-tiny (1 of 1)")
        assert setup.hint() == "The engine is being installed: Installing sdi-tiny (1 of 1)"
        assert "is running" in why_not(bpy, bpy.ops.sdi.install_engine)
        assert bpy.ops.sdi.cancel_installation() == {"FINISHED"}
        wait_until(setup, lambda: not setup.is_installing())
    assert setup.complaint == "The installation was cancelled."
    assert not environment.exists()


def test_an_environment_stays_until_the_engine_has_left_it(bpy, extension, setup, environment, monkeypatch, module):
    class Runner:
        is_busy = False
        asked_to_leave = False
        queue = None
        trouble = ""

        def status(self):
            return {"pid": 1}

        def free_memory(self):
            self.asked_to_leave = True

        def close(self):
            pass

    runner = Runner()
    runner.queue = runner
    monkeypatch.setattr(extension.state.current.session().desks, "runner", runner)
    (environment / "bin").mkdir(parents=True)
    (environment / module.install.STAMP).touch()
    monkeypatch.setattr(setup, "uses_environment", True)
    monkeypatch.setattr(setup, "environment_state", "ready")
    setup.remove_environment()
    assert runner.asked_to_leave
    for _ in range(3):
        assert setup.tick() is not None
    assert environment.is_dir()
    assert "being removed" in why_not(bpy, bpy.ops.sdi.remove_environment)
    runner.status = lambda: None
    wait_until(setup, lambda: not setup.is_removing())
    assert not environment.exists()

    setup.wait()
    setup.uses_environment, setup.environment_state, runner.is_busy = True, "ready", True
    assert "A job is running in this environment" in why_not(bpy, bpy.ops.sdi.remove_environment)


def test_no_python_for_an_environment_is_one_sentence(bpy, setup, environment, tiny_installation, monkeypatch, module):
    monkeypatch.setattr(module.pythons, "programs", lambda also: [])
    monkeypatch.setattr(module.sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"install Python 3\.12"):
        bpy.ops.sdi.install_engine()
    assert not environment.exists()


def test_blenders_own_python_is_used_only_if_the_engine_can_run_in_it(setup, monkeypatch, module):
    assert module._lender() == Path(sys.executable)
    refused = module.doctor.Check("Python", False, "3.14.0 is too new", "Choose a Python 3.11, 3.12 or 3.13.")
    monkeypatch.setattr(module.doctor, "python_check", lambda: refused)
    assert module._lender() is None


def test_the_report_does_not_reveal_the_home_folder(bpy, setup, settings, monkeypatch, tmp_path, report):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.engine_python = str(tmp_path / "my env" / "python")
    glance(setup)
    text = report()
    assert "SDI Text to 3D 0." in text
    assert bpy.app.version_string in text
    assert '"~/my env/python" does not exist' in text
    assert str(tmp_path) not in text


def test_the_report_has_the_doctors_lines_and_the_end_of_the_log(bpy, extension, setup, settings, report):
    class Job:
        state = "failed"

        def log_tail(self, lines):
            return (
                f"http://anna:secret@proxy.lan\n{lines} lines, the last of which says: {Path.home()}/model is damaged"
            )

    extension.state.current.session().display.job = Job()
    try:
        bpy.ops.sdi.check_engine()
        text = report()
    finally:
        extension.state.current.session().display.job = None
    assert "MISSING torch: not installed" in text
    assert "pip install torch==2.13.0" in text
    assert "ok      numpy: 1.26.4" in text
    assert "The newest job is failed" in text
    assert "30 lines, the last of which says: ~/model is damaged" in text
    assert "http://***@proxy.lan" in text


def test_disabling_stops_what_is_running(bpy, fake_python, tmp_path):
    package = headless.enable(engine_python=fake_python)
    setup = package.state.current.session().engine_setup
    sleeper = tmp_path / "python3"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    bpy.context.preferences.addons[package.__name__].preferences.engine_python = str(sleeper)
    setup.glance()
    process = setup._examination._process
    assert setup._timer.is_running
    headless.disable()
    assert process.poll() is not None
    assert not setup._timer.is_running
