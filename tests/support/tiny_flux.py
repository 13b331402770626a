"""Tiny models of FLUX.1 and of Chroma with random weights, in the layout of the real ones."""

import json
from pathlib import Path

import torch
from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from tiny_models import WIDTH, tiny_t5, tiny_text_config, tiny_tokenizer, tiny_vae
from transformers import CLIPTextModel

RESOLUTION = 16
T5_WIDTH, T5_LENGTH = 32, 120

_TRANSFORMER = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": T5_WIDTH,
    "axes_dims_rope": (4, 6, 6),
}
_SHIFTED = {"shift": 3.0, "use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64}


def write_flux(folder: Path, kind: str = "dev") -> Path:
    """FLUX.1 "dev", which is told of guidance, or "schnell", which is not and whose schedule is not shifted."""
    torch.manual_seed(0)
    t5, t5_tokenizer = tiny_t5(T5_WIDTH, T5_LENGTH)
    pipeline = FluxPipeline(
        vae=_flux_vae(),
        text_encoder=CLIPTextModel(tiny_text_config(WIDTH, "quick_gelu")),
        tokenizer=tiny_tokenizer(folder.parent / "vocabulary"),
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer,
        transformer=FluxTransformer2DModel(**_TRANSFORMER, pooled_projection_dim=WIDTH, guidance_embeds=kind == "dev"),
        scheduler=FlowMatchEulerDiscreteScheduler(**_SHIFTED if kind == "dev" else {"shift": 1.0}),
    )
    return _saved(pipeline, folder)


def write_chroma(folder: Path) -> Path:
    """Chroma, whose modulation comes from a network of its own."""
    torch.manual_seed(0)
    t5, tokenizer = tiny_t5(T5_WIDTH, T5_LENGTH)
    transformer = ChromaTransformer2DModel(
        **_TRANSFORMER, approximator_num_channels=16, approximator_hidden_dim=16, approximator_layers=1
    )
    pipeline = ChromaPipeline(
        vae=_flux_vae(),
        text_encoder=t5,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**_SHIFTED),
    )
    return _saved(pipeline, folder)


def _flux_vae():
    return tiny_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)


def _saved(pipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "sdi_engine.json").write_text(json.dumps({"resolution": RESOLUTION}))
    return folder
