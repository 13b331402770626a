"""The imports that the tables of ARCHITECTURE.md allow; no circular imports; no state in modules."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_THE_HOUSE = {"tests", "scripts", "docs"}
BLENDERS = {"addon_utils", "bl_operators", "bl_ui", "blf", "bmesh", "bpy", "gpu", "mathutils"}
EVERYWHERE = {"__future__"}
SHARED = ["sdi_engine/system/liveness.py _pulses"]
"""State of a whole process, which all its threads share."""


@dataclass(frozen=True)
class Import:
    """One import; `name` is the imported module's, relative to the root if it is one of ours."""

    name: str
    line: int
    is_at_top: bool


class House:
    """All modules below a root, by their names relative to it, and the rooms that its ARCHITECTURE.md lists."""

    def __init__(self, root: Path) -> None:
        files = [path for path in sorted(root.rglob("*.py")) if _is_in_the_house(path.relative_to(root))]
        self.paths = {_name_of(path.relative_to(root)): path.relative_to(root).as_posix() for path in files}
        self.imports = {name: list(self._imports_of(root / path, name)) for name, path in self.paths.items()}
        self.rooms = self._rooms((root / "ARCHITECTURE.md").read_text(encoding="utf-8"))

    def violations(self) -> list[str]:
        """One line for each import that the tables do not allow, and each module that they do not list."""
        found = []
        for name, path in self.paths.items():
            room = max((room for room in self.rooms if _is_below(path, room)), key=len, default=None)
            if room is None:
                found.append(f"{path} is in no table of ARCHITECTURE.md")
                continue
            allowed, outer = self.rooms[room] | {_name_of(Path(room))}, set(_packages_of(name))
            found += [
                f"{path}:{each.line} imports {each.name}, which ARCHITECTURE.md does not allow to {room}"
                for each in self.imports[name]
                if each.name not in outer and not self._is_allowed(each.name, allowed)
            ]
        return found

    def circles(self) -> list[list[str]]:
        """Modules that import each other, directly or indirectly; importing a module also imports its packages."""
        reached: dict[str, set[str]] = {}
        for name in self.paths:
            todo, seen = [name], set()
            while todo:
                new = self._edges(todo.pop()) - seen
                seen |= new
                todo += new
            reached[name] = seen
        circles = {frozenset({a, b}) for a in reached for b in reached[a] if a in reached[b] and a != b}
        return sorted(sorted(circle) for circle in circles)

    def reached_at_top(self, first: set[str]) -> set[str]:
        """All modules that are imported with these, without imports inside functions."""
        todo, seen = list(first), set(first)
        while todo:
            module = todo.pop()
            new = {each.name for each in self.imports.get(module, []) if each.is_at_top} | set(_packages_of(module))
            todo += new - seen
            seen |= new
        return seen

    def _edges(self, name: str) -> set[str]:
        found = {each.name for each in self.imports[name] if each.name in self.paths}
        found |= {package for each in found for package in _packages_of(each) if package in self.paths}
        return {each for each in found if not f"{name}.".startswith(f"{each}.")}

    def _is_allowed(self, name: str, allowed: set[str]) -> bool:
        first = name.partition(".")[0]
        if first in EVERYWHERE:
            return True
        if name not in self.paths and first in sys.stdlib_module_names:
            return "standard library" in allowed or first in allowed
        if first in BLENDERS:
            return "bpy" in allowed
        return any(name == each or name.startswith(f"{each}.") for each in allowed if each != "")

    def _imports_of(self, path: Path, name: str) -> Iterator[Import]:
        """Every import except those for type checking only."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        later = {id(node) for each in ast.walk(tree) if _is_function(each) for node in ast.walk(each)}
        for node in ast.walk(_without_type_checking(tree)):
            is_at_top = id(node) not in later
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, is_at_top)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield Import(self._resolved(node, alias.name, package), node.lineno, is_at_top)

    def _resolved(self, node: ast.ImportFrom, what: str, package: str) -> str:
        """The module that `from module import what` imports."""
        base = node.module or ""
        if node.level:
            parts = package.split(".") if package else []
            base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], base]))
        whole = f"{base}.{what}" if base else what
        return whole if whole in self.paths else base

    def _rooms(self, text: str) -> dict[str, set[str]]:
        """The allowed imports of each room, by its path."""
        rooms: dict[str, set[str]] = {}
        prefix = None
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) != 3 or not line.startswith("|"):
                prefix = None
            elif cells[0].startswith("room"):
                prefix = "".join(_quoted(cells[0]))
            elif prefix is not None and _quoted(cells[0]):
                allowed = {self._full(name, prefix) for name in _quoted(cells[2])}
                allowed |= {"standard library"} if "standard library" in cells[2] else set()
                rooms.update((f"{prefix}{path}", allowed) for path in _quoted(cells[0]))
        return rooms

    def _full(self, name: str, prefix: str) -> str:
        inside = f"{prefix}{name}".replace("/", ".")
        return inside if any(each == inside or each.startswith(f"{inside}.") for each in self.paths) else name


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _is_in_the_house(path: Path) -> bool:
    return path.parts[0] not in NOT_THE_HOUSE and not any(part.startswith(".") for part in path.parts)


def _is_below(path: str, room: str) -> bool:
    return path.startswith(room) if room.endswith("/") else path == room


def _name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _packages_of(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _without_type_checking(tree: ast.Module) -> ast.Module:
    kept = [each for each in tree.body if not (isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test))]
    return ast.Module(kept, [])


@pytest.fixture(scope="module")
def house():
    return House(ROOT)


def test_every_module_imports_only_what_its_room_may(house):
    assert house.violations() == []


def test_no_modules_import_each_other(house):
    assert house.circles() == []


def test_at_most_seven_files_lie_at_the_top(house):
    assert len([path for path in house.paths.values() if "/" not in path]) <= 7


def test_what_blenders_own_python_imports_of_the_engine_is_standard_library(house):
    blenders = {name for name, path in house.paths.items() if not path.startswith("sdi_engine/")}
    packages = {package for name in house.paths for package in _packages_of(name)}
    others = house.reached_at_top(blenders) - house.paths.keys() - packages
    assert {each.partition(".")[0] for each in others} <= sys.stdlib_module_names | BLENDERS


def test_nothing_changes_in_modules(house):
    """State is in objects. A name in capitals is a constant, or a table that its own room fills at import."""
    found = []
    for path in house.paths.values():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        found += [f"{path}:{node.lineno} global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            names = [
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            ]
            if any(not name.strip("_").isupper() for name in names) and _is_a_new_container(value):
                found.append(f"{path} {names[0]}")
    assert found == SHARED


def _is_a_new_container(value: ast.expr | None) -> bool:
    """Whether it is an empty container, which something must fill later."""
    if isinstance(value, ast.Call):
        return not value.args and ast.unparse(value.func) in ("list", "dict", "set", "deque", "defaultdict")
    return isinstance(value, ast.List | ast.Dict) and not (getattr(value, "elts", None) or getattr(value, "keys", None))


TABLES = """
| room | its one job | may import |
|---|---|---|
| `panels/` | draw | `bpy`, `time`, `state`, `jobs.words` |
| `state/`, `jobs/` | know | standard library, `bpy`, `sdi_engine.system` |

| room in `sdi_engine/` | its one job | may import |
|---|---|---|
| `system/`, `__init__.py` | files | standard library |
| `distillation/` | the paper | `torch`, `system` |
"""
FILES = {
    "panels/main.py": "import bpy.types, time\nfrom ..state.session import Session\nfrom ..jobs import words\n",
    "state/session.py": "import os\nif TYPE_CHECKING:\n    from ..panels import main\n",
    "jobs/words.py": "",
    "jobs/job.py": "from ..sdi_engine.system.files import read\n",
    "sdi_engine/__init__.py": "",
    "sdi_engine/system/files.py": "import json\n",
    "sdi_engine/distillation/target.py": "from torch import nn\nfrom ..system import files\n",
    "sdi_engine/distillation/ddim.py": "from . import target\n",
}


@pytest.fixture
def build(tmp_path):
    def build(**planted):
        (tmp_path / "ARCHITECTURE.md").write_text(TABLES)
        for path, text in (FILES | planted).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(FILES.get(path, "") + text)
        return House(tmp_path)

    return build


def test_a_sound_house_is_sound(build):
    house = build()
    assert house.violations() == house.circles() == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("panels/main.py", "import os\n", "panels/main.py:4 imports os, which"),
        (
            "panels/main.py",
            "def draw():\n    from subprocess import run\n",
            "panels/main.py:5 imports subprocess, which",
        ),
        ("panels/main.py", "from ..jobs.job import Job\n", "panels/main.py:4 imports jobs.job, which"),
        ("state/session.py", "from ..panels import main\n", "state/session.py:4 imports panels.main, which"),
        (
            "jobs/job.py",
            "from ..sdi_engine.distillation import target\n",
            "imports sdi_engine.distillation.target, which",
        ),
        ("sdi_engine/system/files.py", "import bpy\n", "sdi_engine/system/files.py:2 imports bpy, which"),
        ("sdi_engine/system/files.py", "import torch.nn\n", "imports torch.nn, which"),
        ("sdi_engine/distillation/target.py", "from ...jobs import job\n", "imports jobs.job, which"),
        ("cellar/new.py", "", "cellar/new.py is in no table of ARCHITECTURE.md"),
    ],
)
def test_an_import_that_no_table_allows_is_named(build, path, text, said):
    (violation,) = build(**{path: text}).violations()
    assert said in violation


@pytest.mark.parametrize("late", [False, True])
def test_a_circle_is_found(build, late):
    text = "def use():\n    from . import ddim\n" if late else "from .ddim import x\n"
    house = build(**{"sdi_engine/distillation/target.py": text})
    assert house.circles() == [["sdi_engine.distillation.ddim", "sdi_engine.distillation.target"]]
