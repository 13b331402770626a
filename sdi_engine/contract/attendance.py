"""Whether an engine works on a job. Standard library only.

Whether a process on this machine lives, the system knows, however long ago it wrote something. One that runs elsewhere
counts as alive until nothing has changed in its files for a while (`liveness`).
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
    """Whether an engine works on a job that does not wait, as far as we can know; to be called repeatedly."""
    status = folder.status()
    runs = processes.runs(status) if status is not None else None
    if runs is None:
        return liveness.beats(folder.path, _signs_of_life(folder, status), clock)
    assert status is not None
    return runs and not _is_at_another(folder, status)


def is_at_work_here(folder: JobFolder) -> bool:
    """Whether an engine on this machine works on a job, beyond doubt."""
    status = folder.status()
    return status is not None and processes.runs(status) is True and not _is_at_another(folder, status)


def is_ours_to_end(folder: JobFolder) -> bool:
    """Whether the process that works on the job may be ended for it: here, beyond doubt, and on no other job.

    Of a copy of the job's folder, made while it ran, the process knows nothing.
    """
    status = folder.status()
    if status is None or not folder.is_where(status) or not processes.is_ours_to_end(status):
        return False
    jobs = _jobs_of_its_engine(folder, status)
    return jobs is None or jobs == [folder.path.name]


def may_come_back(folder: JobFolder) -> bool:
    """Whether the engine is presumed dead only since its files do not change: it may live elsewhere, and come back."""
    status = folder.status()
    return status is not None and processes.runs(status) is None


def machine_elsewhere(folder: JobFolder) -> str:
    """The name of the other machine, or container, whose engine works on the job; empty where none is known."""
    status = folder.status() or {}
    is_elsewhere = "machine" in status and not processes.is_here(status)
    return printable(str(status.get("host", ""))[:100]) if is_elsewhere else ""


def results_of(folder: JobFolder) -> JobQueue:
    """The queue of the results folder that contains a job."""
    ours = next((parent for parent in folder.path.parents if parent.name == ENGINE_FOLDER), None)  # a 2D preview's
    return JobQueue((ours or folder.path).parent)


def _signs_of_life(folder: JobFolder, status: Mapping[str, Any] | None) -> tuple[object, ...]:
    """All that an engine changes while it works on a job, except its files' times, which network caches hide."""
    try:
        said = folder.events_file.stat().st_size
    except OSError:
        said = -1
    return (status, said)


def _is_at_another(folder: JobFolder, status: Mapping[str, Any]) -> bool:
    """Whether the process is an engine that serves a queue, and says that it works on other jobs, or on none.

    Then the job's status file is one that was left behind.
    """
    jobs = _jobs_of_its_engine(folder, status)
    return jobs is not None and folder.path.name not in jobs


def _jobs_of_its_engine(folder: JobFolder, status: Mapping[str, Any]) -> list[str] | None:
    """The jobs of the process that wrote `status`, as it says; None where it is no engine that serves a queue."""
    key = machine.key_of(*(str(status.get(name, "")) for name in ("machine", "namespace", "person")))
    engine = results_of(folder).said_by(key)
    return jobs_of(engine) if engine is not None and processes.are_the_same(engine, status) else None
