"""The list of all jobs in a results folder, read in a thread, since disks can be slow."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sdi_engine.contract import events
from ..sdi_engine.contract.attendance import is_attended
from ..sdi_engine.contract.job_folder import JobFolder, in_use
from ..sdi_engine.contract.job_queue import JobQueue
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError, StorageError
from ..sdi_engine.system import files
from ..sdi_engine.system.untrusted import printable
from .inspection import is_picture
from .placement import IMPORTED, PENDING, Placement

TRASH_PREFIX = ".deleted-"
MAX_SECONDS = 10**9

_WINDOWS_ACCESS_DENIED = 5
"""What renaming a folder meets where another program has a file in it open."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One job in the list.

    Attributes:
        name: the name of its folder.
        request: None if it cannot be read; `trouble` then says why.
        state: one of `events.STATES`.
        created: Unix time in seconds.
        seconds: how long it took; None if it is not done.
        preview: its latest picture; None if there is none.
        placement: the scene and the location that it belongs to; None if it was not started from Blender.
        is_ours: whether it was started by this person's Blender on this machine.
        trouble: what is wrong with the folder, as one sentence; it can then only be opened or deleted.
    """

    name: str
    request: JobRequest | None
    state: str
    created: float
    seconds: float | None = None
    preview: Path | None = None
    placement: Placement | None = None
    is_ours: bool = False
    trouble: str = ""

    @property
    def title(self) -> str:
        """Its prompt, or else the name of its folder."""
        return self.request.prompt if self.request is not None else printable(self.name)

    @property
    def is_imported(self) -> bool:
        """Whether its result was imported into a scene."""
        return self.placement is not None and self.placement.fate == IMPORTED

    @property
    def is_pending(self) -> bool:
        """Whether it was started from Blender, and neither imported nor dismissed."""
        return self.placement is not None and self.placement.fate == PENDING

    @property
    def is_orphan(self) -> bool:
        """Whether it is pending and the Blender of this person that started it has ended."""
        return (
            self.is_ours and self.is_pending and self.placement is not None and not self.placement.is_owned_by_another
        )


class Library:
    """The jobs of a results folder, the newest first.

    Attributes:
        entries: as of the last completed refresh.
        was_read: whether the folder could be read then.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.entries: list[Entry] = []
        self.was_read = False
        self._kept: dict[str, tuple[float, Entry]] = {}
        self._found: tuple[list[Entry], bool] | None = None
        self._thread: threading.Thread | None = None
        self._again = False

    @property
    def is_refreshing(self) -> bool:
        """Whether a refresh is under way."""
        return self._thread is not None

    def refresh(self) -> None:
        """Read the folder again, in a thread; `poll` takes over the result."""
        if self._thread is not None:
            self._again = True
            return
        self._again = False
        self._thread = threading.Thread(target=self._read, name="library", daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Take over the result of a refresh; returns whether `entries` are new since the last call."""
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread = None
        found, self._found = self._found, None
        if self._again:
            self.refresh()
        if found is None:
            return False
        self.entries, self.was_read = found
        return True

    def find(self, name: str) -> Entry | None:
        """The entry of this name, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def delete(self, name: str) -> None:
        """Delete a job: all files that we write, and the folder if it has no others. Of a link, only the link itself.

        It disappears from the list at once, and from the disk soon.

        Raises:
            StorageError: on Windows another program has one of its files open.
            OSError: the folder cannot be renamed.
        """
        folder = self.results / name
        if files.is_link(folder):
            files.remove_link(folder)
        else:
            doomed = _doomed(folder)
            try:
                folder.rename(doomed)
            except PermissionError as error:
                if getattr(error, "winerror", None) == _WINDOWS_ACCESS_DENIED:
                    raise StorageError(in_use(folder)) from error
                raise
            threading.Thread(target=_remove, args=(doomed, folder), name="deletion").start()
        self.forget(name)

    def forget(self, name: str) -> None:
        """Take a job whose folder is gone out of the list."""
        self.entries = [entry for entry in self.entries if entry.name != name]

    def _read(self) -> None:
        waiting: set[str] = set()
        with suppress(OSError):  # whoever polls the queue reports that it cannot be read
            waiting = {ticket.name for ticket in JobQueue(self.results).waiting()}
        try:
            names = [name for name in files.names_in(self.results) if not name.startswith(".")]
        except OSError:  # the folder does not exist yet, or its drive is away
            self._found = [], False
            return
        found = (self._entry(self.results / name, waiting) for name in sorted(names, reverse=True))
        self._found = [entry for entry in found if entry is not None], True

    def _entry(self, path: Path, waiting: Set[str]) -> Entry | None:
        """The entry of a folder; known ones are read again only if files were added, removed or replaced."""
        try:
            changed = path.lstat().st_mtime
            kept = self._kept.get(path.name)
            if kept is not None and kept[0] == changed and kept[1].state in events.FINAL_STATES:
                return kept[1] if path.name not in waiting else read_entry(JobFolder(path), waiting)
            entry = read_entry(JobFolder(path), waiting)
        except FileNotFoundError:  # removed meanwhile
            return None
        except Exception as error:  # one broken job must not hide the others
            log.exception("The job in %s cannot be listed", path)
            return _damaged(JobFolder(path), f"This job cannot be read ({type(error).__name__}: {error}).")
        if entry is not None and not entry.trouble:
            self._kept[path.name] = (changed, entry)
        return entry


def read_entry(folder: JobFolder, waiting: Set[str] = frozenset()) -> Entry | None:
    """The entry of a job folder; None if it is no job folder.

    Args:
        folder: the job's folder.
        waiting: names of the jobs in the queue.

    Raises:
        OSError: it cannot be read.
    """
    if files.is_link(folder.path):
        leads_to_a_job = os.name != "nt" and folder.request_file.exists()  # on Windows this could contact a server
        return _damaged(folder, "This job is a link, and links are not followed.") if leads_to_a_job else None
    if not files.is_folder(folder.path) or not files.is_there(folder.request_file):
        return None
    try:
        request = folder.request()
    except EngineError as error:
        return _damaged(folder, str(error))
    result = folder.result()
    placement = Placement.read(folder)
    return Entry(
        name=folder.path.name,
        request=request,
        state=_state(folder, result is not None, waiting),
        created=folder.request_file.lstat().st_mtime,
        seconds=seconds_of(result),
        preview=folder.preview_file if is_picture(folder.preview_file) else None,
        placement=placement,
        is_ours=placement is not None and placement.is_ours(folder),
    )


def seconds_of(result: Mapping[str, Any] | None) -> float | None:
    """How long a job took in seconds, from its result; None if it does not say.

    The names `optimise_…` are parts of `optimise`, which already counts.
    """
    seconds = (result or {}).get("seconds")
    if not isinstance(seconds, dict):
        return None
    parts = [value for name, value in seconds.items() if not name.startswith("optimise_")]
    numbers = [value for value in parts if isinstance(value, int | float) and value >= 0.0]
    return float(sum(numbers)) if len(numbers) == len(parts) and sum(numbers) < MAX_SECONDS else None


def _damaged(folder: JobFolder, trouble: str) -> Entry:
    try:
        created = folder.path.lstat().st_mtime
    except OSError:
        created = 0.0
    return Entry(folder.path.name, None, events.FAILED, created, trouble=printable(trouble))


def _doomed(folder: Path) -> Path:
    """A new path for a folder that is to be deleted, with a name that no list shows."""
    doomed = folder.with_name(f"{TRASH_PREFIX}{folder.name}")
    number = 1
    while files.is_there(doomed):
        number += 1
        doomed = folder.with_name(f"{TRASH_PREFIX}{folder.name}-{number}")
    return doomed


def _remove(doomed: Path, folder: Path) -> None:
    """Delete a job's files; others stay, in a folder of the former name."""
    try:
        if JobFolder(doomed).remove():
            return
        log.info("%s also had files that are not a job's: they are kept", folder)
    except OSError as error:
        log.warning("%s could not be removed: %s", folder, error)
    with suppress(OSError):
        if not files.is_there(folder):
            doomed.rename(folder)


def _state(folder: JobFolder, has_result: bool, waiting: Set[str]) -> str:
    if folder.path.name in waiting:
        return events.QUEUED
    if has_result:
        return events.DONE
    last = events.last_state(folder.events_file) or events.QUEUED
    if last in events.FINAL_STATES or is_attended(folder):
        return last
    flags = {events.CANCELLED: folder.cancel_flag, events.PAUSED: folder.pause_flag}
    return next((state for state, flag in flags.items() if flag.exists()), events.FAILED)
