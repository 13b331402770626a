"""What all pipelines of Diffusers have in common as a `Prior`: frozen parts, latents, and cached embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..contract import vocabulary
from .latents import Latents, PixelLatents, VaeLatents
from .prior import ModelHints, Prior, Text
from .prompt_weights import Fragment, parse
from .reading import Reading, WeighingEncoder, counter, read
from .views import all_view_words, with_view, without_view

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
        images = self._latents.decode(x0) * 0.5 + 0.5
        return torch.where(images.isinf(), torch.nan, images.clamp(0.0, 1.0))  # an overflow is not white

    def unfolded(self, x: Tensor) -> Tensor:
        return self._latents.unfold(x)

    def folded(self, x: Tensor) -> Tensor:
        return self._latents.fold(x)

    @torch.no_grad()
    def text(self, prompts: list[str]) -> Text:
        """Embeddings, cached by prompt, since view-dependent prompts come back again and again.

        Those of shorter prompts are padded with the empty prompt's to the length of the longest.
        """
        for prompt in prompts:
            if prompt not in self._texts:
                self._texts[prompt] = self._encode(prompt)
        rows = [self._texts[prompt] for prompt in prompts]
        length = max(row["embedding"].shape[1] for row in rows)
        return {
            name: torch.cat([self._filled(row[name], length) if name == "embedding" else row[name] for row in rows])
            for name in rows[0]
        }

    def remarks(self, prompt: str) -> list[str]:
        reading = self._read(with_view(prompt, max(all_view_words(), key=len)))
        remarks = []
        if self.hints.knows and any(fragment.weight != 1.0 for fragment in parse(prompt)):
            remarks.append(
                f'This model ignores weights of words: it reads "{vocabulary.as_read(prompt, self.hints.knows)}".'
            )
        if reading.unread:
            remarks.append(f'The prompt is too long for this model, which ignores "{reading.unread}".')
        return remarks

    def _read(self, prompt: str) -> Reading:
        """How the (first) text encoder gets a prompt. A model of a small vocabulary has never seen two pieces."""
        if self.hints.knows:
            text, view = without_view(prompt)
            known = vocabulary.as_read(text, self.hints.knows)
            prompt = with_view(known, view) if view else known
        return read(prompt, counter(self._pipeline.tokenizer), self._piece_length - 2, in_pieces=not self.hints.knows)

    @property
    def _piece_length(self) -> int:
        """Tokens that CLIP reads at once, with start and end."""
        longest = self._pipeline.text_encoder.config.max_position_embeddings
        return min(int(self._pipeline.tokenizer.model_max_length), int(longest))

    @abstractmethod
    def _encode(self, prompt: str) -> Text:
        """The conditioning for one prompt, each tensor (1, …); "embedding" is (1, tokens, C)."""

    def _filled(self, embedding: Tensor, length: int) -> Tensor:
        """An embedding (1, n, C), padded with empty pieces to (1, length, C)."""
        if embedding.shape[1] == length:
            return embedding
        missing = (length - embedding.shape[1]) // self._piece_length
        empty = self.text([""])["embedding"][:, : self._piece_length]
        return torch.cat([embedding, *[empty] * missing], dim=1)

    def _weighed(self, piece: Iterable[Fragment], penultimate: bool) -> Tensor:
        """(1, piece, C): the embeddings of a piece by all CLIP text encoders, side by side."""
        pipeline = self._pipeline
        encoders = [(pipeline.tokenizer, pipeline.text_encoder)]
        if getattr(pipeline, "text_encoder_2", None) is not None:
            encoders.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
        fragments = tuple(piece)
        return torch.cat(
            [WeighingEncoder(*encoder, penultimate, self._piece_length)(fragments) for encoder in encoders], dim=-1
        )
