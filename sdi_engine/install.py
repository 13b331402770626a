"""Make the engine an environment of its own: `python -m sdi_engine.install FOLDER [--torch-index URL]`.

Standard library only; run by one of the Pythons that the engine is made for, whose own packages stay as they are. What
it does comes as one JSON object a line (`contract.events`) among pip's own words. The folder holds

sdi-environments  says that the folder is ours: one that is neither empty nor ours is refused, and stays as it is
1, 2, …           environments, each with a file that says that it is ours, and, once it is whole, the stamp
current           the name of the one in charge

A new environment is made beside the one in charge, which stays until the new one has passed its check. So the installer
may be killed at any time: the old one or the new one is in charge, and the next installation removes what is half made.
Earlier versions made the environment in the folder itself; it is in charge until there is another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import doctor
from .contract import events
from .errors import (
    EXIT_CANCELLED,
    EXIT_DONE,
    BadInputError,
    EngineError,
    EnvironmentMissingError,
    StorageError,
)
from .system import network
from .system.files import leads_to_file, write_atomically
from .system.locks import ProcessLock
from .system.redaction import redact_output, redacted
from .system.streams import open_streams

MISSING = "missing"
UNFINISHED = "unfinished"
OUTDATED = "outdated"
READY = "ready"

STAMP = "sdi-requirements.sha256"
"""Written into an environment that has passed its check: what it was made of."""
READY_MADE_FOR = ((3, 12), (3, 11), (3, 13))
"""The Pythons for which everything in requirements.txt comes ready made, the better one first."""

_FOLDER_MARK = "sdi-environments"
_MADE_BY_US = "made"
"""What the mark of a folder says that the installer made, and may remove when nothing is left in it."""
_MARK = "sdi-environment"
_LAUNCHER = "__PYVENV_LAUNCHER__"
"""The environment variable by which a program of an environment on macOS tells the one that it starts who it is."""
_CURRENT = "current"
_EARLIER_PARTS = (
    *("bin", "lib", "lib64", "include", "share", "etc", "man", "Scripts", "Lib", "Include", ".gitignore"),
    *("downloads", STAMP, "pyvenv.cfg"),
)
"""What is in an environment that lies in the folder itself; the last tells that there is one, and goes last."""
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
_PROXY = ("407 Proxy Authentication Required", "Missing dependencies for SOCKS", "Cannot connect to proxy")
_PIP_SECTIONS = (":env:", "install", "global")
"""Sections of `pip config list`, by precedence."""
_NO_MATCH = ("No matching distribution found", "Could not find a version that satisfies", "ResolutionImpossible")
"""The last is what pip says of a constraint that nothing fulfils."""
_NO_COMPILER = ("Failed building wheel", "Failed to build", "Getting requirements to build wheel did not run")


def state_of(folder: Path, requirements: Path = doctor.REQUIREMENTS_FILE) -> str:
    """Whether there is an environment with these very requirements: MISSING, UNFINISHED, OUTDATED or READY."""
    environment = in_charge(folder)
    if environment is None:
        return UNFINISHED if _is_ours(folder) else MISSING
    try:
        stamp = (environment / STAMP).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return UNFINISHED
    return READY if stamp == _hash(requirements) else OUTDATED


def in_charge(folder: Path) -> Path | None:
    """The environment of this folder that is to be used; None where there is none, or none that is whole."""
    try:
        name = (folder / _CURRENT).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        name = ""
    for environment in ([folder / name] if name.isdecimal() else []) + [folder]:
        if leads_to_file(environment / STAMP) and leads_to_file(_program(environment)):
            return environment
    return None


def python_of(folder: Path) -> Path:
    """The Python of a virtual environment, or of that in charge in a folder of them."""
    return _program(in_charge(folder) or folder)


def lock_of(folder: Path) -> ProcessLock:
    """Whoever changes what is in the folder holds this lock."""
    return ProcessLock(f"environment {os.path.realpath(folder)}")


def install(folder: Path, requirements: Path = doctor.REQUIREMENTS_FILE, torch_index: str = "") -> None:
    """Make a new environment, with everything that is pinned, and put it in charge; says what it does on the way.

    Where that fails, the one that was in charge stays. The caller holds `lock_of(folder)`.

    Raises:
        BadInputError: the Torch Index is not a URL, or the folder holds what is not ours.
        EnvironmentMissingError: a package cannot be had, or this Python cannot make environments for the engine.
        StorageError: the disk is full, or the folder cannot be written.
    """
    if doctor.refusal():
        raise EnvironmentMissingError(doctor.refusal())
    if torch_index and not re.match(r"(https?|file)://\S+$", torch_index):
        raise BadInputError(
            f'The Torch Index "{torch_index}" is not a URL: give one that begins with https://, or leave it empty.'
        )
    with _disk_errors(folder):
        _take_over(folder)
        try:
            _remove_leftovers(folder)
            environment = _new_environment(folder)
            _fill(environment, requirements, torch_index)
            write_atomically(environment / STAMP, _hash(requirements))
            write_atomically(folder / _CURRENT, environment.name)
        finally:
            with suppress(OSError):  # on Windows a virus scanner may be at it; the next installation comes by again
                tidy(folder)
    _say(events.StateChanged(events.DONE))


def tidy(folder: Path) -> None:
    """Remove what was never finished, and what another has taken the place of, where no process runs in it any more.

    The caller holds `lock_of(folder)`. Raises OSError.
    """
    if _is_ours(folder):
        _remove_leftovers(folder)
        _leave(folder)


def remove(folder: Path) -> None:
    """Remove all environments in the folder, and the folder if it was made by us and nothing else is in it.

    The caller holds `lock_of(folder)`.

    Raises:
        BadInputError: it is not ours.
        StorageError: a process runs in an environment; nothing was changed.
        OSError: something cannot be removed; what is left is in charge no more.
    """
    if not folder.exists():
        return
    if not _is_ours(folder):
        raise BadInputError(f'"{folder}" was not made by the installer: remove it yourself, if you want to.')
    if any(_is_used(environment) for environment in _environments(folder)):
        raise StorageError(f'The environment in "{folder}" is in use: end the engine that runs in it, then try again.')
    (folder / _CURRENT).unlink(missing_ok=True)
    for environment in _environments(folder):
        _discard(environment)
    _remove_fragments(folder)
    _leave(folder)


def main(arguments: list[str] | None = None) -> int:
    """Install and return the exit code."""
    parser = argparse.ArgumentParser(prog="sdi_engine.install", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="for the environment: a new folder, or one made by an earlier call")
    parser.add_argument("--torch-index", default="", metavar="URL", help="where torch comes from, for a certain GPU")
    parser.add_argument("--requirements", type=Path, default=doctor.REQUIREMENTS_FILE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.folder.absolute()
    try:
        with lock_of(folder) as lock:
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


def _is_ours(folder: Path) -> bool:
    """Whether the installer made what is in this folder, this version or an earlier one."""
    return (folder / _FOLDER_MARK).is_file() or _has_earlier(folder)


def _has_earlier(folder: Path) -> bool:
    """Whether there is an environment in the folder itself, whole or not, that an earlier version made."""
    if (folder / STAMP).is_file():
        return True
    is_environment = (folder / "pyvenv.cfg").is_file()
    return is_environment and ((folder / _FOLDER_MARK).is_file() or (folder / _DOWNLOADS).is_dir())


def _environments(folder: Path) -> list[Path]:
    """Those of ours, whole or not: no folder without our mark, and no link."""
    inside = [each for each in folder.iterdir() if not each.is_symlink() and (each / _MARK).is_file()]
    return sorted(inside) + ([folder] if _has_earlier(folder) else [])


def _take_over(folder: Path) -> None:
    """Make the folder, or make sure that it is ours; raises BadInputError where somebody else's things are in it."""
    says = _MADE_BY_US
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        says = _MADE_BY_US if _has_earlier(folder) else ""
        if not folder.is_dir():
            raise BadInputError(f'"{folder}" is a file: choose a new folder.') from None
    if not _is_ours(folder) and any(folder.iterdir()):
        raise BadInputError(
            f'The folder "{folder}" is not empty, and what is in it was not made by the installer: choose a new folder.'
        )
    _mark(folder, says)


def _mark(folder: Path, says: str) -> None:
    """Say in the folder that it is ours, unless it says so already."""
    with suppress(FileExistsError), (folder / _FOLDER_MARK).open("x", encoding="ascii") as file:
        file.write(says)


def _remove_leftovers(folder: Path) -> None:
    kept = in_charge(folder)
    for environment in _environments(folder):
        is_whole = (environment / STAMP).is_file()
        if environment != kept and not (is_whole and kept is None) and not _is_used(environment):
            _discard(environment)
    _remove_fragments(folder)


def _remove_fragments(folder: Path) -> None:
    """Remove what belongs to no environment (any more) because a process was killed at the wrong moment."""
    for each in folder.iterdir():
        if each.name.isdecimal():  # killed before our mark was in it, or after it was taken away
            with suppress(OSError):  # not empty
                each.rmdir()
        elif re.fullmatch(rf"\.{_CURRENT}\.\d+\.part", each.name):  # killed while it was written
            each.unlink(missing_ok=True)


def _new_environment(folder: Path) -> Path:
    """An empty environment of a name that is free, with our mark."""
    number = 1
    while True:
        environment = folder / str(number)
        try:
            environment.mkdir()
        except FileExistsError:
            number += 1
            continue
        (environment / _MARK).touch()
        return environment


def _discard(environment: Path) -> None:
    """Remove an environment; what tells that it is ours goes last, so that whoever is killed can be followed up."""
    if (environment / _MARK).is_file():
        for each in environment.iterdir():
            if each.name != _MARK:
                _delete(each)
        (environment / _MARK).unlink()
        environment.rmdir()
        return
    _mark(environment, _MADE_BY_US)  # since the stamp goes before the rest
    (environment / STAMP).unlink(missing_ok=True)
    for name in _EARLIER_PARTS:
        _delete(environment / name)


def _delete(path: Path) -> None:
    """Remove a file, a link (not what it leads to), or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _leave(folder: Path) -> None:
    """Take our mark from a folder that holds nothing of ours any more; remove one that we made, if it is empty."""
    if _environments(folder) or not (folder / _FOLDER_MARK).is_file():
        return
    was_made_by_us = (folder / _FOLDER_MARK).read_text(encoding="ascii", errors="replace") == _MADE_BY_US
    (folder / _CURRENT).unlink(missing_ok=True)
    (folder / _FOLDER_MARK).unlink()
    if was_made_by_us and not folder.is_symlink():
        with suppress(OSError):  # the person has put something there
            folder.rmdir()


def _is_used(environment: Path) -> bool:
    """Whether a process runs in the environment, as far as one can see."""
    program = _program(environment)
    if sys.platform == "win32":
        try:
            with program.open("r+b"):
                return False
        except PermissionError:
            return True
        except OSError:
            return False
    folders = (f"{program.parent}{os.sep}", f"{os.path.realpath(program.parent)}{os.sep}")
    return any(
        command.startswith(folders) or _launcher_of(command).startswith(folders) for command in _running_commands()
    )


def _launcher_of(command: str) -> str:
    """By which program of an environment a process was started that runs under another's name; empty for all others.

    So it is with the Pythons of python.org and Homebrew for macOS: an environment's program starts their framework's.
    """
    return command.partition(f" {_LAUNCHER}=")[2]


def _running_commands() -> list[str]:
    """How each process of this machine was called, as far as we may know; on macOS with its environment variables."""
    if Path("/proc/self/cmdline").is_file():
        commands = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # gone, or not ours to see
                commands.append(os.fsdecode(file.read_bytes().partition(b"\0")[0]))
        return commands
    options = "-axwwE" if sys.platform == "darwin" else "-axww"
    listed = subprocess.run(["ps", options, "-o", "command="], capture_output=True, check=False)
    return os.fsdecode(listed.stdout).splitlines()


def _program(environment: Path) -> Path:
    inside = Path("Scripts", "python.exe") if sys.platform == "win32" else Path("bin", "python")
    return environment / inside


def _fill(environment: Path, requirements: Path, torch_index: str) -> None:
    """Make the environment and put all that is pinned into it; raises where it would not work."""
    wanted = doctor.pinned(requirements)
    steps = len(wanted) + 2
    _say(events.Progress("Making the environment", 0, steps))
    _make(environment)
    downloads = environment / _DOWNLOADS
    downloads.mkdir(exist_ok=True)
    for number, (name, version) in enumerate(wanted, 1):
        phase = f"Installing {name} ({number} of {len(wanted)})"
        _say(events.Progress(phase, number, steps))
        options = [f"--index-url={torch_index}"] if name == "torch" and torch_index else []
        command = [*_pip(environment), "--constraint", str(requirements), *options, f"{name}=={version}"]
        with _watched(downloads, phase, number, steps):
            code, output = _run_patiently(command, _pip_environment(downloads))
        if code != 0:
            raise _why(output, name, version, environment, torch_index if options else "")
    shutil.rmtree(downloads, ignore_errors=True)
    _say(events.Progress("Checking it", steps - 1, steps))
    _check(environment, requirements)


def _make(environment: Path) -> None:
    import venv  # only here: Blender imports this module too, and its Python may have been packaged without

    builder = venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt")
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


def _check(environment: Path, requirements: Path) -> None:
    """Ask the new environment whether everything is there and can be imported."""
    command = [str(_program(environment)), "-m", "sdi_engine.doctor", "--packages", str(requirements)]
    ours = Path(__file__).resolve().parent.parent
    settings = {**_pip_environment(), "PYTHONPATH": str(ours), "PYTHONSAFEPATH": "1"}
    code, output = _run(command, settings)
    if code == EXIT_DONE:
        return
    said = "it does not answer"
    with suppress(ValueError, KeyError, IndexError, TypeError, StopIteration):
        failed = next(check for check in json.loads(output[-1])["checks"] if not check["ok"])
        said = " ".join(f"{failed['name']} {failed['detail']}".split())
    raise EnvironmentMissingError(f"The new environment does not work ({said}): read the log, then install again.")


def _pip(environment: Path) -> list[str]:
    options = ["--disable-pip-version-check", "--no-input", "--prefer-binary", "--progress-bar=off"]
    return [str(_program(environment)), "-m", "pip", "install", *options]


def _run_patiently(command: list[str], settings: dict[str, str]) -> tuple[int, list[str]]:
    """`_run` pip, which tries again where a server does not answer, unless it is the certificate that is not trusted.

    Then it asks each index once, since another one may have what is wanted.
    """
    code, output = _run(command, settings, network.is_distrust)
    if code != 0 and any(map(network.is_distrust, output[-1:])):
        return _run([*command, "--retries=0"], settings)
    return code, output


def _run(
    command: list[str], settings: dict[str, str], is_hopeless: Callable[[str], bool] = lambda line: False
) -> tuple[int, list[str]]:
    """Run pip, pass on what it prints; its exit code and last lines. It dies with us where we are stopped.

    Args:
        is_hopeless: of a line; after it pip is ended.
    """
    tail: list[str] = []
    with subprocess.Popen(
        command,
        env=settings,
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
                if is_hopeless(said):
                    process.kill()
                    break
        except BaseException:
            process.kill()
            raise
    return process.returncode, tail


def _pip_environment(downloads: Path | None = None) -> dict[str, str]:
    """Ours without what would lead pip elsewhere; half-fetched files go into the environment, to vanish with it."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("PYTHON")}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", _LAUNCHER):
        ours.pop(name, None)
    temporary = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(downloads)) if downloads is not None else {}
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


def _why(output: list[str], name: str, version: str, environment: Path, index: str) -> EngineError:
    """One sentence for pip's refusal; `index` is what it was told to ask, "" where it has asked those that it knows."""
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
    if has(_PROXY) or network.is_distrust(text):
        url, proxy = _index_and_proxy(environment)
        cause = network.why(text, index or url, certificates="PIP_CERT", socks_package="PySocks", own_proxy=proxy)
        if cause:
            return EnvironmentMissingError(f"{name} could not be fetched, since {cause}; then install again.")
    if has(_NO_NETWORK):
        return EnvironmentMissingError(
            f"{name} could not be fetched, because the package server cannot be reached: "
            "check the network and the proxy, then install again."
        )
    python = ".".join(map(str, sys.version_info[:2]))
    ready_made = " or ".join(".".join(map(str, each)) for each in READY_MADE_FOR)
    if has(_NO_MATCH):
        if index:
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


def _index_and_proxy(environment: Path) -> tuple[str, tuple[str, str] | None]:
    """The index that pip is set to ask, or "https://" where none is; and what sets a proxy for pip alone, and which."""
    try:
        listed = subprocess.run(
            [str(_program(environment)), "-m", "pip", "config", "list"],
            env=_pip_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        ).stdout
    except OSError:
        return "https://", None
    settings = dict(re.findall(r"^(.+?)='(.+)'$", listed, re.MULTILINE))
    indexes, proxies = (
        [(section, settings[f"{section}.{name}"]) for section in _PIP_SECTIONS if f"{section}.{name}" in settings]
        for name in ("index-url", "proxy")
    )
    url = indexes[0][1] if indexes else "https://"
    if not proxies:
        return url, None
    section, proxy = proxies[0]
    return url, ("PIP_PROXY" if section == ":env:" else f"{section}.proxy in pip's configuration", proxy)


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
    open_streams()
    redact_output()
    sys.exit(main())
