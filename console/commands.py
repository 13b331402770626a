"""`blender --command sdi …`, and what `batch.py` runs: one object for each line of a file, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..jobs.engine import Engine, find_python
from ..jobs.placement import Placement
from ..jobs.prompts import read_prompts
from ..jobs.runner import Runner
from ..jobs.seeds import UnusedSeeds
from ..jobs.words import duration
from ..scene.free_space import step_aside
from ..scene.importer import ImportFailedError, bounds
from ..sdi_engine.cli.options import add_options, request_of
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_STORAGE, BadInputError, EngineError
from ..sdi_engine.system.untrusted import printable
from ..state import preferences
from ..state.desks import BACKGROUND_IDLE_MINUTES
from .generate import JobFailedError, generate_and_wait

COMMAND = "sdi"

_HELPS = {
    "negative_prompt": "what to stay away from, for every object",
    "seed": "the same for every object; the next ones for equal lines (default: 0)",
    "height": "of each object, in metres (default: 1.0)",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt."""

    prompt: str
    exit_code: int
    seconds: float
    object: str = ""
    folder: str = ""
    error: str = ""


def attach() -> Callable[[], None]:
    """Add the command to `blender --command`; what takes it away again."""
    handle = bpy.utils.register_cli_command(COMMAND, main)
    return lambda: bpy.utils.unregister_cli_command(handle)


def main(arguments: Sequence[str], program: str = f"blender --command {COMMAND}") -> int:
    """Run the command; its exit code."""
    try:
        options = _parser(program).parse_args(arguments)
    except SystemExit as leave:  # which in Blender would leave out everything that Blender does at its end
        return int(leave.code or 0)
    try:
        prompts = read_prompts(options.prompts)
        request_of(options, "an object").validated()  # or every line would fail for the same reason
        output = _writable(options.output)
    except BadInputError as error:
        print(f"error: {printable(str(error))}")
        return error.exit_code
    outcomes = _make(bpy.context, prompts, options)
    exit_code = _exit_code(outcomes)
    saved = any(outcome.object for outcome in outcomes)
    if saved:
        try:
            bpy.ops.wm.save_as_mainfile(filepath=str(output), check_existing=False)
        except RuntimeError as error:
            saved, exit_code = False, EXIT_STORAGE
            sentence = f'"{output}" could not be saved ({str(error).strip()}): free some space or choose another.'
            print(f"error: {printable(sentence)}")
    _print_table(outcomes, output if saved else None)
    if options.json:
        answer = {
            "ok": exit_code == EXIT_DONE,
            "exit_code": exit_code,
            "output": str(output) if saved else None,
            "objects": [dataclasses.asdict(outcome) for outcome in outcomes],
        }
        print(json.dumps(answer, ensure_ascii=True))
    return exit_code


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Make one object for each line of a file.")
    parser.add_argument("--prompts", type=Path, required=True, help="a text file, one prompt a line, # for comments")
    parser.add_argument("--output", type=Path, required=True, help="the .blend file to save")
    parser.add_argument("--results", type=Path, help="folder of the job folders (default: as in the preferences)")
    parser.add_argument("--engine-python", help="the Python that has torch (default: as in the preferences)")
    parser.add_argument("--spacing", type=float, default=0.5, help="between two objects, in the scene's units")
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    add_options(parser, "object", _HELPS)
    return parser


def _writable(output: Path) -> Path:
    """The .blend's absolute path, in a folder that exists and can be written."""
    output = output.expanduser().absolute()
    if output.suffix != ".blend":
        output = output.with_name(f"{output.name}.blend")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise BadInputError(
            f'"{output}" cannot be written ({error.strerror or error}): choose another --output.'
        ) from error
    if output.is_dir():
        raise BadInputError(f'"{output}" is a folder: choose another --output.')
    return output


def _make(context: bpy.types.Context, prompts: list[str], options: argparse.Namespace) -> list[Outcome]:
    """One object after the other, along X from the 3D cursor; stops at Ctrl+C."""
    results = (options.results or preferences.results_folder(context)).expanduser().absolute()
    engine = preferences.engine(context)
    if options.engine_python:
        engine = Engine(find_python(options.engine_python), engine.package_parent, engine.online)
    if not bpy.data.filepath:
        _remove_meshes(context.scene)
    runner = Runner(results, BACKGROUND_IDLE_MINUTES)
    outcomes: list[Outcome] = []
    seeds = UnusedSeeds()
    corner = context.scene.cursor.location.copy()
    for number, prompt in enumerate(prompts, 1):
        print(f"[{number}/{len(prompts)}] {_shown(prompt)}", flush=True)
        started = time.monotonic()
        where = Placement.at(corner, scene=context.scene.name, blend_file=bpy.data.filepath)
        try:
            request = seeds.give(request_of(options, prompt).validated())
            placed, job = generate_and_wait(context, request, runner, engine, where)
        except (EngineError, ImportFailedError) as error:
            print(f"  failed: {printable(str(error))}", flush=True)
            exit_code = error.exit_code if isinstance(error, EngineError) else 1
            folder = str(error.folder) if isinstance(error, JobFailedError) else ""
            outcomes.append(Outcome(prompt, exit_code, time.monotonic() - started, folder=folder, error=str(error)))
            if exit_code == EXIT_CANCELLED:
                break
            continue
        low, high = bounds(placed)
        placed.location.x = corner.x - low.x
        step_aside(context, placed)  # from what the opened file has
        corner.x = placed.location.x + high.x + options.spacing
        seconds = time.monotonic() - started
        outcomes.append(Outcome(prompt, EXIT_DONE, seconds, placed.name, str(job.folder.path)))
    runner.close()
    return outcomes


def _remove_meshes(scene: bpy.types.Scene) -> None:
    """Without the cube of Blender's startup scene; its light and camera may be of use."""
    for each in [each for each in scene.objects if each.type == "MESH"]:
        bpy.data.objects.remove(each)


def _exit_code(outcomes: list[Outcome]) -> int:
    failures = {outcome.exit_code for outcome in outcomes if outcome.exit_code != EXIT_DONE}
    if len(failures) > 1:
        return EXIT_CANCELLED if EXIT_CANCELLED in failures else 1
    return failures.pop() if failures else EXIT_DONE


def _print_table(outcomes: list[Outcome], output: Path | None) -> None:
    made = [outcome for outcome in outcomes if outcome.object]
    failed = [outcome for outcome in outcomes if not outcome.object]
    where = f', saved in "{printable(str(output))}"' if output else ""
    print(f"\n{len(made)} of {len(outcomes)} objects made{where}")
    for outcome in made:
        print(f"  {duration(outcome.seconds):>8}  {_shown(outcome.prompt)}")
    if not failed:
        return
    width = max(40, shutil.get_terminal_size().columns - 10)
    print(f"\n{len(failed)} failed\n  exit code  prompt and cause")
    for outcome in failed:
        print(f"  {outcome.exit_code:>9}  {_shown(outcome.prompt)}")
        print(textwrap.indent(textwrap.fill(printable(outcome.error), width), " " * 13))
        if outcome.folder:
            print(f"{'':13}{printable(outcome.folder)}")


def _shown(prompt: str) -> str:
    return textwrap.shorten(printable(prompt), 60, placeholder="…")
