"""The commands that make no single object; each returns what is printed as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..config import parameters
from ..contract.job_folder import make_folder
from ..contract.request import JobRequest
from ..diffusion.model_index import check_prompt, check_prompts
from ..diffusion.request_check import check_request
from ..errors import BadInputError
from ..service import worker
from ..system.untrusted import printable
from .options import request_of
from .output import say
from .parser import FIGURES

STARTER_PROMPTS = ("a red mushroom", "a green tree", "a yellow lamp", "a wooden chair")
PAPER_PROMPTS = ("an iguana holding a balloon",)
"""What figures show by default: with the starter prior, which knows few words, and with any other model."""

PROMPTS_OF_ALL_FIGURES = 2
"""By default Fig. 1 has more of them."""

RESIDUALS_FILE = "curves.png"
"""In a folder of `residuals`, which may be written again."""

RUNS_FOLDER = "runs"
"""What a folder holds that `compare` or `figures` began (`studies.results`)."""

Study = Callable[[argparse.Namespace, worker.Listener], dict[str, Any]]


def _sample(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt)
    with worker.device_work(report, options.output):
        from ..studies.sampling import sample

        return sample(asked, options.output, report, options.count)


def _distill2d(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    _check_choices("noise", [options.noise_2d], parameters.NOISES_2D)
    asked = _accepted(options, options.prompt)
    with worker.device_work(report, options.output):
        from ..studies.distill2d import distill2d

        return distill2d(asked, options.output, report, options.noise_2d)


def _compare(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt, resume=True)
    with worker.device_work(report, options.output):
        from ..studies.compare import compare

        return compare(asked, options.output, report)


def _noise_error(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt, resume=True)
    with worker.device_work(report, options.output):
        from ..studies.noise_error import noise_error

        return noise_error(asked, options.output, report, options.points)


def _figures(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    numbers = options.figures or ["all"]
    _check_choices("figure", numbers, (*FIGURES, "all"))
    default_prompts = STARTER_PROMPTS if options.model == parameters.STARTER_MODEL else PAPER_PROMPTS
    prompts = [request_of(options, prompt).validated().prompt for prompt in options.prompts or default_prompts]
    check_prompts(prompts, options.model)
    asked = _accepted(options, prompts[0], resume=True)
    with worker.device_work(report, options.output):
        from ..studies.figures import figures

        chosen = FIGURES if "all" in numbers else numbers
        most_prompts = None if options.prompts else PROMPTS_OF_ALL_FIGURES
        return figures(asked, options.output, report, chosen, prompts, options.seeds, most_prompts)


def _residuals(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    make_folder(options.output, RESIDUALS_FILE)
    with worker.torch_work():
        from ..studies.residual_quality import residual_quality

        return residual_quality(options.evaluation, options.output)


def _evaluate(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    from ..evaluation.plan import DEFAULT_SETTING, PLAN_FILE, Plan, parse_seeds, parse_setting, read_prompts

    prompts = read_prompts(options.lists, options.prompts)
    check_prompts(prompts, options.model)
    with worker.torch_work():
        from ..diffusion.sources import digest, sources_before_loading
        from ..evaluation.evaluate import evaluate

        asked = request_of(options, "")
        plan = Plan(
            prompts=prompts,
            seeds=parse_seeds(options.seeds),
            settings=tuple(parse_setting(text) for text in options.settings or [DEFAULT_SETTING]),
            model=options.model,
            loras=tuple(options.loras),
            parts=asked.parts,
            device=options.device,
            precision=options.precision,
            weights=digest(sources_before_loading(asked)),
            samples=options.samples,
            task=options.task,
        )
        for setting in plan.settings:  # what no job could be made of is refused before the first one
            check_request(plan.request(plan.prompts[0], plan.seeds[0], setting))
        if plan.task == "texture":
            from ..evaluation.painting import unpainted_thing

            for prompt in prompts:  # what cannot be painted is refused before hours of work
                unpainted_thing(prompt, plan.seeds[0])
        make_folder(options.output, PLAN_FILE)
        result = evaluate(
            plan,
            options.output,
            report,
            options.processes,
            options.clip,
            options.baseline,
            cluster=options.cluster,
        )
    say("\n".join(map(printable, result.pop("table"))), sys.stderr if options.json else sys.stdout)
    return result


def _accepted(options: argparse.Namespace, prompt: str, *, resume: bool = False) -> JobRequest:
    """The validated request of a study, whose model can read it, and whose output folder is there now.

    Args:
        resume: the folder may hold runs of an earlier study.
    """
    asked = request_of(options, prompt).validated()
    check_prompt(asked.prompt, asked.model)
    make_folder(options.output, RUNS_FOLDER if resume else None)
    return asked


def _check_choices(label: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise BadInputError(f'The {label} "{value}" does not exist: choose one of {", ".join(choices)}.')


STUDIES: dict[str, Study] = {
    "sample": _sample,
    "distill2d": _distill2d,
    "compare": _compare,
    "noise-error": _noise_error,
    "figures": _figures,
    "residuals": _residuals,
    "evaluate": _evaluate,
}
"""By the names of their commands."""
