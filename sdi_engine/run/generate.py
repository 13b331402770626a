"""The optimisation loop: a radiance field is distilled from a frozen 2D diffusion model. Reads top to bottom.

One step: render the field from some cameras, encode the renders, find the noise κ, ask the model what it would see in
the noised renders, and move the field towards that (the algorithm box of the paper).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Generator, Tensor

from ..config.settings import Settings
from ..diffusion.prior import Prior
from ..distillation.target import distillation_loss, without_background_shift, without_colour_shift
from ..errors import BadInputError, NoObjectError
from ..radiance import regularisers
from ..radiance.background import EnvironmentMap
from ..radiance.cameras import Cameras, orbit, sample
from ..radiance.field import RadianceField
from ..radiance.occupancy import OccupancyGrid
from ..radiance.renderer import RayColours, render_image, render_rays
from ..radiance.shading import Shading
from ..system.files import make_folder_of_ours, write_atomically
from .guidance import Guidance, seed_of

OCCUPANCY_EVERY = 5
"""Steps between two looks at where matter is."""

MAX_SAMPLES_PER_PATCH = {"cpu": 786_432, "cuda": 4_194_304, "mps": 786_432}
"""Samples along all rays that are rendered with gradients at once; more are rendered patch by patch, so that memory
does not grow with them."""

NORMAL_RESOLUTION = 32
"""Height and width of the renders in which orientation and convexity are measured: a normal costs six densities, which
is too dear for every ray of a large image."""

BACKGROUND_LEARNING_RATE = 1e-3
"""Of the environment map; the paper's."""

EMPTY_OPACITY = 0.02
"""A volume of which no ray of a step sees more is empty, and no gradient will fill it again."""

FOG_START = 0.3
FOG_SHARE = 0.6
"""From this progress on a volume is taken for fog if so many of the cells at its faces stop light; until then the early
haze may still clear. An object that stands in the cube touches its faces in places at most."""

VIEW_BACKGROUND = 0.9
"""Light grey."""

STRONGER_BLOB = 1.5
"""Each further attempt starts with a central ball so many times as dense."""

FADE_START = 0.6
FADE_TO = 0.2
"""The learning rate falls linearly to a fifth over the last 40 % of the run."""


@dataclass(frozen=True)
class StepReport:
    """How far the run is after a step; seconds are of this step alone."""

    step: int
    loss: float
    seconds_2d: float
    seconds_3d: float


class Generation:
    """One run: a prompt, a prior, settings, a seed; the field is its result.

    All randomness comes from (seed, attempt, step), so a run that is resumed from a checkpoint equals one that was not;
    on a GPU nearly, since it adds gradients up in any order.

    Args:
        attempt: how many runs of this kind came to nothing before; another one draws other numbers and starts with a
            stronger central ball.
    """

    def __init__(
        self, prior: Prior, prompt: str, negative_prompt: str, settings: Settings, seed: int, attempt: int = 0
    ) -> None:
        self.prior = prior
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.settings = settings
        self.attempt = attempt
        self.seed = seed_of(seed, "attempt", attempt) if attempt else seed
        self.step = 0
        self.device = prior.device
        self.guidance = Guidance(prior, settings, self.seed)
        field = dataclasses.replace(settings.field, blob_density=settings.field.blob_density * STRONGER_BLOB**attempt)
        self.field = RadianceField(field, _generator(self.seed, -1)).to(self.device)
        self.occupancy = OccupancyGrid(field.bound, settings.occupancy_resolution).to(self.device)
        groups = [{"params": list(self.field.parameters()), "initial_lr": settings.learning_rate}]
        self.environment: EnvironmentMap | None = None
        if settings.environment_background:
            self.environment = EnvironmentMap(_generator(self.seed, -1, "background")).to(self.device)
            groups.append({"params": list(self.environment.parameters()), "initial_lr": BACKGROUND_LEARNING_RATE})
        self.optimizer = torch.optim.Adam(groups, lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-15)

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    def advance(self) -> StepReport:
        """One step of the optimisation.

        Raises:
            NoObjectError: the field has become empty or full of fog, or holds numbers that are none.
        """
        settings = self.settings
        progress = self.step / settings.steps
        random = _generator(self.seed, self.step)
        clock = _Clock(self.device)

        self.field.activate_levels(progress, settings.level_starts)
        if self.step % OCCUPANCY_EVERY == 0:
            self.occupancy.update(self.field, random)
            self._check_volume(progress)
        cameras = sample(settings.cameras, settings.views_per_step, random).to(self.device)
        patches = self._patches(cameras, random, self._shading(progress))
        whole = patches.render()
        if whole.opacity.max() < EMPTY_OPACITY:
            raise NoObjectError(
                f"The volume has become empty by step {self.step}: try another seed, or words which the model knows."
            )
        seconds_3d = clock.lap()

        # the gradient of everything that is computed on whole images, with respect to the rendered images
        images = whole.map(lambda tensor: tensor.detach().requires_grad_())
        self.optimizer.zero_grad(set_to_none=True)
        background = self._background(patches.directions, random)
        loss = self._distillation_loss(images, cameras, background, progress, random)
        loss = loss + self._image_regularisers(images, progress)
        loss.backward()
        seconds_2d = clock.lap()

        # from there on to the field, patch by patch (deferred back-propagation)
        patches.backward(images)
        for penalty in self._field_regularisers(cameras, progress, random):
            penalty.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (_fade(progress) if settings.fade else 1.0)
        self.optimizer.step()
        self.step += 1
        seconds_3d += clock.lap()

        value = loss.item()
        if not math.isfinite(value):
            raise NoObjectError(self._broke_down())
        return StepReport(self.step, value, seconds_2d, seconds_3d)

    def view(self, azimuths_deg: list[float], elevation_deg: float, resolution: int) -> Tensor:
        """Pictures of the current state on light grey, (B, 3, H, W) in 0…1."""
        return self.view_with_opacity(azimuths_deg, elevation_deg, resolution)[0]

    def view_with_opacity(
        self, azimuths_deg: list[float], elevation_deg: float, resolution: int
    ) -> tuple[Tensor, Tensor]:
        """`view`, and the opacities, (B, 1, H, W) in 0…1."""
        cameras = orbit(self.settings.cameras, azimuths_deg, elevation_deg, self.device)
        samples = self.settings.samples_per_ray * 2
        patch = rays_per_patch(self.device, samples)
        seen = render_image(self.field, self.occupancy, *cameras.rays(resolution), samples, patch)
        images = (seen.rgb + (1.0 - seen.opacity) * VIEW_BACKGROUND).permute(0, 3, 1, 2).clamp(0.0, 1.0)
        return images, seen.opacity.permute(0, 3, 1, 2)

    def save(self, path: Path) -> None:
        """Write everything that `load` needs into one safetensors file, atomically; raises OSError."""
        tensors = {f"field.{name}": tensor for name, tensor in self.field.state_dict().items()}
        if self.environment is not None:
            tensors |= {f"environment.{name}": tensor for name, tensor in self.environment.state_dict().items()}
        tensors |= {f"occupancy.{name}": tensor for name, tensor in self.occupancy.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors |= {"step": torch.tensor(self.step), "attempt": torch.tensor(self.attempt)}
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        make_folder_of_ours(path.parent)
        write_atomically(path, save(contiguous))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that `save` wrote.

        Raises:
            BadInputError: the file is damaged or of a run with other settings.
        """
        try:
            tensors = load_file(path)
            step, attempt = int(tensors.pop("step")), int(tensors.pop("attempt"))
            if attempt != self.attempt:
                raise ValueError(f"attempt {attempt} is no attempt {self.attempt}")
            self.field.load_state_dict(_below("field.", tensors))
            self.occupancy.load_state_dict(_below("occupancy.", tensors))
            if self.environment is not None:
                self.environment.load_state_dict(_below("environment.", tensors))
            optimizer = self.optimizer.state_dict()
            optimizer["state"] = {}
            for name, tensor in _below("optimizer.", tensors).items():
                index, _, key = name.partition(".")
                optimizer["state"].setdefault(int(index), {})[key] = tensor
            self.optimizer.load_state_dict(optimizer)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise _damaged(path) from error
        self.step = step
        self.field.activate_levels((step - 1) / self.settings.steps, self.settings.level_starts)

    def _check_volume(self, progress: float) -> None:
        if not self.occupancy.density.isfinite().all():
            raise NoObjectError(self._broke_down())
        if progress >= FOG_START and self.occupancy.filled_boundary > FOG_SHARE:
            raise NoObjectError(
                f"The volume is full of fog at step {self.step}: try another seed, or a lower guidance scale."
            )

    def _broke_down(self) -> str:
        return (
            f"The optimisation broke down at step {self.step} (its numbers are none any more): try another seed, or a "
            "lower guidance scale."
        )

    def _shading(self, progress: float) -> Shading | None:
        """How this step's surfaces are lit, by lot; None for bare albedo."""
        settings = self.settings
        random = _generator(self.seed, self.step, "shading")
        lot = torch.rand((), generator=random).item()
        if progress < settings.shading_start or lot >= settings.textureless + settings.lit:
            return None
        return Shading(
            mode="textureless" if lot < settings.textureless else "lit",
            light_offset=0.5 * torch.randn(3, generator=random).to(self.device),
            normal_spacing=self.field.cell,
        )

    def _patches(self, cameras: Cameras, random: Generator, shading: Shading | None) -> _Patches:
        origins, directions = cameras.rays(self.settings.resolution)
        return _Patches(
            field=self.field,
            occupancy=self.occupancy,
            origins=origins,
            directions=directions,
            samples=self.settings.samples_per_ray,
            seed=int(torch.randint(2**62, (1,), generator=random)),
            size=rays_per_patch(self.device, self.settings.samples_per_ray),
            shading=shading,
        )

    def _background(self, directions: Tensor, random: Generator) -> Tensor:
        """What rays (B, H, W, 3) see behind the object: the environment, or a plain colour for each view (B, 1, 1, 3).

        Plain colours are grey in half of the views.
        """
        if self.environment is not None:
            return self.environment(directions)
        views = len(directions)
        colour = torch.rand(views, 1, 1, 3, generator=random)
        grey = torch.rand(views, 1, 1, 1, generator=random).expand_as(colour)
        use_grey = torch.rand(views, 1, 1, 1, generator=random) < 0.5
        return torch.where(use_grey, grey, colour).to(self.device)

    def _distillation_loss(
        self, images: RayColours, cameras: Cameras, background: Tensor, progress: float, random: Generator
    ) -> Tensor:
        settings = self.settings
        composed = images.rgb + (1.0 - images.opacity) * background
        x0 = self.prior.encode(composed.permute(0, 3, 1, 2))
        conditioning = self.guidance.conditioning(
            self.prompt, self.negative_prompt, cameras.azimuth.tolist(), cameras.elevation.tolist()
        )
        t = torch.full((len(cameras),), self.guidance.time(progress, random), device=self.device)
        asked = self.guidance.target(x0.detach(), t, conditioning, random)
        target = asked.x0
        opacity = F.adaptive_avg_pool2d(images.opacity.detach().permute(0, 3, 1, 2), x0.shape[-2:])
        if settings.fit_object and asked.by_guidance is not None:
            target = without_colour_shift(target, asked.by_guidance, opacity)
        if settings.fit_background:
            target = without_background_shift(x0.detach(), target, 1.0 - opacity)
        return distillation_loss(x0, target)

    def _image_regularisers(self, images: RayColours, progress: float) -> Tensor:
        settings = self.settings
        loss = settings.sparsity(progress) * regularisers.sparsity(images.opacity)
        loss = loss + settings.opaqueness(progress) * regularisers.opaqueness(images.opacity)
        return loss + settings.z_variance(progress) * regularisers.z_variance(images.depth_variance, images.opacity)

    def _field_regularisers(self, cameras: Cameras, progress: float, random: Generator) -> Iterator[Tensor]:
        """Penalties that need another look at the field than the images."""
        settings = self.settings
        if settings.smoothness:
            yield settings.smoothness * self.field.smoothness()
        orientation, convexity = settings.orientation(progress), settings.convexity(progress)
        if not orientation and not convexity:
            return
        origins, directions = cameras.rays(NORMAL_RESOLUTION)
        shape = origins.shape[:-1]
        seen = render_rays(
            self.field,
            self.occupancy,
            origins.reshape(-1, 3),
            directions.reshape(-1, 3),
            settings.samples_per_ray,
            random,
            normal_spacing=self.field.cell,
        ).map(lambda tensor: tensor.view(*shape, -1))
        if not seen.normal.requires_grad:
            return
        yield orientation * regularisers.orientation(seen.facing_away, seen.opacity) + convexity * (
            regularisers.convexity_of_colours(seen.normal, seen.opacity)
            if settings.released_code
            else regularisers.convexity(regularisers.view_space(seen.normal, cameras.axes()))
        )


@dataclass
class _Patches:
    """The rays of one step's images, rendered patch by patch, twice: to look, and to send gradients to the field.

    Where one patch holds all rays its graph is kept, and nothing is rendered twice.
    """

    field: RadianceField
    occupancy: OccupancyGrid
    origins: Tensor
    directions: Tensor
    samples: int
    seed: int
    size: int
    shading: Shading | None

    def render(self) -> RayColours:
        """All rays, (B, H, W, …)."""
        shape = self.origins.shape[:-1]
        self._kept = None
        if math.prod(shape) <= self.size:
            self._kept = next(self._render_each())
            return self._kept.map(lambda tensor: tensor.view(*shape, -1))
        with torch.no_grad():
            whole = RayColours.cat(list(self._render_each()))
        return whole.map(lambda tensor: tensor.view(*shape, -1))

    def backward(self, images: RayColours) -> None:
        """Carry the gradients which `images` hold into the field's parameters."""
        gradients = images.map(lambda tensor: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).map(
            lambda tensor: tensor.reshape(-1, tensor.shape[-1])
        )
        start = 0
        for part in self._render_each() if self._kept is None else [self._kept]:
            end = start + len(part.opacity)
            tensors, wanted = [], []
            for name in ("rgb", "opacity", "depth", "depth_variance"):
                tensor = getattr(part, name)
                if tensor.requires_grad:
                    tensors.append(tensor)
                    wanted.append(getattr(gradients, name)[start:end])
            if tensors:
                torch.autograd.backward(tensors, wanted)
            start = end

    def _render_each(self) -> Iterator[RayColours]:
        origins = self.origins.reshape(-1, 3).split(self.size)
        directions = self.directions.reshape(-1, 3).split(self.size)
        # Of the device itself: these are millions a step, and drawing them on the CPU took more than half of the time
        # that a GPU needs for the 3D part of a step.
        random = Generator(self.origins.device).manual_seed(self.seed)
        for some_origins, some_directions in zip(origins, directions, strict=True):
            yield render_rays(
                self.field, self.occupancy, some_origins, some_directions, self.samples, random, self.shading
            )


def rays_per_patch(device: torch.device, samples_per_ray: int) -> int:
    """How many rays are rendered at once."""
    return max(1, MAX_SAMPLES_PER_PATCH[device.type] // samples_per_ray)


def attempt_of(checkpoint: Path) -> int:
    """Which attempt a checkpoint belongs to.

    Raises:
        BadInputError: the file is damaged.
    """
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return int(file.get_tensor("attempt"))
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(checkpoint) from error


def _damaged(checkpoint: Path) -> BadInputError:
    return BadInputError(
        f'The checkpoint "{checkpoint}" is damaged or of another version: delete it to start the job over.'
    )


class _Clock:
    """Seconds between laps; waits for the device, since work on a GPU is asynchronous."""

    def __init__(self, device: torch.device) -> None:
        self._wait: Callable[[], None] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
            device.type, lambda: None
        )
        self.lap_start = self._now()

    def lap(self) -> float:
        now = self._now()
        seconds, self.lap_start = now - self.lap_start, now
        return seconds

    def _now(self) -> float:
        self._wait()
        return time.perf_counter()


def _generator(seed: int, step: int, purpose: str = "") -> Generator:
    """Random numbers of one step of one seed, on the CPU, so that every device draws the same ones (but `_Patches`)."""
    return Generator().manual_seed(seed_of(seed, f"{step}{purpose}"))


def _fade(progress: float) -> float:
    return 1.0 - (1.0 - FADE_TO) * max(0.0, progress - FADE_START) / (1.0 - FADE_START)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
