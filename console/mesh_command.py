"""The commands `blender --background FILE --command sdi texture …` and `… refine …`: a new look for objects of a .blend
file, and a shape that fits it."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Sequence

import bpy

from ..scene.source_mesh import capture_for
from ..sdi_engine.cli.options import Parser, add_options, request_of
from ..sdi_engine.config.parameters import Task
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import BadInputError, EngineError
from .common import add_common_options, engine_of, parsed, refused, runner_of, writable
from .outcome import finish
from .several import Several, earlier_jobs
from .textures import TextureOf

_DESCRIPTIONS: dict[Task, str] = {
    "texture": "Make a new look for objects of the opened file from a prompt. Their materials of before are kept.",
    "refine": "Make a new look for objects of the opened file from a prompt, and a shape that fits it: a shape key. "
    "Their materials and shapes of before are kept.",
}
_MADE: dict[Task, str] = {"texture": "objects textured", "refine": "objects refined"}


def main(arguments: Sequence[str], program: str, task: Task) -> int:
    """Run the command whose jobs are of this task; returns its exit code."""
    options = parsed(_parser(program, task), arguments)
    if isinstance(options, int):
        return options
    context = bpy.context
    try:
        request = dataclasses.replace(request_of(options, options.prompt), task=task).validated()
        engine = engine_of(context, options)
        engine.check()
        output = writable(options.output)
        textures = _textures(context, request, options)
        runner = runner_of(context, options)
        outcomes = Several(textures, runner, engine, earlier_jobs(runner) if options.resume else ()).make()
        runner.close()
    except EngineError as error:
        return refused(error, options.json)
    return finish(outcomes, output, options, _MADE[task])


def _parser(program: str, task: Task) -> argparse.ArgumentParser:
    parser = Parser(prog=program, description=_DESCRIPTIONS[task])
    parser.add_argument("prompt", help='how they are to look, for example "a checkered red chair"')
    parser.add_argument(
        "--objects",
        action="append",
        required=True,
        metavar="NAME",
        help="the name of a mesh object; may be given several times, for a result each",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only-selected", action="store_true", help="only the faces that are selected in Edit Mode")
    which.add_argument("--vertex-group", default="", metavar="NAME", help="only the faces in this vertex group")
    add_common_options(parser)
    add_options(parser, "object", task=task)
    return parser


def _textures(context: bpy.types.Context, request: JobRequest, options: argparse.Namespace) -> list[TextureOf]:
    """The textures to make; raises BadInputError if one of the objects cannot be textured, before any job starts."""
    things = [_named(context.scene, name) for name in dict.fromkeys(options.objects)]
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    which = options.only_selected, options.vertex_group
    return [TextureOf(context, thing, capture_for(request, context, thing, *which), request) for thing in things]


def _named(scene: bpy.types.Scene, name: str) -> bpy.types.Object:
    thing = scene.objects.get(name)
    if thing is not None:
        return thing
    meshes = sorted(each.name for each in scene.objects if each.type == "MESH")
    alike = difflib.get_close_matches(name, meshes, n=1) or meshes[:1]
    cure = f'there is "{alike[0]}", for example.' if alike else "it has no mesh at all."
    raise BadInputError(f'The scene "{scene.name}" has no object "{name}": {cure}')
