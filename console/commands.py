"""The command `blender --command sdi …`, which `batch.py` runs too: makes an object for each line of a file.

Its first word may be `texture` or `refine`: see `mesh_command`.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence

import bpy

from ..jobs.engine import Engine
from ..jobs.prompts import read_prompts
from ..sdi_engine.cli.options import Parser, add_options, number, path_of, request_of
from ..sdi_engine.config.parameters import TASKS_OF_A_MESH
from ..sdi_engine.errors import EngineError
from . import mesh_command
from .common import add_common_options, engine_of, parsed, refused, runner_of, writable
from .objects import ObjectFromPrompt, Row
from .outcome import Outcome, finish
from .several import Several, earlier_jobs

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
    for task in TASKS_OF_A_MESH:
        if arguments[:1] == [task]:
            return mesh_command.main(arguments[1:], f"{program} {task}", task)
    options = parsed(_parser(program), arguments)
    if isinstance(options, int):
        return options
    try:
        prompts = read_prompts(options.prompts)
        request_of(options, "an object").validated()  # or every line would fail for the same reason
        engine = engine_of(bpy.context, options)
        engine.check()
        output = writable(options.output)
        outcomes = _make(bpy.context, prompts, options, engine)
    except EngineError as error:
        return refused(error, options.json)
    return finish(outcomes, output, options, "objects made")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=program,
        description="Make one object for each line of a file.",
        epilog=f"{program} texture --help, {program} refine --help: a new look, or shape, for objects of the opened "
        "file.",
    )
    parser.add_argument(
        "--prompts", type=path_of, required=True, help="a text file with one prompt per line; lines with # are comments"
    )
    add_common_options(parser)
    parser.add_argument(
        "--spacing", type=number, default=0.5, help="gap between two objects, in the scene's units (default: 0.5)"
    )
    add_options(parser, "object", _HELPS)
    return parser


def _make(context: bpy.types.Context, prompts: list[str], options: argparse.Namespace, engine: Engine) -> list[Outcome]:
    """Make the objects along X from the 3D cursor; Ctrl+C ends it early. Raises StorageError."""
    runner = runner_of(context, options)
    earlier = earlier_jobs(runner) if options.resume else ()
    if not bpy.data.filepath:
        _remove_meshes(context.scene)
    row = Row(context, functools.partial(request_of, options), options.spacing)
    outcomes = Several([ObjectFromPrompt(prompt, row) for prompt in prompts], runner, engine, earlier).make()
    runner.close()
    return outcomes


def _remove_meshes(scene: bpy.types.Scene) -> None:
    """Remove the startup scene's cube; its light and camera may be useful."""
    for each in [each for each in scene.objects if each.type == "MESH"]:
        bpy.data.objects.remove(each)
