"""The command line. Exit codes: 0 done, 2 bad input, 3 environment or model missing, 4 no object emerged,
5 out of memory, 6 storage full or not writable midway, 130 cancelled; 1 is a defect of ours."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

from . import __version__, events, request, worker
from .errors import EXIT_DONE, EXIT_ENVIRONMENT, EngineError
from .job_folder import JobFolder

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(message)s",
    )
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return options.command(options)


def _generate(options: argparse.Namespace) -> int:
    names = {field.name for field in dataclasses.fields(request.JobRequest)} - {"schema"}
    fields = {name: getattr(options, name) for name in names}
    try:
        folder = JobFolder.create(options.output, request.JobRequest(**fields))
    except EngineError as error:
        log.error("%s", error)
        return _print_json(options, {"ok": False, "error": str(error)}, error.exit_code)
    return _work(options, folder.path, resume=False)


def _run(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=False)


def _resume(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=True)


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    report = doctor.examine()
    for line in doctor.report_lines(report):
        print(line, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(report))
    return EXIT_DONE if report["ok"] else EXIT_ENVIRONMENT


def _work(options: argparse.Namespace, path: Path, *, resume: bool) -> int:
    progress = _ProgressBar()
    code = worker.run(path, resume=resume, listener=progress)
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
    """Shows a job's progress on a terminal; says nothing into a log file but what the logger does."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""
        self.error = ""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Notice):
            log.info("%s", event.message)
        elif isinstance(event, events.Failed):
            self.error = event.message
        elif isinstance(event, events.Progress) and sys.stderr.isatty():
            self._show(event)

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
    _add_request_options(generate)

    for name, function, text in (
        ("run", _run, "do the job in a job folder, from its beginning"),
        ("resume", _resume, "go on with the job in a job folder from its last checkpoint"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.set_defaults(command=function)
        command.add_argument("job", type=Path, metavar="JOB", help="the job folder")

    doctor = commands.add_parser("doctor", parents=[common], help="what is installed, what is missing, how to fix it")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    defaults = request.JobRequest(prompt="")
    add = parser.add_argument
    add("--negative-prompt", default=defaults.negative_prompt, help="what to stay away from")
    add("--model", default=defaults.model, help='"starter", a Diffusers folder, a .safetensors file, or a hub id')
    add("--preset", default=defaults.preset, help=f"one of {', '.join(request.PRESETS)} (default: %(default)s)")
    add("--noise", default=defaults.noise, help=f"one of {', '.join(request.NOISES)} (default: %(default)s)")
    add("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    add("--steps", type=int, help="optimisation steps (default: the preset's)")
    add("--guidance-scale", type=float, help="γ of eq. (3) (default: the model's)")
    add("--inversion-guidance-scale", type=float, help="γ_inv (default: minus the guidance scale)")
    add("--resolution", type=int, help="pixels along an edge of the renders (default: the model's)")
    add("--views-per-step", type=int, help="renders in each step (default: the preset's)")
    add("--face-budget", type=int, default=defaults.face_budget, help="most triangles (default: %(default)s)")
    add("--texture-size", type=int, default=defaults.texture_size, help="pixels along an edge (default: %(default)s)")
    add("--height", type=float, default=defaults.height, help="of the object in metres (default: %(default)s)")
    add("--device", default=defaults.device, help=f"one of {', '.join(request.DEVICES)} (default: %(default)s)")
