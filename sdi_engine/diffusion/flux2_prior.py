"""FLUX.2 klein as a `Prior`: three layers of Qwen 3, and folded latents with a batch normalisation's statistics."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor

from .flow_prior import latents_of, tokens_of
from .language_prior import LanguagePrior
from .latents import BatchNormLatents
from .prior import Text


class Flux2KleinPrior(LanguagePrior):
    """x are the VAE's latents folded by 2 × 2, since that is what they are normalised as. The padding is attended to.

    How much the times are shifted depends on the number of tokens and of steps.
    """

    _longest = 512

    _cells = 64

    def _latents_of(self, vae: Any) -> BatchNormLatents:
        return BatchNormLatents(vae, self.device)

    def _around(self) -> int:
        return self._chat_tokens(enable_thinking=False)

    def _told(self, prompt: str) -> Text:
        embedding, _ = self._pipeline.encode_prompt(prompt, device=self.device)
        return {"embedding": embedding}

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype = self._dtype
        tokens: Tensor = self._denoiser(
            hidden_states=tokens_of(x, 1).to(dtype),
            timestep=t,
            encoder_hidden_states=text["embedding"].to(dtype),
            txt_ids=_places(1, 1, text["embedding"].shape[1], x.device),
            img_ids=_places(x.shape[-2], x.shape[-1], 1, x.device),
            guidance=None,
            return_dict=False,
        )[0]
        return latents_of(tokens, x.shape, 1)

    def _resolution_shift(self, steps: int, resolution: int) -> float:
        _, height, width = self.latent_shape(resolution)
        return compute_empirical_mu(height * width, steps)


def _places(rows: int, columns: int, words: int, device: torch.device) -> Tensor:
    """(rows · columns · words, 4) places for the rotary embedding: image, row, column, word."""
    return torch.cartesian_prod(*(torch.arange(count, device=device) for count in (1, rows, columns, words)))
