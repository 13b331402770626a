"""Qwen-Image as a `Prior`: Qwen 2.5 VL behind a system prompt that is left out again, and a video VAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .flow_prior import latents_of, tokens_of
from .language_prior import LanguagePrior
from .latents import VideoLatents
from .prior import Prediction, Text
from .reading import counter


class QwenImagePrior(LanguagePrior):
    """Guidance changes the direction of the velocity, not its length: each token keeps that of the prompt's alone."""

    _patch = 2
    _folded = 2
    _longest = 512

    _cells = 128

    def _latents_of(self, vae: Any) -> VideoLatents:
        return VideoLatents(vae, self.device)

    def _around(self) -> int:
        pipeline = self._pipeline
        template = counter(pipeline.tokenizer)(pipeline.prompt_template_encode.format(""))
        return template - int(pipeline.prompt_template_encode_start_idx)

    def _told(self, prompt: str) -> Text:
        embedding, _ = self._pipeline.encode_prompt(prompt, device=self.device, max_sequence_length=self._longest)
        return {"embedding": embedding, "mask": torch.ones(embedding.shape[:2], dtype=torch.bool, device=self.device)}

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype = self._dtype
        rows, columns = (side // self._patch for side in x.shape[-2:])
        tokens: Tensor = self._denoiser(
            hidden_states=tokens_of(x, self._patch).to(dtype),
            timestep=t,
            encoder_hidden_states=text["embedding"].to(dtype),
            encoder_hidden_states_mask=None if bool(text["mask"].all()) else text["mask"],
            img_shapes=[[(1, rows, columns)]] * len(x),
            return_dict=False,
        )[0]
        return latents_of(tokens, x.shape, self._patch)

    def rescaled(self, x: Tensor, t: Tensor, guided: Prediction) -> Prediction:
        """Every token's velocity is made as long again as it is without guidance."""
        assert guided.by_guidance is not None
        assert guided.conditional_noise is not None
        x0 = guided.x0 - guided.by_guidance
        velocity = guided.noise - guided.x0
        wanted, found = (
            tokens_of(each, self._patch).norm(dim=-1, keepdim=True)
            for each in (guided.conditional_noise - x0, velocity)
        )
        factor = (wanted / found.clamp(min=1e-12)).expand(-1, -1, x.shape[1] * self._patch**2)
        velocity = velocity * latents_of(factor, x.shape, self._patch)
        a, b = self.scales(t)
        return Prediction(x - b * velocity, x + a * velocity, x - b * velocity - x0, guided.conditional_noise)
