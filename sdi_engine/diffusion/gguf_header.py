"""What a `.gguf` file holds, by its header alone. Standard library only, so that Blender can name a wrong file too.

The format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), all little-endian: "GGUF", the version; how many
tensors and how many values of metadata there are; the metadata; each tensor's name, dimensions with the innermost
first, type and place; the numbers.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import BadInputError

KINDS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""By its number, each type's name, and how many weights make a block of how many bytes."""

READ_BLOCKS = ("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_XS", "IQ4_NL", "Q3_K", "Q2_K")
"""The types in blocks that Diffusers can unpack."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_ALIGNMENT = "general.alignment"
_USUAL_ALIGNMENT = 32
_SHAPE_BEFORE = "comfy.gguf.orig_shape."
"""Of tensors whose rows do not fill blocks: ComfyUI's converter lays them out anew, and keeps their shape here."""

_LONGEST = 25_000_000
"""As of a safetensors file's header. Those of language models, with the words of their tokenizers, take 6 MB."""

_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of a file.

    Attributes:
        kind: the name of its type, such as "Q4_K".
        shape: with the outermost dimension first, as in torch.
        offset: where its numbers start in the file, in bytes.
        length: of its numbers, in bytes.
    """

    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int


def is_gguf(file: Path) -> bool:
    """Whether a file's name says that it is in the GGUF format."""
    return file.suffix.lower() == ".gguf"


def read_gguf(file: Path) -> dict[str, GgufTensor]:
    """The tensors of a file, by name.

    Raises:
        BadInputError: the file cannot be read, is cut off, damaged, of another format, or of an unknown version.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            return _Reader(file, stream, size).tensors()
    except OSError as error:
        raise BadInputError(
            f'The file "{file}" cannot be read ({error.strerror}): check it, or download it again.'
        ) from error
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        raise _damaged(file, "its header is invalid") from error


class _Reader:
    """Reads a header from its beginning to its end, and never more than `_LONGEST` bytes."""

    def __init__(self, file: Path, stream: BinaryIO, size: int) -> None:
        self._file, self._stream, self._size = file, stream, size
        self._read = 0

    def tensors(self) -> dict[str, GgufTensor]:
        """Raises BadInputError, or ValueError where the header is none."""
        if self._size < len(_MAGIC) or self._take(len(_MAGIC)) != _MAGIC:
            raise _damaged(self._file, "it does not start like a GGUF file")
        version = self._number("I")
        if version not in _VERSIONS:
            raise BadInputError(
                f'The file "{self._file}" is of version {version} of the GGUF format, or written for processors of '
                "another byte order, and only versions 2 and 3 are read: download another copy of it."
            )
        count, more = self._number("Q"), self._number("Q")
        known: dict[str, Any] = {}
        for _ in range(more):
            key, kind = self._string(), self._number("I")
            if key == _ALIGNMENT and kind != _UINT32:
                raise ValueError("not an alignment")
            known[key] = self._value(kind)
        found = [self._tensor(known) for _ in range(count)]
        alignment = known.get(_ALIGNMENT, _USUAL_ALIGNMENT)
        if alignment < 1 or alignment & (alignment - 1):  # the format's package reads powers of two only
            raise ValueError("not an alignment")
        start = -(-self._read // alignment) * alignment
        return self._placed(found, start)

    def _placed(self, found: list[tuple[str, str, tuple[int, ...], int, int]], start: int) -> dict[str, GgufTensor]:
        """The tensors by name, each in a place of its own; `start` is where the numbers start."""
        tensors: dict[str, GgufTensor] = {}
        end = 0
        for name, kind, shape, offset, length in sorted(found, key=lambda entry: (entry[3], entry[4])):
            if name in tensors:
                raise ValueError("a duplicate name")
            if offset < end:
                raise _damaged(self._file, "its tensors overlap")
            end = offset + length
            tensors[name] = GgufTensor(kind, shape, start + offset, length)
        if start + end > self._size and tensors:
            raise _damaged(self._file, "it is truncated")
        return tensors

    def _tensor(self, known: dict[str, Any]) -> tuple[str, str, tuple[int, ...], int, int]:
        """Name, type, shape, place after the header and length of the next tensor."""
        name = self._string()
        dimensions = self._number("I")
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise ValueError("too many dimensions")
        sizes = [self._number("Q") for _ in range(dimensions)]
        number, offset = self._number("I"), self._number("Q")
        if number not in KINDS:
            raise BadInputError(
                f'The file "{self._file}" has weights of a type ({number}) that is not known: choose another '
                "quantization of the model, such as Q4_K or Q8_0."
            )
        kind, block, size = KINDS[number]
        if sizes[0] % block:
            raise ValueError("rows of parts of blocks")
        shape, numbers = tuple(reversed(sizes)), math.prod(sizes)
        before = known.get(_SHAPE_BEFORE + name)
        if before is not None:
            if not isinstance(before, list) or not all(type(side) is int and side > 0 for side in before):
                raise ValueError("not a shape")
            if math.prod(before) != numbers:
                raise ValueError("the size does not match the shape")
            shape = tuple(before)
        return name, kind, shape, offset, numbers // block * size

    def _value(self, kind: int) -> Any:
        """The next value of metadata. Of arrays only short ones of whole numbers are kept, which are shapes."""
        if kind == _STRING:
            return self._string()
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind != _ARRAY:
            raise ValueError("an unknown kind of value")
        kind, length = self._number("I"), self._number("Q")
        if kind == _STRING:
            for _ in range(length):
                self._take(self._number("Q"))
            return None
        if kind not in _SCALARS:
            raise ValueError("an array of arrays")
        values = self._take(length * struct.calcsize("<" + _SCALARS[kind]))
        if kind in (6, 7, 12) or length > _MOST_DIMENSIONS:
            return None
        return list(struct.unpack(f"<{length}{_SCALARS[kind]}", values))

    def _string(self) -> str:
        return self._take(self._number("Q")).decode("utf-8")

    def _number(self, format: str) -> int:
        (number,) = struct.unpack("<" + format, self._take(struct.calcsize("<" + format)))
        return number

    def _take(self, length: int) -> bytes:
        """The next bytes; raises BadInputError where the file, or what is read of it, ends before."""
        if self._read + length > min(self._size, _LONGEST):
            what = "it is truncated" if self._read + length > self._size else "its header is too long"
            raise _damaged(self._file, what)
        self._read += length
        taken = self._stream.read(length)
        if len(taken) != length:
            raise _damaged(self._file, "it is truncated")
        return taken


def _damaged(file: Path, detail: str) -> BadInputError:
    return BadInputError(
        f'The file "{file}" cannot be loaded ({detail}): it is damaged or of another format; download it again, or '
        "choose another one."
    )
