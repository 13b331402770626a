"""Images to the model's own space and back: through a VAE, or by folding pixels."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage
from torch import Tensor, nn

from ..errors import BadInputError
from .needs import GRAPH_BYTES


class Latents(Protocol):
    """Images (B, 3, H, W) in −1…1 to x0 (B, channels, H / pixels_per_cell, W / pixels_per_cell) and back.

    Attributes:
        cuts: whether images of other sizes are cut to whole cells; else they cannot be encoded.
        graph_bytes: what is held for the gradient of `encode`, by pixel.
        largest: no number of an image's x0 is farther from 0; infinite where nothing is known of that.
    """

    channels: int
    pixels_per_cell: int
    cuts: bool = False
    graph_bytes: float = 0.0
    largest: float = math.inf

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, x0: Tensor) -> Tensor: ...

    def unfold(self, x: Tensor) -> Tensor:
        """x with single pixels or latent cells, where they are folded into channels."""
        return x

    def fold(self, x: Tensor) -> Tensor:
        """The inverse of `unfold`."""
        return x


def _frozen(vae: nn.Module, device: torch.device) -> Any:
    """A VAE in float32 on every device, because those of Stable Diffusion, and SDXL's original one above all, overflow
    in float16."""
    return vae.to(device).float().requires_grad_(False).eval()


class VaeLatents(Latents):
    """A VAE's latents, shifted and scaled to what the denoiser was trained on."""

    cuts = True

    def __init__(self, vae: AutoencoderKL, device: torch.device) -> None:
        self._vae = _frozen(vae, device)
        self._scale = float(vae.config.scaling_factor)
        self._shift = float(vae.config.get("shift_factor") or 0.0)
        self.graph_bytes = GRAPH_BYTES * vae.config.block_out_channels[0]
        self.channels = int(vae.config.latent_channels)
        self.pixels_per_cell = 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        return (self._vae.encode(images).latent_dist.mode() - self._shift) * self._scale

    def decode(self, x0: Tensor) -> Tensor:
        return self._vae.decode(x0.float() / self._scale + self._shift).sample


class BatchNormLatents(Latents):
    """FLUX.2's: folded by 2 × 2, then normalised by the mean and the variance of each channel that a batch
    normalisation has learnt."""

    def __init__(self, vae: AutoencoderKLFlux2, device: torch.device) -> None:
        self._vae = _frozen(vae, device)
        variance: Tensor = self._vae.bn.running_var + vae.config.batch_norm_eps
        self._mean, self._deviation = (each.view(1, -1, 1, 1) for each in (self._vae.bn.running_mean, variance.sqrt()))
        self._fold = 2
        self.graph_bytes = GRAPH_BYTES * vae.config.block_out_channels[0]
        self.channels = int(vae.config.latent_channels) * self._fold**2
        self.pixels_per_cell = self._fold * 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        return (self.fold(self._vae.encode(images).latent_dist.mode()) - self._mean) / self._deviation

    def decode(self, x0: Tensor) -> Tensor:
        return self._vae.decode(self.unfold(x0.float() * self._deviation + self._mean)).sample

    def unfold(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self._fold)

    def fold(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self._fold)


class VideoLatents(Latents):
    """Qwen-Image's: a video VAE's for a single frame, normalised by the mean and the deviation of each channel."""

    def __init__(self, vae: AutoencoderKLQwenImage, device: torch.device) -> None:
        self._vae = _frozen(vae, device)
        self._mean, self._deviation = (
            torch.tensor(each, device=device).view(1, -1, 1, 1)
            for each in (vae.config.latents_mean, vae.config.latents_std)
        )
        self.graph_bytes = GRAPH_BYTES * vae.config.base_dim
        self.channels = int(vae.config.z_dim)
        self.pixels_per_cell = 2 ** len(vae.config.temperal_downsample)

    def encode(self, images: Tensor) -> Tensor:
        return (self._vae.encode(images[:, :, None]).latent_dist.mode()[:, :, 0] - self._mean) / self._deviation

    def decode(self, x0: Tensor) -> Tensor:
        return self._vae.decode((x0.float() * self._deviation + self._mean)[:, :, None]).sample[:, :, 0]


class DeepLatents(Latents):
    """Sana's: a deep compression autoencoder's, which has no distribution, scaled."""

    def __init__(self, vae: AutoencoderDC, device: torch.device) -> None:
        self._vae = _frozen(vae, device)
        self._scale = float(vae.config.scaling_factor)
        self.graph_bytes = GRAPH_BYTES * vae.config.encoder_block_out_channels[0]
        self.channels = int(vae.config.latent_channels)
        self.pixels_per_cell = 2 ** (len(vae.config.encoder_block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        return self._vae.encode(images).latent * self._scale

    def decode(self, x0: Tensor) -> Tensor:
        return self._vae.decode(x0.float() / self._scale).sample


class ScaledPixels(Latents):
    """Pixels themselves, times a factor."""

    channels = 3
    pixels_per_cell = 1

    def __init__(self, scale: float) -> None:
        self._scale = self.largest = scale

    def encode(self, images: Tensor) -> Tensor:
        return images * self._scale

    def decode(self, x0: Tensor) -> Tensor:
        return x0 / self._scale


class PixelLatents(Latents):
    """For a model without a VAE: the image folded by `pixel_unshuffle`, such that p² · 3 channels are the model's."""

    largest = 1.0

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
