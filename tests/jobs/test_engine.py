import os
from pathlib import Path

import pytest
from sdi_text_to_3d.jobs import engine
from sdi_text_to_3d.jobs.engine import find_python
from sdi_text_to_3d.sdi_engine import install


def environment_at(folder):
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_persons_choice_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv(engine.PYTHON_VARIABLE, "/from/environment")
    private = environment_at(tmp_path / "private")
    (tmp_path / "private" / install.STAMP).write_text("of another version")
    assert find_python("/chosen/python", private.parents[1]) == Path("/chosen/python").absolute()
    assert find_python("", private.parents[1]) == Path("/from/environment").absolute()
    monkeypatch.delenv(engine.PYTHON_VARIABLE)
    assert find_python("", private.parents[1]) == private
    assert find_python("", tmp_path / "nowhere").name.startswith("python")


def test_an_unfinished_environment_is_skipped(tmp_path, monkeypatch):
    monkeypatch.delenv(engine.PYTHON_VARIABLE, raising=False)
    private = environment_at(tmp_path / "private")
    assert find_python("", tmp_path / "private") != private


def test_the_folder_of_an_environment_is_accepted(tmp_path):
    python = environment_at(tmp_path / "venv")
    assert find_python(str(tmp_path / "venv")) == python


def test_a_path_holds_in_the_folder_that_the_engine_runs_in(tmp_path, monkeypatch):
    python = environment_at(tmp_path / "venv")
    monkeypatch.chdir(tmp_path)
    assert find_python("venv") == find_python("./venv") == find_python("venv/bin/python") == python
    monkeypatch.setenv(engine.PYTHON_VARIABLE, "venv/bin/python")
    assert find_python() == python
    assert find_python("python3.12") == Path("python3.12")  # on PATH


def test_no_python_at_all(tmp_path, monkeypatch):
    monkeypatch.delenv(engine.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python() is None


@pytest.mark.parametrize("chosen", ["~nobody-of-this-name/venv", "/root-of-another/venv"])
def test_a_choice_that_cannot_be_looked_at_stays_the_choice(chosen, monkeypatch):
    """Whoever starts it says why it does not work."""

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert find_python(chosen) == Path(chosen).absolute()


@pytest.mark.parametrize(
    ("system", "folders"), [("darwin", ["/opt/bin", "/bin"]), ("linux", ["/opt/bin", "/usr/bin", "/bin"])]
)
def test_apples_stub_of_a_python_is_not_searched(monkeypatch, system, folders):
    monkeypatch.setattr(engine.sys, "platform", system)
    monkeypatch.setenv("PATH", os.pathsep.join(("/opt/bin", "/usr/bin", "/bin")))
    assert engine.search_path().split(os.pathsep) == folders


def test_the_python_of_a_conda_environment_on_windows_lies_in_its_folder(tmp_path):
    (tmp_path / "python.exe").touch()
    assert engine.python_in(tmp_path) == tmp_path / "python.exe"
    python = environment_at(tmp_path)
    assert engine.python_in(tmp_path) == python
