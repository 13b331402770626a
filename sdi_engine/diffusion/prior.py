"""The interface that everything in `distillation/` is written against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .views import ViewVocabulary


@dataclass(frozen=True)
class Conditioning:
    """What the model is told of B images: y and ∅ of eq. (3); the tensors' layout is the prior's own.

    `prompt` and `negative` have shape (B, …).
    """

    prompt: Tensor
    negative: Tensor


@dataclass(frozen=True)
class ModelHints:
    """What a model says of itself in `sdi_engine.json` beside its `model_index.json`; all optional.

    Attributes:
        guidance_scale: the γ at which its images look best.
        resolution: height and width in pixels of the images it was trained on.
        view_vocabulary: which words for views its captions held (`views.view_words`).
        knows: for a model with a small vocabulary, its words by kind, for messages to a person.
    """

    guidance_scale: float | None = None
    resolution: int | None = None
    view_vocabulary: ViewVocabulary = "four"
    knows: dict[str, list[str]] = field(default_factory=dict)


class Prior(ABC):
    """A frozen 2D diffusion model, whatever it predicts (ε, v or x0), in latent or pixel space.

    x, x0, ε: (B, C, h, w) in the model's own space; t: (B,) in [0, 1]; images: (B, 3, H, W) in 0…1, sRGB.
    """

    hints: ModelHints
    resolution: int
    """Height and width in pixels of the images that the model was made for."""

    device: torch.device

    @abstractmethod
    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of x(t) = a·x0 + b·ε, each (B, 1, 1, 1)."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images to x0, differentiable."""

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """x0 to images, clamped to 0…1."""

    @abstractmethod
    def condition(self, prompts: list[str], negative_prompt: str = "") -> Conditioning:
        """What the model is told when B = len(prompts) images are denoised."""

    @abstractmethod
    def predict_unguided(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """ε̂(x(t), text): one evaluation of the model, turned into a noise prediction, without guidance."""

    @abstractmethod
    def unknown_words(self, prompt: str) -> list[str]:
        """Words that a model of a small vocabulary (`hints.knows`) has no token for; empty for an open vocabulary."""

    def predict_noise(self, x: Tensor, t: Tensor, conditioning: Conditioning, guidance: float) -> Tensor:
        """ε(x(t), y) after classifier-free guidance, eq. (3): ε̂(∅) + γ·(ε̂(y) − ε̂(∅)).

        γ = 0 is unconditional, γ = 1 conditional; both then cost one evaluation an image instead of two.
        """
        if guidance == 1.0:
            return self.predict_unguided(x, t, conditioning.prompt)
        if guidance == 0.0:
            return self.predict_unguided(x, t, conditioning.negative)
        both = torch.cat([conditioning.negative, conditioning.prompt])
        negative, prompt = self.predict_unguided(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return negative + guidance * (prompt - negative)
