"""2D samples by DDIM: what the model itself draws for a prompt, before any 3D."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ..config.parameters import following_seed
from ..contract.request import JobRequest
from ..diffusion.loading import LoadPrior
from ..diffusion.needs import Work
from ..diffusion.prior import Prior
from ..distillation.ddim import ddim_trajectory
from ..errors import BadInputError
from ..mesh.eight_bit import is_finite
from ..randomness import seed_of
from ..run.fitting import fit
from ..run.guidance import broken_model
from ..run.previews import to_image
from ..run.read_progress import read_progress
from ..run.text_to_mesh import LOADING_ENCODERS
from .metrics import all_pixels, saturation, sharpness
from .sheets import Cell, Row, contact_sheet
from .study import Report, Study, prepare, reported, save_json, save_picture

DEFAULT_STEPS = 30
IMAGES_AT_ONCE = 4
MAX_IMAGES = 64
IMAGES_PER_ROW = 6


def sample(
    request: JobRequest, folder: Path, report: Report, count: int, load: LoadPrior | None = None
) -> dict[str, Any]:
    """Draw `count` samples with successive seeds: `seed-N.png` for each, `sheet.png` with all, and `result.json`.

    Args:
        request: validated; its seed is the first, and its `steps` are DDIM steps.
        folder: where to write them; files of these names are replaced.
        count: 1 to `MAX_IMAGES`.
        load: loads the model, `load_prior` by default.

    Returns:
        The content of `result.json`. Sharpness and saturation are over all pixels.

    Raises:
        BadInputError: `count` or the number of steps is out of range.
        OutOfMemoryError: there is certainly not enough memory for one picture.
        BrokenNumbersError: the model returned NaN or infinite values.
    """
    if not 1 <= count <= MAX_IMAGES:
        raise BadInputError(f'The setting "count" is {count}: it must be between 1 and {MAX_IMAGES}.')
    study = prepare(request, report, load)
    fit_pictures(study, min(count, IMAGES_AT_ONCE), report)
    times = sampling_times(study.prior, request.steps or DEFAULT_STEPS, resolution_2d(study))
    seeds = [following_seed(request.seed, number) for number in range(count)]
    start = time.perf_counter()
    images: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for first in range(0, count, IMAGES_AT_ONCE):
        some = seeds[first : first + IMAGES_AT_ONCE]
        pictures = ddim_images(study, request.prompt, some, times, report, f"DDIM, {first + len(some)} of {count}")
        for seed, picture in zip(some, pictures, strict=True):
            file = f"seed-{seed}.png"
            image = to_image(picture)
            save_picture(image, folder / file)
            images.append({"seed": seed, "file": file, **numbers_of(picture[None])})
            cells.append(Cell(image, f"seed {seed}"))
    rows = [Row("", cells[first : first + IMAGES_PER_ROW]) for first in range(0, count, IMAGES_PER_ROW)]
    title = f'"{request.prompt}"\n{request.model}, DDIM, {len(times)} steps, guidance {study.guidance_scale:g}'
    save_picture(contact_sheet(rows, title=title), folder / "sheet.png")
    result = study.identity(request.prompt) | {
        "steps": len(times),
        "guidance_scale": study.guidance_scale,
        "resolution": resolution_2d(study),
        "images": images,
        "sheet": "sheet.png",
        "seconds": round(time.perf_counter() - start, 3),
    }
    return save_json(result, folder / "result.json")


def fit_pictures(study: Study, at_once: int, report: Report) -> None:
    """Have a study's model take the measures with which so many pictures can be drawn at once (`run.fitting`).

    Raises:
        OutOfMemoryError: there is certainly not enough memory for one.
    """
    request = study.request
    work = Work(resolution_2d(study), at_once, is_3d=False)
    fit(study.prior, request.model, study.settings, report, request.parts, work)


def ddim_images(study: Study, prompt: str, seeds: Sequence[int], times: Tensor, report: Report, phase: str) -> Tensor:
    """One image for each seed by DDIM, (B, 3, H, W) in 0…1.

    Raises:
        BrokenNumbersError: the model returned NaN or infinite values.
    """
    with read_progress(LOADING_ENCODERS, report):
        conditioning = study.prior.condition([prompt] * len(seeds), study.request.negative_prompt)
    study.prior.free_text_encoders()
    noise = starting_noise(study.prior, seeds, resolution_2d(study))
    trajectory = ddim_trajectory(study.prior, noise, times, conditioning, study.guidance_scale)
    *_, (_, last) = zip(reported(phase, len(times), report), trajectory, strict=False)
    images = decoded(study.prior, last.x0)
    if not is_finite(images):
        raise broken_model(study.prior)
    return images


def starting_noise(prior: Prior, seeds: Sequence[int], resolution: int) -> Tensor:
    """x at the first time, (B, C, h, w): standard normal noise; each image's depends on its own seed alone."""
    shape = prior.latent_shape(resolution)
    draws = [torch.randn(shape, generator=Generator().manual_seed(seed_of(seed, "starting noise"))) for seed in seeds]
    return torch.stack(draws).to(prior.device)


def sampling_times(prior: Prior, steps: int, resolution: int | None = None) -> Tensor:
    """The times of the model's own sampler: (steps,), falling, in [0, 1]; `resolution` as of `Prior.sampling_times`.

    Raises:
        BadInputError: the model's noise schedule has fewer than `steps` times.
    """
    try:
        return prior.sampling_times(steps, resolution)
    except ValueError as error:
        raise BadInputError(f"This model cannot be sampled in {steps} steps: choose fewer, for example 30.") from error


def resolution_2d(study: Study) -> int:
    """Height and width of 2D images in pixels: the request's resolution, by default the model's own."""
    return study.request.resolution or study.prior.resolution


@torch.no_grad()
def decoded(prior: Prior, x0: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0…1 decoded from x0, on the CPU; an image is all NaN if its x0 has NaN or infinities."""
    images = prior.decode(x0).cpu()
    images[~x0.isfinite().flatten(1).all(dim=1).cpu()] = torch.nan
    return images


def numbers_of(images: Tensor) -> dict[str, float]:
    """Sharpness and saturation over all pixels of images (B, 3, H, W) in 0…1, rounded for readers."""
    mask = all_pixels(images)
    return {"sharpness": round(sharpness(images, mask), 5), "saturation": round(saturation(images, mask), 4)}
