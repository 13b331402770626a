"""From what a person calls a model (a name, a folder, a file, a hub id) to a `Prior`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import BadInputError, EngineError, EnvironmentMissingError, OutOfMemoryError
from ..request import STARTER_MODEL
from .location import locate
from .prior import ModelHints, Prior

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

HINTS_FILE = "sdi_engine.json"
REQUIRED_PARTS = ("unet", "text_encoder", "tokenizer", "scheduler")
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")

log = logging.getLogger(__name__)


def load_prior(model: str, device: torch.device) -> Prior:
    """Load a text-to-image model, frozen, onto a device.

    Args:
        model: "starter", a folder in Diffusers layout, a single `.safetensors` file, or a hub id ("owner/name").
        device: where it runs; on CUDA the U-Net and the text encoder are in float16.

    Raises:
        EnvironmentMissingError: the model is not on this machine and cannot be fetched.
        BadInputError: what is there is no model, or of a kind that is not supported.
        OutOfMemoryError: the device has too little memory for it.
    """
    try:
        from .diffusers_prior import DiffusersPrior
    except ImportError as error:
        raise EnvironmentMissingError(
            f'The Python package "{error.name}" is missing: install the engine\'s requirements.'
        ) from error

    location = locate(model)
    _quieten()
    try:
        load = _load_file if location.kind == "file" else _load_folder_or_hub
        pipeline = load(location.source, device)
        missing = [part for part in REQUIRED_PARTS if getattr(pipeline, part, None) is None]
        if missing or getattr(pipeline, "text_encoder_2", None) is not None:
            raise BadInputError(
                f'The model "{model}" is a {type(pipeline).__name__}, which is not supported yet: choose one of the '
                "Stable Diffusion 1.x or 2.x family."
            )
        return DiffusersPrior(pipeline, _hints(location.source), device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f'The device has too little memory for the model "{model}": close other programs, or choose the device cpu.'
        ) from error
    except EngineError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        log.debug("loading %s failed", model, exc_info=True)
        raise _explained(model, error) from error


def _load_folder_or_hub(source: str, device: torch.device) -> DiffusionPipeline:
    from diffusers import DiffusionPipeline

    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    index: dict[str, Any] = DiffusionPipeline.load_config(source, local_files_only=offline)
    absent = {name: None for name, value in index.items() if isinstance(value, list) and value[0] is None}
    unused = {name: None for name in UNUSED_PARTS if name in index}
    return DiffusionPipeline.from_pretrained(
        source, dtype=_dtype(device), use_safetensors=True, local_files_only=offline, **(absent | unused)
    )


def _load_file(source: str, device: torch.device) -> DiffusionPipeline:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_single_file(source, dtype=_dtype(device), safety_checker=None)


def _quieten() -> None:
    """Without the libraries' own progress bars, which would fill the worker's log."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def _dtype(device: torch.device) -> torch.dtype:
    return torch.float16 if device.type == "cuda" else torch.float32


def _hints(source: str) -> ModelHints:
    file = Path(source) / HINTS_FILE
    if not file.is_file():
        return ModelHints()
    try:
        return ModelHints(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInputError(f'The file "{file}" is damaged ({error}): delete it or mend it.') from error


def _explained(model: str, error: Exception) -> EngineError:
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 200 else f"{detail[:200]}…"
    if locate(model).kind != "hub":
        return BadInputError(f'The model "{model}" cannot be loaded ({detail}): it is damaged or of another kind.')
    return EnvironmentMissingError(
        f'The model "{model}" is neither on this machine nor can it be fetched ({detail}): check its name and the '
        f'network (in Blender: Preferences, System, Allow Online Access), or use "{STARTER_MODEL}".'
    )
