"""The residual of eq. (8) against t for every κ, measured on the renders of an SDI run (Fig. 9 and 10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Generator, Tensor

from ..config.settings import Settings
from ..contract.request import JobRequest
from ..diffusion.prior import Conditioning, Prediction
from ..distillation.noise import CHOICES, NEED_CELLS
from ..distillation.target import distance_to_target, noise_residual
from ..errors import BadInputError
from ..randomness import seed_of
from ..representation import SurfacePoints
from ..run.guidance import Guidance
from ..run.optimisation import Optimisation
from .plots import Panel, plot_residuals
from .results import Result, Results
from .runs import Run3D, optimised
from .study import Report, Study, prepare, save_json, spread

DEFAULT_POINTS = 24
MAX_POINTS = 1000

Variants = dict[str, Settings]
"""The name of each curve, and the settings that choose its κ."""


def noise_error(request: JobRequest, folder: Path, report: Report, points: int) -> dict[str, Any]:
    """Measure residuals along a run of SDI; write `residuals.png` and `result.json`.

    Args:
        request: validated.
        folder: an empty folder, or that of an earlier study, whose finished runs are reused.
        points: the most steps of the run at which to measure, 1 to `MAX_POINTS`.

    Returns:
        The content of `result.json`: the times `t`, and for every κ and every pair (γ_inv, γ_fwd) the residuals there.

    Raises:
        BadInputError: `points` is out of range.
    """
    if not 1 <= points <= MAX_POINTS:
        raise BadInputError(f'The setting "points" is {points}: it must be between 1 and {MAX_POINTS}.')
    study = prepare(request, report)
    numbers = Results(study, folder).get(ResidualRun(sdi_run(study, request.prompt), points), report).numbers
    plot_residuals(panels(numbers), f"“{request.prompt}”", folder / "residuals.png")
    result = study.identity(request.prompt) | numbers | {"picture": "residuals.png"}
    return save_json(result, folder / "result.json")


def kappa_variants(settings: Settings) -> Variants:
    """Every choice of κ (Fig. 9)."""
    return {noise: dataclasses.replace(settings, noise=noise) for noise in CHOICES}


def residual_variants(settings: Settings) -> Variants:
    """Every choice of κ, and "bare inversion": inversion from the clean render, without its H and τ."""
    bare = dataclasses.replace(
        settings, noise="inversion", inversion_entropy=0.0, inversion_overshoot=0.0, inversion_start=0.0
    )
    return kappa_variants(settings) | {"bare inversion": bare}


def guidance_variants(settings: Settings) -> Variants:
    """DDIM inversion with the four pairs (γ_inv, γ_fwd) of Fig. 10; γ is 7.5 there, and here that of the settings."""
    gamma = settings.guidance_scale
    assert gamma is not None
    return {
        f"({inversion:g}, {forward:g})": dataclasses.replace(
            settings, noise="inversion", inversion_guidance_scale=inversion, guidance_scale=forward
        )
        for inversion, forward in ((gamma, gamma), (0.0, 0.0), (0.0, gamma), (-gamma, gamma))
    }


def sdi_run(study: Study, prompt: str) -> Run3D:
    """The SDI run on whose renders the residuals are measured."""
    return Run3D("inversion", prompt, dataclasses.replace(study.settings, noise="inversion"))


@dataclass(frozen=True)
class ResidualRun:
    """A run that also measures, at `points` of its steps, the residuals of every κ on the renders of that step.

    `run` in its numbers has those of the run itself, which are the same as without the residuals.
    """

    run: Run3D
    points: int

    @property
    def name(self) -> str:
        return f"residuals along {self.run.name}"

    def identity(self, study: Study) -> dict[str, Any]:
        return self.run.identity(study) | {"residuals_at": self.points}

    def work(self, study: Study, report: Report, folder: Path | None = None) -> Result:
        optimisation = self.run.optimisation(study)
        settings = optimisation.settings
        of_kappa, of_guidance = residual_variants(settings), guidance_variants(settings)
        on_object = {
            name: Guidance(study.prior, variant, optimisation.seed)
            for name, variant in of_kappa.items()
            if variant.noise in NEED_CELLS
        }
        optimisation.guidance = recorder = _Recorder(optimisation, on_object.values())
        steps = spread(settings.steps, self.points)

        def measure(measured: dict[str, Any]) -> None:
            inputs = recorder.inputs

            def random(name: str) -> Generator:
                return Generator().manual_seed(seed_of(optimisation.seed, optimisation.step, "residual", name))

            # in every step, since what they know of the object grows from view to view
            found = {name: residual_on_object(one, inputs, random(name)) for name, one in on_object.items()}
            if optimisation.step - 1 not in steps:
                return
            measured.setdefault("t", []).append(inputs.t[0].item())
            for curves, variants in (("kappa", of_kappa), ("guidance", of_guidance)):
                for name, variant in variants.items():
                    curve = measured.setdefault(curves, {}).setdefault(name, [])
                    curve.append(found[name] if name in found else residual(study, variant, inputs, random(name)))

        cells = {name: one.cells for name, one in on_object.items() if one.cells is not None}
        result = optimised(study, optimisation, self.name, report, folder, measure, cells)
        curves = {"t": [], "kappa": {}, "guidance": {}}
        curves = {name: result.numbers.pop(name, none) for name, none in curves.items()}
        return Result(result.pictures, curves | {"run": result.numbers})


@dataclass(frozen=True)
class Inputs:
    """A step's inputs to its guidance: renders x0 (B, C, h, w), times (B,) in [0, 1], conditioning, and the points
    of the object that they see, where a κ depends on them.
    """

    x0: Tensor
    t: Tensor
    conditioning: Conditioning
    surface: SurfacePoints | None = None


def residual(study: Study, settings: Settings, inputs: Inputs, random: Generator) -> float:
    """The residual of eq. (8): root mean square of σ·[ε(a·x0 + b·κ, y) − κ], averaged over the renders.

    The settings choose κ. For "interval", whose x(t) is not a·x0 + b·κ, κ is the ε(x(s), ∅) that it compares with.
    """
    guidance = Guidance(study.prior, settings, study.request.seed)
    kappa, _ = guidance.noise(inputs.x0, inputs.t, inputs.conditioning, random)
    errors = noise_residual(
        study.prior, inputs.x0, inputs.t, kappa, inputs.conditioning, guidance.scale(inputs.t[0].item())
    )
    return errors.mean().item()


def residual_on_object(guidance: Guidance, inputs: Inputs, random: Generator) -> float:
    """As `residual`, of a κ that lives on the object and learns from the model's answer, along the run so far."""
    target = guidance.target(inputs.x0, inputs.t, inputs.conditioning, random, inputs.surface)
    return distance_to_target(inputs.x0, target.x0).mean().item()


def panels(numbers: dict[str, Any]) -> list[Panel]:
    """The two plots of a residual run: choices of κ (Fig. 9, right) and pairs of guidance scales (Fig. 10, left)."""
    titles = {"kappa": "noise κ", "guidance": "guidance (γ_inv, γ_fwd)"}
    return [
        Panel(title, {name: list(zip(numbers["t"], curve, strict=True)) for name, curve in numbers[curves].items()})
        for curves, title in titles.items()
    ]


class _Recorder(Guidance):
    """The guidance of a run, which keeps the inputs of its last step, with the object's points if others need them."""

    def __init__(self, optimisation: Optimisation, others: Iterable[Guidance]) -> None:
        super().__init__(optimisation.prior, optimisation.settings, optimisation.seed)
        self.inputs: Inputs
        resolutions = [super().surface_resolution, *(one.surface_resolution for one in others)]
        self._resolution = max((known for known in resolutions if known is not None), default=None)

    @property
    def surface_resolution(self) -> int | None:
        return self._resolution

    def target(
        self,
        x0: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        random: Generator,
        surface: SurfacePoints | None = None,
    ) -> Prediction:
        self.inputs = Inputs(x0, t, conditioning, surface)
        return super().target(x0, t, conditioning, random, surface)
