"""Tiny models of all families with rows of 32 weights or more, so that blocks of quantized weights fit into them."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import torch
from tiny_flux import write_chroma, write_flux
from tiny_language_models import write_flux2_klein, write_qwen_image, write_sana, write_z_image
from tiny_models import write_sd3, write_sdxl

WRITERS: dict[str, tuple[Callable[[Path], Path], dict[str, object]]] = {
    "SDXL": (write_sdxl, {}),
    "SD 3.5": (functools.partial(write_sd3, version=3.5), {}),
    "FLUX.1": (write_flux, {}),
    "Chroma": (write_chroma, {}),
    "Z-Image": (write_z_image, {"dim": 32, "n_heads": 2, "n_kv_heads": 2}),
    "FLUX.2 klein": (write_flux2_klein, {"num_attention_heads": 2}),
    "Qwen-Image": (write_qwen_image, {"num_attention_heads": 2}),
    "Sana": (write_sana, {"num_attention_heads": 4, "num_cross_attention_heads": 4, "cross_attention_dim": 32}),
}
"""For each family what writes a tiny model of it, and the settings of its denoiser that are wider here."""

_WIDER = {"FLUX.1 in blocks of 256": (write_flux, {"num_attention_heads": 16})}


def write_wide(family: str, folder: Path) -> Path:
    """A model in Diffusers layout, whose denoiser minds what it is told."""
    import diffusers

    write, wider = (WRITERS | _WIDER)[family]
    write(folder)
    part = "unet" if family == "SDXL" else "transformer"
    kind, _ = reversed(json.loads((folder / "model_index.json").read_text())[part])
    network = getattr(diffusers, kind)
    torch.manual_seed(0)
    denoiser = network.from_config(network.load_config(folder, subfolder=part) | wider)
    for parameter in denoiser.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    denoiser.save_pretrained(folder / part)
    return folder
