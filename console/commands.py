"""The command `blender --command sdi …`, which `batch.py` runs too: makes an object for each line of a file."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import bpy

from ..jobs.engine import Engine, find_python
from ..jobs.prompts import read_prompts
from ..jobs.runner import Runner
from ..jobs.words import duration
from ..sdi_engine.cli.options import add_options, add_processes, request_of
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_STORAGE, BadInputError, EngineError
from ..sdi_engine.system.untrusted import printable
from ..state import preferences
from ..state.desks import BACKGROUND_IDLE_MINUTES
from .several import Outcome, Several, earlier_jobs, shown

COMMAND = "sdi"

_HELPS = {
    "negative_prompt": "what to avoid, for every object",
    "seed": "the same for every object; repeated lines get the next ones (default: 0)",
    "height": "of each object, in metres (default: 1.0)",
}


def attach() -> Callable[[], None]:
    """Add the command to `blender --command`; returns a function that removes it."""
    handle = bpy.utils.register_cli_command(COMMAND, main)
    return lambda: bpy.utils.unregister_cli_command(handle)


def main(arguments: Sequence[str], program: str = f"blender --command {COMMAND}") -> int:
    """Run the command; returns its exit code."""
    try:
        options = _parser(program).parse_args(arguments)
    except SystemExit as error:  # it would end Blender without its clean-up
        return int(error.code or 0)
    try:
        prompts = read_prompts(options.prompts)
        request_of(options, "an object").validated()  # or every line would fail for the same reason
        engine = _engine(bpy.context, options)
        engine.check()
        output = _writable(options.output)
        outcomes = _make(bpy.context, prompts, options, engine)
    except EngineError as error:
        print(f"error: {printable(str(error))}")
        return error.exit_code
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
    parser.add_argument(
        "--prompts", type=Path, required=True, help="a text file with one prompt per line; lines with # are comments"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .blend file to save")
    parser.add_argument("--results", type=Path, help="folder for the job folders (default: as in the preferences)")
    parser.add_argument("--engine-python", help="the engine's Python (default: as in the preferences)")
    parser.add_argument("--cluster", help="a Ray cluster to work on: auto or an address (default: preferences)")
    parser.add_argument(
        "--spacing", type=float, default=0.5, help="gap between two objects, in the scene's units (default: 0.5)"
    )
    add_processes(parser, 1)
    parser.add_argument(
        "--resume", action="store_true", help="continue what an earlier call has begun, and import what it has made"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    add_options(parser, "object", _HELPS)
    return parser


def _writable(output: Path) -> Path:
    """The absolute path of the .blend file; its folder is made, and checked to be writable."""
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


def _engine(context: bpy.types.Context, options: argparse.Namespace) -> Engine:
    """How to run the engine, by the preferences and the options."""
    engine = dataclasses.replace(preferences.engine(context), processes=options.processes)
    if options.engine_python:
        engine = dataclasses.replace(engine, python=find_python(options.engine_python))
    if options.cluster is not None:
        engine = dataclasses.replace(engine, cluster=options.cluster.strip())
    return engine


def _make(context: bpy.types.Context, prompts: list[str], options: argparse.Namespace, engine: Engine) -> list[Outcome]:
    """Make the objects along X from the 3D cursor; Ctrl+C ends it early. Raises StorageError."""
    results = (options.results or preferences.results_folder(context)).expanduser().absolute()
    runner = Runner(results, BACKGROUND_IDLE_MINUTES)
    earlier = earlier_jobs(runner) if options.resume else ()
    if not bpy.data.filepath:
        _remove_meshes(context.scene)
    requests = functools.partial(request_of, options)
    outcomes = Several(context, prompts, requests, runner, engine, options.spacing, earlier).make()
    runner.close()
    return outcomes


def _remove_meshes(scene: bpy.types.Scene) -> None:
    """Remove the startup scene's cube; its light and camera may be useful."""
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
        print(f"  {duration(outcome.seconds):>8}  {shown(outcome.prompt)}")
    if not failed:
        return
    if any(outcome.exit_code == EXIT_CANCELLED for outcome in failed):
        print("\nStopped: the same command with --resume continues from here.")
    width = max(40, shutil.get_terminal_size().columns - 10)
    print(f"\n{len(failed)} failed\n  exit code  prompt and cause")
    for outcome in failed:
        print(f"  {outcome.exit_code:>9}  {shown(outcome.prompt)}")
        print(textwrap.indent(textwrap.fill(printable(outcome.error), width), " " * 13))
        if outcome.folder:
            print(f"{'':13}{printable(outcome.folder)}")
