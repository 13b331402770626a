"""LoRA files (low-rank changes to a model, Hu et al. 2021) and their kin, added to a pipeline's weights for good."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..contract.request import Lora
from ..errors import BadInputError
from ..system.pasted import as_meant
from .adapters import Parts, check_settings, is_low_rank, is_whole, low_rank, scale_of, split_name, weight_change
from .families import Family, supported
from .header import check_lora, listed, lora_family, shown
from .location import read_object
from .original_names import as_it_is
from .packed import PackedLayer
from .text_encoders import has_weights

_EMBEDDING = re.compile(r"(bundle_emb\.|emb_params|clip_[lg]$|.*string_to_param).*")
_OF_XLABS = re.compile(r".*\.processor\.(qkv|proj)_lora\d?\..*")
"""LoRAs for FLUX.1 by XLabs' own scripts, which change a part of what other LoRAs call a layer."""

_PEFT_METADATA = "lora_adapter_metadata"
_PEFT_WEIGHTS = "adapter_model"
_PEFT_CONFIG = "adapter_config.json"
"""PEFT's own files, of which the second has the settings."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """A layer of the original code: one of a part of a pipeline, or several that follow each other by rows.

    Attributes:
        part: such as "unet".
        names: of the layers in it.
    """

    part: str
    names: tuple[str, ...]


@dataclass
class _File:
    """What a file holds: for each layer its parts, by kind, and the names of the tensors that are not used."""

    lora: Lora
    path: Path
    layers: dict[Layer, Parts] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def fuse_loras(pipeline: Any, loras: Sequence[Lora], family: Family, done: Collection[str] = ()) -> list[str]:
    """Add what every file changes to the weights that it is for, so that it costs no time.

    A part without weights (`text_encoders.without_weights`) is left as it is, but what is for it must fit it.

    Reads LoRA, LoCon, LoHa, LoKr, DoRA, (IA)³ and full differences, by the names of kohya's scripts, LyCORIS,
    OneTrainer, Diffusers and PEFT. Every tensor of a file is used, or the file is refused before anything is changed.

    Args:
        pipeline: changed in place.
        loras: the files; their changes add up.
        family: of the pipeline.
        done: parts that were changed before, and are not again.

    Returns:
        Sentences on tensors that are not used, such as an embedding.

    Raises:
        BadInputError: a file is missing, is not a LoRA, was trained for another family, or is in an unknown format; or
            the model's numbers do not suffice for what it adds.
    """
    if not loras:
        return []
    known = _known_layers(pipeline, family)
    files = [_read(pipeline, lora, known, family) for lora in loras]
    for file in files:
        _check_beside(pipeline, file, done)
    with torch.no_grad():
        for layer in {layer: None for file in files for layer in file.layers}:
            if layer.part in done or not has_weights(getattr(pipeline, layer.part)):
                continue
            mine = [file for file in files if layer in file.layers]
            if _is_packed(pipeline, layer):
                sound = all(_add_beside(pipeline, layer, file) for file in mine)
            else:
                changes = [_changes(pipeline, layer, file.layers[layer], file.lora.weight) for file in mine]
                sound = _add(pipeline, layer, changes)
            if not sound:
                named = " and ".join(f'"{file.path.name}"' for file in mine)
                raise BadInputError(
                    f"With the LoRA {named} weights of the model become NaN or infinite (in {listed(layer.names)}): "
                    "give it a weight nearer to 0, or remove it."
                )
    return [
        f'The LoRA "{file.path.name}" also contains what this model does not use: {listed(file.unused)}.'
        for file in files
        if file.unused
    ]


def _known_layers(pipeline: Any, family: Family) -> dict[str, Layer]:
    """The layers of a pipeline by all the names that files have for them."""
    known: dict[str, Layer] = {}
    denoiser = family.denoiser
    module = getattr(pipeline, denoiser)
    for name in _layers_of(module):
        layer, flat = Layer(denoiser, (name,)), name.replace(".", "_")
        flat_names = (f"lora_unet_{flat}", f"lora_{denoiser}_{flat}", f"lycoris_{flat}")
        starts = ("", "unet.", "lora_unet.", f"{denoiser}.", "base_model.model.", f"{denoiser}.base_model.model.")
        starts += ("diffusion_model.",)
        known |= dict.fromkeys((*flat_names, *(start + name for start in starts)), layer)
    for original, held in family.layout(module, "").items():
        if not original.endswith(".weight") or held.change is not as_it_is:
            continue
        name = original.removesuffix(".weight")
        layer = Layer(denoiser, tuple(part.removesuffix(".weight") for part in held.names))
        flat = name.replace(".", "_")
        starts = ("", "base_model.model.", "diffusion_model.", "model.diffusion_model.")
        for alias in (f"lora_unet_{flat}", f"lycoris_{flat}", *(start + name for start in starts)):
            known.setdefault(alias, layer)
    for number, encoder in enumerate(family.text_encoders, 1):
        part = encoder.part
        flat_starts = [f"lora_te{number}_"] + (["lora_te_"] if number == 1 else [])
        starts = (f"{part}.", f"lora_te{number}.", f"{part}.base_model.model.", encoder.lora_prefix)
        for own in _layers_of(getattr(pipeline, part)):
            name = own if own.startswith(("text_model.", "text_projection")) else f"text_model.{own}"
            aliases = [start + name.replace(".", "_") for start in flat_starts] + [start + name for start in starts]
            known |= dict.fromkeys(aliases, Layer(part, (own,)))
    return known


def _layers_of(module: nn.Module) -> Iterator[str]:
    for name in module.state_dict():
        if name.endswith(".weight"):
            yield name.removesuffix(".weight")


def _read(pipeline: Any, lora: Lora, known: Mapping[str, Layer], family: Family) -> _File:
    """A file's tensors, sorted by the layers that they are for.

    Raises:
        BadInputError: one of them has no place, or does not fit its place.
    """
    file = _File(lora, Path(as_meant(lora.file)))
    tensors, settings = _load(file.path)
    parts: dict[Layer, dict[str, Tensor]] = defaultdict(dict)
    sources: dict[Layer, str] = {}
    homeless, strange = [], []
    for name, tensor in tensors.items():
        found = split_name(name)
        layer = known.get(found[0]) if found else None
        if _EMBEDDING.fullmatch(name) or re.fullmatch(family.unread_in_loras, name):
            file.unused.append(name)
        elif layer is None:
            # What is for a layer that is known is of a format that is not.
            is_strange = _OF_XLABS.fullmatch(name) or any(start in known for start in _starts(name))
            (strange if is_strange else homeless).append(name)
        elif found[1] in parts[layer]:
            raise _unfit(
                file.path, family, f"two tensors are for the same layer, {shown(name)} and {shown(sources[layer])}"
            )
        else:
            parts[layer][found[1]] = tensor
            sources[layer] = name
    broken = [sources[layer] for layer, kinds in parts.items() if not is_whole(kinds)]
    if strange or broken:
        raise BadInputError(
            f'The LoRA "{file.path}" is in an unsupported format (such as {listed(strange or broken)}): choose '
            "one in LoRA, LoCon, LoHa, LoKr, DoRA, (IA)³ or full-difference format."
        )
    if homeless:
        reason = f"it has no place for {listed(homeless)}"
        raise _unfit(file.path, family, _other_family(family, tensors) or reason)
    for layer, kinds in parts.items():
        file.layers[layer] = _with_scale(kinds, layer, settings)
        if not all(bool(tensor.float().isfinite().all()) for tensor in file.layers[layer].values()):
            raise BadInputError(
                f'The LoRA "{file.path}" holds values that are NaN or infinite (in {listed([sources[layer]])}): it is '
                "damaged; download it again."
            )
        try:
            _check_shapes(pipeline, layer, file.layers[layer])
        except (ValueError, RuntimeError) as error:
            log.debug("%s: %s", file.path, error)
            reason = f"{shown(sources[layer])} does not have the shape of its layer"
            raise _unfit(file.path, family, _other_family(family, tensors) or reason) from error
    if not parts:
        raise _unfit(file.path, family, _other_family(family, tensors) or "none of its tensors belongs to it")
    return file


def check_loras(loras: Sequence[Lora]) -> None:
    """See that each is there and says in its header that it is one, before minutes of loading; raises BadInputError."""
    for lora in loras:
        check_lora(Path(as_meant(lora.file)))


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The tensors of a file, and PEFT's settings for each part of a pipeline ("" for whichever it is)."""
    check_lora(path)
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - it is no mapping
            metadata = stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BadInputError(f'The LoRA file "{path}" is damaged ({error}): download it again.') from error
    settings: dict[str, dict[str, Any]] = defaultdict(dict)
    settings[""] = read_object(path.with_name(_PEFT_CONFIG)) if path.stem == _PEFT_WEIGHTS else {}
    try:
        for name, value in json.loads(metadata.get(_PEFT_METADATA, "{}")).items():
            part, _, setting = name.partition(".")
            settings[part][setting] = value
        for each in settings.values():
            check_settings(each)
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInputError(f'The LoRA file "{path}" has damaged metadata: download it again.') from error
    return tensors, settings


def _with_scale(parts: Parts, layer: Layer, settings: Mapping[str, dict[str, Any]]) -> Parts:
    """PEFT keeps α and the rank in its settings."""
    scale = None if "alpha" in parts else scale_of(settings.get(layer.part) or settings[""], layer.names[0])
    return parts if scale is None else {**parts, "scale": torch.tensor(scale)}


def _check_shapes(pipeline: Any, layer: Layer, parts: Parts) -> None:
    """Find the change without numbers; raises ValueError or RuntimeError where shapes do not fit."""
    scalars = ("alpha", "on_input", "scale")
    shapes = {kind: tensor if kind in scalars else tensor.to("meta") for kind, tensor in parts.items()}
    _changes(pipeline, layer, shapes, 1.0, "meta")


def _changes(pipeline: Any, layer: Layer, parts: Parts, amount: float, device: str = "cpu") -> dict[str, Tensor]:
    """What is added to a layer's "weight" and "bias", in 32 bits."""
    changes = {}
    parts = {kind: tensor.float() for kind, tensor in parts.items()}
    if set(parts) - {"diff_b", "alpha", "scale"}:
        weight = _tensor(pipeline, layer, "weight").to(device)
        changes["weight"] = weight_change(parts, weight, amount)
    if "diff_b" in parts:
        bias = _tensor(pipeline, layer, "bias")
        if bias.shape != parts["diff_b"].shape:
            raise ValueError(f"the change is {tuple(parts['diff_b'].shape)}, the bias {tuple(bias.shape)}")
        changes["bias"] = amount * parts["diff_b"]
    return changes


def _add(pipeline: Any, layer: Layer, changes: Sequence[Mapping[str, Tensor]]) -> bool:
    """Add up what all files change, and only then round it to the layer's precision; whether all of it is finite."""
    is_finite = True
    for kind in ("weight", "bias"):
        of_kind = [change[kind] for change in changes if kind in change]
        if not of_kind:
            continue
        rows = (_tensor(pipeline, layer, kind) + sum(of_kind)).split(
            [len(parameter) for parameter in _parameters(pipeline, layer, kind)]
        )
        for parameter, values in zip(_parameters(pipeline, layer, kind), rows, strict=True):
            # Another memory: the weights may lie in the model's file.
            parameter.data = values.to(parameter.dtype).clone()
            is_finite = is_finite and bool(parameter.data.isfinite().all())
    return is_finite


def _is_packed(pipeline: Any, layer: Layer) -> bool:
    """Whether a layer's weight is quantized, so that nothing can be added to it."""
    part = getattr(pipeline, layer.part)
    return all(isinstance(part.get_submodule(name), PackedLayer) for name in layer.names)


def _check_beside(pipeline: Any, file: _File, done: Collection[str]) -> None:
    """Refuse a file that changes the whole of weights that are quantized; raises BadInputError."""
    for layer, parts in file.layers.items():
        if layer.part not in done and _is_packed(pipeline, layer) and not is_low_rank(parts):
            raise BadInputError(
                f'The LoRA "{file.path}" changes whole weights (such as {listed(layer.names)}), and those of this '
                "model are quantized: only what is of low rank can be added beside them; choose a plain LoRA, or the "
                "model's version with 16-bit weights."
            )


def _add_beside(pipeline: Any, layer: Layer, file: _File) -> bool:
    """Have a packed layer do what a file adds to its weight, in the layer's precision; whether all of it is finite."""
    parts = {kind: tensor.float() for kind, tensor in file.layers[layer].items()}
    modules = [getattr(pipeline, layer.part).get_submodule(name) for name in layer.names]
    is_finite = True
    if "up" in parts:
        down, up = low_rank(parts, modules[0].shape, file.lora.weight)
        for module, rows in zip(modules, up.split([module.shape[0] for module in modules]), strict=True):
            is_finite = module.add_low_rank(down, rows) and is_finite
    bias = {kind: tensor for kind, tensor in parts.items() if kind == "diff_b"}
    return _add(pipeline, layer, [_changes(pipeline, layer, bias, file.lora.weight)]) and is_finite


def _tensor(pipeline: Any, layer: Layer, kind: str) -> Tensor:
    """The "weight" or "bias" of a layer in 32 bits; raises ValueError where it has none."""
    return torch.cat([parameter.detach().float() for parameter in _parameters(pipeline, layer, kind)])


def _parameters(pipeline: Any, layer: Layer, kind: str) -> list[nn.Parameter]:
    modules = [getattr(pipeline, layer.part).get_submodule(name) for name in layer.names]
    if kind == "weight" and _is_packed(pipeline, layer):  # for its shape
        return [nn.Parameter(torch.empty(module.shape, device="meta")) for module in modules]
    parameters = [getattr(module, kind, None) for module in modules]
    if not all(isinstance(parameter, nn.Parameter) for parameter in parameters):
        raise ValueError(f"the layer has no {kind}")
    return parameters


def _starts(name: str) -> Iterator[str]:
    """All beginnings of a name that end before a dot."""
    return (name[:end] for end, character in enumerate(name) if character == ".")


def _other_family(family: Family, tensors: Mapping[str, Tensor]) -> str:
    """What a file was trained for, where that can be told and is not the model's family."""
    trained_for = lora_family({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return "" if trained_for in (None, family.label) else f"it was trained for {trained_for}"


def _unfit(file: Path, family: Family, reason: str) -> BadInputError:
    return BadInputError(
        f'The LoRA "{file}" does not fit this {family.label} model ({reason}): choose one that was trained for it '
        f"(those for {supported(' and ')} cannot be exchanged)."
    )
