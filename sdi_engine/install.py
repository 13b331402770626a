"""Make the engine an environment of its own: `python -m sdi_engine.install FOLDER [--torch-index URL]`.

Standard library only; run by any Python 3.11 or later, whose own packages stay as they are. What it does comes as one
JSON object a line (`sdi_engine.events`) among pip's own words. It may be killed at any time: an environment counts only
with the stamp that is written last, and starting again begins with a clean folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import doctor, events
from .errors import (
    EXIT_CANCELLED,
    EXIT_DONE,
    BadInputError,
    EngineError,
    EnvironmentMissingError,
    StorageError,
)
from .files import write_atomically
from .locks import ProcessLock
from .redaction import redact_output, redacted

MISSING = "missing"
UNFINISHED = "unfinished"
OUTDATED = "outdated"
READY = "ready"

STAMP = "sdi-requirements.sha256"
READY_MADE_FOR = ((3, 12), (3, 11), (3, 13))
"""The Pythons for which everything in requirements.txt comes ready made, the better one first."""

_DOWNLOADS = "downloads"
_WATCH_SECONDS = 1.0
_TAIL_LINES = 200

_NO_SPACE = (
    "No space left on device",
    "Errno 28",
    "WinError 112",
    "not enough space on the disk",
    "Disk quota exceeded",
)
_TOO_DEEP = ("Windows Long Path",)
_NO_NETWORK = ("Max retries exceeded", "Retrying (Retry(", "ReadTimeoutError", "ConnectionResetError", "ProxyError")
_NO_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "SSLError")
_NO_MATCH = ("No matching distribution found", "Could not find a version that satisfies", "ResolutionImpossible")
"""The last is what pip says of a constraint that nothing fulfils."""
_NO_COMPILER = ("Failed building wheel", "Failed to build", "Getting requirements to build wheel did not run")


def state_of(environment: Path, requirements: Path = doctor.REQUIREMENTS_FILE) -> str:
    """Whether there is an environment with these very requirements: MISSING, UNFINISHED, OUTDATED or READY."""
    if not environment.is_dir():
        return MISSING
    try:
        stamp = (environment / STAMP).read_text(encoding="utf-8")
    except OSError:
        return UNFINISHED
    if not python_of(environment).is_file():
        return UNFINISHED
    return READY if stamp == _hash(requirements) else OUTDATED


def python_of(environment: Path) -> Path:
    """The Python of a virtual environment."""
    inside = Path("Scripts", "python.exe") if sys.platform == "win32" else Path("bin", "python")
    return environment / inside


def install(environment: Path, requirements: Path = doctor.REQUIREMENTS_FILE, torch_index: str = "") -> None:
    """Make the environment anew, with everything that is pinned; says what it does on the way.

    Raises:
        BadInputError: the Torch Index is no address.
        EnvironmentMissingError: a package cannot be had, or this Python cannot make environments.
        StorageError: the disk is full, or the folder cannot be written.
    """
    if torch_index and not re.match(r"(https?|file)://\S+$", torch_index):
        raise BadInputError(
            f'The Torch Index "{torch_index}" is no address: give one that begins with https://, or leave it empty.'
        )
    wanted = doctor.pinned(requirements)
    steps = len(wanted) + 1
    _say(events.Progress("Making the environment", 0, steps))
    with _disk_errors(environment):
        (environment / STAMP).unlink(missing_ok=True)  # first, since clearing takes a while and may be stopped
        _make(environment)
        downloads = environment / _DOWNLOADS
        downloads.mkdir(exist_ok=True)
        for number, (name, version) in enumerate(wanted, 1):
            phase = f"Installing {name} ({number} of {len(wanted)})"
            _say(events.Progress(phase, number, steps))
            options = [f"--index-url={torch_index}"] if name == "torch" and torch_index else []
            command = [*_pip(environment), "--constraint", str(requirements), *options, f"{name}=={version}"]
            with _watched(downloads, phase, number, steps):
                code, output = _run(command, downloads)
            if code != 0:
                raise _why(output, name, version, environment, bool(options))
        shutil.rmtree(downloads, ignore_errors=True)
        write_atomically(environment / STAMP, _hash(requirements))
    _say(events.StateChanged(events.DONE))


def main(arguments: list[str] | None = None) -> int:
    """Install and return the exit code."""
    parser = argparse.ArgumentParser(prog="sdi_engine.install", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the environment, which is made anew")
    parser.add_argument("--torch-index", default="", metavar="URL", help="where torch comes from, for a certain GPU")
    parser.add_argument("--requirements", type=Path, default=doctor.REQUIREMENTS_FILE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.folder.absolute()
    try:
        with ProcessLock(f"environment {folder}") as lock:
            if not lock.acquire():
                raise BadInputError(f'Another installation into "{folder}" is under way: wait until it ends.')
            install(folder, options.requirements.absolute(), options.torch_index.strip())
    except EngineError as error:
        _say(events.Failed(str(error), error.exit_code))
        return error.exit_code
    except KeyboardInterrupt:
        _say(events.StateChanged(events.CANCELLED))
        return EXIT_CANCELLED
    return EXIT_DONE


def _make(environment: Path) -> None:
    import venv  # only here: Blender imports this module too, and its Python may have been packaged without

    builder = venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt")
    try:
        builder.create(environment)
    except subprocess.CalledProcessError as error:
        output = (error.output or b"").decode("utf-8", "replace")
        print(redacted(output), flush=True)
        if any(words in output for words in _NO_SPACE):
            raise _disk_full(environment) from error
        raise EnvironmentMissingError(
            f'"{sys.executable}" cannot make environments with pip: install its package "venv" (on Debian and Ubuntu '
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv), or another Python."
        ) from error


def _pip(environment: Path) -> list[str]:
    options = ["--disable-pip-version-check", "--no-input", "--prefer-binary", "--progress-bar=off"]
    return [str(python_of(environment)), "-m", "pip", "install", *options]


def _run(command: list[str], downloads: Path) -> tuple[int, list[str]]:
    """Run pip, pass on what it prints; its exit code and last lines. It dies with us where we are stopped."""
    tail: list[str] = []
    with subprocess.Popen(
        command,
        env=_pip_environment(downloads),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said = redacted(line.rstrip())  # an index's address may hold a password
                print(said, flush=True)  # with an end of line, or it would swallow our next one
                tail = [*tail[1 - _TAIL_LINES :], said]
        except BaseException:
            process.kill()
            raise
    return process.returncode, tail


def _pip_environment(downloads: Path) -> dict[str, str]:
    """Ours without what would lead pip elsewhere; half-fetched files go into the environment, to vanish with it."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("PYTHON")}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "__PYVENV_LAUNCHER__"):
        ours.pop(name, None)
    temporary = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(downloads))
    return {**ours, **temporary, "PIP_USER": "0", "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


@contextmanager
def _watched(downloads: Path, phase: str, step: int, steps: int) -> Iterator[None]:
    """Say now and then how much was fetched: torch alone may be gigabytes."""
    over = threading.Event()

    def watch() -> None:
        said = 0
        while not over.wait(_WATCH_SECONDS):
            megabytes = _size(downloads) // 1_000_000
            if megabytes != said and megabytes > 0:
                said = megabytes
                _say(events.Progress(f"{phase}, {megabytes} MB fetched", step, steps))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip has taken it away meanwhile
                total += Path(parent, name).stat().st_size
    return total


def _why(output: list[str], name: str, version: str, environment: Path, has_index: bool) -> EngineError:
    """One sentence for pip's refusal."""
    text = "\n".join(output)

    def has(signs: tuple[str, ...]) -> bool:
        return any(sign in text for sign in signs)

    if has(_NO_SPACE):
        return _disk_full(environment)
    if has(_TOO_DEEP):
        return StorageError(
            f'The paths in "{environment}" are too long for this Windows: switch on its "long paths" '
            "(LongPathsEnabled in the registry), then install again."
        )
    if has(_NO_CERTIFICATE):
        return EnvironmentMissingError(
            f"{name} could not be fetched, because this computer does not trust the server's certificate: "
            "check the clock and the proxy, then install again."
        )
    if has(_NO_NETWORK):
        return EnvironmentMissingError(
            f"{name} could not be fetched, because the package server cannot be reached: "
            "check the network and the proxy, then install again."
        )
    python = ".".join(map(str, sys.version_info[:2]))
    ready_made = " or ".join(".".join(map(str, each)) for each in READY_MADE_FOR)
    if has(_NO_MATCH):
        if has_index:
            cure = "check the Torch Index"
        elif sys.version_info[:2] in READY_MADE_FOR:
            cure = "check which package index pip is set to use"
        else:
            cure = f"get Python {ready_made}, then install again"
        return EnvironmentMissingError(f"There is no {name} {version} for Python {python} on this computer: {cure}.")
    if has(_NO_COMPILER):
        return EnvironmentMissingError(
            f"There is no ready-made {name} {version} for Python {python} on this computer, and it could not be built: "
            f"get Python {ready_made}, then install again."
        )
    said = next((line for line in reversed(output) if line.startswith("ERROR:")), output[-1] if output else "no word")
    return EnvironmentMissingError(
        f"pip could not install {name} {version} ({said.removeprefix('ERROR:').strip()}): read the log, "
        "then install again."
    )


@contextmanager
def _disk_errors(environment: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if any(words in str(error) for words in _NO_SPACE):
            raise _disk_full(environment) from error
        raise StorageError(
            f'The environment in "{environment}" cannot be written ({error.strerror or error}): '
            "end what uses it, then install again."
        ) from error


def _disk_full(environment: Path) -> StorageError:
    return StorageError(f'The disk of "{environment}" is full: free some gigabytes, then install again.')


def _hash(requirements: Path) -> str:
    text = requirements.read_text(encoding="utf-8")  # as text: a checkout on Windows may have other line ends
    return hashlib.sha256(text.encode()).hexdigest()


def _say(event: events.Event) -> None:
    sys.stdout.write(events.to_line(event))
    sys.stdout.flush()


if __name__ == "__main__":
    redact_output()
    sys.exit(main())
