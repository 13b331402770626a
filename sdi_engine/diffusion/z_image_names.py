"""What the original code of Z-Image calls its tensors, by which single files and many LoRAs name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .families import DENOISER, Shapes
from .original_names import Held, Layout, layers_in

_RENAMED = (
    ("all_final_layer.2-1.", "final_layer."),
    ("all_x_embedder.2-1.", "x_embedder."),
    (".attention.to_out.0.", ".attention.out."),
    (".attention.norm_q.", ".attention.q_norm."),
    (".attention.norm_k.", ".attention.k_norm."),
)


def z_image_layout(transformer: Any, prefix: str = DENOISER) -> Layout:
    """One matrix for query, key and value; embedder and last layer without the sizes of their patches."""
    layout: Layout = {}
    for name in transformer.state_dict():
        attention = re.fullmatch(r"(.*\.attention)\.to_([qkv])\.(weight|bias)", name)
        if attention is not None:
            start, _, kind = attention.groups()
            layout[f"{prefix}{start}.qkv.{kind}"] = Held(tuple(f"{start}.to_{part}.{kind}" for part in "qkv"))
            continue
        original = name
        for own, theirs in _RENAMED:
            original = original.replace(own, theirs)
        layout[prefix + original] = Held((name,))
    return layout


def z_image_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """How many layers Z-Image has, by the tensors of the transformer."""
    return {"n_layers": layers_in(shapes, "layers"), "n_refiner_layers": layers_in(shapes, "noise_refiner")}
