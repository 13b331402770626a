"""Processes that outlive Blender: start one, or kill one with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..sdi_engine.system.files import open_to_append


def start(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in `folder` in a process group of its own, with all its output appended to `log`.

    Raises:
        OSError: it could not be started, or `log` is a link, which could point to another file.
    """
    with open_to_append(log) as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=sys.platform != "win32",
            creationflags=_creation_flags(),
        )


def end_tree(pid: int) -> None:
    """Kill a process that `start` started, and all its children; does nothing if it has ended already."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/PID", str(pid), "/T", "/F"],
            creationflags=subprocess.CREATE_NO_WINDOW,
            capture_output=True,
            check=False,
        )
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def is_group_leader(pid: int) -> bool:
    """Whether a process leads its group, as those from `start` do, so that `end_tree` kills only its own children."""
    if sys.platform == "win32":
        return True
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _creation_flags() -> int:
    if sys.platform == "win32":
        below_blender = subprocess.BELOW_NORMAL_PRIORITY_CLASS
        return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW | below_blender
    return 0
