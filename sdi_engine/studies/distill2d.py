"""2D score distillation by eq. (10) with full steps: with the right noise κ it equals DDIM, with any other it does
not."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from ..config.settings import OFF
from ..contract.request import JobRequest
from ..diffusion.prior import Conditioning, Prediction, Prior
from ..distillation.ddim import ddim_trajectory
from ..distillation.noise import Noise
from ..distillation.target import distillation_target
from ..mesh.eight_bit import is_finite
from ..randomness import seed_of
from ..run.guidance import Guidance, broken_model
from ..run.previews import to_image
from .sampling import (
    DEFAULT_STEPS,
    decoded,
    fit_pictures,
    numbers_of,
    resolution_2d,
    sampling_times,
    starting_noise,
)
from .sheets import Cell, Row, contact_sheet
from .study import Report, Study, prepare, reported, save_json, save_picture, spread

DDIM = "ddim"
SAME = 1e-4
"""Trajectories that differ by less than this everywhere are the same up to rounding; x0 is about −1…1."""

LARGEST_SIGMA = 100.0
"""Up to this σ eq. (10) is taken literally. Beyond, it would multiply the rounding of ε − κ until that shows; and flow
models, some of which spend most of their steps there, begin without any signal, at σ = ∞."""

COLUMNS = 6
"""Number of times shown in the picture."""

ChooseNoise = Callable[[Tensor, Tensor, Prediction], Noise]
"""(x0, t, previous prediction) → κ."""

log = logging.getLogger(__name__)


def distill2d(request: JobRequest, folder: Path, report: Report, noise: str) -> dict[str, Any]:
    """DDIM and score distillation from the same noise: `trajectories.png`, both final images, and `result.json`.

    Args:
        request: validated; its `steps` are DDIM steps, and its preset sets the details of κ.
        folder: an empty folder.
        noise: one of `parameters.NOISES_2D`.

    Returns:
        The content of `result.json`; `largest_difference` is over all steps, pixels and channels of x0. If the noise
        makes score distillation diverge to NaN or infinity, it has no image.

    Raises:
        OutOfMemoryError: there is certainly not enough memory for it.
        BrokenNumbersError: DDIM itself diverged, because the model is broken.
    """
    study = prepare(request, report)
    fit_pictures(study, 1, report)
    prior, prompt = study.prior, request.prompt
    times = sampling_times(prior, request.steps or DEFAULT_STEPS, resolution_2d(study))
    start = time.perf_counter()
    phase = f"2D score distillation, {noise}"
    both = zip(
        reported(phase, len(times), report),
        trajectory(study, prompt, DDIM, times),
        trajectory(study, prompt, noise, times),
        strict=False,
    )
    ddim, distilled = zip(*((one.x0, other.x0) for _, one, other in both), strict=True)
    if not is_finite(*ddim):
        raise broken_model(prior)
    differences = [(one - other).abs().max().item() for one, other in zip(ddim, distilled, strict=True)]
    largest = torch.tensor(differences).max().item()  # NaN if one of them is
    same = "the trajectories are the same" if largest <= SAME else "the trajectories differ"
    log.info('Largest difference between DDIM and score distillation with "%s" noise: %.2g: %s.', noise, largest, same)

    shown = spread(len(times), COLUMNS)
    ddim_images, distilled_images = ([decoded(prior, x0s[index]) for index in shown] for x0s in (ddim, distilled))
    save_picture(to_image(ddim_images[-1][0]), folder / "ddim.png")
    distilled_result: dict[str, Any] = {"file": None}
    if is_finite(distilled_images[-1]):
        save_picture(to_image(distilled_images[-1][0]), folder / "distilled.png")
        distilled_result = {"file": "distilled.png", **numbers_of(distilled_images[-1])}
    else:
        log.warning('Score distillation with "%s" noise diverged to NaN or infinity: it has no image.', noise)
    captions = [f"difference {differences[index]:.1e}" for index in shown]
    rows = [
        Row("DDIM", [Cell(to_image(image[0])) for image in ddim_images]),
        Row(
            f"score distillation, {noise} noise",
            [Cell(image_or_none(image[0]), text) for image, text in zip(distilled_images, captions, strict=True)],
        ),
    ]
    title = f'"{prompt}", one-step denoised images x0(t)\n{request.model}, guidance {study.guidance_scale:g}'
    columns = [f"t = {times[index]:.2f}" for index in shown]
    save_picture(contact_sheet(rows, columns, title), folder / "trajectories.png")
    result = study.identity(prompt) | {
        "noise": noise,
        "steps": len(times),
        "guidance_scale": study.guidance_scale,
        "resolution": resolution_2d(study),
        "times": [round(t, 5) for t in times.tolist()],
        "differences": differences,
        "largest_difference": largest,
        "same": largest <= SAME,
        "ddim": {"file": "ddim.png", **numbers_of(ddim_images[-1])},
        "distilled": distilled_result,
        "picture": "trajectories.png",
        "seconds": round(time.perf_counter() - start, 3),
    }
    return save_json(result, folder / "result.json")


def image_or_none(picture: Tensor) -> Image.Image | None:
    """A (3, H, W) tensor in 0…1 as an image; None if it has NaN or infinities, as of a method that diverged."""
    return to_image(picture) if is_finite(picture) else None


def last_image(study: Study, prompt: str, noise: str, times: Tensor, report: Report, phase: str) -> Tensor:
    """The final image of a `trajectory`, (1, 3, H, W) in 0…1; all NaN if it diverged.

    Raises:
        BrokenNumbersError: DDIM itself diverged, because the model is broken.
    """
    steps = zip(reported(phase, len(times), report), trajectory(study, prompt, noise, times), strict=False)
    *_, (_, last) = steps
    image = decoded(study.prior, last.x0)
    if noise == DDIM and not is_finite(image):
        raise broken_model(study.prior)
    return image


def trajectory(study: Study, prompt: str, noise: str, times: Tensor) -> Iterator[Prediction]:
    """x0 at every time by DDIM or by score distillation; all start from the same noise, drawn from the request's seed.

    Args:
        noise: `DDIM`, or one of `parameters.NOISES_2D`.
        times: (n,), falling, in [0, 1].
    """
    prior, request = study.prior, study.request
    conditioning = prior.condition([prompt], request.negative_prompt)
    prior.free_text_encoders()
    x = starting_noise(prior, [request.seed], resolution_2d(study))
    if noise == DDIM:
        return ddim_trajectory(prior, x, times, conditioning, study.guidance_scale)
    # of one view that stays nothing need be forgotten, and so its cached noise is DDIM's
    settings = dataclasses.replace(study.settings, noise=noise, cache_refresh=OFF)
    guidance = Guidance(prior, settings, request.seed)
    random = Generator().manual_seed(seed_of(request.seed, "2D score distillation"))

    def choose(x0: Tensor, t: Tensor, previous: Prediction) -> Noise:
        return guidance.noise(x0, t, conditioning, random, previous)

    return score_distillation(prior, x, times, conditioning, study.guidance_scale, choose)


@torch.no_grad()
def score_distillation(
    prior: Prior, x: Tensor, times: Tensor, conditioning: Conditioning, guidance: float, choose: ChooseNoise
) -> Iterator[Prediction]:
    """x0 at every time by eq. (10), x0 − σ·[ε(x(t), y) − κ], starting from the model's own prediction at times[0].

    Args:
        x: (B, C, h, w), the noise at times[0], the same that DDIM starts from.
        times: (n,), falling, in [0, 1].
        guidance: γ of eq. (3).
        choose: returns κ for the current x0 and the next time.
    """
    prediction = prior.predict(x, times[0].expand(len(x)), conditioning, guidance)
    yield prediction
    for t in times[1:]:
        t = t.expand(len(x))
        x0 = prediction.x0
        kappa, image = choose(x0, t, prediction)
        target = distillation_target(prior, x0, t, kappa, conditioning, guidance, image)
        a, b = prior.scales(t)
        literal = x0 - b / a * (target.noise - kappa)
        prediction = dataclasses.replace(target, x0=torch.where(b <= LARGEST_SIGMA * a, literal, target.x0))
        yield prediction
