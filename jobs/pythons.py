"""The Pythons on this machine: where they are, and what each lacks, without waiting for the answers."""

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
_NOT_TO_LOOK_INTO = {"Applications", "Desktop", "Documents", "Downloads", "Library", "Movies", "Music", "Pictures"}
"""Folders in the home folder that macOS asks the person about before a program may see them."""


@dataclass(frozen=True)
class FoundPython:
    """A Python and what a glance at it said."""

    program: Path
    diagnosis: Diagnosis

    @property
    def version(self) -> tuple[int, ...]:
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
    """Glances at one Python after the other; call `poll` until `is_over`. `found` grows meanwhile, the best first.

    Args:
        engine: how to ask; its Python does not matter.
        programs: says which to ask; runs in a thread, since disks and networks take their time.
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
        """Whether there is anything new."""
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
        """Ask no more."""
        self.is_over = True
        if self._glance is not None:
            self._glance.stop()

    def _gather(self, programs: Callable[[], Iterable[Path]]) -> None:
        self._waiting = list(programs())[:MOST_PROGRAMS]

    def _take(self, glance: Glance) -> bool:
        """Add what answered, unless it is known under another name; what did not answer is no Python to choose."""
        diagnosis, program = glance.diagnosis, glance.engine.python
        assert diagnosis is not None
        assert program is not None
        if not diagnosis.version or any(diagnosis.is_of_same_environment(known.diagnosis) for known in self.found):
            return False
        executable = Path(diagnosis.executable)  # rather than pyenv's or a launcher's stand-in for it
        self.found.append(FoundPython(executable if executable.is_file() else program, diagnosis))
        self.found.sort(key=_usefulness)
        return True


def base_for_environment(
    found: Iterable[FoundPython], environment: Path, lender: Path | None, lender_version: tuple[int, ...]
) -> Path | None:
    """The Python to make the engine's own environment with; None where there is none.

    Args:
        found: what a survey found.
        environment: where it will be; its own Python is no base for itself.
        lender: Blender's own Python. It only lends its program: an environment is a folder elsewhere, and making one
            changes nothing in Blender's installation. It comes after those for which every package is ready made.
        lender_version: of that.
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
    """Where Pythons are on this machine, each once: `also` first, then the search path, then the usual places.

    Reads folders and may start the Windows launcher: not to be called where somebody waits.
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
    """What Windows' launcher `py` knows."""
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
    """pyenv's and uv's."""
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
    """Virtual environments in the home folder, and in its folders: where programs for pictures keep theirs."""
    for folder in _folders(Path.home()):
        if folder.name in _NOT_TO_LOOK_INTO:
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
    """Sorts what is ready first, then what lacks least, then what is newest."""
    diagnosis = python.diagnosis
    newest_first = tuple(-number for number in python.version)
    return not diagnosis.ok, 1000 if diagnosis.refusal else len(diagnosis.missing), newest_first
