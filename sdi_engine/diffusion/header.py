"""What a model's file is, by its header alone. Standard library only, so that Blender can name a wrong file too.

`gguf_header` reads those of `.gguf` files. The format of `.safetensors` files: eight bytes with the header's length,
little-endian; a JSON object {name: {dtype, shape, data_offsets}}; the numbers. The panel's check and the engine both
ask here, so that they say the same.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import BadInputError, IncompleteModelError
from ..system.files import leads_to_file, leads_to_folder
from . import families, gguf_header
from .families import DENOISER, VAE, Family, Shapes
from .location import check_suffix, is_safetensors, is_shard, read_object

SCALES = (".scale_weight", ".weight_scale")
"""Suffixes of a layer's name for the factor of its 8-bit weights, in ComfyUI's older and newer naming."""

_SCALES_OF_INPUTS = (".scale_input", ".input_scale", ".comfy_quant")
_HARMLESS = re.compile(
    r"model_ema\..*"  # the average of the weights over the training, which Diffusers leaves out too
    r"|(sqrt_)?(recip(m1)?_|one_minus_)?alphas_cumprod(_prev)?|sqrt_recipm1_alphas_cumprod|log_one_minus_alphas_cumprod"
    r"|betas|logvar|lvlb_weights|posterior_(variance|log_variance_clipped|mean_coef[12])|denoiser\.(sigmas|log_sigmas)"
    r"|ztsnr|v_pred|(.*\.)?scaled_fp8|(.*\.)?(position_ids|logit_scale|attn_mask)|first_stage_model\.loss\..*"
    r"|embedding_manager\..*|(bundle_)?emb(_params)?(\..*)?"
    rf"|.*({'|'.join(map(re.escape, _SCALES_OF_INPUTS))})"
)
"""Tensors that a file may hold besides a model: the noise schedule, which is known; those that only training needed;
embeddings; and the scales of a layer's inputs, for arithmetic in 8 bits."""

_QUANTIZED = (
    (re.compile(r".*\.(absmax|nested_absmax|quant_map|nested_quant_map)|.*\.quant_state\..*"), "bitsandbytes (NF4)"),
    (re.compile(r".*\.(qweight|qzeros|wscales|wtscale|smooth_factor|smooth)"), "Nunchaku (SVDQuant), GPTQ or AWQ"),
    (re.compile(r".*\.weight_scale_2"), "NVFP4"),
)
_LORA = re.compile(
    r".*(lora|lycoris_|hada_w|lokr_|dora_scale|oft_blocks|oft_diag|ia3_l).*|.*\.(diff|diff_b|w_norm|b_norm|on_input)"
)

_DENOISERS = (DENOISER, "diffusion_model.")

_TEXT_LAYER = re.compile(
    rf"({re.escape(DENOISER)}input_blocks\.\d+\.1|down_blocks\.\d+\.attentions\.0)"
    r"\.transformer_blocks\.0\.attn2\.to_k\.weight"
)
"""A weight with as many columns as the text embeddings of a U-Net have channels, in either naming."""

_TEXT_LAYER_OF_LORA = re.compile(r"attn2.*to_[kv].*(lora_down|lora_A|lora\.down|hada_w1_b)")

_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 25_000_000
"""A quarter of the format's own limit, and several times the longest that is in use."""

HALF_VARIANT = "fp16"
"""What a file's name says of half precision: `NAME.fp16.safetensors` may lie beside `NAME.safetensors`."""

_OWN_NAMES = ("diffusion_pytorch_model", "model")
"""How the names of files begin that Diffusers and Transformers read in the folder of a network."""

_INDEX = re.compile(r".*\.safetensors\.(fp16\.)?index(\.fp16)?\.json")
"""What a file is called that says which tensors are in which of several; of half precision, formerly and now."""

_HUB_FOLDER = "models--"
"""How the name of a model's folder begins in the hub's cache."""

_METADATA = "__metadata__"
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS |= dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
_NUMBERS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", *gguf_header.READ_BLOCKS)
"""The formats that weights may have."""

_LONGEST_NAME = 120


@dataclass(frozen=True)
class Entry:
    """One tensor in a header; `dtype` is the format's own name, such as "F16" or "Q4_K"."""

    dtype: str
    shape: tuple[int, ...]


Header = Mapping[str, Entry]


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file, or of all files of a folder (`weight_files`), by name.

    Raises:
        BadInputError: a file cannot be read, is cut off, damaged or of another format, or is missing.
    """
    if path.is_dir():
        return {name: entry for file in weight_files(path) for name, entry in _header_of(file).items()}
    return _header_of(path)


def weight_files(folder: Path) -> list[Path]:
    """The files from which one network is read, which can be several; of two precisions, the full one.

    This is what Diffusers and Transformers read: with an index what that names, and else the file that is whole.

    Raises:
        IncompleteModelError: the index of several is missing, or names one that is not there.
        BadInputError: it is damaged.
    """
    return _index_and_files(folder)[1]


def check_index(folder: Path) -> None:
    """Refuse several files of one network that do not hold what their index says; one that has none is right.

    Diffusers believes the index: what only it names would have no numbers, and what it does not name would be left out.

    Raises:
        BadInputError: as said, or Diffusers cannot read the index.
    """
    index, files = _index_and_files(folder)
    if index is None:
        return
    told = read_object(index)
    if not isinstance(told.get("metadata"), dict):
        raise BadInputError(
            f'The file "{index}" lacks "metadata", without which Diffusers reads no weights: write "metadata": {{}}, '
            'into it before "weight_map", or download the model again.'
        )
    held = {(name, file.name) for file in files for name in _header_of(file)}
    if odd := sorted({name for name, _ in held ^ {(name, str(file)) for name, file in told["weight_map"].items()}}):
        raise BadInputError(
            f'The file "{index}" does not tell what the files beside it hold ({listed(odd)}): download the model again.'
        )


def _index_and_files(folder: Path) -> tuple[Path | None, list[Path]]:
    """What `weight_files` returns, and the index that names them."""
    every = [file for file in sorted(folder.glob("*")) if is_safetensors(file) and file.is_file()]
    own = [file for file in every if file.name.startswith(_OWN_NAMES)] or every
    full, half = ([file for file in own if says_half(file) == is_half] for is_half in (False, True))
    full = [file for file in full if "." not in file.stem] or ([] if half else full)
    indexes = [file for file in sorted(folder.glob("*")) if _INDEX.fullmatch(file.name)]
    for files, is_half in ((full, False), (half, True)):
        index = next((file for file in indexes if says_half(file) == is_half), None)
        if files:
            return index, _of_index(index, files) if index else _without_index(files)
    if indexes:
        return indexes[0], _of_index(indexes[0], [])
    return None, []


def _of_index(index: Path, there: Sequence[Path]) -> list[Path]:
    """The files that an index names; raises BadInputError."""
    told = read_object(index).get("weight_map")
    named = sorted(set(map(str, told.values()))) if isinstance(told, dict) else []
    if not named:
        raise BadInputError(f'The file "{index}" is damaged: delete it, and download the model again.')
    files = {file.name: file for file in there}
    if missing := [name for name in named if name not in files]:
        raise IncompleteModelError(f'The folder "{index.parent}" lacks {listed(missing)}: download the model again.')
    return [files[name] for name in named]


def _without_index(there: Sequence[Path]) -> list[Path]:
    """Those of some files that are no parts of others; raises IncompleteModelError where all are."""
    if whole := [file for file in there if not is_shard(file)]:
        return whole
    raise IncompleteModelError(
        f'The folder "{there[0].parent}" lacks the index of {listed([file.name for file in there], 1)} '
        "(….safetensors.index.json): download the model again."
    )


def says_half(file: Path) -> bool:
    """Whether a file's name says that it is of a copy in half precision."""
    return f".{HALF_VARIANT}" in file.name


def read_titles(file: Path) -> list[str]:
    """What the metadata of a `.safetensors` file call its model, by the names of Stability's specification.

    Raises:
        BadInputError: as `read_header`.
    """
    _, said = _safetensors_header(file)
    titles = (said.get(f"modelspec.{name}") for name in ("title", "architecture")) if isinstance(said, dict) else ()
    return [title for title in titles if isinstance(title, str)]


def _header_of(file: Path) -> dict[str, Entry]:
    if gguf_header.is_gguf(file):
        return {name: Entry(tensor.kind, tensor.shape) for name, tensor in gguf_header.read_gguf(file).items()}
    return _safetensors_header(file)[0]


def _safetensors_header(file: Path) -> tuple[dict[str, Entry], Any]:
    """The tensors of a file, and its metadata."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            if not 0 < length <= _LONGEST_HEADER:
                raise _damaged(file, _starting_with(start))
            if length > size - _LENGTH.size:
                raise _damaged(file, "it is truncated")
            header = json.loads(stream.read(length), object_pairs_hook=_without_doubles, parse_constant=_no_number)
        tensors = {name: entry for name, entry in header.items() if name != _METADATA}
        spans = sorted(_span(entry) for entry in tensors.values())
    except OSError as error:
        raise BadInputError(
            f'The file "{file}" cannot be read ({error.strerror}): check it, or download it again.'
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _damaged(file, "its header is invalid") from error
    if any(start < end for (_, end), (start, _) in itertools.pairwise(spans)):
        raise _damaged(file, "its tensors overlap")
    missing = _LENGTH.size + length + max((end for _, end in spans), default=0) - size
    if spans and missing:
        raise _damaged(file, "it is truncated" if missing > 0 else "it goes on after its last tensor")
    entries = {name: Entry(entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}
    return entries, header.get(_METADATA)


def _starting_with(start: bytes) -> str:
    """What a file is that does not start as it should, by its first bytes."""
    if not start:
        return "it is empty"
    if start == b"version ":
        return "it is only a pointer, which Git LFS puts in the place of a large file"
    if start[:1] == b"<":
        return "it is a web page"
    return "it does not start like a safetensors file"


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a file's tensors.

    Raises:
        BadInputError: as `read_header`.
    """
    return {name: entry.shape for name, entry in read_header(file).items()}


def family_beside(header: Header, pipeline: str) -> Family:
    """The family of a file that is what the folder beside it says: of those with this pipeline's class in Diffusers, of
    which there is one, the one whose text encoder it holds."""
    names = {current_name(name) for name in header}
    candidates = [family for family in families.FAMILIES if family.pipeline == pipeline]
    return next((family for family in candidates if _has_encoder(family, names)), candidates[0])


def family_of(shapes: Shapes, who: str = "This file") -> Family:
    """Which family a checkpoint, or a denoiser alone, belongs to, by the names that only this family has.

    Raises:
        BadInputError: none that is supported; the sentence begins with `who`.
    """
    shapes = {current_name(name): shape for name, shape in shapes.items()}
    choose = f"choose a checkpoint of {families.supported(single_files=True)} for text to image."
    if is_lora(shapes) and not any(family.first in shapes for family in families.FAMILIES):
        raise BadInputError(f"{who} is a LoRA: give it as a LoRA, and as the model {choose}")
    if any(_names(pattern, shapes) for pattern, _ in families.RELATED):
        raise BadInputError(f"{who} {kind_of(shapes)}: {choose}")
    named = [family for family in families.FAMILIES if family.named and _names(family.named, shapes)]
    original = shapes | {DENOISER + name: shape for name, shape in denoiser_shapes(shapes).items()}
    candidates = [family for family in families.FAMILIES if family.first and family.first in original]
    if not named and not candidates:
        raise BadInputError(f"{who} {kind_of(shapes)}: {choose}")
    family = _closest(named or candidates, original)
    if not family.components:
        raise BadInputError(
            f"{who} is of a {family.label} model, which cannot be loaded from a single file: choose the model's folder "
            "in Diffusers layout."
        )
    taken = original.get(family.first) or _first_of(family.takes, denoiser_shapes(shapes))
    if family.channels is not None and (len(taken) != 4 or taken[1] != family.channels):
        raise BadInputError(
            f"{who} has a denoiser that takes {taken[1] if len(taken) > 1 else 'other'} channels, as those for "
            f"inpainting, depth or editing do: {choose}"
        )
    for pattern, what in family.refused:
        if _names(pattern, shapes):
            raise BadInputError(f"{who} {what}: {choose}")
    return family


def check_numbers(file: Path, header: Header) -> None:
    """Refuse weights that were quantized in a way that is not supported; raises BadInputError."""
    for pattern, tool in _QUANTIZED:
        if any(pattern.fullmatch(name) for name in header):
            _refuse_quantized(file, f"by {tool}")
    for name, entry in header.items():
        if name.endswith((".weight", ".bias")) and entry.dtype not in _NUMBERS:
            _refuse_quantized(file, f"to {entry.dtype}, such as {shown(name)}")
        if name.endswith(SCALES) and not _is_scale(header, name):
            _refuse_quantized(file, f"in blocks, or to a format other than 8-bit floats, such as {shown(name)}")


def is_denoiser(family: Family, names: Iterable[str]) -> bool:
    """Whether a file without prefixes holds a denoiser of a family."""
    names = list(names)
    first = family.first.removeprefix(DENOISER)
    return first in names or bool(family.named and _names(family.named, names))


def denoiser_prefix(names: Iterable[str]) -> str:
    """How the names of a denoiser's tensors begin in a file; "" in one that holds nothing else."""
    names = list(names)
    return next((prefix for prefix in _DENOISERS if any(name.startswith(prefix) for name in names)), "")


def denoiser_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of a denoiser's tensors, without what their names begin with in this file."""
    prefix = denoiser_prefix(shapes)
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _closest(candidates: Sequence[Family], shapes: Shapes) -> Family:
    """The family whose text encoder is there; without one, so that what is missing is said by name, the likeliest."""
    width = next((shape[-1] for name, shape in shapes.items() if _TEXT_LAYER.fullmatch(name)), 0)
    for is_it in (
        lambda family: _has_encoder(family, shapes),
        lambda family: any(name.removeprefix(DENOISER) in family.only for name in shapes),
        lambda family: family.text_width == width,
    ):
        for family in candidates:
            if is_it(family):
                return family
    return candidates[0]


def _names(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern is that of one of some names."""
    return any(re.fullmatch(pattern, name) for name in names)


def _first_of(names: Iterable[str], shapes: Shapes) -> tuple[int, ...]:
    return next((shapes[name] for name in names if name in shapes), ())


def _has_encoder(family: Family, names: Iterable[str]) -> bool:
    return any(name.startswith(encoder.prefix) for encoder in family.text_encoders[-1:] for name in names)


def kind_of(names: Iterable[str]) -> str:
    """The kind of a file that is not a checkpoint, as the predicate of a sentence."""
    names = list(names)
    for pattern, what in families.UNSUPPORTED:
        if any(re.fullmatch(pattern, name) for name in names):
            return what
    return "does not contain a diffusion model"


def is_lora(names: Iterable[str]) -> bool:
    """Whether a file holds changes to a model, instead of a model."""
    return any(_LORA.fullmatch(name) for name in names)


def is_model(shapes: Shapes) -> bool:
    """Whether a file holds the denoiser of a family, whatever else it holds."""
    if any(family.first in shapes for family in families.FAMILIES if family.first):
        return True
    try:
        family_of(shapes)
    except BadInputError:
        return False
    return True


def check_lora(file: Path) -> None:
    """Make sure that there is a file of changes to a model, by its header.

    Raises:
        BadInputError: there is none; the sentence says what it is, where that is known.
    """
    if leads_to_folder(file):
        raise BadInputError(f'"{file}" is a folder: choose the .safetensors file of the LoRA in it.')
    check_suffix(file, "LoRA")
    if not leads_to_file(file):
        raise BadInputError(f'The LoRA file "{file}" does not exist: check that the path is complete and correct.')
    header = read_header(file)
    if any(family.first in header for family in families.FAMILIES if family.first):
        raise BadInputError(f'The file "{file}" is a model, not a LoRA: give it as the model.')
    if not is_lora(header):
        raise BadInputError(f'The file "{file}" {kind_of(header)}, and is not a LoRA: choose another one.')


def lora_family(shapes: Shapes) -> str | None:
    """The label of the family that a LoRA was trained for, as far as its names and the width of its text tell."""
    for family in reversed(families.FAMILIES):  # the later ones have some names of earlier ones, too
        if family.loras and any(re.search(family.loras, name) for name in shapes):
            return family.label
    for name, shape in shapes.items():
        if _TEXT_LAYER_OF_LORA.search(name) and len(shape) > 1:
            return next((family.label for family in families.FAMILIES if family.text_width == shape[1]), None)
    return None


def current_name(name: str) -> str:
    """The name that a tensor has in later files: NovelAI's lack a `text_model.`, and some call the VAE `vae.`."""
    for encoder in (encoder for family in families.FAMILIES for encoder in family.text_encoders):
        rest = name.removeprefix(encoder.prefix)
        if encoder.layout is families.CLIP_LAYOUT and rest != name:
            is_old = rest.startswith(("embeddings.", "encoder.", "final_layer_norm."))
            return f"{encoder.prefix}text_model.{rest}" if is_old else name
    return VAE + name.removeprefix("vae.") if name.startswith("vae.") else name


def is_harmless(name: str) -> bool:
    """Whether a tensor of a checkpoint has no part in the model, so that it need not be read."""
    of_families = (family.harmless for family in families.FAMILIES if family.harmless)
    return _HARMLESS.fullmatch(name) is not None or any(re.fullmatch(pattern, name) for pattern in of_families)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names of tensors, for a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


def shown(name: str) -> str:
    """A name out of a file as it can be shown: in quotes, not too long, without control characters."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return f'"{printable[:_LONGEST_NAME]}{"…" if len(printable) > _LONGEST_NAME else ""}"'


def _is_scale(header: Header, name: str) -> bool:
    """Whether it is one factor, or one for each row, of weights in 8-bit floats."""
    scale, weight = header[name], header.get(f"{name.rpartition('.')[0]}.weight")
    if weight is None or not weight.shape:
        return False
    return (
        scale.dtype in ("F16", "BF16", "F32")
        and weight.dtype in ("F8_E4M3", "F8_E5M2")
        and math.prod(scale.shape) in (1, weight.shape[0])
    )


def _refuse_quantized(file: Path, how: str) -> NoReturn:
    raise BadInputError(
        f'The weights in the file "{file}" are quantized {how}, which is not supported: choose the version with 16-bit '
        "weights, with 8-bit floats (fp8), or in the GGUF format (such as Q8_0 or Q4_K)."
    )


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    """The offsets of a tensor's first byte and its end; raises ValueError where they do not fit its type and shape."""
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, end)):
        raise ValueError("not a number")
    if (end - start) * 8 != math.prod(shape) * _BITS[entry["dtype"]]:
        raise ValueError("the size does not match the shape")
    return start, end


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a duplicate name")
    return entries


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _damaged(file: Path, detail: str) -> BadInputError:
    cached = next((folder for folder in file.parents if folder.name.startswith(_HUB_FOLDER)), None)
    if cached is not None:  # the hub's library takes what is there for whole
        return BadInputError(
            f'The file "{file}" cannot be loaded ({detail}): delete the folder "{cached}", so that the model is '
            "downloaded again."
        )
    return BadInputError(
        f'The file "{file}" cannot be loaded ({detail}): it is damaged or of another format; download it again, or '
        "choose another one."
    )
