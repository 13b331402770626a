"""FLUX.1 and Chroma as a `Prior`: transformers that take latents in patches and read T5."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow_prior import FlowPrior, evenly_down, latents_of, tokens_of
from .prior import ModelHints, Text
from .reading import WeighingEncoder, counter, read

EMBEDDED_GUIDANCE = 1.0
"""What FLUX.1 dev is told of guidance.

It was distilled to give a guided prediction in one evaluation, by the scale that it is told. At 1 that is the
prediction without guidance, to which eq. (3) then adds guidance in two evaluations, with any γ, so that −γ inverts γ.
"""

T5_LENGTH = 512


class _PatchPrior(FlowPrior):
    """What FLUX.1 and Chroma have in common: patches of 2 × 2 latent cells are tokens, and T5 reads the prompt."""

    _patch = _folded = 2
    _reads_pieces = False

    @property
    def _cells(self) -> int:
        return int(self._pipeline.default_sample_size)

    @property
    def _room(self) -> int:
        return self._t5_length - 1

    @property
    def _t5_length(self) -> int:
        """Tokens that T5 reads, with the one at the end."""
        return min(int(self._tokenizer.model_max_length), T5_LENGTH)

    def _unshifted_times(self, steps: int) -> list[float] | None:
        return evenly_down(steps)

    def _asked(self, x: Tensor, t: Tensor, embedding: Tensor, **more: Tensor) -> Tensor:
        """What the transformer says of x. It is told each patch's place as (0, row, column), and each word's as 0."""
        dtype = self._dtype
        rows, columns = (torch.arange(side // self._folded, device=x.device) for side in x.shape[-2:])
        places = torch.cartesian_prod(torch.zeros(1, device=x.device), rows.float(), columns.float())
        output: Tensor = self._denoiser(
            hidden_states=tokens_of(x, self._folded).to(dtype),
            timestep=t.to(dtype),
            encoder_hidden_states=embedding.to(dtype),
            img_ids=places.to(dtype),
            txt_ids=torch.zeros(embedding.shape[1], 3, device=x.device, dtype=dtype),
            return_dict=False,
            **more,
        )[0]
        return latents_of(output, x.shape, self._folded)


class FluxPrior(_PatchPrior):
    """FLUX.1: T5's tokens, of which none is masked, and CLIP's pooled embedding."""

    def __init__(self, pipeline: Any, hints: ModelHints, device: torch.device) -> None:
        super().__init__(pipeline, hints, device)
        self._takes_guidance = bool(self._denoiser.config.guidance_embeds)
        if self._takes_guidance:
            self.notices = (
                f"FLUX.1 dev was distilled with its guidance inside: it is told the scale {EMBEDDED_GUIDANCE:g}, at "
                "which it predicts without guidance, and guided by two evaluations instead. Chroma was trained "
                "without that.",
            )

    @property
    def _tokenizer(self) -> Any:
        return self._pipeline.tokenizer_2

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        told = {"pooled_projections": text["pooled"].to(self._dtype)}
        if self._takes_guidance:
            told["guidance"] = torch.full_like(t, EMBEDDED_GUIDANCE)
        return self._asked(x, t, text["embedding"], **told)

    def _encode(self, prompt: str) -> Text:
        t5 = self._read(prompt)
        clip = read(prompt, counter(self._pipeline.tokenizer), self._piece_length - 2, in_pieces=False)
        embedding, pooled, _ = self._pipeline.encode_prompt(
            clip.short, prompt_2=t5.short, device=self.device, max_sequence_length=self._t5_length
        )
        if not t5.is_plain:
            encoder = WeighingEncoder(self._tokenizer, self._pipeline.text_encoder_2, False, self._t5_length)
            embedding = encoder(t5.pieces[0])
        return {"embedding": embedding, "pooled": pooled}


class ChromaPrior(_PatchPrior):
    """Chroma: FLUX.1 schnell that was trained on until it needed no distillation, and reads T5 alone.

    It attends to one token of padding and to no further one (https://huggingface.co/lodestones/Chroma). Those are cut
    off here, which is the same. (Diffusers' pipeline hands its mask on as the numbers 0 and 1, which PyTorch adds to
    the logits of the attention instead: https://github.com/huggingface/diffusers/issues/12116.)
    """

    _reads_weights = False

    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        mask = text["mask"]
        if bool(mask.all()):
            return self._asked(x, t, text["embedding"])
        patches = x.shape[-2] * x.shape[-1] // self._folded**2
        return self._asked(x, t, text["embedding"], attention_mask=F.pad(mask, (0, patches), value=True))

    def _encode(self, prompt: str) -> Text:
        embedding, _, seen, *_ = self._pipeline.encode_prompt(
            self._read(prompt).short,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self._t5_length,
        )
        length = int(seen.sum())
        return {"embedding": embedding[:, :length], "mask": seen[:, :length].bool()}
