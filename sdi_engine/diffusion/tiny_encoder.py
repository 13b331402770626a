"""The encoder of a tiny VAE (`tiny_vae`), through which gradients pass in a fraction of the VAE's time and memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import BadInputError
from .header import read_shapes
from .location import read_object
from .networks import check_finite
from .parts import Network, file_of_tiny
from .tensors import open_tensors
from .tiny_vae import tiny_encoder_in


class QuickEncoder(nn.Module):
    """Images (B, 3, H, W) in −1…1 to about the x0 that a model's VAE makes of them."""

    def __init__(self, layers: nn.Module, pixels_per_cell: int) -> None:
        super().__init__()
        self._layers = layers
        self._pixels_per_cell = pixels_per_cell

    def forward(self, images: Tensor) -> Tensor:
        """Sides that are no multiples of a cell's are cut to whole cells, as VAEs do."""
        height, width = (side - side % self._pixels_per_cell for side in images.shape[-2:])
        x0: Tensor = self._layers(images[..., :height, :width])
        return x0


def load_quick_encoder(network: Network, device: torch.device) -> QuickEncoder:
    """The encoder of a tiny VAE in float32, frozen.

    Args:
        network: as `parts.plan` found it.

    Raises:
        BadInputError: its tensors are not those of an encoder, or NaN or infinite.
    """
    from diffusers.models.autoencoders.vae import EncoderTiny

    file = file_of_tiny(network)
    activation = read_object(network.path / "config.json").get("act_fn", "relu")  # of a file's there is none
    found = tiny_encoder_in(read_shapes(file))
    if found is None:
        raise BadInputError(f'The file "{file}" is no tiny VAE with an encoder: download it again, or leave it out.')
    widths = (found.width,) * len(found.blocks)
    layers = EncoderTiny(3, found.channels, found.blocks, widths, activation)
    with open_tensors(file) as tensors:
        state = {f"layers.{name.removeprefix(found.start)}": tensors[name] for name in filter(found.has, tensors)}
    for name, tensor in state.items():
        check_finite(f'The file "{file}"', name, tensor)
    try:
        layers.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BadInputError(
            f'The tiny VAE "{file}" has other layers than its kind: it is damaged or of another version; download it '
            "again, or leave it out."
        ) from error
    layers.float().requires_grad_(False).eval()
    return QuickEncoder(layers, found.pixels_per_cell).to(device)
