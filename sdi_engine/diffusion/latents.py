"""Images to the model's own space and back: through a VAE, or by folding pixels."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ..errors import BadInputError


class Latents(Protocol):
    """Images (B, 3, H, W) in −1…1 to x0 (B, channels, H / pixels_per_cell, W / pixels_per_cell) and back."""

    channels: int
    pixels_per_cell: int

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, x0: Tensor) -> Tensor: ...

    def unfold(self, x: Tensor) -> Tensor: ...

    def fold(self, x: Tensor) -> Tensor: ...


class VaeLatents:
    """A VAE's latents, shifted and scaled to what the denoiser was trained on.

    The VAE runs in float32 on every device, because those of Stable Diffusion, and SDXL's original one above all,
    overflow in float16.
    """

    def __init__(self, vae: AutoencoderKL, device: torch.device) -> None:
        self._vae = vae.to(device).float().requires_grad_(False).eval()
        self._scale = float(vae.config.scaling_factor)
        self._shift = float(vae.config.get("shift_factor") or 0.0)
        self.channels = int(vae.config.latent_channels)
        self.pixels_per_cell = 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        return (self._vae.encode(images).latent_dist.mode() - self._shift) * self._scale

    def decode(self, x0: Tensor) -> Tensor:
        return self._vae.decode(x0.float() / self._scale + self._shift).sample

    def unfold(self, x: Tensor) -> Tensor:
        return x

    def fold(self, x: Tensor) -> Tensor:
        return x


class PixelLatents:
    """For a model without a VAE: the image folded by `pixel_unshuffle`, such that p² · 3 channels are the model's."""

    def __init__(self, channels: int) -> None:
        """
        Raises:
            BadInputError: no patch of pixels has so many channels.
        """
        patch = math.isqrt(channels // 3)
        if 3 * patch * patch != channels:
            raise BadInputError(
                f"This model has no VAE and its U-Net has {channels} channels, so it works neither on latents "
                "nor on pixels: choose another one."
            )
        self.channels = channels
        self.pixels_per_cell = patch

    def encode(self, images: Tensor) -> Tensor:
        return self.fold(images)

    def decode(self, x0: Tensor) -> Tensor:
        return self.unfold(x0)

    def unfold(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.pixels_per_cell)

    def fold(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.pixels_per_cell)
