"""The command `bench`: which model it measures, and where one with random weights is built."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.parameters import PARAMETERS, STARTER_MODEL
from ..contract import events
from ..contract.job_folder import storage_errors
from ..errors import BadInputError
from ..service import worker
from .options import request_of

PROMPT = "a red mug"


def measured(options: argparse.Namespace, report: worker.Listener) -> dict[str, Any]:
    """The numbers of `studies.bench`, and their `table` as lines.

    Raises:
        EngineError: of the kinds that loading a model raises, and where a built one cannot be written.
    """
    if options.size and options.model != PARAMETERS["model"].default:
        raise BadInputError("A model and a size cannot both be measured: leave out --model or --size.")
    asked = request_of(options, PROMPT).validated()
    with worker.device_work(report), _model(options, report) as model:
        from ..studies.bench import bench
        from ..studies.bench_table import table

        result = bench(dataclasses.replace(asked, model=model), options.measured, report)
        return result | {"model": options.size or asked.model, "table": table(result)}


@contextmanager
def _model(options: argparse.Namespace, report: worker.Listener) -> Iterator[str]:
    """What to load."""
    from ..diffusion.random_model import build_model
    from ..diffusion.sizes import SIZES

    if options.size in (None, STARTER_MODEL):
        yield options.model
        return
    with tempfile.TemporaryDirectory(prefix="sdi-bench-") as temporary:
        folder = (options.keep or Path(temporary)) / options.size
        report(events.Progress("Building a model", 0, 1))
        with storage_errors(folder):
            build_model(SIZES[options.size], folder)
        yield str(folder)
