"""A Diffusers pipeline of the Stable Diffusion 1.x/2.x kind (text encoder, U-Net, perhaps a VAE) as a `Prior`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from ..errors import BadInputError
from .prior import Conditioning, ModelHints, Prior
from .schedule import DiscreteSchedule

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class DiffusersPrior(Prior):
    """The frozen parts of a text-to-image pipeline.

    With a VAE the model works on its latents. Without one it is a pixel-space model: its x is the image, scaled to
    −1…1 and folded by `pixel_unshuffle` such that its channels are the U-Net's (p² · 3 channels: a patch of p pixels).
    The VAE runs in float32, because encoders of Stable Diffusion overflow in float16.
    """

    def __init__(self, pipeline: Any, hints: ModelHints, device: torch.device) -> None:
        """
        Raises:
            BadInputError: the pipeline is of a kind that is not supported.
        """
        self.hints = hints
        self.device = device
        self._unet: UNet2DConditionModel = pipeline.unet.to(device).requires_grad_(False).eval()
        self._text_encoder = pipeline.text_encoder.to(device).requires_grad_(False).eval()
        self._tokenizer = pipeline.tokenizer
        vae: AutoencoderKL | None = getattr(pipeline, "vae", None)
        self._vae = None if vae is None else vae.to(device, torch.float32).requires_grad_(False).eval()
        self._prediction_type = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if self._prediction_type not in PREDICTION_TYPES:
            raise BadInputError(
                f'This model predicts "{self._prediction_type}", which is not supported: choose one that predicts '
                f"{' or '.join(PREDICTION_TYPES)}, such as Stable Diffusion 1.5 or 2.1."
            )
        self._schedule = DiscreteSchedule(pipeline.scheduler.alphas_cumprod)
        self._patch = 1 if self._vae else _patch_size(self._unet.config.in_channels)
        pixels_per_cell = 2 ** (len(self._vae.config.block_out_channels) - 1) if self._vae else self._patch
        self._pixels_per_cell = pixels_per_cell
        self.resolution = hints.resolution or int(self._unet.config.sample_size) * pixels_per_cell
        self._embeddings: dict[str, Tensor] = {}

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._schedule.scales(t)
        return a.view(-1, 1, 1, 1), b.view(-1, 1, 1, 1)

    def encode(self, images: Tensor) -> Tensor:
        images = images.float() * 2.0 - 1.0
        if self._vae is None:
            return F.pixel_unshuffle(images, self._patch)
        config = self._vae.config
        latents = self._vae.encode(images).latent_dist.mode()
        return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor

    def decode(self, x0: Tensor) -> Tensor:
        if self._vae is None:
            images = F.pixel_shuffle(x0, self._patch)
        else:
            config = self._vae.config
            shift = getattr(config, "shift_factor", None) or 0.0
            images = self._vae.decode(x0.float() / config.scaling_factor + shift).sample
        return (images * 0.5 + 0.5).clamp(0.0, 1.0)

    def condition(self, prompts: list[str], negative_prompt: str = "") -> Conditioning:
        negative = self._embedding(negative_prompt).expand(len(prompts), -1, -1)
        return Conditioning(torch.cat([self._embedding(prompt) for prompt in prompts]), negative)

    @torch.no_grad()
    def predict_unguided(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        dtype = self._unet.dtype
        timestep = self._schedule.timestep(t)
        output = self._unet(x.to(dtype), timestep, encoder_hidden_states=text.to(dtype), return_dict=False)[0].float()
        if self._prediction_type == "epsilon":
            return output
        a, b = self.scales(t)
        if self._prediction_type == "sample":
            return (x - a * output) / b
        return a * output + b * x

    def unknown_words(self, prompt: str) -> list[str]:
        if not self.hints.knows:
            return []
        words = dict.fromkeys(prompt.lower().replace(",", " ").split())
        return [word for word in words if len(self._tokenizer(word, add_special_tokens=False).input_ids) != 1]

    @torch.no_grad()
    def _embedding(self, prompt: str) -> Tensor:
        """(1, tokens, width); kept, since view-dependent prompts come back again and again."""
        if prompt not in self._embeddings:
            tokens = self._tokenizer(
                prompt,
                padding="max_length",
                max_length=self._tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            self._embeddings[prompt] = self._text_encoder(tokens.input_ids.to(self.device))[0]
        return self._embeddings[prompt]


def _patch_size(channels: int) -> int:
    patch = math.isqrt(channels // 3)
    if 3 * patch * patch != channels:
        raise BadInputError(
            f"This model has no VAE and its U-Net has {channels} channels, so it is no text-to-image model that works "
            "on latents or pixels: choose another one."
        )
    return patch
