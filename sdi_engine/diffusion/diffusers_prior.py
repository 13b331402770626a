"""What all pipelines of Diffusers have in common as a `Prior`: frozen parts, latents, and prompts that are kept."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from .latents import Latents, PixelLatents, VaeLatents
from .prior import ModelHints, Prior, Text

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class DiffusersPrior(Prior):
    """A frozen text-to-image pipeline; which denoiser it has and what that predicts is the subclass's matter.

    The denoiser and the text encoders run in the precision that they were loaded in, the VAE and all arithmetic around
    the denoiser in float32.
    """

    def __init__(self, pipeline: Any, denoiser: torch.nn.Module, hints: ModelHints, device: torch.device) -> None:
        """
        Args:
            pipeline: a `DiffusionPipeline` with tokenizers and text encoders, a scheduler, and a VAE or none.
            denoiser: its U-Net or transformer.
            hints: what the model says of itself.
            device: where all of it goes.

        Raises:
            BadInputError: without a VAE, the denoiser does not work on pixels either.
        """
        self.hints = hints
        self.device = device
        self._pipeline = pipeline
        self._denoiser = denoiser
        for part in (denoiser, *(getattr(pipeline, name, None) for name in TEXT_ENCODERS)):
            if part is not None:
                part.to(device).requires_grad_(False).eval()
        vae = getattr(pipeline, "vae", None)
        channels = int(denoiser.config.in_channels)
        self._latents: Latents = PixelLatents(channels) if vae is None else VaeLatents(vae, device)
        self.resolution = hints.resolution or int(denoiser.config.sample_size) * self._latents.pixels_per_cell
        self._texts: dict[str, Text] = {}

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        side = resolution // self._latents.pixels_per_cell
        return self._latents.channels, side, side

    def encode(self, images: Tensor) -> Tensor:
        return self._latents.encode(images.float() * 2.0 - 1.0)

    def decode(self, x0: Tensor) -> Tensor:
        return (self._latents.decode(x0) * 0.5 + 0.5).clamp(0.0, 1.0)

    @torch.no_grad()
    def text(self, prompts: list[str]) -> Text:
        """Embeddings, each of them kept, since view-dependent prompts come back again and again."""
        for prompt in prompts:
            if prompt not in self._texts:
                self._texts[prompt] = self._encode_prompt(prompt)
        rows = [self._texts[prompt] for prompt in prompts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    @abstractmethod
    def _encode_prompt(self, prompt: str) -> Text:
        """What the model is told for one prompt, each tensor (1, …)."""
