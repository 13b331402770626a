"""Whether an engine is at a job. Standard library only.

A process that runs here can be asked for: it lives or it does not, however long ago it wrote something. Of one that
runs elsewhere only its files tell, and it is believed until nothing has changed in them for a while (`liveness`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..system import liveness, machine, processes
from ..system.untrusted import printable
from .job_folder import JobFolder
from .job_queue import ENGINE_FOLDER, JobQueue, jobs_of


def is_attended(folder: JobFolder, clock: liveness.Clock = time.monotonic) -> bool:
    """Whether an engine is at a job that does not wait, as far as can be told; to be asked again and again."""
    status = folder.status()
    runs = processes.runs(status) if status is not None else None
    if runs is None:
        return liveness.beats(folder.path, _signs_of_life(folder, status), clock)
    assert status is not None
    return runs and not _is_at_another(folder, status)


def is_ours_to_end(folder: JobFolder) -> bool:
    """Whether the process that is at the job may be ended for it: here, beyond doubt, and at no other job."""
    status = folder.status()
    if status is None or not processes.is_ours_to_end(status):
        return False
    jobs = _jobs_of_its_engine(folder, status)
    return jobs is None or jobs == [folder.path.name]


def may_come_back(folder: JobFolder) -> bool:
    """Whether it is only because nothing was heard of it that somebody is taken for gone."""
    status = folder.status()
    return status is not None and processes.runs(status) is None


def machine_elsewhere(folder: JobFolder) -> str:
    """The name of the other machine, or container, whose engine is at the job; empty where none is known."""
    status = folder.status() or {}
    is_elsewhere = "machine" in status and not processes.is_here(status)
    return printable(str(status.get("host", ""))[:100]) if is_elsewhere else ""


def results_of(folder: JobFolder) -> JobQueue:
    """The queue of the results folder in which a job lives."""
    ours = next((parent for parent in folder.path.parents if parent.name == ENGINE_FOLDER), None)  # a 2D preview's
    return JobQueue((ours or folder.path).parent)


def _signs_of_life(folder: JobFolder, status: Mapping[str, Any] | None) -> tuple[object, ...]:
    """All that an engine changes while it is at a job, but for the times of its files, which caches hide."""
    try:
        said = folder.events_file.stat().st_size
    except OSError:
        said = -1
    return (status, said)


def _is_at_another(folder: JobFolder, status: Mapping[str, Any]) -> bool:
    """Whether the process is an engine that serves a queue, and says that it is at other jobs, or at none.

    So a status file that was left behind does not speak for it.
    """
    jobs = _jobs_of_its_engine(folder, status)
    return jobs is not None and folder.path.name not in jobs


def _jobs_of_its_engine(folder: JobFolder, status: Mapping[str, Any]) -> list[str] | None:
    """What the process at the job says of itself where it is an engine that serves a queue; None where it is none."""
    key = machine.key_of(*(str(status.get(name, "")) for name in ("machine", "namespace", "person")))
    engine = results_of(folder).said_by(key)
    return jobs_of(engine) if engine is not None and processes.are_the_same(engine, status) else None
