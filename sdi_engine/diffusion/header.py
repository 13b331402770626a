"""What a `.safetensors` file is, by its header alone. Standard library only, so that Blender can name a wrong file too.

The format: eight bytes with the header's length, little-endian; a JSON object {name: {dtype, shape, data_offsets}};
the numbers. The panel's check and the engine both ask here, so that they say the same.
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
from typing import Any, Literal, NoReturn

from ..errors import BadInputError

Family = Literal["sd1", "sd2", "sdxl", "sd3"]
Shapes = Mapping[str, tuple[int, ...]]

DENOISER = "model.diffusion_model."
"""How the names of the U-Net, or of SD3's transformer, begin."""

VAE = "first_stage_model."
TEXT_ENCODERS: dict[Family, tuple[str, ...]] = {
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "sd2": ("cond_stage_model.model.",),
    "sd1": ("cond_stage_model.transformer.",),
    "sd3": ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."),
}
"""How the names of each family's text encoders begin, in the order of a pipeline's parts."""

T5 = "text_encoders.t5xxl."
"""SD3's third text encoder, which it was trained to do without."""

SCALES = (".scale_weight", ".weight_scale")
"""What follows a layer's name for the factor of its weights in 8 bits, by ComfyUI's older and newer naming."""

_FIRST = f"{DENOISER}input_blocks.0.0.weight"
_FIRST_OF_SD3 = f"{DENOISER}x_embedder.proj.weight"
_SCALES_OF_INPUTS = (".scale_input", ".input_scale", ".comfy_quant")
_HARMLESS = re.compile(
    r"model_ema\..*"  # the average of the weights over the training, which Diffusers leaves out too
    r"|(sqrt_)?(recip(m1)?_|one_minus_)?alphas_cumprod(_prev)?|sqrt_recipm1_alphas_cumprod|log_one_minus_alphas_cumprod"
    r"|betas|logvar|lvlb_weights|posterior_(variance|log_variance_clipped|mean_coef[12])|denoiser\.(sigmas|log_sigmas)"
    r"|ztsnr|v_pred|scaled_fp8|(.*\.)?(position_ids|logit_scale|attn_mask)|first_stage_model\.loss\..*"
    r"|cond_stage_model\.(model\.text_projection|transformer\.text_projection\.weight)"
    r"|conditioner\.embedders\.0\.transformer\.text_projection\.weight"
    r"|embedding_manager\..*|(bundle_)?emb(_params)?(\..*)?"
    rf"|.*({'|'.join(map(re.escape, _SCALES_OF_INPUTS))})"
)
"""What a file may hold besides a model: the noise schedule, which is known, what only the training needed, embeddings,
and the scales of a layer's inputs, for arithmetic in 8 bits."""

_ROUNDED = (
    (re.compile(r".*\.(absmax|nested_absmax|quant_map|nested_quant_map)|.*\.quant_state\..*"), "bitsandbytes (NF4)"),
    (re.compile(r".*\.(qweight|qzeros|wscales|wtscale|smooth_factor|smooth)"), "Nunchaku (SVDQuant), GPTQ or AWQ"),
    (re.compile(r".*\.weight_scale_2"), "NVFP4"),
)
_OTHER_KINDS = (
    (r"(.*\.)?double_blocks\..*|(.*\.)?single_transformer_blocks\..*", "is a FLUX model, or one built like it"),
    (r"(.*\.)?double_layers\..*", "is an AuraFlow model"),
    (r"(.*\.)?transformer_blocks\.\d+\.img_mlp\..*", "is a Qwen-Image model"),
    (r"(.*\.)?cap_embedder\..*", "is a Lumina or Z-Image model"),
    (r"(.*\.)?blocks\.\d+\.(cross_attn|self_attn|adaln_.*)\..*", "is a video model, or another transformer"),
    (r".*motion_modules\..*", "is a motion module for AnimateDiff"),
    (r"(.*\.)?(control_model|controlnet_cond_embedding|input_hint_block|controlnet_blocks)\..*", "is a ControlNet"),
    (r"(model\.)?(diffusion_model\.)?(input|output)_blocks\..*|down_blocks\..*", "is a U-Net alone"),
    (r"(diffusion_model\.)?joint_blocks\..*", "is the transformer of Stable Diffusion 3 alone"),
    (r"(emb_params|string_to_param.*|clip_[lg])", "is an embedding (textual inversion)"),
    (r"(.*\.)?encoder\.block\..*|shared\.weight", "is a text encoder (T5) alone"),
    (r"(.*\.)?(text_model|resblocks)\..*", "is a text encoder alone"),
    (r"(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|mid|mid_block|down|up)\..*", "is a VAE alone"),
)
_LORA = re.compile(
    r".*(lora|lycoris_|hada_w|lokr_|dora_scale|oft_blocks|oft_diag|ia3_l).*|.*\.(diff|diff_b|w_norm|b_norm|on_input)"
)

TEXT_WIDTHS: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Of what a U-Net's attention to the text is told."""

_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 25_000_000
"""A quarter of the format's own limit, and several times the longest that is in use."""

_METADATA = "__metadata__"
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS |= dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
_NUMBERS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
"""The formats that weights may have."""

_LONGEST_NAME = 120
_SUPPORTED = "choose a checkpoint of Stable Diffusion 1.x, 2.x, SDXL or SD3 for text to image."


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor; `dtype` is one of the format's own words, such as "F16"."""

    dtype: str
    shape: tuple[int, ...]


Header = Mapping[str, Entry]


def read_header(file: Path) -> dict[str, Entry]:
    """What a file holds, by name.

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
            header = json.loads(stream.read(length), object_pairs_hook=_without_doubles, parse_constant=_no_number)
        tensors = {name: entry for name, entry in header.items() if name != _METADATA}
        spans = sorted(_span(entry) for entry in tensors.values())
    except OSError as error:
        raise BadInputError(
            f'The file "{file}" cannot be read ({error.strerror}): check it, or download it.'
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _damaged(file, "its list of contents makes no sense") from error
    if any(start < end for (_, end), (start, _) in itertools.pairwise(spans)):
        raise _damaged(file, "its tensors overlap")
    if spans and _LENGTH.size + length + max(end for _, end in spans) > size:
        raise _damaged(file, "its end is missing")
    return {name: Entry(entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a file's tensors.

    Raises:
        BadInputError: as `read_header`.
    """
    return {name: entry.shape for name, entry in read_header(file).items()}


def checked_family(file: Path, header: Header) -> Family:
    """The family of a file, which has all parts that a model of it needs, in numbers that can be used.

    Raises:
        BadInputError: it is of none that is supported, lacks a part, or its weights were rounded in a way that is not.
    """
    header = {current_name(name): entry for name, entry in header.items()}
    family = family_of({name: entry.shape for name, entry in header.items()}, f'The file "{file}"')
    _check_parts(file, header, {"its VAE": VAE} | _named(TEXT_ENCODERS[family]))
    _check_numbers(file, header)
    return family


def check_beside_companion(file: Path, header: Header, kind: str, parts: Iterable[str]) -> None:
    """Make sure of the same for a model that is what the folder beside it says.

    Args:
        kind: the pipeline's class in Diffusers.
        parts: those that it has, by their names in a pipeline.

    Raises:
        BadInputError: as `checked_family`.
    """
    header = {current_name(name): entry for name, entry in header.items()}
    is_open_clip = any(name.startswith(TEXT_ENCODERS["sd2"]) for name in header)
    families: dict[str, Family] = {"StableDiffusionXLPipeline": "sdxl", "StableDiffusion3Pipeline": "sd3"}
    family = families.get(kind, "sd2" if is_open_clip else "sd1")
    starts = {"its denoiser": DENOISER} | ({"its VAE": VAE} if "vae" in parts else {})
    _check_parts(file, header, starts | _named(TEXT_ENCODERS[family]))
    _check_numbers(file, header)


def family_of(shapes: Shapes, who: str = "This file") -> Family:
    """Which family a checkpoint belongs to, by the names that only this family has.

    Raises:
        BadInputError: none that is supported; the sentence begins with `who`.
    """
    first = shapes.get(_FIRST)
    if first is None and _FIRST_OF_SD3 not in shapes:
        if is_lora(shapes):
            raise BadInputError(f"{who} is a LoRA: give it as a LoRA, and as the model {_SUPPORTED}")
        raise BadInputError(f"{who} {kind_of(shapes)}, which is no whole model that is known here: {_SUPPORTED}")
    if first is None:
        return "sd3"
    if len(first) != 4 or first[1] != 4:
        raise BadInputError(
            f"{who} has a U-Net that takes {first[1] if len(first) > 1 else 'other'} channels, as those for "
            f"inpainting, depth or editing do: {_SUPPORTED}"
        )
    if any(name.startswith("control_model.") for name in shapes):
        raise BadInputError(f"{who} is a ControlNet together with its model, which is not supported: {_SUPPORTED}")
    if any(name.startswith("conditioner.embedders.0.model.") for name in shapes):
        raise BadInputError(f"{who} is SDXL's refiner, which only improves pictures: {_SUPPORTED}")
    if any(name.startswith("edm_") for name in shapes):
        raise BadInputError(f"{who} was trained in another way (EDM, as Playground 2.5), which is not supported.")
    for family, (*_, start) in TEXT_ENCODERS.items():
        if any(name.startswith(start) for name in shapes):
            return family
    # Without its text encoders: what is missing is said by name.
    is_xl = f"{DENOISER}label_emb.0.0.weight" in shapes
    context = shapes.get(f"{DENOISER}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (0, 0))
    return "sdxl" if is_xl else TEXT_WIDTHS.get(context[-1], "sd1")


def kind_of(names: Iterable[str]) -> str:
    """What a file is that is no checkpoint, as the rest of a sentence."""
    names = list(names)
    for pattern, words in _OTHER_KINDS:
        if any(re.fullmatch(pattern, name) for name in names):
            return words
    return "holds no diffusion model"


def is_lora(names: Iterable[str]) -> bool:
    """Whether a file holds changes to a model, instead of a model."""
    return any(_LORA.fullmatch(name) for name in names)


def check_is_lora(file: Path, header: Header) -> None:
    """Make sure that a file holds changes to a model.

    Raises:
        BadInputError: it does not; the sentence says what it is, where that is known.
    """
    if _FIRST in header or _FIRST_OF_SD3 in header:
        raise BadInputError(f'The file "{file}" is no LoRA but a model: give it as the model.')
    if not is_lora(header):
        raise BadInputError(f'The file "{file}" {kind_of(header)}, and no LoRA: choose another one.')


def lora_family(shapes: Shapes) -> Family | Literal["flux"] | None:
    """What a LoRA was trained for, as far as its names and the width of its text tell."""
    if any(re.search(r"double_blocks|single_(transformer_)?blocks", name) for name in shapes):
        return "flux"
    if any(re.search(r"joint_blocks|add_[qkv]_proj", name) for name in shapes):
        return "sd3"
    for name, shape in shapes.items():
        if re.search(r"attn2.*to_[kv].*(lora_down|lora_A|lora\.down|hada_w1_b)", name) and len(shape) > 1:
            return TEXT_WIDTHS.get(shape[1])
    return None


def current_name(name: str) -> str:
    """The name that a tensor has in later files: NovelAI's lack a `text_model.`, and some call the VAE `vae.`."""
    for start in (*TEXT_ENCODERS["sd1"], TEXT_ENCODERS["sdxl"][0]):
        rest = name.removeprefix(start)
        if rest != name and rest.startswith(("embeddings.", "encoder.", "final_layer_norm.")):
            return f"{start}text_model.{rest}"
    return VAE + name.removeprefix("vae.") if name.startswith("vae.") else name


def is_harmless(name: str) -> bool:
    """Whether a tensor of a checkpoint has no part in the model, so that it may be left out."""
    return _HARMLESS.fullmatch(name) is not None


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names of tensors, for a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


def shown(name: str) -> str:
    """A name out of a file as it can be shown: in quotes, not too long, without control characters."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return f'"{printable[:_LONGEST_NAME]}{"…" if len(printable) > _LONGEST_NAME else ""}"'


def _check_parts(file: Path, names: Iterable[str], parts: Mapping[str, str]) -> None:
    """Refuse a file that lacks parts, given by what they are called and how their names begin."""
    missing = [part for part, start in parts.items() if not any(name.startswith(start) for name in names)]
    if missing:
        raise BadInputError(
            f'The file "{file}" lacks {" and ".join(missing)}: choose the file that includes {_them(missing)}, or the '
            "model's folder in Diffusers layout."
        )


def _check_numbers(file: Path, header: Header) -> None:
    """Refuse weights that were rounded to fewer bits in a way that is not understood here."""
    for pattern, tool in _ROUNDED:
        if any(pattern.fullmatch(name) for name in header):
            _refuse_rounded(file, f"by {tool}")
    for name, entry in header.items():
        if name.endswith((".weight", ".bias")) and entry.dtype not in _NUMBERS:
            _refuse_rounded(file, f"to {entry.dtype}, such as {shown(name)}")
        if name.endswith(SCALES) and not _is_scale(header, name):
            _refuse_rounded(file, f"in blocks or to something else than 8-bit floats, such as {shown(name)}")


def _named(starts: Sequence[str]) -> dict[str, str]:
    if len(starts) == 1:
        return {"its text encoder": starts[0]}
    return {f"its {count} text encoder": start for count, start in zip(("first", "second"), starts, strict=True)}


def _them(parts: Sequence[str]) -> str:
    return "it" if len(parts) == 1 else "them"


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


def _refuse_rounded(file: Path, how: str) -> NoReturn:
    raise BadInputError(
        f'The weights in the file "{file}" were rounded {how}, which is not supported: choose the file with weights in '
        "16 bits, or in 8-bit floats (fp8)."
    )


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor's numbers begin and end; raises ValueError where that does not fit its type and shape."""
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, end)):
        raise ValueError("a number is none")
    if (end - start) * 8 != math.prod(shape) * _BITS[entry["dtype"]]:
        raise ValueError("a size that does not fit")
    return start, end


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name that comes twice")
    return entries


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _damaged(file: Path, detail: str) -> BadInputError:
    return BadInputError(
        f'The file "{file}" cannot be loaded ({detail}): it is damaged or of another format; download it again, or '
        "choose another one."
    )
