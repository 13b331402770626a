"""A pipeline's networks in files of their own, under the names with which they are distributed."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from original_layout import renamed
from safetensors.torch import save_file
from torch import Tensor, nn

from sdi_engine.config.parameters import Parts
from sdi_engine.diffusion import families
from sdi_engine.diffusion.networks import vae_layouts


def write_separately(folder: Path, out: Path, prefix: str = "") -> tuple[Path, Parts]:
    """The denoiser's file, and the parts that it lacks, laid out as in a folder of models of ComfyUI.

    Args:
        prefix: how the names of the denoiser's tensors begin.
    """
    index = DiffusionPipeline.load_config(folder)
    absent = {part: None for part, value in index.items() if value == [None, None]}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    family = families.of_pipeline(type(pipeline).__name__)
    denoiser = getattr(pipeline, family.denoiser)
    model = _saved(renamed(denoiser, family.layout(denoiser, prefix)), out / "diffusion_models" / "dream.safetensors")
    vae = _saved(original_vae(pipeline.vae), out / "vae" / "vae.safetensors")
    encoders = []
    for part in family.components:
        encoder = getattr(pipeline, part.part, None)
        if part.part == "vae" or encoder is None:
            continue
        file = out / "text_encoders" / f"{part.part}.safetensors"
        encoders.append(str(_saved(distributed_encoder(part.kind, encoder), file)))
        if part.tokenizer:
            shutil.copytree(folder / part.tokenizer, file.with_suffix(""))
    return model, Parts(str(vae), tuple(encoders))


def original_vae(vae: nn.Module) -> dict[str, Tensor]:
    """A VAE's tensors under the names of the original code; those of AutoencoderDC under Diffusers'."""
    tensors = renamed(vae, vae_layouts(vae, "")[0])
    for name, tensor in tensors.items():
        if ".mid.attn_1." in name and tensor.dim() == 2:  # attention made of 1 × 1 convolutions
            tensors[name] = tensor[:, :, None, None]
    return tensors


def distributed_encoder(kind: str, encoder: nn.Module) -> dict[str, Tensor]:
    """A text encoder's tensors under the names with which ComfyUI's files have them."""
    state = encoder.state_dict()
    if kind == "CLIP":
        return {name if name.startswith("text_") else f"text_model.{name}": tensor for name, tensor in state.items()}
    if kind == "T5":
        return {name: tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"}
    if kind == "Qwen 2.5 VL":
        state = {name.replace("model.language_model.", "model."): tensor for name, tensor in state.items()}
        return {name.replace("model.visual.", "visual."): tensor for name, tensor in state.items()}
    bare = {name.removeprefix("model."): tensor for name, tensor in state.items() if name != "lm_head.weight"}
    tokenizer = {"spiece_model": torch.zeros(9, dtype=torch.uint8)} if kind == "Gemma 2" else {}
    return {f"model.{name}": tensor for name, tensor in bare.items()} | tokenizer


def _saved(tensors: dict[str, Tensor], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    return file
