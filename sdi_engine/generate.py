"""The optimisation loop: a radiance field is distilled from a frozen 2D diffusion model. Reads top to bottom.

One step: render the field from some cameras, encode the renders, find the noise κ, ask the model what it would see in
the noised renders, and move the field towards that (the algorithm box of the paper).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Generator, Tensor

from .diffusion.prior import Conditioning, Prior
from .diffusion.views import view_words, with_view
from .distillation.noise import inversion_steps, inverted_noise, random_noise
from .distillation.target import distillation_loss, distillation_target, without_background_shift
from .errors import BadInputError, NoObjectError
from .job_folder import write_atomically
from .radiance import regularisers
from .radiance.cameras import Cameras
from .radiance.field import RadianceField
from .radiance.occupancy import OccupancyGrid
from .radiance.renderer import RayColours, render_image, render_rays
from .radiance.shading import Shading
from .settings import Settings

OCCUPANCY_RESOLUTION = 32
OCCUPANCY_EVERY = 5
"""Steps between two looks at where matter is."""

MAX_RAYS_PER_PATCH = {"cpu": 16_384, "cuda": 65_536, "mps": 16_384}
"""Rays rendered with gradients at once; more are rendered patch by patch, so that memory does not grow with them."""

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

    All randomness comes from (seed, step), so a run that is resumed from a checkpoint equals one that was not.
    """

    def __init__(self, prior: Prior, prompt: str, negative_prompt: str, settings: Settings, seed: int) -> None:
        self.prior = prior
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.settings = settings
        self.seed = seed
        self.step = 0
        self.device = prior.device
        self.field = RadianceField(settings.field, _generator(seed, -1)).to(self.device)
        self.occupancy = OccupancyGrid(settings.field.bound, OCCUPANCY_RESOLUTION).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.field.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-15
        )

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    def advance(self) -> StepReport:
        """One step of the optimisation.

        Raises:
            NoObjectError: the field has become empty or holds numbers that are none.
        """
        settings = self.settings
        progress = self.step / settings.steps
        random = _generator(self.seed, self.step)
        clock = _Clock(self.device)

        self.field.activate_levels(progress, settings.level_starts)
        if self.step % OCCUPANCY_EVERY == 0:
            self.occupancy.update(self.field, random)
            self._check_volume()
        cameras = settings.cameras.sample(settings.views_per_step, random).to(self.device)
        patches = self._patches(cameras, random, self._shading(progress))
        whole = patches.render()
        seconds_3d = clock.lap()

        # the gradient of everything that is computed on whole images, with respect to the rendered images
        images = whole.map(lambda tensor: tensor.detach().requires_grad_())
        background = self._background(len(cameras), random)
        loss = self._distillation_loss(images, cameras, background, progress, random)
        loss = loss + self._image_regularisers(images, progress)
        loss.backward()
        seconds_2d = clock.lap()

        # from there on to the field, patch by patch (deferred back-propagation)
        self.optimizer.zero_grad(set_to_none=True)
        patches.backward(images)
        if settings.smoothness:
            (settings.smoothness * self.field.smoothness()).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * _fade(progress)
        self.optimizer.step()
        self.step += 1
        seconds_3d += clock.lap()

        value = loss.item()
        if not math.isfinite(value):
            raise NoObjectError(self._broke_down())
        return StepReport(self.step, value, seconds_2d, seconds_3d)

    def view(self, azimuths_deg: list[float], elevation_deg: float, resolution: int) -> Tensor:
        """Pictures of the current state on light grey, (B, 3, H, W) in 0…1."""
        cameras = self.settings.cameras.orbit(azimuths_deg, elevation_deg, self.device)
        patch = MAX_RAYS_PER_PATCH[self.device.type]
        seen = render_image(
            self.field, self.occupancy, *cameras.rays(resolution), self.settings.samples_per_ray * 2, patch
        )
        return (seen.rgb + (1.0 - seen.opacity) * 0.9).permute(0, 3, 1, 2).clamp(0.0, 1.0)

    def save(self, path: Path) -> None:
        """Write everything that `load` needs into one safetensors file, atomically; raises OSError."""
        tensors = {f"field.{name}": tensor for name, tensor in self.field.state_dict().items()}
        tensors |= {f"occupancy.{name}": tensor for name, tensor in self.occupancy.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors["step"] = torch.tensor(self.step)
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(contiguous))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that `save` wrote.

        Raises:
            BadInputError: the file is damaged or of a run with other settings.
        """
        try:
            tensors = load_file(path)
            step = int(tensors.pop("step"))
            self.field.load_state_dict(_below("field.", tensors))
            self.occupancy.load_state_dict(_below("occupancy.", tensors))
            optimizer = self.optimizer.state_dict()
            optimizer["state"] = {}
            for name, tensor in _below("optimizer.", tensors).items():
                index, _, key = name.partition(".")
                optimizer["state"].setdefault(int(index), {})[key] = tensor
            self.optimizer.load_state_dict(optimizer)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise BadInputError(
                f'The checkpoint "{path}" is damaged or of another version: delete it to start the job over.'
            ) from error
        self.step = step
        self.field.activate_levels((step - 1) / self.settings.steps, self.settings.level_starts)

    def _check_volume(self) -> None:
        if not self.occupancy.density.isfinite().all():
            raise NoObjectError(self._broke_down())
        if not self.occupancy.occupied.any():
            raise NoObjectError(
                f"The volume has become empty by step {self.step}: try another seed, or words which the model knows."
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
            normal_spacing=2.0 * settings.field.bound / max(settings.field.grid_resolutions),
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
            size=MAX_RAYS_PER_PATCH[self.device.type],
            shading=shading,
        )

    def _background(self, views: int, random: Generator) -> Tensor:
        """(B, 1, 1, 3): a plain colour for each view, grey in half of them."""
        colour = torch.rand(views, 1, 1, 3, generator=random)
        grey = torch.rand(views, 1, 1, 1, generator=random).expand_as(colour)
        use_grey = torch.rand(views, 1, 1, 1, generator=random) < 0.5
        return torch.where(use_grey, grey, colour).to(self.device)

    def _conditioning(self, cameras: Cameras) -> Conditioning:
        vocabulary = self.prior.hints.view_vocabulary
        prompts = [
            with_view(self.prompt, view_words(azimuth, elevation, vocabulary))
            for azimuth, elevation in zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
        ]
        return self.prior.condition(prompts, self.negative_prompt)

    def _distillation_loss(
        self, images: RayColours, cameras: Cameras, background: Tensor, progress: float, random: Generator
    ) -> Tensor:
        settings = self.settings
        composed = images.rgb + (1.0 - images.opacity) * background
        x0 = self.prior.encode(composed.permute(0, 3, 1, 2))
        conditioning = self._conditioning(cameras)
        now = settings.t_start + (settings.t_end - settings.t_start) * progress
        t = torch.full((len(cameras),), now, device=self.device)

        if settings.noise == "random":
            kappa = random_noise(x0.detach(), random)
        else:
            kappa = inverted_noise(
                self.prior,
                x0.detach(),
                t,
                conditioning,
                guidance=settings.inversion_guidance_scale,
                steps=inversion_steps(now, settings.inversion_steps_per_unit),
                start=settings.inversion_start,
                overshoot=settings.inversion_overshoot,
                entropy=settings.inversion_entropy,
                generator=random,
            )
        target = distillation_target(self.prior, x0.detach(), t, kappa, conditioning, settings.guidance_scale)
        if settings.fit_background:
            transparency = 1.0 - images.opacity.detach().permute(0, 3, 1, 2)
            target = without_background_shift(x0.detach(), target, F.adaptive_avg_pool2d(transparency, x0.shape[-2:]))
        return distillation_loss(x0, target)

    def _image_regularisers(self, images: RayColours, progress: float) -> Tensor:
        settings = self.settings
        sparsity = settings.sparsity * max(0.0, 1.0 - progress / settings.sparsity_end)
        loss = sparsity * regularisers.sparsity(images.opacity)
        if progress >= settings.opaqueness_start:
            loss = loss + settings.opaqueness * regularisers.opaqueness(images.opacity)
            loss = loss + settings.z_variance * regularisers.z_variance(images.depth_variance, images.opacity)
        return loss


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
        random = Generator().manual_seed(self.seed)
        for some_origins, some_directions in zip(origins, directions, strict=True):
            yield render_rays(
                self.field, self.occupancy, some_origins, some_directions, self.samples, random, self.shading
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
    """Random numbers of one step of one seed, on the CPU, so that every device draws the same ones."""
    digest = hashlib.sha256(f"{seed}/{step}{purpose}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _fade(progress: float) -> float:
    return 1.0 - (1.0 - FADE_TO) * max(0.0, progress - FADE_START) / (1.0 - FADE_START)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
