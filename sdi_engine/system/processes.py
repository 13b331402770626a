"""Processes: how one identifies itself in a file, and whether the one that did still runs. Standard library only.

A process id alone identifies no process: the system gives it again, and another machine or container has the same
ones. So a process is identified by where it runs, its id, and when the system started it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import machine

_STILL_ACTIVE = 259
_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_ERROR_ACCESS_DENIED = 5
_LARGEST_ID = 2**31 - 1

_PROC_PIDTBSDINFO = 3
_SIZE_OF_BSDINFO = 136


def ourselves() -> dict[str, Any]:
    """What identifies this process, for JSON: `host`, `machine`, `boot`, `namespace`, `person`, `pid`,
    `process_start`."""
    here = machine.here()
    return {
        "host": here.host,
        "machine": here.machine,
        "boot": here.boot,
        "namespace": here.namespace,
        "person": here.person,
        "pid": os.getpid(),
        "process_start": _our_start(os.getpid()),
    }


def is_here(said: Mapping[str, Any]) -> bool:
    """Whether the process that identified itself so runs, or ran, where we can ask the system about it."""
    return (said.get("machine"), said.get("boot"), said.get("namespace")) == machine.here().scope


def runs(said: Mapping[str, Any]) -> bool | None:
    """Whether the process that identified itself so still runs; None where we cannot ask the system about it."""
    pid = _pid(said)
    if _is_from_before_a_restart(said):
        return False
    if pid is None or not is_here(said):
        return None
    start, said_start = start_time(pid), said.get("process_start", "")
    if sys.platform == "win32" and start == "" and said_start and said.get("person") == machine.here().person:
        return False  # our own tells us its start: this is another person's, which got the id since
    return start is not None and ("" in (start, said_start) or start == said_start)


def are_the_same(said: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both identify one process."""
    names = ("machine", "boot", "namespace", "pid", "process_start")
    return "pid" in said and all(said.get(name) == other.get(name) for name in names)


def is_ourselves(said: Mapping[str, Any]) -> bool:
    """Whether it identifies this process."""
    return are_the_same(said, ourselves())


def is_ours_to_end(said: Mapping[str, Any]) -> bool:
    """Whether it is beyond doubt that the process still runs, here, for this person, and is an engine."""
    pid, start = _pid(said), said.get("process_start")
    if pid is None or not start or not is_here(said) or said.get("person") != machine.here().person:
        return False
    command = _command_line(pid)
    return start_time(pid) == start and (command is None or "sdi_engine" in command)


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists on this machine."""
    if sys.platform == "win32":  # where os.kill(pid, 0) would send Ctrl+C
        kernel = _windows_kernel()
        handle = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
        if not handle:  # what may not be opened, such as another person's, is there
            return ctypes.get_last_error() == _ERROR_ACCESS_DENIED
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return code.value == _STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def start_time(pid: int) -> str | None:
    """When the system started the process, in its own format; empty where it does not say, None where none runs."""
    if not is_alive(pid):
        return None
    if sys.platform == "win32":
        return _start_on_windows(pid)
    if sys.platform == "darwin":
        return _start_on_macos(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # one that has ended, but was not waited for, runs no more
    except FileNotFoundError:
        return "" if is_alive(pid) else None
    except (OSError, IndexError):
        return ""


def _is_from_before_a_restart(said: Mapping[str, Any]) -> bool:
    machine_id, boot, namespace = machine.here().scope
    same = (said.get("machine"), said.get("namespace")) == (machine_id, namespace)
    return same and "" not in (boot, said.get("boot", "")) and said["boot"] != boot


@lru_cache(maxsize=1)
def _our_start(pid: int) -> str:
    return start_time(pid) or ""


def _pid(said: Mapping[str, Any]) -> int | None:
    pid = said.get("pid")
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and 0 < pid <= _LARGEST_ID else None


def _command_line(pid: int) -> str | None:
    """The command line of the process; None where the system does not give it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace") if sys.platform == "linux" else None
    except OSError:
        return None


def _windows_kernel() -> Any:
    """The library that knows the processes of Windows; it leaves its errors in `ctypes.get_last_error`."""
    assert sys.platform == "win32"
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    return kernel


def _start_on_windows(pid: int) -> str:
    if sys.platform != "win32":
        return ""
    kernel = _windows_kernel()
    handle = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
    if not handle:
        return ""
    times = [ctypes.c_ulonglong() for _ in range(4)]  # creation, exit, kernel, user; the first in 100 ns since 1601
    known = kernel.GetProcessTimes(ctypes.c_void_p(handle), *map(ctypes.byref, times))
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return str(times[0].value) if known else ""


def _start_on_macos(pid: int) -> str:
    """From `struct proc_bsdinfo` of <sys/proc_info.h>, whose last two fields are seconds and microseconds."""
    info = (ctypes.c_uint64 * (_SIZE_OF_BSDINFO // 8))()
    try:
        told = ctypes.CDLL(None).proc_pidinfo(pid, _PROC_PIDTBSDINFO, ctypes.c_uint64(0), info, _SIZE_OF_BSDINFO)
    except (OSError, AttributeError):
        return ""
    return f"{info[-2]}.{info[-1]:06d}" if told == _SIZE_OF_BSDINFO else ""
