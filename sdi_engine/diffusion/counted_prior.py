"""A model that counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from .needs import Measure
from .prior import Prediction, Prior, ReadText, Text


class CountedPrior(Prior):
    """Another prior, with the number of images that it was evaluated on so far: the cost of a method on any machine.

    Guidance by eq. (3) takes two evaluations an image.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self.hints = prior.hints
        self.resolution = prior.resolution
        self.device = prior.device
        self.notices = prior.notices
        self.distilled = prior.distilled
        self.text_identity = prior.text_identity
        self.weights = prior.weights
        self.packed = prior.packed
        self.evaluations = 0

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        self.evaluations += len(x)
        return self._prior.predict_unguided(x, t, text)

    def rescaled(self, x: Tensor, t: Tensor, guided: Prediction) -> Prediction:
        return self._prior.rescaled(x, t, guided)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self._prior.scales(t)

    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        return self._prior.sampling_times(steps, resolution)

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        return self._prior.latent_shape(resolution)

    def encode(self, images: Tensor) -> Tensor:
        return self._prior.encode(images)

    @property
    def largest_x0(self) -> float:
        return self._prior.largest_x0

    def decode(self, x0: Tensor) -> Tensor:
        return self._prior.decode(x0)

    def unfolded(self, x: Tensor) -> Tensor:
        return self._prior.unfolded(x)

    def folded(self, x: Tensor) -> Tensor:
        return self._prior.folded(x)

    def text(self, prompts: list[str]) -> Text:
        return self._prior.text(prompts)

    def compile(self, say: Callable[[str], None] | None) -> None:
        self._prior.compile(say)

    @property
    def safepoints(self) -> tuple[int, int]:
        return self._prior.safepoints

    def at_safepoints(self, call: Callable[[], None]) -> None:
        self._prior.at_safepoints(call)

    @property
    def images_at_once(self) -> int | None:
        return self._prior.images_at_once

    @property
    def texts_read(self) -> Mapping[ReadText, Text]:
        return self._prior.texts_read

    @texts_read.setter
    def texts_read(self, texts: Mapping[ReadText, Text]) -> None:
        self._prior.texts_read = texts

    def save_memory(self, measures: Collection[Measure]) -> None:
        self._prior.save_memory(measures)

    def free_text_encoders(self) -> None:
        self._prior.free_text_encoders()

    def remarks(self, prompt: str) -> list[str]:
        return self._prior.remarks(prompt)
