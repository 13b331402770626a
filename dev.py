"""The project's development commands; each sets up what it needs. Standard library only.

python3 dev.py demo ["a blue chair"]   make a mesh from a prompt in headless Blender
python3 dev.py test [pytest options]   run all tests, on all processor cores; -n 0 runs them one after the other
python3 dev.py test-everywhere         run the numerical tests as on other processors, and with 1 and 2 threads
python3 dev.py lint                    ruff
python3 dev.py package                 build the extension's zip, and a repository that Blender can install it from
python3 dev.py setup                   just make the environment
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "requirements.sha256"
ENGINE = ROOT / "sdi_engine"
REQUIREMENT_FILES = (ROOT / "requirements-dev.txt", ENGINE / "requirements.txt", ENGINE / "requirements-cluster.txt")
PYTHON_VERSION = (3, 11)
DEMO_FOLDER = ROOT / "demo"
PACKAGE_FOLDER = ROOT / "dist"
EXTENSION = "sdi_text_to_3d"
WORKERS = str(min((os.cpu_count() or 1) + 1, 8))
"""One more process than cores, since the one with the window tests is often idle."""

SIDE_BY_SIDE = ("-n", WORKERS, "--dist", "loadscope", "--no-loadscope-reorder")
PROCESSORS = ("default", "avx2", None)
"""Values of ATEN_CPU_CAPABILITY, which changes the order in which torch adds; None lets torch detect it."""

NOTHING_COMPUTED = (
    *("tests/blender", "tests/contract", "tests/jobs", "tests/system"),
    *(f"tests/test_{name}.py" for name in ("dev", "doctor", "install", "style")),
)
"""Tests that compute nothing that depends on the processor; `test-everywhere` leaves them out."""


class SetUpError(Exception):
    """The environment cannot be made; the message is one sentence with the cure."""


def main() -> int:
    options = _parser().parse_args()
    try:
        return options.command(options)
    except SetUpError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        where = f'"{error.filename}"' if error.filename else "A file"
        print(
            f"dev.py: {where} cannot be written ({error.strerror or error}): free some space, or copy this folder to "
            "where you may write.",
            file=sys.stderr,
        )
        return 6
    except KeyboardInterrupt:
        return 130


def demo(options: argparse.Namespace) -> int:
    """Make one object through the extension's own operator in headless Blender."""
    python = set_up()
    arguments = ["--prompt", options.prompt, "--preset", options.preset, "--output", str(DEMO_FOLDER)]
    arguments += ["--seed", str(options.seed), "--engine-python", str(python)]
    script = str(ROOT / "scripts" / "demo.py")
    if options.blender:
        command = [_blender(options.blender), "--background", "--factory-startup", "--python-exit-code", "1"]
        return _run([*command, "--python", script, "--", *arguments])
    return _run([str(python), script, *arguments])


def test(options: argparse.Namespace) -> int:
    """Run pytest with the given options."""
    return _run([str(set_up()), "-m", "pytest", *SIDE_BY_SIDE, *options.pytest])


def test_everywhere(options: argparse.Namespace) -> int:
    """Run the numerical tests with the code paths of other processors, and with 1 and 2 threads."""
    ignored = [f"--ignore={folder}" for folder in NOTHING_COMPUTED]
    command = [str(set_up()), "-m", "pytest", *SIDE_BY_SIDE, *ignored, *options.pytest]
    codes = {}
    for processor in PROCESSORS:
        for threads in ("1", "2"):
            name = f"ATEN_CPU_CAPABILITY={processor or '(unset)'} OMP_NUM_THREADS={threads}"
            changes: dict[str, str | None] = {"ATEN_CPU_CAPABILITY": processor, "OMP_NUM_THREADS": threads}
            changes["OMP_WAIT_POLICY"] = "PASSIVE"  # or threads that wait keep others from the cores that they share
            print(f"\n== {name}", flush=True)
            codes[name] = _run(command, changes=changes)
    print()
    for name, code in codes.items():
        print(f"{'passed' if code == 0 else f'FAILED ({code})'}: {name}")
    return next(filter(None, codes.values()), 0)  # not max(): a process ended by a signal has a negative code


def lint(options: argparse.Namespace) -> int:
    """Check style and format."""
    python = str(set_up())
    checks = [_run([python, "-m", "ruff", "check", "."]), _run([python, "-m", "ruff", "format", "--check", "."])]
    return next(filter(None, checks), 0)


def package(options: argparse.Namespace) -> int:
    """Build and validate the zip that Blender installs, and a listing that makes its folder a static repository."""
    tool = _extension_tool(options.blender)
    PACKAGE_FOLDER.mkdir(exist_ok=True)
    for outdated in PACKAGE_FOLDER.glob(f"{EXTENSION}-*.zip"):
        outdated.unlink()  # or the listing would include it
    built = _run([*tool, "build", "--source-dir", str(ROOT), "--output-dir", str(PACKAGE_FOLDER)])
    if built != 0:
        return built
    (archive,) = PACKAGE_FOLDER.glob(f"{EXTENSION}-*.zip")
    finished = _run([*tool, "validate", str(archive)])
    if finished != 0:
        return finished
    finished = _run([*tool, "server-generate", "--html", "--repo-dir", str(PACKAGE_FOLDER)])
    if finished == 0:
        listing = PACKAGE_FOLDER / "index.json"
        print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB; the repository's URL is {listing.as_uri()}")
    return finished


def setup(options: argparse.Namespace) -> int:
    """Make or update the environment."""
    print(f"The environment's Python is {set_up()}")
    return 0


def set_up() -> Path:
    """The environment's Python; the environment is made first, or updated if the requirements have changed.

    Raises:
        SetUpError: it cannot be made.
    """
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in REQUIREMENT_FILES)).hexdigest()
    if python.exists() and STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return python
    if not python.exists() or _run([str(python), "-m", "pip", "--version"], quiet=True) != 0:
        base = _base_python()
        print(f"Making the environment in {VENV} …", flush=True)
        _clear()
        if _run([base, "-m", "venv", str(VENV)]) != 0:
            raise SetUpError("Python could not make the environment: on Debian and Ubuntu install python3-venv.")
    print("Installing the requirements (some minutes, once) …", flush=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    if _run([*pip, "-r", str(REQUIREMENT_FILES[0])]) != 0:
        raise SetUpError("pip could not install the requirements (its own message is above): check the network.")
    STAMP.write_text(wanted, encoding="utf-8")
    return python


def _clear() -> None:
    """Empty the environment's folder and stamp it; raises SetUpError if it was not made by dev.py."""
    if VENV.is_symlink() or (VENV.exists() and any(VENV.iterdir()) and not STAMP.is_file()):
        raise SetUpError(f'"{VENV}" was not made by dev.py, or not completed: move it away, then try again.')
    VENV.mkdir(exist_ok=True)
    STAMP.write_text("not finished", encoding="utf-8")
    for each in VENV.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each != STAMP:
            each.unlink()


def _base_python() -> str:
    if sys.version_info[:2] == PYTHON_VERSION:
        return sys.executable
    needed = ".".join(map(str, PYTHON_VERSION))
    found = shutil.which(f"python{needed}")
    if found is None:
        raise SetUpError(
            f"Python {needed} is needed to make the environment, because Blender's Python module is built for it, and "
            f"this is {sys.version.split()[0]}: install Python {needed} and run dev.py with that."
        )
    return found


def _extension_tool(blender: str | None) -> list[str]:
    """The command line of Blender's extension tool: that of an installed Blender, or the one in the bpy module."""
    if blender:
        return [_blender(blender), "--factory-startup", "--command", "extension"]
    python = set_up()
    where = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('bpy').origin).parent)"
    module = Path(subprocess.run([str(python), "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    tools = sorted(module.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not tools:
        raise SetUpError(f"Blender's tool for extensions is not in {module}: give a Blender's path with --blender.")
    return [str(python), str(tools[-1])]


def _blender(path: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise SetUpError(f'There is no Blender at "{path}": give its path with --blender.')
    return found


def _run(command: list[str], quiet: bool = False, changes: dict[str, str | None] | None = None) -> int:
    """Run a command in the root folder, without this process's PYTHONPATH and PYTHONHOME; returns its exit code.

    Args:
        command: program and arguments.
        quiet: whether to discard its output.
        changes: environment variables to set; None removes one.
    """
    output = subprocess.DEVNULL if quiet else None
    wanted = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": None, "PYTHONHOME": None, **(changes or {})}
    environment = {name: value for name, value in wanted.items() if value is not None}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo_parser = commands.add_parser("demo", help="make a mesh from a prompt in headless Blender")
    demo_parser.set_defaults(command=demo)
    demo_parser.add_argument("prompt", nargs="?", default="a turquoise house", help="default: %(default)s")
    demo_parser.add_argument("--preset", default="standard", help="default: %(default)s")
    demo_parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo_parser.add_argument("--blender", metavar="PATH", help="an installed Blender, instead of the module")
    for name, function, purpose in (
        ("test", test, "run all tests"),
        ("test-everywhere", test_everywhere, "run the numerical tests as on other processors"),
    ):
        test_parser = commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
        test_parser.set_defaults(command=function)
        test_parser.add_argument("pytest", nargs="*", help="options for pytest")
    package_parser = commands.add_parser("package", help="build the extension's zip and a static repository")
    package_parser.set_defaults(command=package)
    package_parser.add_argument("--blender", metavar="PATH", help="an installed Blender, instead of the module")
    for name, function in (("lint", lint), ("setup", setup)):
        commands.add_parser(name, help=function.__doc__).set_defaults(command=function)
    return parser


if __name__ == "__main__":
    sys.exit(main())
