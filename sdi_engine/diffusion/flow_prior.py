"""Stable Diffusion 3 as a `Prior`: a transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor

from ..errors import BadInputError
from .diffusers_prior import DiffusersPrior
from .prior import ModelHints, Prediction, Text
from .reading import Reading, WeighingEncoder, counter, read
from .views import all_view_words, with_view

T5_LENGTH = 256
"""Tokens that T5 reads, with the one at its end."""


class FlowPrior(DiffusersPrior):
    """x(s) = (1 − s)·x0 + s·ε and v = ε − x0 (Esser et al. 2024); the time t is s itself.

    Both halves are found of v without a division, so they are exact up to s = 1, where x holds no signal. The third
    text encoder (T5) may be missing, as in many distributed files; the model was trained to do without it.
    """

    def __init__(self, pipeline: Any, hints: ModelHints, device: torch.device) -> None:
        """
        Raises:
            BadInputError: the scheduler is not that of a flow, or the transformer takes more than text.
        """
        transformer: SD3Transformer2DModel = pipeline.transformer
        super().__init__(pipeline, transformer, hints, device)
        if transformer.config.in_channels != self._latents.channels:
            raise BadInputError(
                f"This model's transformer takes {transformer.config.in_channels} channels for images of "
                f"{self._latents.channels}, as those for inpainting do: choose a plain text-to-image model."
            )
        self._scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = t.view(-1, 1, 1, 1).clamp(min=0.0)
        return 1.0 - s, s

    def sampling_times(self, steps: int) -> Tensor:
        shift = {"mu": self._resolution_shift()} if self._scheduler.config.use_dynamic_shifting else {}
        self._scheduler.set_timesteps(steps, **shift)
        return self._scheduler.sigmas[:-1].to(self.device, torch.float32)

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        dtype = self._denoiser.dtype
        velocity = self._denoiser(
            hidden_states=x.to(dtype),
            timestep=t * self._scheduler.config.num_train_timesteps,
            encoder_hidden_states=text["embedding"].to(dtype),
            pooled_projections=text["pooled"].to(dtype),
            return_dict=False,
        )[0].float()
        a, b = self.scales(t)
        return Prediction(x - b * velocity, x + a * velocity)

    def _resolution_shift(self) -> float:
        """μ of a schedule that depends on the number of patches: linear in it between two given points."""
        config = self._scheduler.config
        _, height, width = self.latent_shape(self.resolution)
        patches = (height // self._denoiser.config.patch_size) * (width // self._denoiser.config.patch_size)
        share = (patches - config.base_image_seq_len) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + share * (config.max_shift - config.base_shift)

    def remarks(self, prompt: str) -> list[str]:
        remarks = super().remarks(prompt)
        unread = self._read_t5(with_view(prompt, max(all_view_words(), key=len))).unread
        if unread:
            remarks.append(
                f'One of this model\'s text encoders (T5) reads only {T5_LENGTH} tokens, without "{unread}"; the '
                "others read it."
            )
        return remarks

    def _encode(self, prompt: str) -> Text:
        """CLIP's first piece, what T5 reads, CLIP's other pieces: the transformer does not mind their order."""
        clip, t5 = self._read(prompt), self._read_t5(prompt)
        embedding, _, pooled, _ = self._pipeline.encode_prompt(
            clip.short,
            prompt_2=None,
            prompt_3=t5.short,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=T5_LENGTH,
        )
        of_clip, of_t5 = embedding[:, : self._piece_length], embedding[:, self._piece_length :]
        others: list[Tensor] = []
        if not clip.is_plain:
            pieces = [self._weighed(piece, penultimate=True) for piece in clip.pieces]
            of_clip, *others = [F.pad(piece, (0, embedding.shape[-1] - piece.shape[-1])) for piece in pieces]
        if self._pipeline.text_encoder_3 is not None and not t5.is_plain:
            encoder = WeighingEncoder(self._pipeline.tokenizer_3, self._pipeline.text_encoder_3, False, T5_LENGTH)
            of_t5 = encoder(t5.pieces[0])
        return {"embedding": torch.cat([of_clip, of_t5, *others], dim=1), "pooled": pooled}

    def _read_t5(self, prompt: str) -> Reading:
        """How T5 gets a prompt; without T5 no prompt is too long."""
        missing = self._pipeline.text_encoder_3 is None
        count = (lambda text: 0) if missing else counter(self._pipeline.tokenizer_3)
        return read(prompt, count, T5_LENGTH - 1, in_pieces=False)
