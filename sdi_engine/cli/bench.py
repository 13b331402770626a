"""The command `bench`: which model and which task it measures, and where a model with random weights is built."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from ..config.parameters import PARAMETERS, STARTER_MODEL
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..errors import BadInputError
from ..service import worker
from .options import request_of

PROMPT = "a red mug"


def measured(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    """The numbers of `studies.bench`, and their `table` as lines.

    Raises:
        EngineError: of the kinds that loading a model raises, where the mesh cannot be read, and where a built model
            cannot be written.
    """
    if options.size and options.model != PARAMETERS["model"].default:
        raise BadInputError("A model and a size cannot both be measured: leave out --model or --size.")
    asked = request_of(options, PROMPT).validated()
    if asked.is_of_a_mesh and options.mesh is None:
        raise BadInputError(f"The task {asked.task} is about a mesh: name its file with --mesh.")
    if options.mesh is not None and not asked.is_of_a_mesh:
        raise BadInputError("A new object has no mesh: leave out --mesh, or add --task texture or --task refine.")
    with worker.device_work(report, None), tempfile.TemporaryDirectory(prefix="sdi-bench-") as temporary:
        from ..studies.bench import bench
        from ..studies.bench_table import table

        model = _model(options, Path(temporary), report)
        folder = JobFolder.create(Path(temporary) / "job", dataclasses.replace(asked, model=model))
        if options.mesh is not None:
            _put_mesh(options.mesh, folder, report)
        result = bench(folder, options.measured, report)
        return result | {"model": options.size or asked.model, "table": table(result)}


def _model(options: argparse.Namespace, temporary: Path, report: worker.Listener) -> str:
    """What to load."""
    from ..diffusion.random_model import build_model
    from ..diffusion.sizes import SIZES

    if options.size in (None, STARTER_MODEL):
        return str(options.model)
    folder = (options.keep or temporary) / options.size
    report(events.Progress("Building a model", 0, 1))
    with storage_errors(folder):
        build_model(SIZES[options.size], folder)
    return str(folder)


def _put_mesh(file: Path, folder: JobFolder, report: worker.Listener) -> None:
    """Make a mesh from a file that of a job."""
    from ..mesh_files.mesh_file import source_from_file
    from ..surface.source import write_source

    source, notices = source_from_file(file)
    for notice in notices:
        report(events.Notice(notice))
    with storage_errors(folder.path):
        write_source(folder.source_file, source)
