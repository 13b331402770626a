"""The sizes of models that can be measured without a model's files. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.parameters import STARTER_MODEL
from . import families
from .families import Family


@dataclass(frozen=True)
class Size:
    """A model to build.

    Attributes:
        family: whose configurations (`Family.config`) say what it is made of.
        label: for a person.
        changes: of those configurations, by part.
    """

    family: Family
    label: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_TINY = {
    "unet": {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
    },
    "vae": {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "text_encoder": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2},
}

SIZES: dict[str, Size] = {
    "tiny": Size(families.SD1, "a Stable Diffusion for tests", _TINY),
    "sd15": Size(families.SD1, "Stable Diffusion 1.5"),
    "sd21": Size(families.SD2, "Stable Diffusion 2.1 base"),
    "sdxl": Size(families.SDXL, "Stable Diffusion XL"),
    "sd3": Size(families.SD3, "Stable Diffusion 3 Medium without T5"),
}

SIZE_NAMES = (STARTER_MODEL, *SIZES)
"""What can be measured without a model's files: the starter prior itself, and what can be built."""
