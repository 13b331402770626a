"""The command line. Exit codes: 0 done, 2 bad input, 3 environment or model missing, 4 no object emerged,
5 out of memory, 6 storage full or not writable midway, 130 cancelled; 1 is a defect of ours."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import parameters
from ..config.overrides import parse_override
from ..contract import events, request
from ..contract.job_folder import JobFolder, make_folder
from ..diffusion.location import locate, model_named_here
from ..errors import EXIT_CANCELLED, EXIT_DONE, EXIT_ENVIRONMENT, BadInputError, EngineError
from ..service import worker
from ..system.pasted import as_meant_here
from ..system.untrusted import printable, printable_record

FIGURES = ("1", "8", "9", "10", "11")
STARTER_PROMPTS = ("a red mushroom", "a green tree")
PAPER_PROMPTS = ("an iguana holding a balloon",)
"""What figures show by default: with the starter prior, which knows few words, and with any other model."""

RUNS_FOLDER = "runs"
"""What a folder holds that `compare` or `figures` began (`studies.results`)."""

LOG_SECONDS = 10.0

Study = Callable[[argparse.Namespace, worker.Listener], dict[str, Any]]

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, handlers=[_log_handler(options.verbose)]
    )
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return options.command(options)


def _log_handler(verbose: bool) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"))
    handler.addFilter(printable_record)
    return handler


def _generate(options: argparse.Namespace) -> int:
    try:
        folder = JobFolder.create(options.output, _request(options, options.prompt))
    except EngineError as error:
        log.error("%s", error)
        return _print_json(options, {"ok": False, "error": str(error)}, error.exit_code)
    return _work(options, folder.path, resume=False)


def _run(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=False)


def _resume(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=True)


def _serve(options: argparse.Namespace) -> int:
    from ..service.pools import open_pool
    from ..service.serve import serve, step_back

    step_back()
    try:
        pool = open_pool(options.processes) if options.processes != 1 else None
    except EngineError as error:
        log.error("%s", error)
        return error.exit_code
    return serve(options.results, options.idle_minutes * 60.0, pool)


def _doctor(options: argparse.Namespace) -> int:
    from .. import doctor

    report = doctor.examine()
    for line in doctor.report_lines(report):
        print(line, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(report))
    return EXIT_DONE if report["ok"] else EXIT_ENVIRONMENT


def _study(options: argparse.Namespace) -> int:
    """Run one of the studies below, which return what they print as JSON."""
    progress = _ProgressBar()
    try:
        with worker.stop_signals():
            result = options.study(options, progress)
    except EngineError as error:
        log.error("%s", error)
        return _print_json(options, {"ok": False, "error": str(error)}, error.exit_code)
    except KeyboardInterrupt:
        log.info("Cancelled.")
        return _print_json(options, {"ok": False, "error": "Cancelled."}, EXIT_CANCELLED)
    except Exception as error:
        log.exception("a defect")
        return _print_json(options, {"ok": False, "error": f"{type(error).__name__}: {error}"}, 1)
    finally:
        progress.close()
    log.info('The results are in "%s".', options.output)
    return _print_json(options, {"ok": True, "folder": str(options.output), **result}, EXIT_DONE)


def _sample(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt)
    with worker.device_work(report):
        from ..studies.sampling import sample

        return sample(asked, options.output, report, options.count)


def _distill2d(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    _check_choices("noise", [options.noise_2d], parameters.NOISES_2D)
    asked = _accepted(options, options.prompt)
    with worker.device_work(report):
        from ..studies.distill2d import distill2d

        return distill2d(asked, options.output, report, options.noise_2d)


def _compare(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt, resume=True)
    with worker.device_work(report):
        from ..studies.compare import compare

        return compare(asked, options.output, report)


def _noise_error(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    asked = _accepted(options, options.prompt)
    with worker.device_work(report):
        from ..studies.noise_error import noise_error

        return noise_error(asked, options.output, report, options.points)


def _figures(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    numbers = options.figures or ["all"]
    _check_choices("figure", numbers, (*FIGURES, "all"))
    default_prompts = STARTER_PROMPTS if options.model == request.STARTER_MODEL else PAPER_PROMPTS
    prompts = [_request(options, prompt).validated().prompt for prompt in options.prompts or default_prompts]
    asked = _accepted(options, prompts[0], resume=True)
    with worker.device_work(report):
        from ..studies.figures import figures

        return figures(asked, options.output, report, FIGURES if "all" in numbers else numbers, prompts)


def _evaluate(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    locate(options.model)
    with worker.torch_work():
        from ..evaluation.evaluate import evaluate
        from ..evaluation.plan import DEFAULT_SETTING, PLAN_FILE, Plan, parse_seeds, parse_setting, read_prompts
        from ..studies.study import state_of_weights

        plan = Plan(
            prompts=read_prompts(options.lists, options.prompts),
            seeds=parse_seeds(options.seeds),
            settings=tuple(parse_setting(text) for text in options.settings or [DEFAULT_SETTING]),
            model=options.model,
            loras=tuple(options.loras),
            device=options.device,
            weights=state_of_weights(_request(options, "")),
            samples=options.samples,
        )
        make_folder(options.output, PLAN_FILE)
        result = evaluate(plan, options.output, report, options.processes, options.clip, options.baseline)
    print("\n".join(map(printable, result.pop("table"))), file=sys.stderr if options.json else sys.stdout)
    return result


def _accepted(options: argparse.Namespace, prompt: str, *, resume: bool = False) -> request.JobRequest:
    """The validated request of a study, whose output folder is there now, and whose model has a place.

    Args:
        resume: the folder may hold runs of an earlier study.
    """
    asked = _request(options, prompt).validated()
    make_folder(options.output, RUNS_FOLDER if resume else None)
    locate(asked.model)
    return asked


def _request(options: argparse.Namespace, prompt: str) -> request.JobRequest:
    """A request of those fields that the command has options for."""
    names = {field.name for field in dataclasses.fields(request.JobRequest)} - {"schema"}
    fields = {name: getattr(options, name) for name in names if hasattr(options, name)}
    overrides = dict(parse_override(text) for text in getattr(options, "overrides", ()))
    return request.JobRequest(**fields | {"prompt": prompt, "loras": tuple(options.loras), "overrides": overrides})


def _check_choices(label: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise BadInputError(f'The {label} "{value}" does not exist: choose one of {", ".join(choices)}.')


def _work(options: argparse.Namespace, path: Path, *, resume: bool) -> int:
    progress = _ProgressBar()
    code = worker.run(path, resume=resume, listener=progress, work=worker.make_mesh_in_turn)
    progress.close()
    folder = JobFolder(path)
    result = folder.result() if code == EXIT_DONE else None
    if result is not None:
        log.info("The mesh is at %s", folder.mesh_file)
        return _print_json(options, {"ok": True, "folder": str(folder.path), **result}, code)
    return _print_json(options, {"ok": False, "folder": str(folder.path), "error": progress.error}, code)


def _print_json(options: argparse.Namespace, content: dict[str, Any], code: int) -> int:
    if options.json:
        print(json.dumps(content | {"exit_code": code}))
    return code


class _ProgressBar:
    """Shows progress on a terminal; into a log file it writes a line now and then."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""
        self._last_line = time.monotonic()
        self.error = ""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Notice):
            log.info("%s", event.message)
        elif isinstance(event, events.Failed):
            self.error = event.message
        elif isinstance(event, events.Progress) and sys.stderr.isatty():
            self._show(event)
        elif isinstance(event, events.Progress) and time.monotonic() - self._last_line > LOG_SECONDS and event.rate:
            self._last_line = time.monotonic()
            text = "%s: %d of %d, %.2f steps/s, %.0f s left"
            log.info(text, event.phase, event.step, event.steps, event.rate, event.eta)

    def _show(self, event: events.Progress) -> None:
        from tqdm import tqdm

        if event.phase != self._phase:
            self.close()
            self._phase = event.phase
        if event.steps > 1:
            self._bar = self._bar or tqdm(total=event.steps, initial=event.step, desc=event.phase, unit="step")
            self._bar.update(event.step - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sdi_engine", description="Text to 3D by Score Distillation via Inversion.", epilog=__doc__
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    common.add_argument("--verbose", action="store_true", help="log more")

    generate = commands.add_parser("generate", parents=[common], help="make a textured mesh from a prompt")
    generate.set_defaults(command=_generate)
    generate.add_argument("prompt", help='what to make, for example "a red mug"')
    generate.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new job folder")
    _add_3d_options(generate)
    _add_mesh_options(generate)

    _add_studies(commands, common)

    for name, function, text in (
        ("run", _run, "do the job in a job folder, from its beginning"),
        ("resume", _resume, "go on with the job in a job folder from its last checkpoint"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.set_defaults(command=function)
        command.add_argument("job", type=Path, metavar="JOB", help="the job folder")

    serve = commands.add_parser(
        "serve", parents=[common], help="do the jobs that wait in a results folder, and keep the model loaded"
    )
    serve.set_defaults(command=_serve)
    serve.add_argument("results", type=Path, metavar="RESULTS", help="the results folder")
    serve.add_argument(
        "--idle-minutes",
        type=minutes,
        default=10.0,
        help="leave when no job has come for so long (default: %(default)s)",
    )
    serve.add_argument(
        "--processes", type=int, default=1, help="objects at once, each with a model of its own (default: %(default)s)"
    )

    doctor = commands.add_parser("doctor", parents=[common], help="what is installed, what is missing, how to fix it")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_studies(commands: Any, common: argparse.ArgumentParser) -> None:
    def command(name: str, study: Study, text: str, *, has_prompt: bool = True) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, parents=[common], help=text, description=text)
        parser.set_defaults(command=_study, study=study)
        if has_prompt:
            parser.add_argument("prompt", help='what to show, for example "a red mug"')
        parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a folder for the results")
        return parser

    ddim_steps = "DDIM steps (default: 30)"
    sample = command("sample", _sample, "2D pictures by DDIM: what the model makes of the prompt, before any 3D")
    sample.add_argument("--count", type=int, default=4, help="pictures, each of its own seed (default: %(default)s)")
    _add_image_options(sample, ddim_steps)

    distill2d = command("distill2d", _distill2d, "2D score distillation, eq. (10), beside DDIM from the same noise")
    noises = ", ".join(parameters.NOISES_2D)
    distill2d.add_argument("--noise", dest="noise_2d", default="cached", help=f"one of {noises} (default: %(default)s)")
    _add_image_options(distill2d, ddim_steps)
    _add_distillation_options(distill2d)

    compare = command("compare", _compare, "all choices of κ side by side in 3D; goes on where it was stopped")
    _add_3d_options(compare)

    noise_error = command("noise-error", _noise_error, "the residual of eq. (8) against t, for every κ, along a 3D run")
    noise_error.add_argument(
        "--points", type=int, default=24, help="steps of the run to measure at (default: %(default)s)"
    )
    _add_3d_options(noise_error)

    figures = command("figures", _figures, "the paper's figures again; goes on where it was stopped", has_prompt=False)
    figures.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"one or more of {', '.join(FIGURES)}, or all (default: all)"
    )
    figures.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        default=[],
        help="a row of each figure; may be given several times (default: two for the starter prior, one for others)",
    )
    _add_3d_options(figures)

    evaluate = command(
        "evaluate",
        _evaluate,
        "measure objects of prompts x seeds x settings; goes on where it was stopped, also with more of them",
        has_prompt=False,
    )
    _add_evaluation_options(evaluate)


def _add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--prompts",
        dest="lists",
        action="append",
        default=[],
        metavar="LIST",
        help="default, held-out, pairs, paper, or a text file with a prompt a line; may be given several times",
    )
    add("--prompt", dest="prompts", action="append", default=[], help="one more prompt; may be given several times")
    add("--seeds", default="0", metavar="N,N,…", help="of every prompt (default: %(default)s)")
    add(
        "--setting",
        dest="settings",
        action="append",
        default=[],
        metavar='"NAME: option=value …"',
        help="a column of the table, such as SDS: preset=standard noise=random set.t=[0.98,0.02] equal_time=SDI; may "
        "be given several times, and the first is compared with the others (default: standard: preset=standard)",
    )
    add("--processes", type=int, help="objects at once (default: one for each core, or one on a GPU)")
    add("--samples", type=int, default=4, help="2D pictures of each prompt (default: %(default)s)")
    add("--clip", type=Path, metavar="FOLDER", help="a CLIP model, for its score of results; needs no other truth")
    add("--baseline", type=Path, metavar="DIR", help="another evaluation's folder, to compare with")
    _add_model_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    defaults = request.JobRequest(prompt="")
    add = parser.add_argument
    add(
        "--model",
        type=model_named_here,
        default=defaults.model,
        help='"starter", "stable-diffusion", a Diffusers folder, a .safetensors file, or a hub id',
    )
    add(
        "--lora",
        dest="loras",
        type=_lora,
        action="append",
        default=[],
        metavar="FILE[=WEIGHT]",
        help="a LoRA file for the model, with how much of it (default 1); may be given several times",
    )
    add("--device", default=defaults.device, help=f"one of {', '.join(request.DEVICES)} (default: %(default)s)")


def minutes(text: str) -> float:
    minutes = float(text)
    if not minutes >= 0.0:  # which also refuses NaN, with which it would never leave
        raise ValueError
    return minutes


def _lora(text: str) -> request.Lora:
    file, equals, weight = text.rpartition("=")
    try:
        return request.Lora(as_meant_here(file), float(weight)) if equals else request.Lora(as_meant_here(text))
    except ValueError:
        return request.Lora(as_meant_here(text))  # a file whose name has an equals sign


def _add_image_options(parser: argparse.ArgumentParser, steps: str) -> None:
    """What every command that asks a model has options for; `steps` says what steps are."""
    defaults = request.JobRequest(prompt="")
    add = parser.add_argument
    add("--negative-prompt", default=defaults.negative_prompt, help="what to stay away from")
    _add_model_options(parser)
    add("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    add("--steps", type=int, help=steps)
    add("--guidance-scale", type=float, help="γ of eq. (3) (default: the model's)")
    add("--resolution", type=int, help="pixels along an edge of the images (default: the model's)")


def _add_distillation_options(parser: argparse.ArgumentParser) -> None:
    defaults = request.JobRequest(prompt="")
    add = parser.add_argument
    add("--preset", default=defaults.preset, help=f"one of {', '.join(request.PRESETS)} (default: %(default)s)")
    add("--inversion-guidance-scale", type=float, help="γ_inv (default: the model's, or minus the guidance scale)")


def _add_3d_options(parser: argparse.ArgumentParser) -> None:
    _add_image_options(parser, "optimisation steps (default: the preset's)")
    _add_distillation_options(parser)
    add = parser.add_argument
    add("--perp-neg", help=f"one of {', '.join(request.PERP_NEG)} (default: the preset's)")
    add("--views-per-step", type=int, help="renders in each step (default: the preset's)")
    add(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change any other number of the settings, such as t=[0.98,0.2] or field.hidden=64; has the last word",
    )


def _add_mesh_options(parser: argparse.ArgumentParser) -> None:
    defaults = request.JobRequest(prompt="")
    add = parser.add_argument
    add("--noise", default=defaults.noise, help=f"one of {', '.join(request.NOISES)} (default: %(default)s)")
    add("--face-budget", type=int, default=defaults.face_budget, help="most triangles (default: %(default)s)")
    add("--texture-size", type=int, default=defaults.texture_size, help="pixels along an edge (default: %(default)s)")
    add("--height", type=float, default=defaults.height, help="of the object in metres (default: %(default)s)")
