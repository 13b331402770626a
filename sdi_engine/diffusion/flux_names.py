"""What the original code of FLUX.1 and Chroma calls their tensors, by which single files and most LoRAs name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from .families import DENOISER, Shapes
from .original_names import Held, Layout, as_it_is, halves_swapped, layers_in

_ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "distilled_guidance_layer.in_proj": "distilled_guidance_layer.in_proj",
    "distilled_guidance_layer.out_proj": "distilled_guidance_layer.out_proj",
    "proj_out": "final_layer.linear",
}
_DOUBLE_BLOCK = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_SINGLE_BLOCK = {"norm.linear": "modulation.lin", "proj_out": "linear2"}
_APPROXIMATOR = {"linear_1": "in_layer", "linear_2": "out_layer"}
"""Of one layer in Chroma's network that makes the modulations, which other models compute in every block."""


def flux_layout(transformer: Any, prefix: str = DENOISER) -> Layout:
    """FLUX.1: blocks of two streams, then blocks of one, where one matrix makes query, key, value and the MLP."""
    own = set(transformer.state_dict())
    layout: Layout = {}

    def add(original: str, names: Iterable[str], change: Callable[[Tensor], Tensor] = as_it_is) -> None:
        for kind in ("weight", "bias"):
            parts = tuple(f"{name}.{kind}" for name in names)
            if own.issuperset(parts):
                layout[f"{original}.{kind}"] = Held(parts, change)

    def add_norm(original: str, name: str) -> None:
        if f"{name}.weight" in own:
            layout[f"{original}.scale"] = Held((f"{name}.weight",))

    for name, original in _ENDS.items():
        add(original, [name])
    add("final_layer.adaLN_modulation.1", ["norm_out.linear"], halves_swapped)
    for block in range(transformer.config.num_layers):
        old, new = f"transformer_blocks.{block}", f"double_blocks.{block}"
        for name, original in _DOUBLE_BLOCK.items():
            add(f"{new}.{original}", [f"{old}.{name}"])
        add(f"{new}.img_attn.qkv", [f"{old}.attn.to_{part}" for part in "qkv"])
        add(f"{new}.txt_attn.qkv", [f"{old}.attn.add_{part}_proj" for part in "qkv"])
        for short, part in (("q", "query"), ("k", "key")):
            add_norm(f"{new}.img_attn.norm.{part}_norm", f"{old}.attn.norm_{short}")
            add_norm(f"{new}.txt_attn.norm.{part}_norm", f"{old}.attn.norm_added_{short}")
    for block in range(transformer.config.num_single_layers):
        old, new = f"single_transformer_blocks.{block}", f"single_blocks.{block}"
        for name, original in _SINGLE_BLOCK.items():
            add(f"{new}.{original}", [f"{old}.{name}"])
        add(f"{new}.linear1", [*(f"{old}.attn.to_{part}" for part in "qkv"), f"{old}.proj_mlp"])
        for short, part in (("q", "query"), ("k", "key")):
            add_norm(f"{new}.norm.{part}_norm", f"{old}.attn.norm_{short}")
    for layer in range(transformer.config.get("approximator_layers", 0)):
        for name, original in _APPROXIMATOR.items():
            start = f"distilled_guidance_layer.layers.{layer}"
            add(f"{start}.{original}", [f"{start}.{name}"])
        add_norm(f"distilled_guidance_layer.norms.{layer}", f"distilled_guidance_layer.norms.{layer}")
    return {prefix + name: held for name, held in layout.items()}


def flux_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """How many blocks FLUX.1 has, and whether it is told of guidance, as dev is and schnell is not."""
    return _blocks(shapes) | {
        "guidance_embeds": any("guidance_in." in name or "guidance_embedder." in name for name in shapes),
    }


def chroma_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """How many blocks Chroma has."""
    return _blocks(shapes)


def _blocks(shapes: Shapes) -> dict[str, Any]:
    return {
        "num_layers": layers_in(shapes, "double_blocks", "transformer_blocks"),
        "num_single_layers": layers_in(shapes, "single_blocks", "single_transformer_blocks"),
    }
