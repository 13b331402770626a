"""The weights of a pipeline under the names of Stability's own code, as in single files.

`test_single_file` checks with Diffusers' own loader of single files that these names are right.
"""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from sdi_engine.diffusion.original_names import (
    Layout,
    clip_layout,
    open_clip_layout,
    sd3_layout,
    transposed,
    unet_layout,
    vae_layout,
)


def write_single_file(folder: Path, file: Path) -> Path:
    """Write the weights of a folder's pipeline as one file, and the rest of the folder beside it, without weights."""
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
    """All weights of a pipeline under the names of the original code, with the other tensors of such files."""
    names = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    tensors = renamed(names["vae"], vae_layout(names["vae"]))
    for name, tensor in tensors.items():
        if ".attn_1." in name and tensor.dim() == 2:  # attention made of 1 × 1 convolutions
            tensors[name] = tensor[:, :, None, None]
    if "transformer" in names:
        tensors |= renamed(names["transformer"], sd3_layout(names["transformer"]))
        for part, prefix in (("text_encoder", "text_encoders.clip_l."), ("text_encoder_2", "text_encoders.clip_g.")):
            tensors |= renamed(names[part], clip_layout(names[part], f"{prefix}transformer."))
            tensors[f"{prefix}logit_scale"] = torch.tensor(1.0)
        del tensors[
            "text_encoders.clip_l.transformer.text_projection.weight"
        ]  # the identity, which such files do not have
        return tensors
    unet, encoder = names["unet"], names["text_encoder"]
    tensors |= renamed(unet, unet_layout(unet))
    if "text_encoder_2" in names:
        tensors |= renamed(encoder, clip_layout(encoder, "conditioner.embedders.0.transformer."))
        tensors |= _open_clip(names["text_encoder_2"], "conditioner.embedders.1.model.")
    elif unet.config.use_linear_projection:
        tensors |= _open_clip(encoder, "cond_stage_model.model.")
        last = encoder.config.num_hidden_layers  # the model was trained without the last layer
        for name in list(tensors):
            if f"resblocks.{last - 1}." in name:
                tensors[name.replace(f"resblocks.{last - 1}.", f"resblocks.{last}.")] = tensors[name]
    else:
        tensors |= renamed(encoder, clip_layout(encoder, "cond_stage_model.transformer."))
        length = encoder.config.max_position_embeddings
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(length)[None]
    return tensors


def renamed(part: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The tensors of a part under their original names."""
    own = part.state_dict()
    assert sorted(name for held in layout.values() for name in held.names) == sorted(own)
    # Swapping halves and transposing are their own inverses.
    return {
        name: held.change(torch.cat([own[part] for part in held.names]) if len(held.names) > 1 else own[held.names[0]])
        for name, held in layout.items()
    }


def _open_clip(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    tensors = renamed(encoder, open_clip_layout(encoder, prefix))
    tensors.setdefault(f"{prefix}text_projection", transposed(torch.eye(encoder.config.hidden_size)))
    return tensors | {f"{prefix}logit_scale": torch.tensor(1.0)}
