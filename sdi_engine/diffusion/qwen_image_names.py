"""What tells Qwen-Image's transformers apart. Their tensors have the same names in single files as in Diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .families import Shapes
from .original_names import layers_in


def qwen_image_shape(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """How many blocks it has."""
    return {"num_layers": layers_in(shapes, "transformer_blocks")}
