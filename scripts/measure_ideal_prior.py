"""How good objects would be with a perfect 2D model: the starter world's own ideal denoiser makes them.

    python scripts/measure_ideal_prior.py -o ideal --prompt "a turquoise house" --setting "Standard: preset=standard"

Of all that bounds an object's quality (the learned 2D model, the views' agreement on one of a caption's modes, κ, the
field, the mesh) this takes the first away. The model in the starter prior's place knows n instances of a caption, and
sees them from each render's own camera, before its own background, so that its x0 is the exact mean of all that x(t) =
a·x0 + b·ε may hold:

    x̂0 = Σ w_i·x_i,   w = softmax(−‖x(t) − a·x_i‖² / (2b²))

(the ideal denoiser of a finite set; Karras et al. 2022, appendix B.3). It answers every text alike, so guidance changes
nothing. With `--from` and `--to` it answers at these times t only, and the prompt's own model at all others: which of
them bounds the object is seen so. Writes every job's folder into DIR, and prints what `python -m sdi_engine evaluate`
measures of each object, with the means.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sdi_engine.cameras import Cameras
from sdi_engine.config.parameters import STARTER_MODEL
from sdi_engine.config.settings import Settings
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest, slug
from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.prior import Prediction, Prior, Text
from sdi_engine.evaluation.judge import load_judge
from sdi_engine.evaluation.measure import SEED, TRUTHS, Measured, Truths, measure
from sdi_engine.evaluation.plan import Plan, parse_setting, read_prompts
from sdi_engine.representation import Rendering, Representation, Step
from sdi_engine.run.representations import Represent, represent
from sdi_engine.run.text_to_mesh import make
from sdi_engine.starter import captions, world
from sdi_engine.starter import render as starter
from sdi_engine.starter.world import Subject

SETTLED = 0.6
"""Below this t instances that no view believes in any more are not rendered again."""

HOPE_LEFT, UNBELIEVABLE = 0.8, 1e-3
"""An instance's hope is the largest weight that a view gives it, and falls by the first factor with every question. No
view believes in an instance with less than the second."""

COLUMNS = {
    "IoU": "silhouette_iou",
    "normals": "normal_consistency",
    "Chamfer": "chamfer",
    "mode, shape": "shape_commitment",
    "mode, texture": "texture_commitment",
    "sharpness": "sharpness",
}


class IdealPrior(CountedPrior):
    """The exact denoiser of some instances of one caption, in the space of a pixel-space prior.

    Args:
        prior: whose x, times and hints it has.
        subject: of which it knows instances.
        count: how many.
        seed: of the instances.
        times: between which it answers; at all others `prior` does.
    """

    def __init__(self, prior: Prior, subject: Subject, count: int, seed: int, times: tuple[float, float]) -> None:
        super().__init__(prior)
        self.times = times
        self.surfaces = [
            starter.sample_surface(world.make_instance(subject, np.random.default_rng((seed, index))))
            for index in range(count)
        ]
        self.hope = torch.ones(count)
        self._seen: Tensor | None = None
        self._cameras: Cameras | None = None
        self._backgrounds: Tensor | None = None

    def look(self, cameras: Cameras, images: Tensor) -> None:
        """Take a step's cameras, and the plain backgrounds of its renders (B, 3, H, W), which reach every corner."""
        self._cameras, self._backgrounds, self._seen = cameras, images[:, :, 0, 0].detach()[:, None, None], None

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        if not self.times[0] <= t[0] <= self.times[1]:
            return super().predict_unguided(x, t, text)
        if self._seen is None:
            if t[0] < SETTLED and bool((self.hope < UNBELIEVABLE).any()):
                kept = (self.hope >= UNBELIEVABLE).nonzero()[:, 0]
                self.surfaces, self.hope = [self.surfaces[index] for index in kept], self.hope[kept]
            self._seen = self._instances()
        seen = self._seen.repeat(len(x) // len(self._seen), 1, 1, 1, 1)
        a, b = self.scales(t)
        apart = (x[:, None] - a[:, None] * seen).square().flatten(2).sum(dim=2)
        weights = torch.softmax(-apart / (2.0 * b.flatten()[:, None].square()), dim=1)
        self.hope = torch.maximum(HOPE_LEFT * self.hope, weights.amax(dim=0))
        x0 = torch.einsum("bi,bi...->b...", weights, seen)
        return Prediction(x0, (x - a * x0) / b)

    def _instances(self) -> Tensor:
        """What the cameras see of each instance: (B, n, C, h, w)."""
        assert self._cameras is not None
        assert self._backgrounds is not None
        cameras = _starter_cameras(self._cameras)
        seen = [starter.composite(starter.render(each, cameras), self._backgrounds) for each in self.surfaces]
        pictures = torch.stack(seen, dim=1).permute(0, 1, 4, 2, 3)
        return self.encode(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new folder for all jobs")
    parser.add_argument("--prompt", action="append", default=[], help="as of evaluate; may be repeated")
    parser.add_argument("--prompts", action="append", default=[], help="a list of prompts, as of evaluate")
    parser.add_argument("--setting", action="append", required=True, help="as of evaluate; may be repeated")
    parser.add_argument("--instances", type=int, default=TRUTHS, help="how many it knows (default: %(default)s)")
    parser.add_argument(
        "--instances-seed", type=int, default=SEED, help="by default those that objects are measured against"
    )
    parser.add_argument(
        "--from", type=float, default=0.0, dest="first", metavar="T", help="the least t at which it answers"
    )
    parser.add_argument(
        "--to", type=float, default=1.0, dest="last", metavar="T", help="the largest t at which it answers"
    )
    parser.add_argument(
        "--model", default=STARTER_MODEL, help="what answers at all others, with the starter's space of x"
    )
    options = parser.parse_args()
    prompts = read_prompts(options.prompts, options.prompt)
    plan = Plan(prompts, settings=tuple(parse_setting(text) for text in options.setting), model=options.model)
    judge = load_judge()
    print("\t".join(["setting", "prompt", "pattern", *COLUMNS]), flush=True)
    for setting in plan.settings:
        found = []
        for prompt in plan.prompts:
            request = plan.request(prompt, 0, setting)
            folder = JobFolder.create(options.output / f"{slug(setting.name)}-{slug(prompt)}", request)
            subject = captions.parse(prompt)
            learned = load_prior(request.model, torch.device("cpu"))
            times = (options.first, options.last)
            prior = IdealPrior(learned, subject, options.instances, options.instances_seed, times)
            make_with(prior, folder, request)
            found.append(measure(folder.mesh_file, subject, judge, Truths.of(subject)))
            print("\t".join([setting.name, prompt, *row(found[-1:])]), flush=True)
        print("\t".join([setting.name, "mean", *row(found)]), flush=True)


def row(measured: list[Measured]) -> list[str]:
    """The share of recognised patterns, and the means of `COLUMNS`."""
    pattern = fmean(one.recognised["pattern"] for one in measured)
    return [f"{pattern:.2f}", *(f"{fmean(getattr(one, name) for one in measured):.3f}" for name in COLUMNS.values())]


def make_with(prior: IdealPrior, folder: JobFolder, request: JobRequest) -> None:
    """Do a job with this model."""

    def load(*asked: object) -> Prior:
        return prior

    make(folder, request, False, lambda event: None, load, watched_by(prior))


def watched_by(prior: IdealPrior) -> Represent:
    """New objects whose renders the prior is told of."""

    def made(settings: Settings, start: Step, attempt: int, device: torch.device) -> Representation:
        representation = represent(settings, start, attempt, device)
        render = representation.render

        def render_and_tell(cameras: Cameras, resolution: int, step: Step) -> Rendering:
            rendering = render(cameras, resolution, step)
            prior.look(cameras, rendering.images)
            return rendering

        representation.render = render_and_tell
        return representation

    return made


def _starter_cameras(cameras: Cameras) -> starter.Cameras:
    """The same cameras as the starter world's, whose distances and angles are measured from their targets."""
    offset = cameras.position - cameras.target
    distance = offset.norm(dim=1)
    azimuth = torch.rad2deg(torch.atan2(offset[:, 0], -offset[:, 1]))
    elevation = torch.rad2deg(torch.asin(offset[:, 2] / distance))
    return starter.Cameras(azimuth, elevation, distance, cameras.fov, cameras.target)


if __name__ == "__main__":
    main()
