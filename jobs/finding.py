"""The jobs in a results folder, found again after a restart."""

from __future__ import annotations

import os
from pathlib import Path

from ..sdi_engine import events, processes
from ..sdi_engine.errors import EngineError
from ..sdi_engine.job_folder import JobFolder
from .job import Job
from .placement import PENDING, Placement


def job_folders(results: Path) -> list[JobFolder]:
    """Every job folder in `results`, the newest first; empty where the folder cannot be read."""
    try:
        found = [JobFolder(path) for path in results.expanduser().iterdir() if path.is_dir()]
    except OSError:
        return []
    jobs = [folder for folder in found if folder.request_file.is_file()]
    return sorted(jobs, key=lambda folder: folder.path.name, reverse=True)


def last_job(results: Path) -> Job | None:
    """The newest job, with its state, where it wants something of this Blender; else None.

    That is a job that a Blender started which is no more, that was not dismissed or cancelled, and whose result, if
    it has one, is in no scene yet.
    """
    for folder in job_folders(results)[:1]:
        placement = Placement.read(folder)
        if placement is None or placement.fate != PENDING or _belongs_to_another(placement):
            return None
        try:
            job = Job(folder)
        except EngineError:  # written by another version, or damaged: nothing that could be resumed
            return None
        job.look()
        return None if job.state == events.CANCELLED else job
    return None


def _belongs_to_another(placement: Placement) -> bool:
    return placement.owner != os.getpid() and processes.is_alive(placement.owner)
