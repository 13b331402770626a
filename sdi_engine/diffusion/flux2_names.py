"""What the original code of FLUX.2 calls its tensors, by which single files and most LoRAs name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .families import DENOISER, Shapes
from .original_names import Held, Layout, as_it_is, halves_swapped, layers_in, shape_of

_ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_guidance_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_guidance_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_DOUBLE_BLOCK = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
_SINGLE_BLOCK = {
    "attn.to_qkv_mlp_proj": "linear1",
    "attn.to_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
_FUSED = {"img_attn": "attn.to_{}", "txt_attn": "attn.add_{}_proj"}
"""The names of query, key and value in blocks of two streams, by the stream of the original code."""


def flux2_layout(transformer: Any, prefix: str = DENOISER) -> Layout:
    """Blocks of two streams, then blocks of one; all blocks of a kind are modulated alike."""
    layout: Layout = {}
    for name in transformer.state_dict():
        block = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.*)\.(weight|bias)", name)
        if block is None:
            layer, _, kind = name.rpartition(".")
            change: Callable[[Tensor], Tensor] = halves_swapped if layer == "norm_out.linear" else as_it_is
            layout[f"{prefix}{_ENDS[layer]}.{kind}"] = Held((name,), change)
            continue
        single, index, layer, kind = block.groups()
        original = (_SINGLE_BLOCK if single else _DOUBLE_BLOCK).get(layer)
        if original is not None:
            kind = "scale" if "_norm" in original else kind
            layout[f"{prefix}{'single' if single else 'double'}_blocks.{index}.{original}.{kind}"] = Held((name,))
    for index in range(transformer.config.num_layers):
        for stream, own in _FUSED.items():
            parts = tuple(f"transformer_blocks.{index}.{own.format(part)}.weight" for part in "qkv")
            layout[f"{prefix}double_blocks.{index}.{stream}.qkv.weight"] = Held(parts)
    return layout


def flux2_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the sizes of FLUX.2 apart, by the tensors of the transformer."""
    width, text = shape_of(shapes, "txt_in.weight", "context_embedder.weight")
    return {
        "num_layers": layers_in(shapes, "double_blocks", "transformer_blocks"),
        "num_single_layers": layers_in(shapes, "single_blocks", "single_transformer_blocks"),
        "num_attention_heads": width // config["attention_head_dim"],
        "joint_attention_dim": text,
    }
