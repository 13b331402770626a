"""What a `.safetensors` file is, by its header alone. Standard library only, so that Blender can name a wrong file too.

The format: eight bytes with the header's length, little-endian; a JSON object {name: {dtype, shape, data_offsets}};
the numbers.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..errors import BadInputError

Family = Literal["sd1", "sd2", "sdxl", "sd3"]
Shapes = Mapping[str, tuple[int, ...]]

DENOISER = "model.diffusion_model."
"""How the names of the U-Net, or of SD3's transformer, begin."""

_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000
"""The format's own limit, so that a file of another kind is not read as a whole."""

_METADATA = "__metadata__"
_SUPPORTED = "choose a checkpoint of Stable Diffusion 1.x, 2.x, SDXL or SD3 for text to image."


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a file's tensors.

    Raises:
        BadInputError: the file cannot be read, is cut off, damaged or of another format.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            if not 0 < length <= min(_LONGEST_HEADER, size - _LENGTH.size):
                raise _damaged(file, "it does not begin as a safetensors file does")
            header = json.loads(stream.read(length))
        tensors = {name: entry for name, entry in header.items() if name != _METADATA}
        shapes = {name: tuple(int(edge) for edge in entry["shape"]) for name, entry in tensors.items()}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except OSError as error:
        raise BadInputError(
            f'The file "{file}" cannot be read ({error.strerror}): check it, or download it.'
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _damaged(file, "its list of contents makes no sense") from error
    if _LENGTH.size + length + end > size:
        raise _damaged(file, "its end is missing")
    return shapes


def family_of(shapes: Shapes) -> Family:
    """Which family a checkpoint belongs to, by the names that only this family has.

    Raises:
        BadInputError: none that is supported.
    """
    names = {re.sub(r"\.\d+\..*", "", name.removeprefix(DENOISER)) for name in shapes}
    if "double_blocks" in names:
        raise BadInputError(f"This file is a FLUX model, which is not supported: {_SUPPORTED}")
    if "joint_blocks" in names:
        return "sd3"
    if is_lora(shapes):
        raise BadInputError(f"This file is a LoRA: give it as a LoRA, and as the model {_SUPPORTED}")
    first = shapes.get(f"{DENOISER}input_blocks.0.0.weight")
    if first is None:
        raise BadInputError(f"This file holds no diffusion model that is known here: {_SUPPORTED}")
    if first[1] != 4:
        raise BadInputError(
            f"This file's U-Net takes {first[1]} channels, as those for inpainting, depth or editing do: {_SUPPORTED}"
        )
    for prefix, family in (
        ("conditioner.embedders.1.model.", "sdxl"),
        ("cond_stage_model.model.", "sd2"),
        ("cond_stage_model.transformer.", "sd1"),
    ):
        if any(name.startswith(prefix) for name in shapes):
            return family
    raise BadInputError(f"This file holds a U-Net without its text encoders, or SDXL's refiner: {_SUPPORTED}")


def is_lora(shapes: Shapes) -> bool:
    """Whether a file holds changes to a model, instead of a model."""
    return any("lora" in name for name in shapes)


def _damaged(file: Path, detail: str) -> BadInputError:
    return BadInputError(
        f'The file "{file}" cannot be loaded ({detail}): it is damaged or of another format; download it again, or '
        "choose another one."
    )
