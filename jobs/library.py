"""All jobs of a results folder, as a list that a person can look through: read in a thread, since disks are slow."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from ..sdi_engine import events
from ..sdi_engine.attendance import is_attended
from ..sdi_engine.errors import EngineError
from ..sdi_engine.job_folder import JobFolder
from ..sdi_engine.job_queue import JobQueue
from ..sdi_engine.request import JobRequest
from .placement import IMPORTED, PENDING, Placement

TRASH_PREFIX = ".deleted-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One job.

    Attributes:
        name: of its folder.
        request: what was asked for.
        state: one of `events.STATES`.
        created: Unix time in seconds.
        seconds: how long it took; None where it is not done.
        preview: its latest picture; None where there is none.
        placement: where in which scene it belongs; None where no Blender asked for it.
        is_ours: whether it was this person's Blender that asked for it, on this machine.
    """

    name: str
    request: JobRequest
    state: str
    created: float
    seconds: float | None = None
    preview: Path | None = None
    placement: Placement | None = None
    is_ours: bool = False

    @property
    def is_imported(self) -> bool:
        return self.placement is not None and self.placement.fate == IMPORTED

    @property
    def is_pending(self) -> bool:
        """Whether a Blender asked for it, and nobody has said what is to become of it."""
        return self.placement is not None and self.placement.fate == PENDING

    @property
    def is_orphan(self) -> bool:
        """Whether a Blender of ours which is no more has left it, and it is not settled what becomes of it."""
        return (
            self.is_ours and self.is_pending and self.placement is not None and not self.placement.is_owned_by_another
        )


class Library:
    """The jobs of a results folder, the newest first.

    Attributes:
        entries: as of the last look.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.entries: list[Entry] = []
        self._kept: dict[str, tuple[float, Entry]] = {}
        self._found: list[Entry] | None = None
        self._thread: threading.Thread | None = None
        self._again = False

    @property
    def is_looking(self) -> bool:
        """Whether a look is under way."""
        return self._thread is not None

    def refresh(self) -> None:
        """Look again, in a thread; `poll` has the answer."""
        if self._thread is not None:
            self._again = True
            return
        self._again = False
        self._thread = threading.Thread(target=self._look, name="library", daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Whether `entries` are new since the last call."""
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread = None
        found, self._found = self._found, None
        if self._again:
            self.refresh()
        if found is None:
            return False
        self.entries = found
        return True

    def find(self, name: str) -> Entry | None:
        """The entry of this name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def delete(self, name: str) -> None:
        """Remove a job's folder with all that is in it; it is gone from the list at once, from the disk soon.

        Raises:
            OSError: the folder cannot be touched.
        """
        folder = self.results / name
        doomed = folder.with_name(f"{TRASH_PREFIX}{name}")
        folder.rename(doomed)
        self.entries = [entry for entry in self.entries if entry.name != name]
        threading.Thread(target=shutil.rmtree, args=(doomed, True), name="deletion").start()

    def _look(self) -> None:
        try:
            waiting = {ticket.name for ticket in JobQueue(self.results).waiting()}
            folders = [path for path in self.results.iterdir() if path.is_dir() and not path.name.startswith(".")]
        except OSError:  # there is none yet, or a drive is away
            self._found = []
            return
        found = []
        for path in sorted(folders, key=lambda path: path.name, reverse=True):
            with contextlib.suppress(OSError, EngineError):  # removed meanwhile, or of another version
                found.append(self._entry(path, waiting))
        self._found = [entry for entry in found if entry is not None]

    def _entry(self, path: Path, waiting: Set[str]) -> Entry | None:
        """What the folder says; known folders are read again only where files came, went or were replaced."""
        changed = path.stat().st_mtime
        kept = self._kept.get(path.name)
        if kept is not None and kept[0] == changed and kept[1].state in events.FINAL_STATES:
            return kept[1] if path.name not in waiting else read_entry(JobFolder(path), waiting)
        entry = read_entry(JobFolder(path), waiting)
        if entry is not None:
            self._kept[path.name] = (changed, entry)
        return entry


def read_entry(folder: JobFolder, waiting: Set[str] = frozenset()) -> Entry | None:
    """A job folder's entry; None where it is none. `waiting`: names of the jobs in the queue.

    Raises:
        EngineError: its request is damaged or of another version.
    """
    if not folder.request_file.is_file():
        return None
    result = folder.result()
    placement = Placement.read(folder)
    seconds = (result or {}).get("seconds")
    return Entry(
        name=folder.path.name,
        request=folder.request(),
        state=_state(folder, result is not None, waiting),
        created=folder.request_file.stat().st_mtime,
        seconds=_total(seconds) if isinstance(seconds, dict) else None,
        preview=folder.preview_file if folder.preview_file.is_file() else None,
        placement=placement,
        is_ours=placement is not None and placement.is_ours(folder),
    )


def _state(folder: JobFolder, has_result: bool, waiting: Set[str]) -> str:
    if folder.path.name in waiting:
        return events.QUEUED
    if has_result:
        return events.DONE
    said, _ = events.read_new(folder.events_file, 0)
    last = next((event.state for event in reversed(said) if isinstance(event, events.StateChanged)), events.QUEUED)
    if last in events.FINAL_STATES or is_attended(folder):
        return last
    flags = {events.CANCELLED: folder.cancel_flag, events.PAUSED: folder.pause_flag}
    return next((state for state, flag in flags.items() if flag.exists()), events.FAILED)


def _total(seconds: dict[str, float]) -> float:
    """Without those parts of the optimisation that are told besides."""
    return sum(value for key, value in seconds.items() if not key.startswith("optimise_"))
