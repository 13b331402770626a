"""What is fixed about an engine when it starts: Blender replaces one that its settings no longer describe.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..system import network
from ..system.untrusted import printable

STARTED_AS_VARIABLE = "SDI_ENGINE_STARTED_AS"
"""The environment variable in which whoever starts an engine gives it its identity, as JSON, so that both agree."""


@dataclass(frozen=True)
class Identity:
    """Attributes:
    python: the program that runs the engine, as it was started.
    environment: when its environment was made, if it has one: it may have been made anew in the same place.
    online: whether models may be downloaded.
    processes: how many objects it makes at once; None for as many as suit what computes.
    version: of this package.
    cluster: the address of the Ray cluster that it lets do the work; empty where it does it itself.
    """

    python: str
    environment: str
    online: bool
    processes: int | None = 1
    version: str = __version__
    cluster: str = ""

    @classmethod
    def of(cls, python: str, online: bool, processes: int | None = 1, cluster: str = "") -> Identity:
        """The identity for an engine that is about to be started."""
        shown = printable(python)  # as JSON can hold it: not all names of Linux are UTF-8
        return cls(shown, _made(Path(python)), online, processes, cluster=cluster)

    @classmethod
    def ours(cls) -> Identity:
        """This process's identity: from the environment variable, or else from the process itself."""
        try:
            return cls(**json.loads(os.environ[STARTED_AS_VARIABLE]))
        except (KeyError, ValueError, TypeError):
            return cls.of(sys.executable, online=not network.is_forbidden())

    def to_json(self) -> dict[str, Any]:
        """Field by field."""
        return dataclasses.asdict(self)

    def is_that_of(self, status: Mapping[str, Any]) -> bool:
        """Whether the engine that wrote `status` has this identity."""
        return status.get("engine") == self.to_json()


def _made(python: Path) -> str:
    try:
        return str((python.parent.parent / "pyvenv.cfg").stat().st_mtime_ns)
    except OSError:
        return ""
