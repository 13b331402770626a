"""Stable Diffusion 3 and 3.5 as a `Prior`: two CLIP text encoders, and T5 where the model has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow_prior import FlowPrior
from .prior import Text
from .reading import Reading, WeighingEncoder, counter, read

T5_LENGTH = 256
"""Tokens that T5 reads, with the one at its end."""


class SD3Prior(FlowPrior):
    """The third text encoder (T5) may be missing, as in many distributed files; the model was trained to do without."""

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        dtype = self._dtype
        output: Tensor = self._denoiser(
            hidden_states=x.to(dtype),
            timestep=t * self._scheduler.config.num_train_timesteps,
            encoder_hidden_states=text["embedding"].to(dtype),
            pooled_projections=text["pooled"].to(dtype),
            return_dict=False,
        )[0]
        return output

    @property
    def _patch(self) -> int:
        return int(self._denoiser.config.patch_size)

    def remarks(self, prompt: str) -> list[str]:
        remarks = super().remarks(prompt)
        unread = self._read_t5(self._with_longest_view(prompt)).unread
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
