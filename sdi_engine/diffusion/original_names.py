"""What Stability's code calls the tensors of a model, beside what Diffusers and Transformers call them.

Single files and most LoRAs have the former names. A `Layout` maps each tensor of the original code to those of a part
of a pipeline that it holds, so that a file's reader knows which tensors it used, which are missing and which are left
over. (Diffusers' own loader drops tensors that it has no name for.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .families import DENOISER, VAE, Shapes


def as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def halves_swapped(tensor: Tensor) -> Tensor:
    """Scale and shift, which Stability's code has the other way round."""
    return torch.cat(tensor.chunk(2)[::-1])


def transposed(tensor: Tensor) -> Tensor:
    return tensor.T


@dataclass(frozen=True)
class Held:
    """What a tensor of the original code holds.

    Attributes:
        names: of a part's tensors; where there are several, they follow each other along its first dimension.
        change: from the original tensor to that of the part.
    """

    names: tuple[str, ...]
    change: Callable[[Tensor], Tensor] = as_it_is


Layout = dict[str, Held]
"""By the original name of each tensor, what it holds."""


def own_layout(part: Any, prefix: str = DENOISER) -> Layout:
    """For models whose original code calls everything as Diffusers does."""
    return {prefix + name: Held((name,)) for name in part.state_dict()}


def unet_layout(unet: Any, prefix: str = DENOISER) -> Layout:
    """Stable Diffusion 1.x, 2.x and SDXL: blocks are numbered through, a down- or upsampler ends its block."""
    per_block = unet.config.layers_per_block + 1
    has_attention = [hasattr(block, "attentions") for block in unet.up_blocks]

    def renamed(name: str) -> str:
        kind, *rest = name.split(".")
        if kind in ("down_blocks", "up_blocks"):
            block, part, layer, *inner = rest
            if part == "downsamplers":
                return f"input_blocks.{(int(block) + 1) * per_block}.0.op.{inner[-1]}"
            if part == "upsamplers":
                slot = 2 if has_attention[int(block)] else 1
                return f"output_blocks.{int(block) * per_block + per_block - 1}.{slot}.conv.{inner[-1]}"
            index = int(block) * per_block + int(layer) + (kind == "down_blocks")
            where = "input_blocks" if kind == "down_blocks" else "output_blocks"
            return f"{where}.{index}.{int(part == 'attentions')}.{_resnet('.'.join(inner))}"
        if kind == "mid_block":
            part, layer, *inner = rest
            return f"middle_block.{1 if part == 'attentions' else 2 * int(layer)}.{_resnet('.'.join(inner))}"
        return _with_other_start(name, _UNET_ENDS)

    return {prefix + renamed(name): Held((name,)) for name in unet.state_dict()}


_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _resnet(name: str) -> str:
    return _with_other_start(name, _RESNET)


def _with_other_start(name: str, starts: dict[str, str]) -> str:
    for own, original in starts.items():
        if name.startswith(f"{own}."):
            return original + name.removeprefix(own)
    return name


def vae_layout(vae: Any, prefix: str = VAE) -> Layout:
    """The decoder's blocks are numbered from the output on."""
    last = len(vae.config.up_block_types) - 1

    def renamed(name: str) -> str:
        name = re.sub(r"\bup_blocks\.(\d+)", lambda found: f"up.{last - int(found[1])}", name)
        name = re.sub(r"\bmid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
        for own, original in _VAE.items():
            name = name.replace(own, original)
        return name

    return {prefix + renamed(name): Held((name,)) for name in vae.state_dict()}


_VAE = {
    "down_blocks": "down",
    "resnets": "block",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "conv_shortcut": "nin_shortcut",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "conv_norm_out": "norm_out",
}


def flux2_vae_layout(vae: Any, prefix: str = VAE) -> Layout:
    """FLUX.2's VAE: as others, but the last layers before and after the latents belong to encoder and decoder."""
    own = {f"{prefix}quant_conv.": "encoder.", f"{prefix}post_quant_conv.": "decoder."}
    layout: Layout = {}
    for name, held in vae_layout(vae, prefix).items():
        owner = next((part for start, part in own.items() if name.startswith(start)), "")
        layout[f"{prefix}{owner}{name.removeprefix(prefix)}"] = held
    return layout


def video_vae_layout(vae: Any, prefix: str = VAE) -> Layout:
    """Wan's VAE, and Qwen-Image's: all blocks of the encoder and of the decoder are numbered through."""
    per_block = vae.config.num_res_blocks + 2  # with the upsampler, which the last block lacks

    def renamed(name: str) -> str:
        up = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", name)
        if up is not None:
            within = int(up[3]) if up[2] == "resnets" else per_block - 1
            name = f"decoder.upsamplers.{int(up[1]) * per_block + within}.{name[up.end() :]}"
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"middle.{2 * int(found[1])}", name)
        for own, original in _VIDEO_VAE:
            name = re.sub(own, original, name)
        return name

    return {prefix + renamed(name): Held((name,)) for name in vae.state_dict()}


_VIDEO_VAE = (
    (r"\bdown_blocks\.", "downsamples."),
    (r"\bupsamplers\.", "upsamples."),
    (r"\bmid_block\.attentions\.0\.", "middle.1."),
    (r"((?:middle|downsamples|upsamples)\.\d+)\.norm1\.", r"\1.residual.0."),
    (r"((?:middle|downsamples|upsamples)\.\d+)\.conv1\.", r"\1.residual.2."),
    (r"((?:middle|downsamples|upsamples)\.\d+)\.norm2\.", r"\1.residual.3."),
    (r"((?:middle|downsamples|upsamples)\.\d+)\.conv2\.", r"\1.residual.6."),
    (r"\bconv_shortcut\.", "shortcut."),
    (r"\bconv_in\.", "conv1."),
    (r"\bnorm_out\.", "head.0."),
    (r"\bconv_out\.", "head.2."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
)


def clip_layout(encoder: Any, prefix: str) -> Layout:
    """OpenAI's CLIP, by the names that Transformers gave it when these files were made."""
    return {
        prefix + (name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}"): Held((name,))
        for name in encoder.state_dict()
    }


def open_clip_layout(encoder: Any, prefix: str) -> Layout:
    """OpenCLIP, whose attention has one matrix for query, key and value."""
    names = list(encoder.state_dict())
    start = "text_model." if any(name.startswith("text_model.") for name in names) else ""
    layout = {
        "positional_embedding": Held((f"{start}embeddings.position_embedding.weight",)),
        "token_embedding.weight": Held((f"{start}embeddings.token_embedding.weight",)),
        "ln_final.weight": Held((f"{start}final_layer_norm.weight",)),
        "ln_final.bias": Held((f"{start}final_layer_norm.bias",)),
    }
    if "text_projection.weight" in names:
        layout["text_projection"] = Held(("text_projection.weight",), transposed)
    for layer in range(encoder.config.num_hidden_layers):
        own, original = f"{start}encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = tuple(f"{own}.self_attn.{part}_proj.{kind}" for part in "qkv")
            layout |= {
                f"{original}.attn.in_proj_{kind}": Held(parts),
                f"{original}.attn.out_proj.{kind}": Held((f"{own}.self_attn.out_proj.{kind}",)),
                f"{original}.ln_1.{kind}": Held((f"{own}.layer_norm1.{kind}",)),
                f"{original}.ln_2.{kind}": Held((f"{own}.layer_norm2.{kind}",)),
                f"{original}.mlp.c_fc.{kind}": Held((f"{own}.mlp.fc1.{kind}",)),
                f"{original}.mlp.c_proj.{kind}": Held((f"{own}.mlp.fc2.{kind}",)),
            }
    return {prefix + name: held for name, held in layout.items()}


def sd3_layout(transformer: Any, prefix: str = DENOISER) -> Layout:
    """Stable Diffusion 3: two streams a block; the last layers' modulation has shift and scale the other way round."""
    own = set(transformer.state_dict())
    last = transformer.config.num_layers - 1
    layout = {"pos_embed": Held(("pos_embed.pos_embed",))}

    def add(original: str, names: Iterable[str], change: Callable[[Tensor], Tensor] = as_it_is) -> None:
        for kind in ("weight", "bias"):
            parts = tuple(f"{name}.{kind}" for name in names)
            if own.issuperset(parts):
                layout[f"{original}.{kind}"] = Held(parts, change)

    for name, original in _SD3_ENDS.items():
        add(original, [name])
    add("final_layer.adaLN_modulation.1", ["norm_out.linear"], halves_swapped)
    for block in range(last + 1):
        old, new = f"transformer_blocks.{block}", f"joint_blocks.{block}"
        for name, original in _SD3_BLOCK.items():
            add(f"{new}.{original}", [f"{old}.{name}"])
        add(f"{new}.x_block.attn.qkv", [f"{old}.attn.to_{part}" for part in "qkv"])
        add(f"{new}.context_block.attn.qkv", [f"{old}.attn.add_{part}_proj" for part in "qkv"])
        add(f"{new}.x_block.attn2.qkv", [f"{old}.attn2.to_{part}" for part in "qkv"])
        modulation = halves_swapped if block == last else as_it_is
        add(f"{new}.context_block.adaLN_modulation.1", [f"{old}.norm1_context.linear"], modulation)
    return {prefix + name: held for name, held in layout.items()}


_SD3_ENDS = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
_SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}


def sd3_transformer_shape(shapes: Shapes, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What tells the transformers of Stable Diffusion 3, 3.5 medium and 3.5 large apart, by their tensors."""
    own = {name.removeprefix(DENOISER): shape for name, shape in shapes.items()}
    is_original = "x_embedder.proj.weight" in own
    block, embedder = ("joint_blocks", "x_embedder") if is_original else ("transformer_blocks", "pos_embed")
    attention_2, norm = ("x_block.attn2.qkv", "x_block.attn.ln_q") if is_original else ("attn2.to_q", "attn.norm_q")
    layers = layers_in(own, block)
    dual = [layer for layer in range(layers) if f"{block}.{layer}.{attention_2}.weight" in own]
    return {
        "num_layers": layers,
        "num_attention_heads": own[f"{embedder}.proj.weight"][0] // _SD3_HEAD_CHANNELS,
        "caption_projection_dim": own["context_embedder.weight"][0],
        "pos_embed_max_size": math.isqrt(own["pos_embed" if is_original else "pos_embed.pos_embed"][1]),
        "qk_norm": "rms_norm" if f"{block}.0.{norm}.weight" in own else None,
        "dual_attention_layers": tuple(dual),
    }


def layers_in(names: Iterable[str], *blocks: str) -> int:
    """How many blocks of a kind there are, by what comes before their numbers in either naming."""
    numbers = [re.match(rf"({'|'.join(map(re.escape, blocks))})\.(\d+)\.", name) for name in names]
    return 1 + max((int(found[2]) for found in numbers if found), default=-1)


def shape_of(shapes: Shapes, *names: str) -> tuple[int, ...]:
    """The shape of a tensor by its names in either naming; raises KeyError where it is not there."""
    return shapes[next((name for name in names if name in shapes), names[0])]


_SD3_HEAD_CHANNELS = 64
