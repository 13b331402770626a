"""Sana as a `Prior`: Gemma 2 behind a long instruction, linear attention, and a deep autoencoder's 32-pixel cells."""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import DPMSolverMultistepScheduler, SanaPipeline
from torch import Tensor

from .language_prior import LanguagePrior
from .latents import DeepLatents
from .prior import NegativePrompt, Text
from .reading import Reading, counter, read

INSTRUCTION: list[str] = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
"""What Gemma is told to make of a prompt (Xie et al. 2024), as its pipeline has it; ∅ is read without."""


class SanaPrior(LanguagePrior):
    """The first token and the last 299 of what Gemma reads are the conditioning; its padding is masked."""

    _scheduler_class = DPMSolverMultistepScheduler
    _longest = 300

    def _latents_of(self, vae: Any) -> DeepLatents:
        return DeepLatents(vae, self.device)

    def _around(self) -> int:
        return 2  # the start of the text, and the instruction's last token

    def _read(self, prompt: str) -> Reading:
        """Its pipeline reads all in lower case, which can be more tokens."""
        count = counter(self._pipeline.tokenizer)
        return read(prompt, lambda text: count(text.lower()), self._room, in_pieces=False)

    def _encode(self, prompt: str) -> Text:
        short = self._read(prompt).short
        return self._told(NegativePrompt(short) if not prompt or isinstance(prompt, NegativePrompt) else short)

    def _told(self, prompt: str) -> Text:
        embedding, mask, _, _ = self._pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=self._longest,
            complex_human_instruction=None if isinstance(prompt, NegativePrompt) else INSTRUCTION,
        )
        return {"embedding": embedding, "mask": mask.bool()}

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype = self._dtype
        velocity: Tensor = self._denoiser(
            x.to(dtype),
            encoder_hidden_states=text["embedding"].to(dtype),
            encoder_attention_mask=text["mask"],
            timestep=t * self._scheduler.config.num_train_timesteps * self._denoiser.config.timestep_scale,
            return_dict=False,
        )[0]
        return velocity[:, : x.shape[1]]  # some predict a variance besides

    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        self._scheduler.set_timesteps(steps)
        return self._scheduler.sigmas[:-1].to(self.device).float()
