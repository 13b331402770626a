"""What the original code of Sana calls the tensors of its transformer, by which single files name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .families import DENOISER, Shapes
from .original_names import Held, Layout, layers_in, shape_of

_ENDS = {
    "patch_embed.proj": "x_embedder.proj",
    "time_embed.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_embed.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_embed.linear": "t_block.1",
    "caption_projection.linear_1": "y_embedder.y_proj.fc1",
    "caption_projection.linear_2": "y_embedder.y_proj.fc2",
    "caption_norm": "attention_y_norm",
    "proj_out": "final_layer.linear",
}
_BLOCK = {
    "attn1.to_out.0": "attn.proj",
    "attn1.norm_q": "attn.q_norm",
    "attn1.norm_k": "attn.k_norm",
    "attn2.to_q": "cross_attn.q_linear",
    "attn2.to_out.0": "cross_attn.proj",
    "attn2.norm_q": "cross_attn.q_norm",
    "attn2.norm_k": "cross_attn.k_norm",
    "ff.conv_inverted": "mlp.inverted_conv.conv",
    "ff.conv_depth": "mlp.depth_conv.conv",
    "ff.conv_point": "mlp.point_conv.conv",
}
_FUSED = {"attn1": ("attn.qkv", "qkv"), "attn2": ("cross_attn.kv_linear", "kv")}
"""Layers that are one in the original code, by the attention that they belong to, and what they are made of."""


def sana_layout(transformer: Any, prefix: str = DENOISER) -> Layout:
    """Blocks of linear attention, attention to the text, and convolutions."""
    own = transformer.state_dict()
    layout: Layout = {}
    for name in own:
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.*)", name)
        if name.endswith("scale_shift_table"):
            layout[prefix + (f"blocks.{block[1]}." if block else "final_layer.") + "scale_shift_table"] = Held((name,))
            continue
        if block is None:
            layer, _, kind = name.rpartition(".")
            layout[f"{prefix}{_ENDS.get(layer, layer)}.{kind}"] = Held((name,))
            continue
        layer, _, kind = block[2].rpartition(".")
        attention, _, part = layer.partition(".to_")
        original, letters = _FUSED.get(attention, ("", ""))
        if part and part in letters:
            names = tuple(f"transformer_blocks.{block[1]}.{attention}.to_{letter}.{kind}" for letter in letters)
            layout[f"{prefix}blocks.{block[1]}.{original}.{kind}"] = Held(names)
        else:
            layout[f"{prefix}blocks.{block[1]}.{_BLOCK.get(layer, layer)}.{kind}"] = Held((name,))
    return layout


def sana_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the sizes of Sana apart, and version 1.5, whose queries and keys are normalised."""
    width = shape_of(shapes, "x_embedder.proj.weight", "patch_embed.proj.weight")[0]
    is_normalised = any(name.endswith(("attn.q_norm.weight", "attn1.norm_q.weight")) for name in shapes)

    return {
        "num_layers": layers_in(shapes, "blocks", "transformer_blocks"),
        "num_attention_heads": width // config["attention_head_dim"],
        **_ATTENTION_TO_TEXT.get(width, {}),
        "cross_attention_dim": width,
        "qk_norm": "rms_norm_across_heads" if is_normalised else None,
    }


_ATTENTION_TO_TEXT = {1152: {"num_cross_attention_heads": 16, "cross_attention_head_dim": 72}}
"""The heads of the attention to the text where they are not those of the configuration, by the transformer's width."""
