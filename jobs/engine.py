"""How to run the engine: its Python, command line and environment."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..sdi_engine import install
from ..sdi_engine.contract.identity import STARTED_AS_VARIABLE, Identity
from ..sdi_engine.errors import BadInputError, EnvironmentMissingError
from ..sdi_engine.system.cluster_address import check_cluster_address
from ..sdi_engine.system.files import leads_to_file, leads_to_folder
from ..sdi_engine.system.machine import MACHINE_VARIABLE, here
from ..sdi_engine.system.pasted import as_meant

PYTHON_VARIABLE = "SDI_ENGINE_PYTHON"
"""The environment variable that names the engine's Python if the preferences do not."""

_NAMES_ON_PATH = ("python3.11", "python3.12", "python3.13", "python3", "python")


@dataclass(frozen=True)
class Engine:
    """How to run the engine.

    Attributes:
        python: the Python that has the engine's packages; None if none was found.
        package_parent: the folder that contains `sdi_engine`.
        online: whether the engine may download models.
        processes: how many objects it makes at once; None for as many as suit the device.
        cluster: the address of the Ray cluster that does the work; empty if this computer does it.
    """

    python: Path | None
    package_parent: Path
    online: bool = False
    processes: int | None = 1
    cluster: str = ""

    def check(self) -> None:
        """Raise BadInputError if no engine can start with these settings."""
        if self.processes is not None and self.processes < 1:
            raise BadInputError(f'The setting "processes" is {self.processes}: it must be at least 1.')
        if self.cluster:
            check_cluster_address(self.cluster)

    def command(self, *arguments: str) -> list[str]:
        """The command line of `python -m sdi_engine …`.

        Raises:
            EnvironmentMissingError: no Python was found.
        """
        return self.module_command("sdi_engine", *arguments)

    def module_command(self, module: str, *arguments: str) -> list[str]:
        """The command line of `python -m MODULE …`, for the engine's modules that can be run on their own.

        Raises:
            EnvironmentMissingError: no Python was found.
        """
        if self.python is None:
            raise EnvironmentMissingError(
                "No Python for the engine was found: choose one in the extension's preferences and press Check."
            )
        return [str(self.python), "-m", module, *arguments]

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The engine's environment variables: those of this process (or `base`) with only its own Python settings."""
        inherited = os.environ if base is None else base
        kept = {name: value for name, value in inherited.items() if not _is_python_setting(name)}
        kept |= {
            "PYTHONPATH": str(self.package_parent),
            "PYTHONNOUSERSITE": "1",
            "PYTHONSAFEPATH": "1",  # nothing may be imported from the folder that it runs in
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
        }
        if not self.online:
            kept["HF_HUB_OFFLINE"] = "1"
        kept[MACHINE_VARIABLE] = here().machine
        kept[STARTED_AS_VARIABLE] = json.dumps(self.identity().to_json())
        return kept

    def identity(self) -> Identity:
        """The identity that an engine started with these settings reports."""
        return Identity.of(str(self.python or ""), self.online, self.processes, self.cluster)

    def why_not_started(self, error: OSError) -> EnvironmentMissingError:
        """One sentence that explains why the operating system did not start the engine's Python."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            cause = f'The engine\'s Python "{self.python}" does not exist'
        elif isinstance(error, PermissionError):
            cause = f'"{self.python}" may not be run as a program'
        elif error.errno == errno.ENOEXEC or getattr(error, "winerror", None) == 193:
            cause = f'"{self.python}" is not a program that this computer can run'
        else:
            cause = f'The engine\'s Python "{self.python}" could not be started ({error.strerror or error})'
        return EnvironmentMissingError(f"{cause}: choose another in the extension's preferences and press Check.")


def find_python(chosen: str = "", private_environment: Path | None = None) -> Path | None:
    """The engine's Python.

    Args:
        chosen: the person's choice: a program or its name on PATH, or the folder of a virtual environment; empty to
            search.
        private_environment: the folder of the extension's own virtual environment, which need not exist; an
            unfinished one is skipped, one made for another version is accepted.

    Returns:
        The choice, whether it exists or not; else the first found of `SDI_ENGINE_PYTHON`, the private environment and
        PATH; else None.
    """
    for given in (as_meant(chosen), as_meant(os.environ.get(PYTHON_VARIABLE, ""))):
        if given:
            path = Path(given)
            path = path if path.name == given else path.absolute()  # the engine runs in another folder
            return python_in(path.absolute()) if leads_to_folder(path) else path
    if private_environment is not None and install.state_of(private_environment) in (install.READY, install.OUTDATED):
        return install.python_of(private_environment)
    found = next(filter(None, (shutil.which(name, path=search_path()) for name in _NAMES_ON_PATH)), None)
    return Path(found) if found else None


def search_path() -> str:
    """PATH without /usr/bin on macOS, whose python3 may only offer to install Apple's developer tools."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if sys.platform != "darwin" or folder != "/usr/bin")


def python_in(environment: Path) -> Path:
    """The Python of a virtual environment or a conda environment."""
    python = install.python_of(environment)
    of_conda = environment / "python.exe"
    return of_conda if not leads_to_file(python) and leads_to_file(of_conda) else python


def _is_python_setting(name: str) -> bool:
    return name.upper().startswith("PYTHON") or name in ("__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
