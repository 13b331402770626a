"""The number of steps with which a setting takes as much time as another.

Each of the two settings makes one object with its own number of steps; time is proportional to steps, so the number
follows from the ratio of the two times. It is stored, since a second measurement would differ a little.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..diffusion.prior import ModelHints
from ..errors import NoObjectError
from ..run.resolve import resolve
from ..service.pool import Pool
from ..system.files import read_json_object, write_atomically
from .plan import Job, Plan, Setting
from .runs import JOBS_FOLDER, Record, run_jobs

EQUAL_TIME_FILE = "equal_time.json"

MOST_PROMPTS = 3
"""How many prompts are tried: one is skipped if either setting makes no object of it at the first attempt."""

log = logging.getLogger(__name__)


def steps_for_equal_time(
    plan: Plan, folder: Path, pool: Pool, report: Callable[[events.Event], None]
) -> dict[str, int]:
    """The steps of all settings with equal_time, by their names; measured once, then read from the folder.

    Raises:
        NoObjectError: none of the first `MOST_PROMPTS` prompts could be measured.
        EngineError, KeyboardInterrupt: from `run_jobs`.
    """
    found = _found(folder)
    settings = {setting.name: setting for setting in plan.settings}
    for setting in plan.settings:
        if setting.equal_time and setting.name not in found:
            found[setting.name] = _measured(plan, setting, settings[setting.equal_time], folder, pool, report)
            with storage_errors(folder):
                write_atomically(folder / EQUAL_TIME_FILE, json.dumps(found, indent=2) + "\n")
            log.info('"%s" gets %d steps.', setting.name, found[setting.name]["steps"])
    return known_steps(folder)


def known_steps(folder: Path) -> dict[str, int]:
    """The steps that `steps_for_equal_time` has stored in the folder, by the settings' names."""
    return {name: measured["steps"] for name, measured in _found(folder).items()}


def equal_steps(steps: int, seconds: float, seconds_to_take: float) -> int:
    """The number of steps that take `seconds_to_take` if `steps` took `seconds`; at least 1."""
    return max(1, round(steps * seconds_to_take / seconds))


def _found(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / EQUAL_TIME_FILE) or {}


def _measured(
    plan: Plan,
    setting: Setting,
    other: Setting,
    folder: Path,
    pool: Pool,
    report: Callable[[events.Event], None],
) -> dict[str, Any]:
    for prompt in plan.prompts[:MOST_PROMPTS]:
        job, other_job = plan.job(prompt, plan.seeds[0], setting), plan.job(prompt, plan.seeds[0], other)
        run_jobs(folder, [other_job, job], pool, report)
        seconds, seconds_to_take = _seconds(folder, job), _seconds(folder, other_job)
        if seconds and seconds_to_take:
            steps = resolve(job.request, ModelHints(), 64).steps
            return {
                "steps": equal_steps(steps, seconds, seconds_to_take),
                "prompt": prompt,
                "normal_steps": steps,
                "seconds_of_normal_steps": seconds,
                "seconds_to_take": seconds_to_take,
            }
    raise NoObjectError(
        f'How many steps of "{setting.name}" take the time of "{other.name}" cannot be measured, because none of the '
        "first prompts gives an object with both at the first attempt: give it steps instead of equal_time."
    )


def _seconds(folder: Path, job: Job) -> float | None:
    """The seconds of a job's optimisation; None if it failed or needed more than one attempt."""
    path = folder / JOBS_FOLDER / job.key
    record, result = Record.of(path), JobFolder(path).result()
    if record is None or record.exit_code != errors.EXIT_DONE or result is None or result["attempts"] > 1:
        return None
    return record.optimise_seconds
