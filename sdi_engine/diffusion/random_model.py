"""Models of a real size with random weights: they take as much time and memory as real ones, and draw nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .families import Family
from .location import INDEX_FILE
from .model_index import present, read_index
from .sizes import Size

EMBEDDING_DEVIATION = 0.02


def build_model(size: Size, folder: Path, seed: int = 0) -> Path:
    """Write a model in Diffusers layout, in half precision; one that is there already stays.

    Args:
        folder: where to.
        seed: of its weights.

    Raises:
        OSError: it cannot be written.
    """
    import diffusers

    from .clip_tokenizer import clip_tokenizer

    if (folder / INDEX_FILE).is_file():  # it is written last
        return folder
    family = size.family
    index = read_index(family.config / INDEX_FILE, str(family.config))
    random = torch.Generator().manual_seed(seed)
    for part in family.networks:
        if part in present(index):
            network = empty_network(family, part, index[part], size.changes.get(part, {}))
            fill_at_random(network, random)
            network.save_pretrained(folder / part, safe_serialization=True)
            del network  # one part after the other, since the largest ones fill gigabytes
    for encoder in family.text_encoders:
        clip_tokenizer(encoder.padding).save_pretrained(folder / encoder.tokenizer)
    library, name = index["scheduler"]
    assert library == "diffusers"
    getattr(diffusers, name).from_pretrained(str(family.config), subfolder="scheduler").save_pretrained(
        folder / "scheduler"
    )
    (folder / INDEX_FILE).write_bytes((family.config / INDEX_FILE).read_bytes())
    return folder


def empty_network(family: Family, part: str, kind: list[str], changes: Mapping[str, Any]) -> nn.Module:
    """A part of a model in half precision, whose weights are not initialised."""
    import diffusers
    import transformers
    from accelerate import init_empty_weights

    library, name = kind
    with init_empty_weights(include_buffers=False):
        if library == "transformers":
            module = getattr(transformers, name)
            config = module.config_class.from_pretrained(str(family.config), subfolder=part)
            config.update(dict(changes))
            network = module(config)
        else:
            module = getattr(diffusers, name)
            settings = module.load_config(str(family.config), subfolder=part, local_files_only=True)
            network = module.from_config(settings | dict(changes))
    for owner in network.modules():
        for label, parameter in owner.named_parameters(recurse=False):
            setattr(owner, label, nn.Parameter(torch.empty(parameter.shape, dtype=torch.half), requires_grad=False))
    return network.half().eval()


def fill_at_random(network: nn.Module, random: torch.Generator) -> None:
    """Weights that keep activations near 1 in every layer, so that half precision holds them: normal numbers of
    variance 1 / inputs, norms that change nothing, biases of 0."""
    for owner in network.modules():
        for label, parameter in owner.named_parameters(recurse=False):
            if parameter.dim() >= 2:
                inputs = math.prod(parameter.shape[1:])
                deviation = EMBEDDING_DEVIATION if isinstance(owner, nn.Embedding) else inputs**-0.5
                parameter.data.normal_(std=deviation, generator=random)
            else:
                parameter.data.fill_(0.0 if label == "bias" else 1.0)
