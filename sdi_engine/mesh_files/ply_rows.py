"""The numbers of a PLY file: of every element the columns, some of which have a list in every row.

The package plyfile does not replace it, since that refuses comments beyond ASCII (names of pictures), rows of text that
are not a line each and 64-bit integers, and fills memory for all rows that a header claims before it reads one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError
from .numbers_in_text import numbers_in

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8"},
    **{f"{kind}{8 * size}": f"{kind[0]}{size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)},
    **{f"float{8 * size}": f"f{size}" for size in (2, 4, 8)},
}
"""numpy's names of the types of numbers."""

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_HEADER_END = re.compile(rb"[\r\n]end_header[ \t]*(?:\r\n|\n|\r)")
_PICTURE = re.compile(r"^comment\s+TextureFile\s+(.*?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Lists:
    """Attributes:
    counts: (N,), how many values each row has.
    values: (counts.sum(),), those of all rows, one row after the other.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.generic]


@dataclass(frozen=True)
class PlyFile:
    """Attributes:
    elements: of each element the columns by their names: (N,) numbers, or lists.
    pictures: the pictures' names, as the comments have them.
    """

    elements: Mapping[str, Mapping[str, NDArray[np.generic] | Lists]]
    pictures: tuple[str, ...]


def read_ply(content: bytes, name: str, wanted: Sequence[str]) -> PlyFile:
    """The elements of a file that are wanted, as far as it has them.

    Args:
        name: the file's, for messages.

    Raises:
        BadInputError: it ends before all its rows.
        ValueError, LookupError: it is damaged.
    """
    end = _HEADER_END.search(content)
    if not content.startswith(b"ply") or end is None:
        raise ValueError("no header of a PLY file")
    order, elements, pictures = None, [], []
    for line in content[: end.start()].decode("utf-8", errors="replace").splitlines()[1:]:
        words = line.split()
        shown = _PICTURE.match(line.strip())
        if shown:
            pictures.append(shown.group(1))
        elif words[:1] == ["format"]:
            order = "" if words[1] == "ascii" else _ORDERS[words[1]]
        elif words[:1] == ["element"]:
            elements.append(_Element(words[1], int(words[2])))
        elif words[:2] == ["property", "list"]:
            if words[2].startswith(("float", "double")):
                raise ValueError("a list whose length is a fraction")
            elements[-1].columns.append(_Column(words[4], _TYPES[words[3]], _TYPES[words[2]]))
        elif words[:1] == ["property"]:
            elements[-1].columns.append(_Column(words[2], _TYPES[words[1]]))
    if order is None:
        raise ValueError("a header without a format")
    numbers = _Binary(content, order) if order else _Ascii(content[end.end() :])
    at = end.end() if order else 0
    found = {}
    for element in elements:
        if all(each in found for each in wanted):
            break
        try:
            columns, at = _columns(numbers, at, element)
        except _IncompleteError as error:
            raise BadInputError(f'"{name}" is not complete: copy or export it again.') from error
        if element.name in wanted:
            found[element.name] = columns
    return PlyFile(found, tuple(pictures))


class _IncompleteError(Exception):
    """There are fewer numbers than the header says."""


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str
    count_kind: str | None = None


@dataclass(frozen=True)
class _Element:
    name: str
    length: int
    columns: list[_Column] = field(default_factory=list)


class _Numbers(Protocol):
    """The rows as units in which their places are counted."""

    length: int

    def size(self, kind: str) -> int:
        """How many units a number has."""

    def take(self, places: NDArray[np.int64], kind: str) -> NDArray[np.generic]:
        """The numbers at these places."""

    def count(self, place: int, kind: str) -> int:
        """The number at this place, which is whole."""


class _Ascii:
    """Every number is one unit."""

    def __init__(self, body: bytes) -> None:
        self._numbers = numbers_in(body)
        self.length = len(self._numbers)

    def size(self, kind: str) -> int:
        return 1

    def take(self, places: NDArray[np.int64], kind: str) -> NDArray[np.generic]:
        with np.errstate(invalid="ignore"):
            return self._numbers[places].astype(kind)

    def count(self, place: int, kind: str) -> int:
        return int(self._numbers[place])


class _Binary:
    """Every byte is one unit."""

    def __init__(self, content: bytes, order: str) -> None:
        self._content, self._bytes, self._order = content, np.frombuffer(content, np.uint8), order
        self.length = len(content)

    def size(self, kind: str) -> int:
        return int(kind[1])

    def take(self, places: NDArray[np.int64], kind: str) -> NDArray[np.generic]:
        size = self.size(kind)
        taken = np.empty((len(places), size), np.uint8)
        for each in range(size):
            taken[:, each] = self._bytes[places + each]
        return taken.view(self._order + kind)[:, 0].astype(kind)

    def count(self, place: int, kind: str) -> int:
        order = "little" if self._order == "<" else "big"
        return int.from_bytes(self._content[place : place + self.size(kind)], order, signed=kind[0] == "i")


@dataclass(frozen=True)
class _Places:
    """Where a column's numbers are: (N,) each, the first of every row, and how many."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]


def _columns(numbers: _Numbers, at: int, element: _Element) -> tuple[dict[str, NDArray[np.generic] | Lists], int]:
    """An element's columns, and where the next element begins."""
    least = sum(numbers.size(each.count_kind or each.kind) for each in element.columns)
    if element.length < 0 or element.length * least > numbers.length - at:
        raise _IncompleteError
    if not element.length or not element.columns:
        return {}, at
    places, end = _even(numbers, at, element) or _scanned(numbers, at, element)
    columns: dict[str, NDArray[np.generic] | Lists] = {}
    for column, place in zip(element.columns, places, strict=True):
        if column.count_kind is None:
            columns[column.name] = numbers.take(place.first, column.kind)
            continue
        size, before = numbers.size(column.kind), np.cumsum(place.count) - place.count
        each = np.repeat(place.first - before * size, place.count) + np.arange(place.count.sum()) * size
        columns[column.name] = Lists(place.count, numbers.take(each, column.kind))
    return columns, end


def _even(numbers: _Numbers, at: int, element: _Element) -> tuple[list[_Places], int] | None:
    """Where the columns are if all rows are as long as the first; None if they are not."""
    rows = np.arange(element.length, dtype=np.int64)
    offset, found = 0, []
    for column in element.columns:
        count = 1
        counted_at = offset
        if column.count_kind is not None:
            offset += numbers.size(column.count_kind)
            if at + offset > numbers.length:
                return None
            count = numbers.count(at + counted_at, column.count_kind)
        found.append((counted_at, offset, count))
        offset += count * numbers.size(column.kind)
        if count < 0 or at + offset * element.length > numbers.length:
            return None
    first = at + rows * offset
    for column, (counted_at, _, count) in zip(element.columns, found, strict=True):
        if column.count_kind is not None and (numbers.take(first + counted_at, column.count_kind) != count).any():
            return None
    places = [_Places(first + start, np.full(element.length, count, np.int64)) for _, start, count in found]
    return places, at + offset * element.length


def _scanned(numbers: _Numbers, at: int, element: _Element) -> tuple[list[_Places], int]:
    """Where the columns are, row by row."""
    first = np.empty((len(element.columns), element.length), np.int64)
    counts = np.ones_like(first)
    sizes = [numbers.size(each.kind) for each in element.columns]
    count_sizes = [each.count_kind and (each.count_kind, numbers.size(each.count_kind)) for each in element.columns]
    for row in range(element.length):
        for column, counted in enumerate(count_sizes):
            count = 1
            if counted:
                if at + counted[1] > numbers.length:
                    raise _IncompleteError
                count = counts[column, row] = numbers.count(at, counted[0])
                if count < 0:
                    raise ValueError("a list with fewer than no numbers")
                at += counted[1]
            first[column, row] = at
            at += count * sizes[column]
        if at > numbers.length:
            raise _IncompleteError
    return [_Places(*each) for each in zip(first, counts, strict=True)], at
