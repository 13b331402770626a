"""This computer's memory: what of it is free, and giving it back.

Standard library only, and no newer syntax than Python 3.8's.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def memory_bytes() -> tuple[int | None, int | None]:
    """The memory that this process may use and the free part of it; None where the system does not say."""
    if sys.platform == "win32":
        status = _MemoryStatus()
        status.length = ctypes.sizeof(status)
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return None, None
        return status.total, status.free
    total, free = _sysconf_bytes("SC_PHYS_PAGES"), _linux_available() or _sysconf_bytes("SC_AVPHYS_PAGES")
    limit, left = _group_bytes()
    return _smaller(total, limit), _smaller(free, left)


def give_memory_back() -> None:
    """Return memory that is no longer used to the system: torch would keep it from Blender, which renders with it.

    A graphics card that answers only with errors any more gets nothing back.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    gc.collect()
    with suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


class _MemoryStatus(ctypes.Structure):
    """Windows' MEMORYSTATUSEX."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        *((name, ctypes.c_ulonglong) for name in ("page_total", "page_free", "virtual_total", "virtual_free", "more")),
    ]


def _sysconf_bytes(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS does not say what is free
        return None


def _linux_available() -> int | None:
    """Free memory with the file cache, which the system gives up on demand; sysconf does not count it."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _group_bytes() -> tuple[int | None, int | None]:
    """The limit of a container and what is left of it; None where there is none, or an older kind of limit."""
    limit, used = _text(_GROUPS / "memory.max"), _text(_GROUPS / "memory.current")
    if not (limit.strip().isdigit() and used.strip().isdigit()):
        return None, None
    cache = re.search(r"^inactive_file (\d+)", _text(_GROUPS / "memory.stat"), re.MULTILINE)
    return int(limit), max(0, int(limit) - int(used) + (int(cache.group(1)) if cache else 0))


def _smaller(one: int | None, other: int | None) -> int | None:
    known = [each for each in (one, other) if each is not None]
    return min(known) if known else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
