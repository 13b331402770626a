"""What each command of the command line does."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract.job_folder import JobFolder
from ..diffusion.request_check import check_request
from ..errors import EXIT_CANCELLED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STORAGE, BadInputError, EngineError
from ..service import worker
from ..system.untrusted import printable, printable_record
from .bench import measured
from .options import request_of
from .output import OutputError, say
from .parser import make_parser
from .progress_bar import ProgressBar
from .studies import STUDIES

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = argparse.Namespace(json="--json" in given, verbose="--verbose" in given)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, handlers=[_log_handler(options.verbose)]
    )
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with worker.stop_signals():
            options = make_parser().parse_args(given)
            _check_place()
            return _COMMANDS.get(options.command, _study)(options)
    except KeyboardInterrupt:  # outside a job, which says more about its end: while a mesh is read, for example
        log.info("Cancelled.")
        return _print_json(options, {"ok": False, "error": "Cancelled."}, EXIT_CANCELLED)
    except EngineError as error:
        return _refused(options, error)
    except OutputError as error:
        log.error("%s", error)
        return EXIT_STORAGE


def _check_place() -> None:
    """Raise BadInputError where the folder that the command was started in is gone, as no path can be told then."""
    try:
        Path.cwd()
    except OSError as error:
        raise BadInputError(
            f"The folder that this command was started in is gone or closed to you ({error.strerror or error}): change "
            "to another one."
        ) from error


def _log_handler(verbose: bool) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"))
    handler.addFilter(printable_record)
    return handler


def _generate(options: argparse.Namespace) -> int:
    request = request_of(options, options.prompt).validated()
    check_request(request)
    folder = JobFolder.create(options.output, request)
    return _work(options, folder.path, resume=False)


def _of_mesh(options: argparse.Namespace) -> int:
    request = request_of(options, options.prompt).validated()
    check_request(request)
    with worker.torch_work():
        from ..mesh_files.mesh_file import source_from_file
        from ..surface.source import write_source

        source, notices = source_from_file(options.mesh)
    folder = JobFolder.create(options.output, request)
    with folder.completed():
        write_source(folder.source_file, source)
    for notice in notices:
        log.info("%s", notice)
    return _work(options, folder.path, resume=False)


def _run(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=False)


def _resume(options: argparse.Namespace) -> int:
    return _work(options, options.job, resume=True)


def _serve(options: argparse.Namespace) -> int:
    from ..service.pools import open_pool
    from ..service.serve import serve, step_back

    step_back()
    several = options.processes != 1 or options.cluster
    pool = open_pool(options.processes, cluster=options.cluster) if several else None
    if sys.stderr.isatty():
        log.info(
            'Doing the jobs that wait in "%s", now and later, until Ctrl+C or %g minutes without a job.',
            options.results,
            options.idle_minutes,
        )
    return serve(options.results, options.idle_minutes * 60.0, pool)


def _doctor(options: argparse.Namespace) -> int:
    from .. import doctor

    if options.cluster:
        from ..service import cluster_doctor

        report = cluster_doctor.examine_cluster(options.cluster)
        lines = cluster_doctor.report_lines(report)
    else:
        report = doctor.examine()
        lines = doctor.report_lines(report)
        if options.model and report["ok"]:
            from .model_needs import needs_of

            asked = request_of(options, "anything").validated()
            report["model"] = needs_of(asked.model, report["device"], asked.parts, asked.precision)
            lines += report["model"]["lines"]
    for line in lines:
        say(line, sys.stderr if options.json else sys.stdout)
    if options.json:
        say(json.dumps(report))
    return EXIT_DONE if report["ok"] else EXIT_ENVIRONMENT


def _bench(options: argparse.Namespace) -> int:
    """Measure what a run would take; the table is printed, and with --json the numbers too."""

    def told(result: dict[str, Any]) -> dict[str, Any]:
        say("\n".join(map(printable, result.pop("table"))), sys.stderr if options.json else sys.stdout)
        return result

    return _with_result(options, measured, told)


def _study(options: argparse.Namespace) -> int:
    """Run one of the studies, and print what it returns."""

    def told(result: dict[str, Any]) -> dict[str, Any]:
        log.info('The results are in "%s".', options.output)
        return {"folder": str(options.output), **result}

    return _with_result(options, STUDIES[options.command], told)


def _with_result(
    options: argparse.Namespace,
    work: Callable[[argparse.Namespace, ProgressBar], dict[str, Any]],
    told: Callable[[dict[str, Any]], dict[str, Any]],
) -> int:
    """Do some work, however it ends; `told` says what came of it, and returns what --json prints."""
    progress = ProgressBar()
    try:
        result = work(options, progress)
    except (EngineError, OutputError):
        raise
    except Exception as error:
        log.exception("a defect")
        return _print_json(options, {"ok": False, "error": f"{type(error).__name__}: {error}"}, 1)
    finally:
        progress.close()
    return _print_json(options, {"ok": True, **told(result)}, EXIT_DONE)


def _work(options: argparse.Namespace, path: Path, *, resume: bool) -> int:
    progress = ProgressBar()
    code = worker.run(path, resume=resume, listener=progress, work=worker.make_mesh_in_turn)
    progress.close()
    folder = JobFolder(path)
    result = folder.result() if code == EXIT_DONE else None
    if result is not None:
        log.info("The mesh is at %s", folder.mesh_file)
        return _print_json(options, {"ok": True, "folder": str(folder.path), **result}, code)
    error = progress.error or ("Cancelled." if code == EXIT_CANCELLED else "")
    return _print_json(options, {"ok": False, "folder": str(folder.path), "error": error}, code)


def _refused(options: argparse.Namespace, error: EngineError) -> int:
    """Say why nothing was done, or why it ended; returns the exit code."""
    log.error("%s", error)
    return _print_json(options, {"ok": False, "error": str(error)}, error.exit_code)


def _print_json(options: argparse.Namespace, content: dict[str, Any], code: int) -> int:
    if options.json:
        say(json.dumps(content | {"exit_code": code}))
    return code


_COMMANDS = {
    "generate": _generate,
    "texture": _of_mesh,
    "refine": _of_mesh,
    "run": _run,
    "resume": _resume,
    "serve": _serve,
    "doctor": _doctor,
    "bench": _bench,
}
"""All but the studies."""
