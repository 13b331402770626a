"""Finds the Pythons on this machine, and what each lacks for the engine, without blocking Blender."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..sdi_engine.install import READY_MADE_FOR, python_of
from .doctor import Diagnosis, Glance, shortened
from .engine import Engine, python_in, search_path

MOST_PROGRAMS = 60

_MINOR_VERSIONS = range(15, 7, -1)
_LAUNCHER_SECONDS = 10
_CONDA_FOLDERS = ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba", ".conda")
_NAMES_OF_ENVIRONMENTS = ("", "venv", ".venv")
_NOT_TO_SEARCH = {"Applications", "Desktop", "Documents", "Downloads", "Library", "Movies", "Music", "Pictures"}
"""Folders in the home folder for which macOS asks the person's permission before a program may read them."""


@dataclass(frozen=True)
class FoundPython:
    """A Python and its quick diagnosis."""

    program: Path
    diagnosis: Diagnosis

    @property
    def version(self) -> tuple[int, ...]:
        """The Python's version as numbers, such as (3, 12, 4)."""
        return tuple(int(number) for number in re.findall(r"\d+", self.diagnosis.version)[:3])

    @property
    def summary(self) -> str:
        """For example "3.12.4 · torch 2.9.1 · lacks nerfacc, xatlas"."""
        parts = [self.diagnosis.version]
        if self.diagnosis.refusal:
            return " · ".join([*parts, self.diagnosis.refusal])
        torch = next((check for check in self.diagnosis.checks if check.name == "torch"), None)
        if torch is not None and torch.detail[:1].isdigit():
            parts.append(f"torch {torch.detail.split(',')[0]}")
        if self.diagnosis.ok:
            return " · ".join([*parts, f"ready, {self.diagnosis.device}"])
        return " · ".join([*parts, f"lacks {shortened([check.name for check in self.diagnosis.missing])}"])


class Survey:
    """Examines one Python after the other; call `poll` until `is_over`. `found` grows meanwhile, best first.

    Args:
        engine: how to run the examination; its Python does not matter.
        programs: returns the Pythons to examine; runs in a thread, since disks and networks can be slow.
    """

    def __init__(self, engine: Engine, programs: Callable[[], Iterable[Path]]) -> None:
        self.found: list[FoundPython] = []
        self.is_over = False
        self._engine = engine
        self._waiting: list[Path] = []
        self._glance: Glance | None = None
        self._gathering = threading.Thread(target=self._gather, args=(programs,), daemon=True)
        self._gathering.start()

    def poll(self) -> bool:
        """Continue the survey; returns whether `found` or `is_over` has changed."""
        if self.is_over or self._gathering.is_alive():
            return False
        news = False
        if self._glance is not None:
            if not self._glance.poll():
                return False
            news = self._take(self._glance)
            self._glance = None
        if self._waiting:
            program = self._waiting.pop(0)
            self._glance = Glance(Engine(program, self._engine.package_parent))
            return news
        self.is_over = True
        return True

    def stop(self) -> None:
        """End the survey."""
        self.is_over = True
        if self._glance is not None:
            self._glance.stop()

    def _gather(self, programs: Callable[[], Iterable[Path]]) -> None:
        self._waiting = list(programs())[:MOST_PROGRAMS]

    def _take(self, glance: Glance) -> bool:
        """Add a Python that answered, unless it is known under another name; one that did not answer is left out."""
        diagnosis, program = glance.diagnosis, glance.engine.python
        assert diagnosis is not None
        assert program is not None
        if not diagnosis.version or any(diagnosis.is_of_same_environment(known.diagnosis) for known in self.found):
            return False
        executable = Path(diagnosis.executable)  # rather than a shim of pyenv or of a launcher
        self.found.append(FoundPython(executable if executable.is_file() else program, diagnosis))
        self.found.sort(key=_usefulness)
        return True


def base_for_environment(
    found: Iterable[FoundPython], environment: Path, lender: Path | None, lender_version: tuple[int, ...]
) -> Path | None:
    """The Python to make the engine's own environment with; None if there is none.

    Args:
        found: the Pythons of a survey.
        environment: where the environment will be; its own Python cannot be its base.
        lender: Blender's own Python, the last choice. Making an environment from it changes nothing in Blender's
            installation, since the environment is a folder elsewhere.
        lender_version: the lender's version.
    """
    able = {
        python.version[:2]: python.program
        for python in reversed(list(found))
        if not python.diagnosis.refusal
        and python.diagnosis.can_make_environments
        and environment not in python.program.parents
    }
    best = next((able[version] for version in READY_MADE_FOR if version in able), None)
    return best or (lender if lender_version[:2] in READY_MADE_FOR else None)


def programs(also: Iterable[Path] = ()) -> list[Path]:
    """The Pythons on this machine, without duplicates: `also` first, then those on PATH, then in the usual places.

    Reads folders and may start the Windows launcher, so it can be slow: call it in a thread.
    """
    places = (also, _on_search_path(), _of_launcher(), _of_system(), _of_managers(), _of_conda(), _in_home())
    seen: dict[tuple[str, str], Path] = {}
    for place in places:
        for program in place:
            if _is_program(program):
                folder, file = os.path.realpath(program.parent), os.path.realpath(program)
                seen.setdefault((folder, file), program)
    return list(seen.values())


def _on_search_path() -> Iterator[Path]:
    names = ["python3", "python", *(f"python3.{minor}" for minor in _MINOR_VERSIONS)]
    suffix = ".exe" if sys.platform == "win32" else ""
    for folder in search_path().split(os.pathsep):
        if folder:
            yield from (Path(folder, name + suffix) for name in names)


def _of_launcher() -> Iterator[Path]:
    """The Pythons that Windows' launcher `py` lists."""
    if sys.platform != "win32":
        return
    try:
        done = subprocess.run(
            ["py", "-0p"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LAUNCHER_SECONDS,
            creationflags=subprocess.CREATE_NO_WINDOW,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in done.stdout.splitlines():
        match = re.search(r"[A-Za-z]:\\.*\.exe", line)
        if match:
            yield Path(match.group())


def _of_system() -> Iterator[Path]:
    if sys.platform == "win32":
        for variable, pattern in (
            ("LOCALAPPDATA", "Programs/Python/Python3*/python.exe"),
            ("PROGRAMFILES", "Python3*/python.exe"),
            ("SYSTEMDRIVE", "Python3*/python.exe"),
        ):
            if os.environ.get(variable):
                yield from _glob(Path(os.environ[variable] + os.sep), pattern)
        return
    for folder in ("/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"):
        yield from _glob(Path(folder), "python3*")
    yield from _glob(Path("/Library/Frameworks/Python.framework/Versions"), "3.*/bin/python3")
    yield from _glob(Path("/opt/homebrew/opt"), "python@3*/bin/python3.*")


def _of_managers() -> Iterator[Path]:
    """The Pythons of pyenv and uv."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    if sys.platform == "win32":
        yield from _glob(home / ".pyenv" / "pyenv-win" / "versions", "*/python.exe")
        data = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
        yield from _glob(data / "uv" / "python", "*/python.exe")
        return
    yield from _glob(pyenv / "versions", "*/bin/python")
    yield from _glob(data / "uv" / "python", "*/bin/python3")


def _of_conda() -> Iterator[Path]:
    parents = [Path.home(), Path("/opt"), Path("/opt/homebrew/Caskroom/miniforge"), Path("/opt/homebrew/Caskroom")]
    if os.environ.get("PROGRAMDATA"):
        parents.append(Path(os.environ["PROGRAMDATA"]))
    roots = [parent / name for parent in parents for name in (*_CONDA_FOLDERS, "conda", "base")]
    for root in [root for root in roots if _is_folder(root)]:
        yield python_in(root)
        yield from map(python_in, _folders(root / "envs"))
    try:
        known = (Path.home() / ".conda" / "environments.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield from (python_in(Path(line.strip())) for line in known.splitlines() if line.strip())


def _in_home() -> Iterator[Path]:
    """Virtual environments in the home folder and one level below, where image generators often keep theirs."""
    for folder in _folders(Path.home()):
        if folder.name in _NOT_TO_SEARCH:
            continue
        environments = [folder / name for name in _NAMES_OF_ENVIRONMENTS]
        if folder.name in (".virtualenvs", "venvs", ".venvs", "envs"):
            environments += _folders(folder)
        yield from (python_of(each) for each in environments if (each / "pyvenv.cfg").is_file())


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern), reverse=True)
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_program(path: Path) -> bool:
    name = re.fullmatch(r"python(3(\.\d+)?)?(\.exe)?", path.name, re.IGNORECASE)
    try:
        return name is not None and path.is_file() and os.access(path, os.X_OK)
    except OSError:
        return False


def _usefulness(python: FoundPython) -> tuple[bool, int, tuple[int, ...]]:
    """A sort key: ready ones first, then those that lack the fewest packages, then the newest."""
    diagnosis = python.diagnosis
    newest_first = tuple(-number for number in python.version)
    return not diagnosis.ok, 1000 if diagnosis.refusal else len(diagnosis.missing), newest_first
