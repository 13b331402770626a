"""The runs of studies, in 3D and in 2D: what each depends on, how it is done, and what is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config.settings import Settings
from ..diffusion.counted_prior import CountedPrior
from ..distillation.surface_noise import NoiseCells
from ..errors import NoObjectError
from ..run.fitting import fit
from ..run.optimisation import Optimisation
from ..run.previews import to_image
from ..run.text_to_mesh import residual_curve
from .distill2d import image_or_none, last_image
from .metrics import object_pixels, saturation, sharpness
from .results import Result
from .sampling import fit_pictures, numbers_of, resolution_2d, sampling_times
from .study import Report, Study, reported
from .unfinished import Unfinished

AZIMUTHS_DEG = [0.0, 90.0, 180.0, 270.0]
ELEVATION_DEG = 15.0
LEAST_VIEW_RESOLUTION = 192

NO_OBJECT = "no object"


@dataclass(frozen=True)
class Run3D:
    """A whole optimisation, whose result is rendered from four sides; by default with the study's own seed."""

    label: str
    prompt: str
    settings: Settings
    seed: int | None = None

    @property
    def name(self) -> str:
        return _name(self.label, self.prompt, self.seed)

    def identity(self, study: Study) -> dict[str, Any]:
        return study.with_seed(self.seed).identity(self.prompt) | {"settings": dataclasses.asdict(self.settings)}

    def work(self, study: Study, report: Report, folder: Path | None = None) -> Result:
        return optimised(study, self.optimisation(study), self.name, report, folder)

    def optimisation(self, study: Study) -> Optimisation:
        """The optimisation, before its first step."""
        request = study.with_seed(self.seed).request
        prior = CountedPrior(study.prior)
        return Optimisation(prior, self.prompt, request.negative_prompt, self.settings, request.seed)


@dataclass(frozen=True)
class Run2D:
    """A picture by DDIM or by 2D score distillation (`distill2d.trajectory`); by default with the study's own seed."""

    label: str
    prompt: str
    noise: str
    steps: int
    seed: int | None = None

    @property
    def name(self) -> str:
        return _name(self.label, self.prompt, self.seed)

    def identity(self, study: Study) -> dict[str, Any]:
        return study.with_seed(self.seed).identity(self.prompt) | {
            "noise_2d": self.noise,
            "steps_2d": self.steps,
            "resolution_2d": resolution_2d(study),
            "settings": dataclasses.asdict(study.settings),
        }

    def work(self, study: Study, report: Report, folder: Path | None = None) -> Result:
        fit_pictures(study, 1, report)
        times = sampling_times(study.prior, self.steps, resolution_2d(study))
        image = last_image(study.with_seed(self.seed), self.prompt, self.noise, times, report, self.name)
        picture = image_or_none(image[0])
        if picture is None:
            return Result((), {"outcome": "It diverged to NaN or infinity.", "steps": self.steps})
        return Result((picture,), numbers_of(image))


def optimised(
    study: Study,
    optimisation: Optimisation,
    phase: str,
    report: Report,
    folder: Path | None = None,
    after_step: Callable[[dict[str, Any]], None] = lambda measured: None,
    cells: Mapping[str, NoiseCells] | None = None,
) -> Result:
    """Run an optimisation to its end, or until no object can emerge, and measure the result.

    The numbers are `outcome` ("object", or why there is none), `steps` done, `seconds` of the optimisation, of which
    `seconds_2d` are the model's and its gradients' and `seconds_3d` the field's, `evaluations` of the model, the curve
    of `residuals` of eq. (8) along the run, and for an object `sharpness` and `saturation` over its pixels in all
    views.

    Args:
        optimisation: before its first step.
        folder: stores what an interrupted run continues from; None stores nothing.
        after_step: may add to what was measured so far, as JSON allows; its time is not counted.
        cells: noise on the object that `after_step` keeps, by name; stored with the rest.

    Raises:
        OutOfMemoryError: there is certainly not enough memory for it.
    """
    prior = optimisation.prior
    assert isinstance(prior, CountedPrior)
    fit(prior, study.request.model, optimisation.settings, report, study.request.parts)
    outcome = "object"
    unfinished = Unfinished(folder, cells)
    measured = {"seconds_2d": 0.0, "seconds_3d": 0.0, "evaluations": 0} | unfinished.load(optimisation)
    for _ in reported(phase, optimisation.settings.steps, report, optimisation.step):
        before = prior.evaluations
        try:
            done = optimisation.advance()
        except NoObjectError as error:
            outcome = str(error)
            break
        measured["seconds_2d"] += done.seconds_2d
        measured["seconds_3d"] += done.seconds_3d
        measured["evaluations"] += prior.evaluations - before
        after_step(measured)
        unfinished.save_in_time(optimisation, measured)
    numbers = measured | {
        "outcome": outcome,
        "steps": optimisation.step,
        "seconds": round(measured["seconds_2d"] + measured["seconds_3d"], 3),
        "seconds_2d": round(measured["seconds_2d"], 3),
        "seconds_3d": round(measured["seconds_3d"], 3),
        "residuals": residual_curve(optimisation.residuals),
    }
    if outcome != "object":
        return Result((), numbers)
    images, opacities = four_views(optimisation, max(LEAST_VIEW_RESOLUTION, study.prior.resolution))
    mask = object_pixels(opacities)
    numbers |= {"sharpness": round(sharpness(images, mask), 5), "saturation": round(saturation(images, mask), 4)}
    return Result(tuple(to_image(image) for image in images), numbers)


def four_views(optimisation: Optimisation, resolution: int) -> tuple[Tensor, Tensor]:
    """The object from four sides on light grey, (4, 3, H, W) in 0…1, and its opacities, (4, 1, H, W) in 0…1."""
    images, opacities = optimisation.view_with_opacity(AZIMUTHS_DEG, ELEVATION_DEG, resolution)
    return images.cpu(), opacities.cpu()


def caption(result: Result) -> str:
    """A run's numbers for the contact sheet, in one or two short lines."""
    numbers = result.numbers
    if not result.pictures:
        return f"{NO_OBJECT} after step {numbers['steps']}"
    quality = f"sharpness {numbers['sharpness']:.3f}\nsaturation {numbers['saturation']:.2f}"
    return f"{numbers['seconds']:.0f} s, {quality}" if "seconds" in numbers else quality


def _name(label: str, prompt: str, seed: int | None) -> str:
    return f'{label}, "{prompt}"' + ("" if seed is None else f", seed {seed}")
