"""The kinds of pipelines that are supported, and their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInputError

UNET_PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
TWO_ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
REQUIRED = {
    "StableDiffusionPipeline": UNET_PARTS,
    "StableDiffusionXLPipeline": (*UNET_PARTS, *TWO_ENCODERS),
    "StableDiffusion3Pipeline": ("transformer", "scheduler", "vae", *TWO_ENCODERS),
}
"""What a pipeline cannot do without, by its class in Diffusers."""

OPTIONAL = {
    "StableDiffusionPipeline": ("vae",),
    "StableDiffusionXLPipeline": ("vae",),
    "StableDiffusion3Pipeline": ("text_encoder_3", "tokenizer_3"),
}
UNUSED = {
    "StableDiffusionPipeline": ("safety_checker", "feature_extractor", "image_encoder"),
    "StableDiffusionXLPipeline": ("feature_extractor", "image_encoder"),
    "StableDiffusion3Pipeline": ("feature_extractor", "image_encoder"),
}


def checked_kind(model: str, index: Mapping[str, Any]) -> str:
    """The class of a pipeline, by its `model_index.json`.

    Raises:
        BadInputError: it is not supported, or lacks a part.
    """
    name = str(index.get("_class_name"))
    present = _present(index)
    missing = [part for part in REQUIRED.get(name, ()) if part not in present]
    if name not in REQUIRED or missing:
        lack = f" without {' and '.join(missing)}" if missing else ""
        raise BadInputError(
            f'The model "{model}" is a {name}{lack}, which is not supported: choose one of the Stable Diffusion 1.x, '
            "2.x, SDXL or SD3 family for text to image."
        )
    return name


def left_out(name: str, index: Mapping[str, Any]) -> dict[str, None]:
    """The parts that a pipeline is built without, as arguments: those not used here, and optional ones not there."""
    absent = set(OPTIONAL[name]) - _present(index)
    return dict.fromkeys([*UNUSED[name], *sorted(absent)])


def _present(index: Mapping[str, Any]) -> set[str]:
    return {part for part, value in index.items() if isinstance(value, list) and value[0] is not None}
