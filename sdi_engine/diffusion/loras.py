"""LoRA files (low-rank changes to a model, Hu et al. 2021), added to a pipeline's weights for good."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import BadInputError, EnvironmentMissingError
from ..pasted import as_meant
from ..request import Lora
from .location import check_suffix

UNFIT = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)
"""How Diffusers and PEFT fail on tensors that the model has no place for."""

log = logging.getLogger(__name__)


def fuse_loras(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Add weight · (alpha / rank) · up @ down of every file to the weights they are for, so that they cost no time.

    Reads the format of Diffusers and PEFT, and for the Stable Diffusion 1.x, 2.x and SDXL families that of kohya's
    scripts, which is what most sites distribute.

    Args:
        pipeline: a pipeline that knows LoRAs, changed in place.
        loras: the files; their changes add up.

    Raises:
        BadInputError: a file is missing, is no LoRA, or belongs to another kind of model.
        EnvironmentMissingError: the package `peft` is missing.
    """
    if not loras:
        return
    if importlib.util.find_spec("peft") is None:
        raise EnvironmentMissingError(
            'LoRA files need the Python package "peft", which is missing: install the engine\'s requirements.'
        )
    names = [f"lora_{index}" for index in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        _load(pipeline, name, Path(as_meant(lora.file)))
    pipeline.set_adapters(names, [lora.weight for lora in loras])
    pipeline.fuse_lora(components=list(pipeline.get_list_adapters()), adapter_names=names)
    pipeline.unload_lora_weights()


def _load(pipeline: Any, name: str, file: Path) -> None:
    tensors = _read(file)
    # Diffusers loses those alphas that differ from layer to layer; the file itself is needed for its metadata.
    has_alphas = any(key.endswith(".alpha") for key in tensors)
    source: dict[str, Any] = (
        {"pretrained_model_name_or_path_or_dict": _without_alphas(tensors)}
        if has_alphas
        else {"pretrained_model_name_or_path_or_dict": str(file.parent), "weight_name": file.name}
    )
    try:
        pipeline.load_lora_weights(**source, adapter_name=name, use_safetensors=True, local_files_only=True)
    except UNFIT as error:
        log.debug("loading %s failed", file, exc_info=True)
        raise _unfit(pipeline, file) from error
    if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
        raise _unfit(pipeline, file)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise BadInputError(f'The LoRA file "{file}" does not exist: check its path.')
    check_suffix(file, "LoRA")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f'The LoRA file "{file}" is damaged ({error}): download it again.') from error
    if not any("lora" in key for key in tensors):
        raise BadInputError(f'The file "{file}" is no LoRA: choose another one, or give it as the model.')
    return tensors


def _without_alphas(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """kohya's format with alpha / rank multiplied into `up` (out, rank, …); `down` is (rank, in, …)."""
    scaled = {}
    for key, tensor in tensors.items():
        layer, _, kind = key.partition(".")
        if kind == "lora_up.weight" and f"{layer}.alpha" in tensors:
            scaled[key] = tensor * (tensors[f"{layer}.alpha"].item() / tensor.shape[1])
        elif kind != "alpha":
            scaled[key] = tensor
    return scaled


def _unfit(pipeline: Any, file: Path) -> BadInputError:
    return BadInputError(
        f'The LoRA "{file}" does not fit this model, a {type(pipeline).__name__}: choose one that was trained for a '
        "model of its kind (SD 1.x, SD 2.x, SDXL and SD3 each need their own)."
    )
