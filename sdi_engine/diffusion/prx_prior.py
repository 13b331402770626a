"""PRXPixel as a `Prior`: Qwen 3 VL's text tower, and a transformer that draws pixels without a VAE."""

from __future__ import annotations

import html
from typing import Any

from torch import Tensor

from .language_prior import LanguagePrior
from .latents import ScaledPixels
from .prior import Text

_EARLIEST = 0.05
"""At earlier times, too, the pipeline divides by this one to make a velocity of the predicted x0."""


class PRXPixelPrior(LanguagePrior):
    """It predicts x0 of x(s) = (1 − s)·x0 + s·n·ε in pixels of −1…1, with n = 2; x is that by n here.

    So the noise has a deviation of 1, as everywhere, and v = ε − x0.
    """

    def _latents_of(self, vae: Any) -> ScaledPixels:
        return ScaledPixels(1.0 / self._noise_scale)

    @property
    def _noise_scale(self) -> float:
        return float(self._pipeline.config.noise_scale)

    @property
    def _patch(self) -> int:
        return int(self._denoiser.config.patch_size)

    @property
    def _cells(self) -> int:
        return int(self._pipeline.config.default_sample_size)

    @property
    def _longest(self) -> int:
        return int(self._pipeline.config.prompt_max_tokens)

    def _told(self, prompt: str) -> Text:
        """As the pipeline does it, which asks for a package (ftfy) that repairs broken characters first."""
        tokens = self._pipeline.tokenizer(
            [html.unescape(html.unescape(prompt)).strip()],
            padding="max_length",
            max_length=self._longest,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        embedding: Tensor = self._pipeline.text_encoder(**tokens)["last_hidden_state"]
        return {"embedding": embedding, "mask": tokens.attention_mask.bool()}

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype, pixels = self._dtype, x * self._noise_scale
        x0: Tensor = self._denoiser(
            hidden_states=pixels.to(dtype),
            timestep=t,
            encoder_hidden_states=text["embedding"].to(dtype),
            attention_mask=text["mask"],
            return_dict=False,
        )[0]
        return (pixels - x0.float()) / t.clamp(min=_EARLIEST).view(-1, 1, 1, 1) / self._noise_scale

    def _unshifted_times(self, steps: int) -> list[float] | None:
        """Its pipeline leaves them to the scheduler."""
        return None
