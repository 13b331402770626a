"""Files of a job, read, written and removed without ever following a link. Standard library only.

A job's folder may come from somebody else, and a link in it may lead anywhere: to a folder of documents, to a file that
a shell runs at its start, or, on Windows, to a server that is given the person's password. So nothing inside a job is a
link, and nothing is opened that is not an ordinary file: a pipe would make its reader wait for ever.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from .untrusted import parse_json

MAX_JSON_BYTES = 4 * 2**20
"""Limit of a JSON file: many times the size of the largest of ours."""

MISSING_SECONDS = 2.0
"""How long what `was_deleted` must be missing to count as deleted; a network drive may lose it for an instant."""

_CAREFUL = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOINHERIT", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_ON_WINDOWS = sys.platform == "win32"
_TRIES_TO_READ = 4
_Done = TypeVar("_Done")
_LINK_TAGS = (0xA000000C, 0xA0000003)
"""Tags of Windows' symbolic links and junctions; other reparse points, such as a cloud's files, are no links."""


class UnsafeFileError(OSError):
    """A link, or anything but an ordinary file, has the name of a file of ours; `str(error)` names it and the cure."""


class InUseError(PermissionError):
    """Another program has a file open, which Windows then keeps as it is."""


def is_link(path: Path) -> bool:
    """Whether there is a symbolic link or a junction, wherever it leads."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) in _LINK_TAGS


def is_there(path: Path) -> bool:
    """Whether anything has this name, also a link that leads nowhere."""
    return os.path.lexists(path)


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and not is_link(path)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode) and not is_link(path)
    except (OSError, ValueError):
        return False


def leads_to_folder(path: Path) -> bool:
    """Whether there is a folder, or a link to one; False where that cannot be seen."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # in a folder without permission, or longer than a path can be
        return False


def leads_to_file(path: Path) -> bool:
    """As `leads_to_folder`, of an ordinary file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def names_in(folder: Path) -> list[str]:
    """The names of all that is in a folder, as we have given them; raises OSError.

    Some file systems of macOS take apart what is composed, such as Hangul; a file is found by either name.
    """
    names = os.listdir(folder)  # noqa: PTH208 (a quarter of the time, and the queue is read four times a second)
    return [unicodedata.normalize("NFC", name) for name in names] if sys.platform == "darwin" else names


def device_of(path: Path) -> int | None:
    """The device that a file or folder is on; None where that cannot be seen."""
    try:
        return path.stat().st_dev
    except (OSError, ValueError):
        return None


def was_deleted(path: Path, device: int | None) -> bool:
    """Whether a file or folder is missing though the device that it was on (`device_of`) is there.

    Where its drive is away, nothing at all is found on the way to it, or what is there is on another device, such as
    the empty folder at which the drive is mounted.
    """
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            return False
        return place != path and found.st_dev == device
    return False


def state_of(path: Path) -> tuple[int, int] | None:
    """When a file or folder was last modified, in nanoseconds, and its size in bytes; None where it cannot be seen."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


def refuse_link(path: Path) -> None:
    """Raise UnsafeFileError where there is a link."""
    if is_link(path):
        raise UnsafeFileError(f'"{path}" is a link, and links inside a job are not followed: delete it.')


def open_to_read(path: Path) -> BinaryIO:
    """An ordinary file's bytes; raises OSError.

    On Windows, which opens no file that is just being put in another's place, it is tried again for a moment.
    """
    for _ in range(_TRIES_TO_READ - 1 if _ON_WINDOWS else 0):
        with suppress(PermissionError):
            return _open(path, os.O_RDONLY, "rb")
        time.sleep(0.01)
    return _open(path, os.O_RDONLY, "rb")


def open_to_append(path: Path) -> BinaryIO:
    """An ordinary file opened to append to, made where it is missing; raises OSError as `replace_file`."""
    file = _patiently(path, lambda: _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "ab+"))
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise UnsafeFileError(f'"{path}" is a hard link to a file that has another name too: delete it.')
    return file


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """The content of an ordinary file of at most `limit` bytes; raises OSError."""
    with open_to_read(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnsafeFileError(f'"{path}" is larger than any file of its kind: it is damaged, or not ours.')
    return content


def read_text(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """The text of an ordinary file of at most `limit` bytes, damaged characters replaced; raises OSError."""
    return read_bytes(path, limit).decode("utf-8-sig", errors="replace")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where the file is missing, unreadable or holds anything else."""
    try:
        value = parse_json(read_text(path))
    except (OSError, ValueError):
        return None
    return dict(value) if isinstance(value, Mapping) else None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file such that a reader sees the old or the new content, never a part; raises OSError.

    A link of this name is replaced, not followed.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # of a process that was killed and had the same id
    try:
        with _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: Path) -> None:
    """Make an empty file, as a flag; raises FileExistsError where anything has this name, and other OSErrors."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o666))


def touch(path: Path) -> None:
    """Make an empty file, as a flag, where it is missing; raises OSError."""
    try:
        create(path)
    except FileExistsError:
        if not is_file(path):
            refuse_link(path)
            raise


def make_folder_with_parents(path: Path) -> None:
    """Make a folder and its parents where they are missing; raises OSError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except RecursionError as error:  # `mkdir` calls itself for each of a thousand folders within each other
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path)) from error


def make_folder_of_ours(path: Path) -> None:
    """Make a folder where it is missing; raises OSError, also where a link has its name."""
    try:
        path.mkdir()
    except FileExistsError:
        refuse_link(path)
        if not path.is_dir():
            raise


def remove_link(path: Path) -> None:
    """Remove a link, not what it leads to; raises OSError."""
    try:
        path.unlink()
    except PermissionError:  # a junction is a folder to Windows
        path.rmdir()


def remove_files(folder: Path, name: re.Pattern[str]) -> None:
    """Remove the files, and the links, whose whole name matches; raises OSError, also where the folder is a link."""
    refuse_link(folder)
    for entry in list(folder.iterdir()) if is_folder(folder) else ():
        if name.fullmatch(entry.name) and not is_folder(entry):
            remove_link(entry) if is_link(entry) else remove_file(entry)


def remove_half_written(folder: Path) -> None:
    """Remove the temporary files that `write_atomically` left in a folder when its process was killed; raises OSError.

    Only an engine's files: Blender may be writing its own beside them.
    """
    ours = re.compile(rf"\.(?!placement|request)[\w\-]+\.(json|png|npz|glb|safetensors)\.(?!{os.getpid()}\.)\d+\.part")
    remove_files(folder, ours)


def replace_file(source: Path, target: Path) -> None:
    """`Path.replace`, tried again for a second: on Windows a reader or a virus scanner may hold the target open.

    Raises:
        InUseError: it still does.
        OSError: anything else.
    """
    _patiently(target, lambda: source.replace(target))


def remove_file(path: Path, *, missing_ok: bool = False) -> None:
    """`Path.unlink`, tried again for a second, as by `replace_file`; raises OSError as it."""
    _patiently(path, lambda: path.unlink(missing_ok=missing_ok))


def _patiently(path: Path, act: Callable[[], _Done]) -> _Done:
    """Do what Windows refuses while another program has the file open, and try again for a second."""
    for _ in range(19):
        try:
            return act()
        except PermissionError:
            time.sleep(0.05)
    try:
        return act()
    except PermissionError as error:
        if not _ON_WINDOWS and getattr(error, "winerror", None) is None:
            raise
        raise InUseError(error.errno, error.strerror, str(path)) from error


def _open(path: Path, flags: int, mode: str) -> BinaryIO:
    refuse_link(path)  # O_NOFOLLOW says so too, but Windows has none
    descriptor = os.open(path, flags | _CAREFUL, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnsafeFileError(f'"{path}" is not an ordinary file: delete it.')
        return os.fdopen(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
