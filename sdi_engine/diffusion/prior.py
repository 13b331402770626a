"""The interface that everything in `distillation/` is written against."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from .distilled import Distilled
from .fingerprint import Source
from .needs import Measure
from .views import ViewVocabulary
from .weight_bytes import FULL, Precision

Text = dict[str, Tensor]
"""Encoded texts for B images, each tensor (B, …); which tensors there are depends on the prior.

Texts of different lengths have a "mask" (B, tokens) of booleans beside their "embedding" (B, tokens, C).
"""


ReadText = tuple[bool, str]
"""A text that was read: whether as a `NegativePrompt`, and the text."""


class NegativePrompt(str):
    """A prompt to keep away from, or "": some models read it otherwise than one to draw."""

    __slots__ = ()


@dataclass(frozen=True)
class Conditioning:
    """y and ∅ of eq. (3) for B images, and what Perp-Neg steers away from.

    Attributes:
        prompt: y.
        negative: ∅, the empty or the negative prompt.
        away: further texts with weights (B,), at most 0 (`perp_neg`); empty without Perp-Neg.
    """

    prompt: Text
    negative: Text
    away: tuple[tuple[Text, Tensor], ...] = ()


@dataclass(frozen=True)
class Prediction:
    """A model's prediction from x(t): both parts of x(t) = a·x0 + b·ε, each (B, C, h, w).

    Attributes:
        x0: the one-step denoised image, eq. (5).
        noise: ε(x(t), y).
        by_guidance: what guidance added to x0, as x0; None where the model was asked without guidance.
        conditional_noise: ε̂(y), `noise` before guidance; None where that is `noise` itself.
    """

    x0: Tensor
    noise: Tensor
    by_guidance: Tensor | None = None
    conditional_noise: Tensor | None = None

    @property
    def unguided_noise(self) -> Tensor:
        """The noise that the model predicts without guidance: ε̂(y), or ε̂(∅) where γ is 0."""
        return self.noise if self.conditional_noise is None else self.conditional_noise

    def chunk(self, count: int) -> list[Prediction]:
        """Split along the batch what was asked without guidance into `count` equal parts."""
        return [Prediction(*parts) for parts in zip(self.x0.chunk(count), self.noise.chunk(count), strict=True)]


@dataclass(frozen=True)
class ModelHints:
    """A model's hints for this engine, from `sdi_engine.json` beside its `model_index.json`; all optional.

    Attributes:
        guidance_scale: the γ that gives the best images.
        inversion_guidance_scale: the γ_inv that gives the best objects; by default −γ.
        resolution: height and width in pixels of the images it was trained on.
        view_vocabulary: which words for views its captions held (`views.view_words`).
        is_distilled: whether it was distilled to a few steps (`distilled`), where its name or configuration misleads.
        knows: for a model with a small vocabulary, its words by kind (`vocabulary`), for messages to a person.
    """

    guidance_scale: float | None = None
    inversion_guidance_scale: float | None = None
    resolution: int | None = None
    view_vocabulary: ViewVocabulary = "four"
    is_distilled: bool | None = None
    knows: dict[str, list[str]] = field(default_factory=dict)


class Prior(ABC):
    """A frozen 2D diffusion model, whatever it predicts (ε, v, x0 or a flow's velocity), in latent or pixel space.

    x, x0, ε: (B, C, h, w) in the model's own space; t: (B,) in [0, 1]; images: (B, 3, H, W) in 0…1, sRGB.
    """

    hints: ModelHints
    resolution: int
    """Height and width in pixels of the images that the model was made for."""

    device: torch.device
    notices: tuple[str, ...] = ()
    """Sentences for the user, on what of its files is not used."""

    images_at_once: int | None = None
    """The model is asked about so many images at a time; None: about all of a question."""

    packed: Precision = FULL
    """To what the denoiser's weights were packed when it was loaded."""

    quick_encoder: nn.Module | None = None
    """What gradients of `encode` pass instead of the VAE (`tiny_encoder`): images in −1…1 to about their x0."""

    distilled: Distilled | None = None
    """For a model that was distilled to a few steps."""

    weights: Mapping[str, Source] = MappingProxyType({})
    """Where its parts came from, by their names, for who goes on later with a run that it began."""

    text_identity: str = ""
    """Changes with all that encoded texts depend on besides the text; "" where they are not worth keeping."""

    texts_read: Mapping[ReadText, Text] = MappingProxyType({})
    """What `text` was asked so far, each of one text, which is not read again. Who sets it takes the place of that."""

    @abstractmethod
    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of x(t) = a·x0 + b·ε, each (B, 1, 1, 1)."""

    @abstractmethod
    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        """(steps,) times, falling, at which the model's own sampler would ask it; the last step ends at x0.

        Args:
            resolution: height and width in pixels of what is drawn, by default the model's; some mind it.
        """

    @abstractmethod
    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """(C, h, w) of x for images of `resolution` × `resolution` pixels."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images to x0, differentiable."""

    @property
    def largest_x0(self) -> float:
        """No number of an image's x0 is farther from 0, of a model that draws pixels; else infinite."""
        return math.inf

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """x0 to images, clamped to 0…1; NaN where x0 decodes to NaN or infinite values."""

    def unfolded(self, x: Tensor) -> Tensor:
        """x at its finest grain: as pixels (B, 3, H, W) where the model folds pixels into channels; else x itself."""
        return x

    def folded(self, x: Tensor) -> Tensor:
        """The inverse of `unfolded`."""
        return x

    @abstractmethod
    def text(self, prompts: list[str]) -> Text:
        """The encoded texts of B = len(prompts) prompts; "" is ∅.

        Tensors of one call have one length; those of two calls may differ, where a prompt is long.
        """

    def no_text(self) -> Text:
        """A text for one image, for a question whose answer does not depend on what it says."""
        return self.text([""])

    def free_text_encoders(self) -> None:
        """Give the memory of the text encoders back, where they can be read again when there is another text."""
        return

    def remarks(self, prompt: str) -> list[str]:
        """Sentences for a person on the parts of a prompt that the model does not read as they are written.

        Raises:
            BadInputError: the prompt cannot be read at all.
        """
        return []

    @abstractmethod
    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        """One evaluation of the model, without guidance; differentiable with respect to x."""

    def compile(self, say: Callable[[str], None] | None) -> None:
        """Have the denoiser compiled from its next evaluation on, or no longer.

        Args:
            say: is told where that does not work; None to have it run as it is.
        """
        return

    @property
    def safepoints(self) -> tuple[int, int]:
        """About how many there are in one evaluation, and in encoding once (`at_safepoints`); 0 where none are."""
        return 0, 0

    def at_safepoints(self, call: Callable[[], None]) -> None:
        """Have `call` called between the parts of an evaluation where one takes long; it may raise."""
        return

    def condition(self, prompts: list[str], negative_prompt: str = "") -> Conditioning:
        """The conditioning for B = len(prompts) images, without Perp-Neg."""
        prompt, negative = parts(self.text([*prompts, *[NegativePrompt(negative_prompt)] * len(prompts)]))
        return Conditioning(prompt, negative)

    def predict(self, x: Tensor, t: Tensor, conditioning: Conditioning, guidance: float) -> Prediction:
        """x0 and ε(x(t), y) after classifier-free guidance, eq. (3): ε̂(∅) + γ·(ε̂(y) − ε̂(∅)).

        γ = 0 is unconditional, γ = 1 conditional; without Perp-Neg both cost one evaluation an image instead of two.
        With Perp-Neg (Armandpour et al. 2023, eq. 8) γ also scales, for every text to stay away from, the weighted
        part of its direction that is perpendicular to the prompt's.
        """
        if guidance == 0.0:
            return self._in_parts(x, t, conditioning.negative)
        if guidance == 1.0 and not conditioning.away:
            return self._in_parts(x, t, conditioning.prompt)
        texts = [conditioning.negative, conditioning.prompt, *(text for text, _ in conditioning.away)]
        count = len(texts)
        together = {name: torch.cat([text[name] for text in texts]) for name in conditioning.prompt}
        everything = self._in_parts(x.repeat(count, 1, 1, 1), t.repeat(count), together)
        empty, prompt, *away = everything.chunk(count)
        # Directions in x0 and in ε differ by the factor −b/a, so one set of weights serves both.
        to_prompt = prompt.x0 - empty.x0
        weight_prompt = torch.ones_like(t).view(-1, 1, 1, 1)
        x0, noise = empty.x0, empty.noise
        for other, (_, weight) in zip(away, conditioning.away, strict=True):
            weight = weight.to(x0).view(-1, 1, 1, 1)
            x0 = x0 + guidance * weight * (other.x0 - empty.x0)
            noise = noise + guidance * weight * (other.noise - empty.noise)
            weight_prompt = weight_prompt - weight * _component(other.x0 - empty.x0, to_prompt)
        x0 = x0 + guidance * weight_prompt * to_prompt
        noise = noise + guidance * weight_prompt * (prompt.noise - empty.noise)
        guided = Prediction(x0, noise, by_guidance=x0 - prompt.x0, conditional_noise=prompt.noise)
        return self.rescaled(x, t, guided)

    def _in_parts(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        """`predict_unguided`, about `images_at_once` at a time."""
        size = self.images_at_once or len(x)
        if len(x) <= size:
            return self.predict_unguided(x, t, text)
        some = [
            self.predict_unguided(x[at], t[at], {name: tensor[at] for name, tensor in text.items()})
            for at in (slice(first, first + size) for first in range(0, len(x), size))
        ]
        return Prediction(torch.cat([each.x0 for each in some]), torch.cat([each.noise for each in some]))

    def save_memory(self, measures: Collection[Measure]) -> None:
        """Take these measures from now on, and no others."""
        self.images_at_once = 1 if "one by one" in measures else None

    def rescaled(self, x: Tensor, t: Tensor, guided: Prediction) -> Prediction:
        """What the model's own sampler makes of a guided prediction; most leave it as it is."""
        return guided


def parts(text: Text, count: int = 2) -> list[Text]:
    """Encoded texts, split along the batch into `count` equal parts."""
    chunks = {name: tensor.chunk(count) for name, tensor in text.items()}
    return [{name: tensors[index] for name, tensors in chunks.items()} for index in range(count)]


def mix(one: Text, other: Text, share: Tensor) -> Text:
    """(1 − share)·one + share·other, image by image; share: (B,) in 0…1.

    A token that only the longer of two texts of different lengths has is that text's own.
    """
    mixed = {
        name: torch.lerp(tensor, other[name], share.to(tensor).view(-1, *[1] * (tensor.dim() - 1)))
        for name, tensor in one.items()
        if name != "mask"
    }
    if "mask" in one:
        share = share.to(one["mask"].device)[:, None]
        first, second = one["mask"] & (share < 1.0), other["mask"] & (share > 0.0)
        alone = torch.where(first[..., None], one["embedding"], other["embedding"])
        mixed["embedding"] = torch.where((first & second)[..., None], mixed["embedding"], alone)
        mixed["mask"] = first | second
    return mixed


def _component(of: Tensor, along: Tensor) -> Tensor:
    """⟨of, along⟩ / ‖along‖², image by image, (B, 1, 1, 1); 0 where `along` is."""
    length = along.square().sum((1, 2, 3), keepdim=True)
    return (of * along).sum((1, 2, 3), keepdim=True) / length.clamp(min=1e-12)
