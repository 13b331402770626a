"""What the engine needs, what of it this Python has, and how to get the rest. Works in a Python without torch."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS_FILE = Path(__file__).with_name("requirements.txt")
STARTER_INDEX = Path(__file__).parent / "starter" / "weights" / "model_index.json"
LOWEST_PYTHON = (3, 11)

_REQUIREMENT = re.compile(r'([\w.\-]+)==([\w.]+)(?:; python_version (<|>=) "([\d.]+)")?')
_MODULES = {"PyMCubes": "mcubes", "pillow": "PIL", "fast-simplification": "fast_simplification"}


@dataclass(frozen=True)
class Check:
    """One thing that must be there; `fix` is one line that a person can follow, empty when it is there."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine() -> dict[str, Any]:
    """All checks, as a JSON-ready object: ok, python, executable, device, checks."""
    checks = [_python(), *(_package(name, version) for name, version in pinned()), _starter()]
    device, device_check = _device()
    checks.append(device_check)
    return {
        "ok": all(check.ok for check in checks),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "device": device,
        "checks": [dataclasses.asdict(check) for check in checks],
    }


def pinned() -> list[tuple[str, str]]:
    """(name, version) of each line of requirements.txt that is meant for this Python."""
    requirements = []
    for line in REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines():
        match = _REQUIREMENT.fullmatch(line.strip())
        if match is None:
            continue
        name, version, relation, bound = match.groups()
        if bound is not None:
            older = sys.version_info < tuple(map(int, bound.split(".")))
            if older != (relation == "<"):
                continue
        requirements.append((name, version))
    return requirements


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report for a person, a line a check, each fix on the line below."""
    lines = [f"Python {report['python']} ({report['executable']}), device {report['device']}"]
    for check in report["checks"]:
        lines.append(f"{'ok     ' if check['ok'] else 'MISSING'} {check['name']}: {check['detail']}")
        if check["fix"]:
            lines.append(f"        fix: {check['fix']}")
    return lines


def _python() -> Check:
    version = sys.version.split()[0]
    if sys.version_info >= LOWEST_PYTHON:
        return Check("Python", True, version)
    wanted = ".".join(map(str, LOWEST_PYTHON))
    return Check("Python", False, f"{version} is too old", f"Choose a Python {wanted} or later.")


def _package(name: str, wanted: str) -> Check:
    """Present, importable, and of the pinned major version; another minor version is said but accepted."""
    install = f'"{sys.executable}" -m pip install "{name}=={wanted}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", install)
    if name == "torch" or name in _MODULES:
        try:
            importlib.import_module(_MODULES.get(name, name))
        except Exception as error:  # a broken binary package can raise anything
            return Check(name, False, f"{version} cannot be imported ({error})", install)
    if version.split("+")[0] == wanted:
        return Check(name, True, version)
    same_major = version.split(".")[0] == wanted.split(".")[0]
    detail = f"{version}, tested with {wanted}"
    return Check(name, True, detail) if same_major else Check(name, False, detail, install)


def _starter() -> Check:
    if STARTER_INDEX.is_file():
        return Check("starter prior", True, "present")
    return Check("starter prior", False, "its weights are missing", "Install the extension again.")


def _device() -> tuple[str, Check]:
    try:
        import torch
    except Exception:  # said by the check of torch already
        return "none", Check("device", False, "unknown without torch", "Install torch first.")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return "cuda", Check("device", True, f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        return "mps", Check("device", True, "Apple GPU")
    hint = "no GPU that torch can use: the starter prior runs well, Stable Diffusion takes hours"
    if shutil.which("nvidia-smi"):
        hint = "an NVIDIA GPU is here, but this torch is a CPU build: install a CUDA build of torch to use it"
    return "cpu", Check("device", True, f"CPU, {torch.get_num_threads()} threads ({hint})")
