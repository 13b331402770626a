"""The optimisation loop: a 3D representation is distilled from a frozen 2D diffusion model. Reads top to bottom.

One step: render the object from some cameras, encode the renders, find the noise κ, ask the model what it would see in
the noised renders, and move the object towards that (the algorithm box of the paper). What the object is made of,
nothing here knows (`representation.Representation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import SAMPLERS, Cameras, orbit
from ..config.evaluations import evaluations_of
from ..config.settings import Settings
from ..diffusion.prior import Prior
from ..distillation.target import (
    distance_to_target,
    distillation_loss,
    without_background_shift,
    without_colour_shift,
)
from ..randomness import seed_of
from ..representation import START, Rendering, Safepoint, Step, SurfacePoints, broken_down, unwatched
from .adam import Adam
from .guidance import Guidance
from .representations import Represent, represent
from .step_watch import Parts, StepWatch
from .watched_prior import WatchedPrior

VIEW_BACKGROUND = 0.9
"""Light grey."""

FADE_START = 0.6
FADE_TO = 0.2
"""The learning rate falls linearly to a fifth over the last 40 % of the run."""

FIRST_PARTS = Parts(render=0.2, images=0.6, backward=0.2)
"""What the parts of a step are taken for before there was one."""


@dataclass(frozen=True)
class StepReport:
    """How far the run is after a step.

    Attributes:
        step: how many are done.
        loss: of this step.
        evaluations: images that the model was evaluated on.
        seconds_model: of these evaluations.
        seconds_2d: of all that is done with the images: encoding them, κ, the target, and the gradients.
        seconds_render: until the images are there.
        seconds_backward: from the images' gradients on.
    """

    step: int
    loss: float
    evaluations: int
    seconds_model: float
    seconds_2d: float
    seconds_render: float
    seconds_backward: float

    @property
    def seconds_3d(self) -> float:
        return self.seconds_render + self.seconds_backward

    @property
    def seconds(self) -> float:
        return self.seconds_2d + self.seconds_3d


class Optimisation:
    """One run: a prompt, a prior, settings, a seed; `representation` is its result.

    `residuals` are the pairs (t, residual of eq. (8)) of all steps whose target is that of eq. (10): how far the run's
    own κ was from the fixed point, as `target.noise_residual` measures it. It costs nothing, since it is the distance
    from the renders to their targets. (Where x(t) is not a·x0 + b·κ, that distance is still σ·‖ε − κ‖, the length of
    the update by eq. (10).)

    All randomness comes from (seed, attempt, step), so a run that goes on from a checkpoint (`run.checkpoint`) equals
    one that was never interrupted; on a GPU nearly, since it adds gradients up in any order.

    Args:
        settings: resolved.
        attempt: how many runs of this kind came to nothing before; another one draws other numbers.
        represent: makes the 3D, as the settings say by default.

    Attributes:
        safepoint: called again and again in the middle of a step, with how much of it is done, 0…1. What it raises
            ends the step, which then is as if it had never begun.
    """

    def __init__(
        self,
        prior: Prior,
        prompt: str,
        negative_prompt: str,
        settings: Settings,
        seed: int,
        attempt: int = 0,
        represent: Represent = represent,
    ) -> None:
        self.prior = prior = WatchedPrior(prior)
        self.safepoint: Safepoint = unwatched
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.settings = settings
        self.attempt = attempt
        self.seed = seed_of(seed, "attempt", attempt) if attempt else seed
        self.step = 0
        self.residuals: list[tuple[float, float]] = []
        self.device = prior.device
        self.guidance = Guidance(prior, settings, self.seed)
        self.representation = represent(settings, Step(self.seed, START, settings.steps), attempt, self.device)
        groups = [group | {"initial_lr": group["lr"]} for group in self.representation.parameter_groups()]
        self.optimizer = Adam(groups, betas=(0.9, 0.99), eps=1e-15)
        self._expected = FIRST_PARTS
        self._passes: float | None = None
        """Safepoints of the model in the last step, for each image that was to be evaluated."""

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    def advance(self) -> StepReport:
        """One step of the optimisation.

        Raises:
            NoObjectError: no object can come out of this run any more, or its numbers are NaN or infinite.
        """
        before, evaluations = self._remember(), self.prior.evaluations
        expected = evaluations_of(self.settings, self.step / self.settings.steps)
        watch = StepWatch(
            self.device,
            self._expected,
            expected,
            lambda: self.prior.evaluated,
            self.safepoint,
            self._first_passes(expected) if self._passes is None else self._passes * expected,
        )
        self.prior.at_safepoints(watch.between_evaluations)
        try:
            loss = self._advance(Step(self.seed, self.step, self.settings.steps, watch.between_patches), watch)
        except BaseException:
            self._undo(before)
            raise
        finally:
            self.prior.at_safepoints(lambda: None)
        if not math.isfinite(loss):
            raise broken_down(self.step)
        parts = watch.parts
        self._expected, self._passes = parts.shares, watch.passed / expected
        seconds_model = self.prior.stopwatch.take()
        return StepReport(
            self.step,
            loss,
            self.prior.evaluations - evaluations,
            seconds_model,
            parts.images,
            parts.render,
            parts.backward,
        )

    def _first_passes(self, expected: float) -> float | None:
        """About how many safepoints of the model a step passes, before there was one; None where that is not known."""
        of_evaluation, of_encoding = self.prior.safepoints
        if not of_evaluation + of_encoding:
            return None
        views = self.settings.views_per_step
        together = self.prior.images_at_once or 2 * views
        return math.ceil(expected / together) * (1 + of_evaluation) + views * of_encoding

    def _advance(self, step: Step, watch: StepWatch) -> float:
        """The loss of a step, which is done."""
        settings, representation = self.settings, self.representation
        representation.prepare(step)
        self.take_in_parameters()
        cameras = SAMPLERS[settings.views](settings.cameras, settings.views_per_step, step.random).to(self.device)
        drawn = step.random.get_state()
        rendering = representation.render(cameras, rendered_resolution(settings, step.progress), step)
        resolution = self.guidance.surface_resolution
        surface = None if resolution is None else rendering.surface(resolution)
        watch.part_over()

        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (_fade(step.progress) if settings.fade else 1.0)
        images = _enlarged(rendering.images, settings.resolution)
        x0 = self.prior.encode(images.detach() if self._is_in_pixels else images)
        target = self._target(x0.detach(), images.shape[-2:], rendering.opacity, surface, cameras, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = distillation_loss(images if self._is_in_pixels else x0, target) + rendering.losses()
        loss.backward()
        watch.part_over()

        self._learn(rendering, cameras, step)
        self.prior.at_safepoints(lambda: None)  # from here on a step cannot be given up
        for _ in range(settings.fits - 1):
            again = Step(step.seed, step.number, step.steps)
            again.random.set_state(drawn)  # for the same backgrounds
            rendering = representation.render(cameras, rendered_resolution(settings, step.progress), again)
            images = _enlarged(rendering.images, settings.resolution)
            seen = images if self._is_in_pixels else self.prior.encode(images)
            self.optimizer.zero_grad(set_to_none=True)
            (distillation_loss(seen, target) + rendering.losses()).backward()
            self._learn(rendering, cameras, again)
        self.step += 1
        watch.part_over()
        return loss.item()

    def _learn(self, rendering: Rendering, cameras: Cameras, step: Step) -> None:
        """A step of the optimiser, once the images have their gradients."""
        rendering.backward()
        for penalty in self.representation.penalties(cameras, step):
            penalty.backward()
        self.optimizer.step()

    def take_in_parameters(self) -> None:
        """Have the optimiser know of parameters that the representation has from now on."""
        known = {group["name"] for group in self.optimizer.param_groups}
        for group in self.representation.parameter_groups():
            if group["name"] not in known:
                self.optimizer.add_param_group(group | {"initial_lr": group["lr"]})

    def _remember(self) -> _Before:
        """What a step changes before its last moment, the optimiser's step."""
        buffers = {name: buffer.clone() for name, buffer in self.representation.named_buffers()}
        if self.guidance.cells is not None:
            self.guidance.cells.remember()
        return _Before(buffers, len(self.residuals))

    @torch.no_grad()
    def _undo(self, before: _Before) -> None:
        """Forget what has been done of a step."""
        for name, buffer in self.representation.named_buffers():
            if name in before.buffers:  # what began to be in this step is the same when it is begun again
                buffer.copy_(before.buffers[name])
        if self.guidance.cells is not None:
            self.guidance.cells.undo()
        del self.residuals[before.residuals :]
        self.prior.stopwatch.take()
        if self.step > 0:
            self.representation.resume((self.step - 1) / self.settings.steps)

    def view(self, azimuths_deg: list[float], elevation_deg: float, resolution: int) -> Tensor:
        """Pictures of the current state on light grey, (B, 3, H, W) in 0…1."""
        return self.view_with_opacity(azimuths_deg, elevation_deg, resolution)[0]

    def view_with_opacity(
        self, azimuths_deg: list[float], elevation_deg: float, resolution: int
    ) -> tuple[Tensor, Tensor]:
        """`view`, and the opacities, (B, 1, H, W) in 0…1."""
        cameras = orbit(self.settings.cameras, azimuths_deg, elevation_deg, self.device)
        rgb, opacity = self.representation.view(cameras, resolution)
        return (rgb + (1.0 - opacity) * VIEW_BACKGROUND).clamp(0.0, 1.0), opacity

    @property
    def _is_in_pixels(self) -> bool:
        return self.settings.loss == "pixels"

    def _target(
        self,
        x0: Tensor,
        size: torch.Size,
        opacity: Tensor,
        surface: SurfacePoints | None,
        cameras: Cameras,
        step: Step,
    ) -> Tensor:
        """What the images are to become: their encodings, (B, C, h, w), or where the loss is in pixels themselves.

        Args:
            x0: the encoded images, (B, C, h, w).
            size: height and width of the images.
            opacity: (B, 1, H, W) in 0…1.
        """
        settings = self.settings
        conditioning = self.guidance.conditioning(
            self.prompt, self.negative_prompt, cameras.azimuth.tolist(), cameras.elevation.tolist()
        )
        t = torch.full((len(cameras),), self.guidance.time(step.progress, step.random), device=self.device)
        asked = self.guidance.target(x0, t, conditioning, step.random, surface)
        now = t[0].item()
        if self.guidance.target_steps(now) == 1:
            self.residuals.append((now, distance_to_target(x0, asked.x0).mean().item()))
        # Beyond white and black no render can follow. If it were left in what guidance has added, and the mean of that
        # taken off, all that can follow would become darker than it should (docs/evaluation/settings.md).
        target = asked.x0.clamp(-self.prior.largest_x0, self.prior.largest_x0)
        opacity = F.adaptive_avg_pool2d(opacity, x0.shape[-2:])
        if settings.fit_object and asked.by_guidance is not None:
            target = without_colour_shift(target, asked.by_guidance + (target - asked.x0), opacity)
        if settings.fit_background:
            target = without_background_shift(x0, target, opacity)
        if self._is_in_pixels:
            return F.interpolate(self.prior.decode(target), size, mode="bilinear")
        return target


@dataclass(frozen=True)
class _Before:
    """A run as it was before a step, as far as a step that is given up can have changed it.

    Attributes:
        buffers: of the representation, by name.
        residuals: how many there were.
    """

    buffers: dict[str, Tensor]
    residuals: int


def rendered_resolution(settings: Settings, progress: float) -> int:
    """Height and width of a step's renders in pixels: a share of those of the model's images, in whole eights."""
    assert settings.resolution is not None
    share = settings.render_share(progress)
    if share >= 1.0:
        return settings.resolution
    return min(settings.resolution, max(8, 8 * round(share * settings.resolution / 8.0)))


def _enlarged(images: Tensor, resolution: int) -> Tensor:
    """Renders (B, 3, H, W) in the size of the model's images."""
    if images.shape[-1] == resolution:
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False)


def _fade(progress: float) -> float:
    return 1.0 - (1.0 - FADE_TO) * max(0.0, progress - FADE_START) / (1.0 - FADE_START)
