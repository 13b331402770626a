"""Arrays in numpy's archives, read without numpy, which would trust the sizes in their headers.

Standard library only.
"""

from __future__ import annotations

import ast
import re
import struct
import zipfile
from pathlib import Path

from ..sdi_engine.system.files import open_to_read

_DESCRIPTION = re.compile(rb"\x93NUMPY\x01\x00(..)", re.DOTALL)
_MAX_HEADER_BYTES = 256
_SIZES = {"<f4": 4, "<i4": 4, "<i8": 8, "|u1": 1, "|b1": 1}
DAMAGES = (zipfile.BadZipFile, ValueError, TypeError, KeyError, EOFError, RuntimeError, SyntaxError, struct.error)
"""Errors that reading a damaged archive may raise."""


class UnsoundFileError(Exception):
    """A file that Blender must not open; `str(error)` says why, as a part of a sentence."""


def read_array(file: Path, name: str, kind: str, shape: tuple[int, ...], most: int) -> bytes | None:
    """An array's numbers, from an archive that `numpy.savez` has written.

    Args:
        file: the archive.
        name: of the array.
        kind: of its numbers, in numpy's terms, one of `_SIZES`.
        shape: of one row; the array has any number of them.
        most: the most rows.

    Returns:
        The numbers in C order; None if the archive has no array of this name.

    Raises:
        UnsoundFileError: the archive is damaged, or the array is of another type or larger.
        OSError: there is none, or it cannot be read.
    """
    try:
        with open_to_read(file) as opened, zipfile.ZipFile(opened) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                raise UnsoundFileError("it is compressed, which we never do")
            if member.file_size > most * size_of_row(kind, shape) + _MAX_HEADER_BYTES:
                raise UnsoundFileError(f'its "{name}" is larger than any of ours')
            return rows(archive.read(member), kind, shape)
    except DAMAGES as error:
        raise UnsoundFileError("it is damaged") from error


def rows(content: bytes, kind: str, shape: tuple[int, ...]) -> bytes:
    """The numbers of an array of shape (N, *shape) in numpy's format, N ≥ 1.

    Raises:
        UnsoundFileError: it is another array; other errors are among `DAMAGES`.
    """
    match = _DESCRIPTION.match(content)
    if match is None:
        raise UnsoundFileError("an array without a header")
    begin = match.end()
    end = begin + int.from_bytes(match[1], "little")
    if end - begin > _MAX_HEADER_BYTES:
        raise UnsoundFileError("an array with too long a header")
    description = ast.literal_eval(content[begin:end].decode("ascii").strip())
    count, *rest = description["shape"]
    numbers = content[end:]
    if description["descr"] != kind or description["fortran_order"] is not False or tuple(rest) != shape:
        raise UnsoundFileError("an array of another type than was expected")
    if not isinstance(count, int) or len(numbers) != count * size_of_row(kind, shape) or count < 1:
        raise UnsoundFileError("an array of another size than its header says")
    return numbers


def size_of_row(kind: str, shape: tuple[int, ...]) -> int:
    """Bytes."""
    size = _SIZES[kind]
    for edge in shape:
        size *= edge
    return size
