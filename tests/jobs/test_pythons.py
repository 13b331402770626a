import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sdi_text_to_3d.jobs import pythons
from sdi_text_to_3d.jobs.doctor import Check, Diagnosis
from sdi_text_to_3d.jobs.pythons import FoundPython, Survey, base_for_environment, programs

LENDER = Path("/blender/python")


def program_at(path, body="exit 1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def finished(survey):
    deadline = time.monotonic() + 60
    while not survey.is_over:
        assert time.monotonic() < deadline
        survey.poll()
        time.sleep(0.02)
    return survey


def found(version, *missing, program="/usr/bin/python3", device="cpu", torch="2.13.0", able=True, refused=""):
    checks = [Check("Python", not refused, f"{version} {refused}".strip(), "")]
    checks.append(Check("torch", "torch" not in missing, "not installed" if "torch" in missing else torch, ""))
    checks += [Check(name, False, "not installed", "") for name in missing if name != "torch"]
    diagnosis = Diagnosis(not missing, "", tuple(checks), version, program, "/usr", device, can_make_environments=able)
    return FoundPython(Path(program), diagnosis)


def new(version, program):
    return found(version, program=program, refused="is too new")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home folder and a PATH with known contents."""
    for name in ("PYENV_ROOT", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def in_home(machine):
    return {str(path.relative_to(machine)) for path in programs() if machine in path.parents}


def test_a_survey_asks_one_after_the_other_and_lists_each_once(engine, tmp_path):
    real = Path(sys.executable)
    bare = program_at(tmp_path / "bare" / "python3", f'exec "{real}" -S "$@"')
    shim = program_at(tmp_path / "shims" / "python3", f'exec "{real}" "$@"')
    silent = program_at(tmp_path / "store" / "python", "echo 'Python was not found'; exit 9")
    survey = finished(Survey(engine, lambda: [silent, tmp_path / "nothing", shim, real]))
    (python,) = survey.found  # the stand-in and the Python behind it count as one
    assert python.program == real
    assert python.summary == f"{sys.version.split()[0]} · torch 2.13.0+cpu · ready, {python.diagnosis.device}"
    assert python.diagnosis.prefix == sys.prefix

    survey = finished(Survey(engine, lambda: [bare, shim]))
    assert [python.diagnosis.ok for python in survey.found] == [True, False]  # they were examined in the other order


def test_a_survey_can_be_stopped(engine, tmp_path):
    endless = program_at(tmp_path / "python3", f'echo $$ >"{tmp_path}/pid"; exec sleep 60')
    survey = Survey(engine, lambda: [endless])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        survey.poll()
    survey.stop()
    assert survey.is_over
    assert not survey.poll()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_summary_of_a_python():
    assert found("3.12.4", "nerfacc", "xatlas", torch="2.9.1, tested with 2.13.0").summary == (
        "3.12.4 · torch 2.9.1 · lacks nerfacc, xatlas"
    )
    assert found("3.11.7", "torch", "a", "b", "c", "d").summary == "3.11.7 · lacks torch, a, b and 2 more"
    assert found("3.11.7", device="cuda").summary == "3.11.7 · torch 2.13.0 · ready, cuda"
    too_old = Diagnosis(False, "", (Check("Python", False, "3.9.2 is too old", "Choose another."),), "3.9.2")
    assert FoundPython(Path("python"), too_old).summary == "3.9.2 · is too old"


def test_the_most_useful_comes_first():
    too_old = FoundPython(
        Path("old"), Diagnosis(False, "", (Check("Python", False, "3.9.2 is too old", ""),), version="3.9.2")
    )
    every = [too_old, found("3.11.2", "a"), found("3.12.9", "a"), found("3.11.1", "a", "b"), found("3.11.0")]
    versions = [python.diagnosis.version for python in sorted(every, key=pythons._usefulness)]
    assert versions == ["3.11.0", "3.12.9", "3.11.2", "3.11.1", "3.9.2"]


@pytest.mark.parametrize(
    ("pythons_found", "lender_version", "base"),
    [
        ([found("3.11.7", program="/a"), found("3.12.1", program="/b"), new("3.14.0", program="/c")], (3, 11), "/b"),
        ([found("3.11.7", program="/a"), found("3.13.0", program="/c")], (3, 13), "/a"),
        ([found("3.13.0", program="/c")], (3, 11), "/c"),
        ([new("3.14.0", program="/d")], (3, 11), "/blender/python"),
        ([new("3.14.0", program="/d")], (3, 14), None),
        ([found("3.12.1", program="/pypy", refused="is PyPy"), found("3.13.0", program="/c")], None, "/c"),
        ([new("3.14.0", program="/d"), found("3.13.0", program="/c")], (3, 13), "/c"),
        ([found("3.12.1", program="/without/ensurepip", able=False)], (3, 13), "/blender/python"),
        ([found("3.12.1", program="/lent/engine/bin/python")], (3, 13), "/blender/python"),
        ([found("3.10.1", program="/old", refused="is too old")], (3, 10), None),
        ([], None, None),
    ],
)
def test_the_base_is_the_one_for_which_everything_is_ready_made(pythons_found, lender_version, base):
    lender = LENDER if lender_version else None
    chosen = base_for_environment(pythons_found, Path("/lent/engine"), lender, lender_version or ())
    assert chosen == (Path(base) if base else None)


def test_where_pythons_are_searched(machine):
    program_at(machine / "bin" / "python3")
    program_at(machine / "bin" / "python3.12")
    program_at(machine / "bin" / "python3-config")
    program_at(machine / ".pyenv" / "versions" / "3.11.7" / "bin" / "python")
    program_at(machine / ".local" / "share" / "uv" / "python" / "cpython-3.12" / "bin" / "python3")
    program_at(machine / "miniforge3" / "bin" / "python")
    program_at(machine / "miniforge3" / "envs" / "paint" / "bin" / "python")
    for environment in (".venv", "pictures/venv", "Documents/venv", ".virtualenvs/one"):
        program_at(machine / environment / "bin" / "python")
        (machine / environment / "pyvenv.cfg").touch()
    assert in_home(machine) == {
        "bin/python3",
        "bin/python3.12",
        ".pyenv/versions/3.11.7/bin/python",
        ".local/share/uv/python/cpython-3.12/bin/python3",
        "miniforge3/bin/python",
        "miniforge3/envs/paint/bin/python",
        ".venv/bin/python",
        "pictures/venv/bin/python",  # not Documents, for which macOS would ask for permission
        ".virtualenvs/one/bin/python",
    }


def test_where_pythons_are_searched_on_windows(machine, monkeypatch):
    for name, folder in (("LOCALAPPDATA", "Local"), ("PROGRAMFILES", "Programs"), ("SYSTEMDRIVE", "C")):
        monkeypatch.setenv(name, str(machine / folder))
    monkeypatch.setenv("APPDATA", str(machine / "Roaming"))
    expected = {
        "bin/python.exe",
        "Local/Programs/Python/Python312/python.exe",
        "Programs/Python311/python.exe",
        "C/Python313/python.exe",
        ".pyenv/pyenv-win/versions/3.11.7/python.exe",
        "Roaming/uv/python/cpython-3.12/python.exe",
        "miniconda3/python.exe",
    }
    for program in expected:
        program_at(machine / program)
    asked = []

    def launcher(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(pythons.sys, "platform", "win32")
    monkeypatch.setattr(pythons.subprocess, "CREATE_NO_WINDOW", 0, raising=False)
    monkeypatch.setattr(pythons.subprocess, "run", launcher)
    assert in_home(machine) == expected
    assert asked == [["py", "-0p"]]


@pytest.mark.parametrize(
    ("line", "program"),
    [
        (r" -V:3.12 *        C:\Users\Anna B\Python312\python.exe", r"C:\Users\Anna B\Python312\python.exe"),
        (r" -3.9-64        D:\python.exe *", r"D:\python.exe"),
        ("No suitable Python runtime found", None),
    ],
)
def test_what_the_launcher_of_windows_lists(monkeypatch, line, program):
    monkeypatch.setattr(pythons.sys, "platform", "win32")
    monkeypatch.setattr(pythons.subprocess, "CREATE_NO_WINDOW", 0, raising=False)
    monkeypatch.setattr(pythons.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, f"{line}\n"))
    assert list(map(str, pythons._of_launcher())) == ([program] if program else [])


def test_names_of_one_program_are_one_and_environments_are_not(machine):
    real = program_at(machine / "bin" / "python3.12")
    (machine / "bin" / "python3").symlink_to("python3.12")
    for environment in ("one", "two"):
        (machine / environment / "bin").mkdir(parents=True)
        (machine / environment / "bin" / "python").symlink_to(real)
        (machine / environment / "pyvenv.cfg").touch()
    assert in_home(machine) == {"bin/python3", "one/bin/python", "two/bin/python"}
    assert programs([real])[0] == real


def test_unreadable_folders_are_skipped(machine, monkeypatch):
    monkeypatch.setenv("HOME", str(machine / "no home"))
    monkeypatch.setenv("PYENV_ROOT", str(program_at(machine / "a file")))
    monkeypatch.setenv("PATH", "")
    assert not in_home(machine)
