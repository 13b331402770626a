"""Z-Image, base and Turbo, as a `Prior`: Qwen 3, and a transformer whose time runs from noise to image."""

from __future__ import annotations

import torch
from torch import Tensor

from .language_prior import LanguagePrior
from .prior import Text


class ZImagePrior(LanguagePrior):
    """The transformer is told 1 − s and predicts x0 − ε, so that both have another sign than the scheduler's.

    Its pipeline writes guidance as ε̂(y) + g·(ε̂(y) − ε̂(∅)), with which γ of eq. (3) is g + 1: its g = 0 is γ = 1.
    """

    _patch = 2
    _longest = 512

    _cells = 128

    def _around(self) -> int:
        return self._chat_tokens(enable_thinking=True)

    def _told(self, prompt: str) -> Text:
        (embedding,), _ = self._pipeline.encode_prompt(prompt, device=self.device, do_classifier_free_guidance=False)
        return {"embedding": embedding[None], "mask": embedding.new_ones(1, len(embedding), dtype=torch.bool)}

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype = self._dtype
        told = [row[mask] for row, mask in zip(text["embedding"].to(dtype), text["mask"], strict=True)]
        frames = list(x.to(dtype).unsqueeze(2))  # a video of one frame each
        output: list[Tensor] = self._denoiser(frames, 1.0 - t, told, return_dict=False)[0]
        return -torch.stack(output).squeeze(2)
