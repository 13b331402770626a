"""What the commands without a window have in common: options, the engine, the file to save."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bpy

from ..jobs.engine import Engine, find_python
from ..jobs.runner import Runner
from ..jobs.terminal import say
from ..sdi_engine.cli.options import add_processes, path_of
from ..sdi_engine.errors import BadInputError, EngineError
from ..sdi_engine.system.files import leads_to_folder
from ..sdi_engine.system.untrusted import printable
from ..state import preferences
from ..state.desks import BACKGROUND_IDLE_MINUTES


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that say where and how the jobs are done."""
    parser.add_argument("-o", "--output", type=path_of, required=True, help="the .blend file to save")
    parser.add_argument("--results", type=path_of, help="folder for the job folders (default: as in the preferences)")
    parser.add_argument("--engine-python", help="the engine's Python (default: as in the preferences)")
    parser.add_argument("--cluster", help="a Ray cluster to work on: auto or an address (default: preferences)")
    add_processes(parser, 1)
    parser.add_argument(
        "--resume", action="store_true", help="continue what an earlier call has begun, and import what it has made"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object last")


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace | int:
    """The options, or the exit code if the arguments end it: argparse would end Blender without its clean-up."""
    try:
        options = parser.parse_args(arguments)
    except SystemExit as error:  # --help
        return int(error.code or 0)
    except BadInputError as error:
        return refused(error, "--json" in arguments)
    usual = preferences.model_folder(bpy.context)
    options.models_folder = options.models_folder or (str(usual) if usual and leads_to_folder(usual) else "")
    return options


def refused(error: EngineError, with_json: bool) -> int:
    """Say why nothing was made; returns the exit code."""
    say(f"error: {printable(str(error))}")
    if with_json:
        said = {"ok": False, "exit_code": error.exit_code, "output": None, "objects": [], "error": str(error)}
        say(json.dumps(said, ensure_ascii=True))
    return error.exit_code


def runner_of(context: bpy.types.Context, options: argparse.Namespace) -> Runner:
    """The runner of the results folder."""
    results = (options.results or preferences.results_folder(context)).absolute()
    return Runner(results, BACKGROUND_IDLE_MINUTES)


def engine_of(context: bpy.types.Context, options: argparse.Namespace) -> Engine:
    """How to run the engine, by the preferences and the options."""
    engine = dataclasses.replace(preferences.engine(context), processes=options.processes)
    if options.engine_python:
        engine = dataclasses.replace(engine, python=find_python(options.engine_python))
    if options.cluster is not None:
        engine = dataclasses.replace(engine, cluster=options.cluster.strip())
    return engine


def writable(output: Path) -> Path:
    """The absolute path of the .blend file; its folder is made, and checked to be writable."""
    output = output.absolute()
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
