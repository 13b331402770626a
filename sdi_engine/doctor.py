"""What the engine needs, what of it this Python has, and how to get the rest. Works in a Python without torch.

`python -m sdi_engine.doctor --quick` prints one line of JSON and imports nothing but the standard library: to ask many
Pythons. It answers in Python 3.8 and later, if only to say that it is too old, so no newer syntax in here.
With `--packages FILE` it checks only the packages of that requirements file, by importing them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EXIT_DONE, EXIT_ENVIRONMENT
from .system.memory import memory_bytes

REQUIREMENTS_FILE = Path(__file__).with_name("requirements.txt")
STARTER_INDEX = Path(__file__).parent / "starter" / "weights" / "model_index.json"
PYTHONS = ((3, 11), (3, 12), (3, 13))
"""Versions of Python for which every package that the engine needs is built; the engine is tested with them."""
SUITABLE_PYTHONS = "Python 3.11, 3.12 or 3.13"
ENOUGH_MEMORY_GIB = 8.0
"""Memory that loading a Stable Diffusion model takes, beside Blender."""

_REQUIREMENT = re.compile(r'([\w.\-]+)==([\w.]+)(?:; (\w+) (<|>=|!=) "([\w.]+)")?')
_MODULES = {
    "PyMCubes": "mcubes",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "fast-simplification": "fast_simplification",
}
_READ_MODELS = {"diffusers", "transformers", "huggingface_hub", "safetensors", "accelerate"}
"""Packages that read models: versions before the tested ones are refused, since they ran code of the model's author."""

_TORCH_BUILD = re.compile(r"^(cuda|hip)\b[^=]*= '([^']+)'", re.MULTILINE)


@dataclass(frozen=True)
class Check:
    """The result of one check; `fix` is one line that a person can follow.

    `fix` is empty where there is nothing to do; in a check that is `ok` it is advice.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine() -> dict[str, Any]:
    """All checks, as a JSON-ready object: ok, python, executable, prefix, device, and more.

    Imports torch, which takes seconds.
    """
    checks = [python_check()]
    device = "none"
    if checks[0].ok:
        checks += _packages(REQUIREMENTS_FILE)
        checks.append(_starter())
        device, device_check = _device()
        checks.append(device_check)
        checks.append(_memory())
    return _report(checks, device)


def glance() -> dict[str, Any]:
    """A quick answer in the format of `examine`: the device is a guess, and no package is imported."""
    checks = [python_check()]
    device = "none"
    if checks[0].ok:
        checks += [_package(name, version) for name, version in pinned()]
        checks.append(_starter())
        device = _likely_device()
        checks.append(_memory())
    return _report(checks, device)


def pinned(file: Path = REQUIREMENTS_FILE) -> list[tuple[str, str]]:
    """(name, version) of each line of requirements.txt that is meant for this Python and this machine."""
    requirements = []
    for line in file.read_text(encoding="utf-8").splitlines():
        match = _REQUIREMENT.fullmatch(line.strip())
        if match is None:
            continue
        name, version, *marker = match.groups()
        if marker[0] is None or _holds(*marker):
            requirements.append((name, version))
    return requirements


def _holds(what: str, relation: str, bound: str) -> bool:
    """Whether a marker of a requirement is true here, such as python_version < "3.13"."""
    if what == "python_version":
        older = sys.version_info < tuple(map(int, bound.split(".")))
        return older == (relation == "<")
    here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}[what]
    return here != bound


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report for a person, a line a check, each fix on the line below."""
    lines = [f"Python {report['python']} ({report['executable']}), device {report['device']}"]
    for check in report["checks"]:
        lines.append(f"{'ok     ' if check['ok'] else 'MISSING'} {check['name']}: {check['detail']}")
        if check["fix"]:
            lines.append(f"        fix: {check['fix']}")
    return lines


def _report(checks: list[Check], device: str) -> dict[str, Any]:
    return {
        "ok": all(check.ok for check in checks),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "prefix": sys.prefix,
        "device": device,
        "memory": (_card_bytes() if device == "cuda" else memory_bytes()[0]) or 0,
        "can_make_environments": _can_make_environments(),
        "checks": [dataclasses.asdict(check) for check in checks],
    }


def _can_make_environments() -> bool:
    """Whether this Python has what that takes, and what it writes into a person's folders is seen by other programs.

    Windows keeps new files of what comes from Microsoft's Store from all others where they belong below AppData.
    """
    is_from_store = "\\WindowsApps\\" in sys.base_prefix
    return not is_from_store and all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


def python_check() -> Check:
    """Whether the engine can run in this Python at all, whatever is installed in it."""
    version = sys.version.split()[0]
    reason, fix = _Build.of_this_python().why_not()
    return Check("Python", not reason, f"{version} {reason}".strip(), fix)


def refusal() -> str:
    """Why the engine cannot run in this Python, as a sentence with the cure; empty where it can."""
    check = python_check()
    return "" if check.ok else f'Python {check.detail} ("{sys.executable}"). {check.fix}'


@dataclass(frozen=True)
class _Build:
    """The build of a Python. `platform` is such as "linux-x86_64", "macos-arm64", "win-amd64"."""

    implementation: str
    version: tuple[int, ...]
    bits: int
    platform: str
    is_free_threaded: bool
    is_translated: bool

    @classmethod
    def of_this_python(cls) -> _Build:
        system = sysconfig.get_platform()  # on Windows; what `platform` says is the machine's there, not the Python's
        if sys.platform != "win32":
            system = f"{'macos' if sys.platform == 'darwin' else sys.platform}-{platform.machine()}"
        return cls(
            sys.implementation.name,
            tuple(sys.version_info[:2]),
            64 if sys.maxsize > 2**32 else 32,
            system,
            bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            sys.platform == "darwin" and _is_translated(),
        )

    def why_not(self) -> tuple[str, str]:
        """What is wrong with it, to follow its name in a sentence, and the cure; both empty where nothing is."""
        python = SUITABLE_PYTHONS
        name = _IMPLEMENTATIONS.get(self.implementation, self.implementation)
        intel = "is made for Intel processors, for which torch is no longer made on Macs"
        for holds, reason, cure in (
            (
                self.implementation != "cpython",
                f"is {name}, which torch is not made for",
                f"Choose a {python} instead.",
            ),
            (self.version < PYTHONS[0], "is too old", f"Choose a {python}."),
            (
                self.version > PYTHONS[-1],
                "is too new: xatlas and other packages are not made for it yet",
                f"Choose a {python}.",
            ),
            (
                self.is_free_threaded,
                "is free-threaded, which xatlas and other packages are not made for",
                f"Choose a {python} of the usual kind.",
            ),
            (self.bits != 64, "is a 32-bit program, which torch is not made for", f"Choose a 64-bit {python}."),
            (self.is_translated, intel, f"Choose a {python} that is made for Apple silicon."),
            (
                self.platform == "macos-x86_64",
                intel,
                "Use a Mac with Apple silicon, or a computer with Windows or Linux.",
            ),
            (
                self.platform == "win-arm64",
                "is made for ARM processors, which xatlas and other packages are not made for on Windows",
                f"Choose a {python} that is made for x86-64 processors, which runs here too.",
            ),
        ):
            if holds:
                return reason, cure
        return "", ""


_IMPLEMENTATIONS = {"pypy": "PyPy", "graalpy": "GraalPy"}


def _is_translated() -> bool:
    """Whether macOS runs this program, made for Intel, on Apple silicon."""
    answer, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    try:
        failed = ctypes.CDLL(None).sysctlbyname(
            b"sysctl.proc_translated", ctypes.byref(answer), ctypes.byref(size), None, ctypes.c_size_t(0)
        )
    except (OSError, AttributeError):
        return False
    return not failed and answer.value == 1


def _package(name: str, wanted: str) -> Check:
    """Present, and not older than the lowest version that was tested; a newer one is said but accepted."""
    import importlib.metadata  # not above: it is slow, and Blender imports this module too

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", _install_command(name, wanted))
    if not version:  # a folder that a broken installation left behind
        return Check(name, False, "damaged", _install_command(name, wanted))
    if version.split("+")[0] == wanted:
        return Check(name, True, version)
    detail = f"{version}, tested with {wanted}"
    if _numbers(version) < lowest(name, wanted):
        return Check(name, False, f"{detail}, too old", _install_command(name, wanted))
    if _numbers(version)[:1] > _numbers(wanted)[:1]:
        return Check(name, True, detail, f"If something fails, go back: {_install_command(name, wanted)}")
    return Check(name, True, detail)


def too_old(names: Iterable[str]) -> list[Check]:
    """A failed check for each of these packages that is installed and older than the lowest tested version."""
    import importlib.metadata

    old = []
    for name, wanted in pinned():
        if name not in names:
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # where it is imported, that is said
            continue
        if _numbers(version) < lowest(name, wanted):
            detail = f"{version}, tested with {wanted}, too old"
            old.append(Check(name, False, detail, _install_command(name, wanted)))
    return old


def lowest(name: str, tested: str) -> tuple[int, ...]:
    """The lowest version of a package that will do, where `tested` is pinned.

    Nothing older than what was tested for the packages that read models. For the others its major version, or where
    that is 0 its minor version, within which packages keep what others use.
    """
    numbers = _numbers(tested)
    if name in _READ_MODELS:
        return numbers
    return numbers[:1] if numbers[0] > 0 else numbers[:2]


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cu126" or "2.13.0rc1"."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def _packages(file: Path) -> list[Check]:
    """The checks of the packages that the file pins; those whose import can fail are imported."""
    return [_importable(_package(name, version), version) for name, version in pinned(file)]


def _importable(check: Check, wanted: str) -> Check:
    """The check of a package, failed where it is a binary one that is there and cannot be loaded."""
    if not check.ok or (check.name != "torch" and check.name not in _MODULES):
        return check
    try:
        importlib.import_module(_MODULES.get(check.name, check.name))
    except Exception as error:  # a broken binary package can raise anything
        detail = f"{check.detail} cannot be imported ({error})"
        return Check(check.name, False, detail, _install_command(check.name, wanted))
    return check


def _install_command(name: str, version: str) -> str:
    return f'"{sys.executable}" -m pip install "{name}=={version}"'


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
    threads = f"CPU, {torch.get_num_threads()} threads"
    if not shutil.which("nvidia-smi"):
        detail = f"{threads} (no GPU that torch can use: the starter prior runs well, Stable Diffusion takes hours)"
        return "cpu", Check("device", True, detail)
    if torch.version.cuda is not None:
        detail = f"{threads} (an NVIDIA GPU is here, but its driver does not suit torch for CUDA {torch.version.cuda})"
        return "cpu", Check("device", True, detail, "Update the NVIDIA driver, then restart the computer.")
    detail = f"{threads} (an NVIDIA GPU is here, but this torch is a CPU build)"
    return "cpu", Check("device", True, detail, _CUDA_FIX)


_CUDA_FIX = (
    "To use the GPU, set Torch Index in the extension's preferences to the address that pytorch.org gives for it, "
    "and press Install Engine Environment."
)


def _likely_device() -> str:
    """The device that torch would choose, guessed from its files without importing it."""
    import importlib.metadata

    try:
        distribution = importlib.metadata.distribution("torch")
        text = Path(str(distribution.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except (importlib.metadata.PackageNotFoundError, OSError):
        return "none"
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    built_for = {match.group(1) for match in _TORCH_BUILD.finditer(text)}
    has_card = ("cuda" in built_for and shutil.which("nvidia-smi")) or ("hip" in built_for and shutil.which("rocm-smi"))
    return "cuda" if has_card else "cpu"


def _memory() -> Check:
    """How much memory there is; too little is advice only, since the starter prior is content with anything."""
    total, free = memory_bytes()
    if total is None:
        return Check("memory", True, "unknown")
    gib = total / 2**30
    detail = f"{gib:.1f} GiB" + (f", {free / 2**30:.1f} free" if free is not None else "")
    if gib >= ENOUGH_MEMORY_GIB:
        return Check("memory", True, detail)
    fix = f"A Stable Diffusion model wants {ENOUGH_MEMORY_GIB:.0f} GiB: keep to the starter prior on this computer."
    return Check("memory", True, detail, fix)


def _card_bytes() -> int | None:
    """The memory of the first NVIDIA card, without torch; None where its driver does not say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, creationflags=hidden)
        return int(said.stdout.split()[0]) * 2**20
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["--packages"]:
        report = _report(_packages(Path(arguments[1])), "none")
    else:
        report = glance() if "--quick" in arguments else examine()
    print(json.dumps(report))
    return EXIT_DONE if report["ok"] else EXIT_ENVIRONMENT


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
