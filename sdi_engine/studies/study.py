"""Shared by all studies: loading the model, resolving the settings, reporting progress, saving results."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..config.settings import Settings
from ..contract import events
from ..contract.job_folder import storage_errors
from ..contract.request import JobRequest
from ..diffusion.loading import LoadPrior, load_prior
from ..diffusion.prior import Prior
from ..diffusion.sources import digest
from ..diffusion.weight_bytes import FULL
from ..run.read_progress import read_progress
from ..run.resolve import resolve
from ..run.text_to_mesh import LOADING, choose_device, tell_how_it_reads
from ..system.files import write_atomically

Report = Callable[[events.Event], None]


@dataclass(frozen=True)
class Study:
    """A loaded model, a request, and the settings that follow from both.

    Attributes:
        request: validated.
        prior: the model.
        settings: from `run.resolve.resolve`.
        weights: a hash that changes with what the model's files hold (`diffusion.sources.digest`).
    """

    request: JobRequest
    prior: Prior
    settings: Settings
    weights: str

    @property
    def guidance_scale(self) -> float:
        """γ of eq. (3)."""
        assert self.settings.guidance_scale is not None
        return self.settings.guidance_scale

    def with_seed(self, seed: int | None) -> Study:
        """The same study with another seed; None leaves it as it is."""
        return self if seed is None else dataclasses.replace(self, request=dataclasses.replace(self.request, seed=seed))

    def identity(self, prompt: str) -> dict[str, Any]:
        """All that a result for this prompt depends on, except its settings; a JSON object."""
        request = self.request
        return {
            "version": __version__,
            "model": request.model,
            "weights": self.weights,
            "loras": [dataclasses.asdict(lora) for lora in request.loras],
            **({"parts": dataclasses.asdict(request.parts)} if request.parts.paths else {}),
            **({"precision": self.prior.packed} if self.prior.packed != FULL else {}),
            "prompt": prompt,
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
        }


def prepare(request: JobRequest, report: Report, load: LoadPrior | None = None) -> Study:
    """Load the model of a validated request, and resolve its settings.

    Args:
        load: loads the model, `load_prior` by default.

    Raises:
        EngineError: of the kinds that `load_prior` and `choose_device` raise.
    """
    report(events.Progress(LOADING, 0, 1))
    device = choose_device(request.device)
    with read_progress(LOADING, report):
        prior = (load or load_prior)(request.model, device, request.loras, request.parts, request.precision)
    tell_how_it_reads(prior, request.prompt, request.negative_prompt, report)
    return Study(request, prior, resolve(request, prior.hints, prior.resolution), digest(prior.weights))


def reported(phase: str, steps: int, report: Report, first: int = 0) -> Iterator[int]:
    """Yields first … steps − 1, and reports each as done when the next one is requested."""
    start = time.perf_counter()
    report(events.Progress(phase, first, steps))
    for step in range(first, steps):
        yield step
        rate = (step + 1 - first) / (time.perf_counter() - start)
        report(events.Progress(phase, step + 1, steps, rate, (steps - step - 1) / rate))


def spread(count: int, chosen: int) -> list[int]:
    """Up to `chosen` of 0 … count − 1, evenly spaced, with the first and the last; only the last for `chosen` 1."""
    if chosen == 1:
        return [count - 1]
    return sorted({round(index * (count - 1) / (chosen - 1)) for index in range(chosen)})


def save_picture(picture: Image.Image, file: Path) -> None:
    """Write a PNG; raises StorageError."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    with storage_errors(file.parent):
        write_atomically(file, content.getvalue())


def save_json(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Write a JSON file, whole or not at all; raises StorageError.

    Returns:
        What was written: NaN and infinity (of a method that diverged) become None, since JSON cannot express them.
    """
    content = _without_nan(content)
    with storage_errors(file.parent):
        write_atomically(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
