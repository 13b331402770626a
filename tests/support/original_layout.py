"""Diffusers' parts of a model to the names that Stability's own code gives them, as single files hold them."""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

DENOISER = "model.diffusion_model."
VAE = "first_stage_model."


def write_single_file(folder: Path, file: Path) -> Path:
    """The weights of a pipeline in a folder as one file, and the rest of the folder, without weights, beside it."""
    index = DiffusionPipeline.load_config(folder)
    absent = dict.fromkeys(["text_encoder_3", "tokenizer_3"] if "transformer" in index else [])
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    save_file({name: tensor.contiguous().clone() for name, tensor in original_layout(pipeline).items()}, file)
    for source in folder.rglob("*"):
        if source.is_file() and source.suffix != ".safetensors":
            target = file.with_suffix("") / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return file


def original_layout(pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """All weights of a pipeline under the names of the original code."""
    names = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    tensors = vae_layout(names["vae"], VAE)
    if "transformer" in names:
        tensors |= sd3_layout(names["transformer"], DENOISER)
        tensors |= _clip_layout(names["text_encoder"], "text_encoders.clip_l.transformer.")
        tensors |= _clip_layout(names["text_encoder_2"], "text_encoders.clip_g.transformer.")
        del tensors["text_encoders.clip_l.transformer.text_projection.weight"]  # the identity, which no file holds
        return tensors
    tensors |= unet_layout(names["unet"], DENOISER)
    if "text_encoder_2" in names:
        tensors |= _clip_layout(names["text_encoder"], "conditioner.embedders.0.transformer.")
        tensors |= open_clip_layout(names["text_encoder_2"], "conditioner.embedders.1.model.")
    elif names["unet"].config.use_linear_projection:
        tensors |= open_clip_layout(names["text_encoder"], "cond_stage_model.model.")
    else:
        tensors |= _clip_layout(names["text_encoder"], "cond_stage_model.transformer.")
        length = names["text_encoder"].config.max_position_embeddings
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(length)[None]
    return tensors


def unet_layout(unet: UNet2DConditionModel, prefix: str) -> dict[str, Tensor]:
    """Blocks are numbered through, a down- or upsampler follows the last layer of its block."""
    per_block = unet.config.layers_per_block + 1

    def renamed(name: str) -> str:
        kind, *rest = name.split(".")
        if kind in ("down_blocks", "up_blocks"):
            block, part, layer, *inner = rest
            index = int(block) * per_block + int(layer)
            where = "input_blocks" if kind == "down_blocks" else "output_blocks"
            if part == "downsamplers":
                return f"input_blocks.{(int(block) + 1) * per_block}.0.op.{inner[-1]}"
            if part == "upsamplers":
                slot = 2 if hasattr(unet.up_blocks[int(block)], "attentions") else 1
                return f"output_blocks.{int(block) * per_block + per_block - 1}.{slot}.conv.{inner[-1]}"
            index += kind == "down_blocks"
            return f"{where}.{index}.{int(part == 'attentions')}.{_resnet('.'.join(inner))}"
        if kind == "mid_block":
            part, layer, *inner = rest
            return f"middle_block.{1 if part == 'attentions' else 2 * int(layer)}.{_resnet('.'.join(inner))}"
        for own, original in (
            ("conv_in", "input_blocks.0.0"),
            ("time_embedding.linear_1", "time_embed.0"),
            ("time_embedding.linear_2", "time_embed.2"),
            ("add_embedding.linear_1", "label_emb.0.0"),
            ("add_embedding.linear_2", "label_emb.0.2"),
            ("conv_norm_out", "out.0"),
            ("conv_out", "out.2"),
        ):
            name = re.sub(rf"^{own}\b", original, name)
        return name

    return {prefix + renamed(name): tensor for name, tensor in unet.state_dict().items()}


def _resnet(name: str) -> str:
    for own, original in (
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ):
        name = re.sub(rf"^{own}\b", original, name)
    return name


def vae_layout(vae: AutoencoderKL, prefix: str) -> dict[str, Tensor]:
    """The decoder's blocks are numbered from the output on; the attention is made of 1 × 1 convolutions."""
    last = len(vae.config.up_block_types) - 1
    tensors = {}
    for name, tensor in vae.state_dict().items():
        if ".attentions." in name and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]
        name = re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{last - int(found[1])}", name)
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
        for own, original in (
            ("down_blocks", "down"),
            ("resnets", "block"),
            ("downsamplers.0", "downsample"),
            ("upsamplers.0", "upsample"),
            ("conv_shortcut", "nin_shortcut"),
            ("mid_block.attentions.0", "mid.attn_1"),
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
            ("conv_norm_out", "norm_out"),
        ):
            name = name.replace(own, original)
        tensors[prefix + name] = tensor
    return tensors


def _clip_layout(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """OpenAI's CLIP, as transformers named it when these files were made."""
    tensors = {}
    for name, tensor in encoder.state_dict().items():
        if not name.startswith(("text_model.", "text_projection.")):
            name = f"text_model.{name}"
        tensors[prefix + name] = tensor
    return tensors


def open_clip_layout(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """OpenCLIP, whose attention has one matrix for query, key and value."""
    own = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    width = encoder.config.hidden_size
    tensors = {
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "text_projection": own.get("text_projection.weight", torch.eye(width)).T,
        "logit_scale": torch.tensor(1.0),
    }
    for layer in range(encoder.config.num_hidden_layers):
        old, new = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [own[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
            tensors[f"{new}.attn.out_proj.{kind}"] = own[f"{old}.self_attn.out_proj.{kind}"]
            tensors[f"{new}.ln_1.{kind}"] = own[f"{old}.layer_norm1.{kind}"]
            tensors[f"{new}.ln_2.{kind}"] = own[f"{old}.layer_norm2.{kind}"]
            tensors[f"{new}.mlp.c_fc.{kind}"] = own[f"{old}.mlp.fc1.{kind}"]
            tensors[f"{new}.mlp.c_proj.{kind}"] = own[f"{old}.mlp.fc2.{kind}"]
    return {prefix + name: tensor for name, tensor in tensors.items()}


def sd3_layout(transformer: SD3Transformer2DModel, prefix: str) -> dict[str, Tensor]:
    """Two streams a block; the last layers' modulation has shift and scale the other way round."""
    own = transformer.state_dict()
    last = transformer.config.num_layers - 1
    tensors = {"pos_embed": own["pos_embed.pos_embed"]}
    renamed = {
        "pos_embed.proj": "x_embedder.proj",
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
        "context_embedder": "context_embedder",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
        "proj_out": "final_layer.linear",
    }
    joined = {}
    for block in range(last + 1):
        old, new = f"transformer_blocks.{block}", f"joint_blocks.{block}"
        renamed |= {
            f"{old}.norm1.linear": f"{new}.x_block.adaLN_modulation.1",
            f"{old}.norm1_context.linear": f"{new}.context_block.adaLN_modulation.1",
            f"{old}.attn.to_out.0": f"{new}.x_block.attn.proj",
            f"{old}.attn.to_add_out": f"{new}.context_block.attn.proj",
            f"{old}.attn.norm_q": f"{new}.x_block.attn.ln_q",
            f"{old}.attn.norm_k": f"{new}.x_block.attn.ln_k",
            f"{old}.attn.norm_added_q": f"{new}.context_block.attn.ln_q",
            f"{old}.attn.norm_added_k": f"{new}.context_block.attn.ln_k",
            f"{old}.attn2.to_out.0": f"{new}.x_block.attn2.proj",
            f"{old}.attn2.norm_q": f"{new}.x_block.attn2.ln_q",
            f"{old}.attn2.norm_k": f"{new}.x_block.attn2.ln_k",
        }
        for stream, end in (("x_block", "ff"), ("context_block", "ff_context")):
            renamed[f"{old}.{end}.net.0.proj"] = f"{new}.{stream}.mlp.fc1"
            renamed[f"{old}.{end}.net.2"] = f"{new}.{stream}.mlp.fc2"
        joined |= {
            f"{new}.x_block.attn.qkv": [f"{old}.attn.to_{part}" for part in "qkv"],
            f"{new}.context_block.attn.qkv": [f"{old}.attn.add_{part}_proj" for part in "qkv"],
            f"{new}.x_block.attn2.qkv": [f"{old}.attn2.to_{part}" for part in "qkv"],
        }
    swapped = ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")
    for kind in ("weight", "bias"):
        for name, parts in joined.items():
            if f"{parts[0]}.{kind}" in own:
                tensors[f"{name}.{kind}"] = torch.cat([own[f"{part}.{kind}"] for part in parts])
        for old, new in renamed.items():
            if f"{old}.{kind}" in own:
                tensor = own[f"{old}.{kind}"]
                tensors[f"{new}.{kind}"] = torch.cat(tensor.chunk(2)[::-1]) if old in swapped else tensor
    return {prefix + name: tensor for name, tensor in tensors.items()}
