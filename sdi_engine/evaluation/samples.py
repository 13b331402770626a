"""The 2D model's own samples of an evaluation's prompts: objects can hardly be better than their model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..contract import events
from ..contract.job_folder import storage_errors
from ..diffusion.loading import LoadPrior
from ..diffusion.views import view_words, with_view
from ..run.previews import to_image
from ..studies.sampling import ddim_images, fit_pictures, resolution_2d, sampling_times
from ..studies.study import prepare, save_picture
from .pictures import ALL_AROUND
from .plan import Plan, Setting

FOLDER = "samples"
STEPS = 25
ELEVATION_DEG = 15.0
JUDGED_SIZE = 64


def make_samples(
    plan: Plan, folder: Path, report: Callable[[events.Event], None], load: LoadPrior | None = None
) -> None:
    """Fill `samples/` with pictures by DDIM, prompted from eight sides in turn; those already there are kept.

    Args:
        plan: its prompts, model and number of samples.
        folder: of the evaluation.
        report: gets the progress.
        load: loads the model, `load_prior` by default.
    """
    wanted = [
        (prompt, number)
        for prompt in plan.prompts
        for number in range(plan.samples)
        if not sample_file(plan, folder, prompt, number).is_file()
    ]
    if not wanted:
        return
    study = prepare(plan.request(plan.prompts[0], 0, Setting("samples")), report, load)
    fit_pictures(study, 1, report)
    times = sampling_times(study.prior, STEPS, resolution_2d(study))
    with storage_errors(folder):
        (folder / FOLDER).mkdir(exist_ok=True)
    for done, (prompt, number) in enumerate(wanted):
        azimuth = ALL_AROUND[sample_view(plan, prompt, number)]
        words = view_words(azimuth, ELEVATION_DEG, study.prior.hints.view_vocabulary)
        images = ddim_images(study, with_view(prompt, words), [number], times, lambda event: None, "")
        save_picture(to_image(images[0]), sample_file(plan, folder, prompt, number))
        report(events.Progress("Sampling in 2D", done + 1, len(wanted)))


def sample_file(plan: Plan, folder: Path, prompt: str, number: int) -> Path:
    """The file of a prompt's 2D sample."""
    return folder / FOLDER / f"{plan.prompts.index(prompt):03}-{number}.png"


def sample_view(plan: Plan, prompt: str, number: int) -> int:
    """The view that a prompt's 2D sample was prompted for, as an index into `pictures.ALL_AROUND`; all take turns."""
    return (plan.prompts.index(prompt) * plan.samples + number) % len(ALL_AROUND)


def read_samples(plan: Plan, folder: Path, prompt: str) -> Tensor:
    """The 2D samples of a prompt, reduced to the judge's resolution: (samples, 3, 64, 64) in 0…1."""
    images = []
    for number in range(plan.samples):
        with Image.open(sample_file(plan, folder, prompt, number)) as picture:
            images.append(torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255.0)
    return F.interpolate(
        torch.stack(images), size=(JUDGED_SIZE, JUDGED_SIZE), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0.0, 1.0)
