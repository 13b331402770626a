"""A pool of many machines: the nodes of a Ray cluster do the jobs, while the jobs' folders stay on this one.

No disk is shared. A job's request and the files that it names are sent to a node; events, pictures, the log and, while
it runs, checkpoints come back and are written into the job's folder here, so that the folder looks the same as that of
a local job. If a job's node is lost, another resumes it from the checkpoint that came back last. Flags put into the
folder are passed on.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..contract.job_queue import RESUME, RUN, SAMPLE
from ..contract.request import JobRequest
from ..errors import BadInputError, EngineError, EnvironmentMissingError, JobCancelledError, JobPausedError
from ..system import liveness
from ..system.files import is_file, is_there, open_to_append, open_to_read
from ..system.redaction import redacted
from . import worker
from .cluster_connection import ANSWER_SECONDS, connect, in_time, leave
from .cluster_crew import POLL_SECONDS, Actor, Crew, LostError, Place, Stop, UnfitError
from .cluster_files import CHECKPOINT, Packer, Parcel, accept, unreadable
from .pool import CRASHED, Listener, Outcome, ignore

CORES = 4
"""Processor cores for each job on a cluster without accelerators."""

MOST_LOSSES = 3
"""A job fails once it has lost so many actors, since it may well be what kills them."""

CANCEL_SECONDS = 4.0
"""If a job has not stopped so long after its cancel flag, its process is killed."""

PAUSE_SECONDS = 90.0
"""The same after its pause flag, since it saves its state first."""

CHECKPOINT_SHARE = 0.1
"""The largest share of the time that fetching checkpoints may take."""

_OWN_STATES = (events.STARTING, events.DONE, events.FAILED, events.CANCELLED, events.PAUSED)
"""States that are reported by this process, not passed on from the node."""

_ERRORS: Mapping[int, type[EngineError]] = {
    kind.exit_code: kind
    for kind in (
        errors.BadInputError,
        errors.EnvironmentMissingError,
        errors.NoObjectError,
        errors.OutOfMemoryError,
        errors.StorageError,
    )
}
_OF_THE_NODE = (errors.EXIT_ENVIRONMENT, errors.EXIT_OUT_OF_MEMORY, errors.EXIT_STORAGE)
"""Exit codes of failures that another node may not have."""

log = logging.getLogger(__name__)


class ClusterPool:
    """A `Pool` of the nodes of a Ray cluster, with one actor per accelerator, or per `cores` processor cores."""

    is_local = False

    def __init__(self, address: str, cores: int = CORES) -> None:
        """Connect to a cluster, without starting anything on it yet.

        Args:
            address: as in `cluster_connection`.
            cores: processor cores for each job if the cluster has no accelerators.

        Raises:
            BadInputError: the address or `cores` is invalid.
            EnvironmentMissingError: `ray` is missing, no cluster answers, or no node has cores for jobs.
        """
        if cores < 1:
            raise BadInputError(f"A job needs at least 1 core of a node, not {cores}.")
        self._address = address
        self._ray = connect(address)
        self._crew = Crew(self._ray, cores)
        self._packer = Packer()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Path, str, Listener, Future[Outcome]]] = deque()
        self._unfinished: set[Future[Outcome]] = set()
        self._at_work = 0
        self._pausing = threading.Event()
        capacity = 0
        try:
            capacity = in_time(self._ray, address, ANSWER_SECONDS, lambda: self.capacity)
        finally:
            if capacity == 0:
                leave(self._ray, address)
        if capacity == 0:
            raise EnvironmentMissingError(
                f'The Ray cluster "{address}" has no node with cores for jobs: start one (`ray start --address=…`).'
            )

    @property
    def capacity(self) -> int:
        """How many jobs the present nodes do at once."""
        return sum(place.slots for place in self._crew.places())

    def submit(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Future[Outcome]:
        """Submit a job to the next free node."""
        future: Future[Outcome] = Future()
        with self._lock:
            self._unfinished.add(future)
            future.add_done_callback(self._unfinished.discard)
            self._waiting.append((job, verb, listener, future))
        self._staff()
        return future

    def close(self, *, pause: bool = False) -> None:
        """Wait for all jobs, or pause the running ones, and disconnect from the cluster."""
        try:
            if pause:
                self._pausing.set()
                for _, _, _, future in list(self._waiting):
                    future.cancel()
            while not_done := list(self._unfinished):
                wait(not_done, timeout=1.0)  # with a timeout, so that Ctrl+C is noticed on Windows too
        finally:
            self._pausing.set()
            leave(self._ray, self._address, self._crew.dismiss_all)

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(pause=error is not None)

    def _staff(self) -> None:
        """Start threads for waiting jobs, as many as the cluster has room for."""
        capacity = max(1, self.capacity)
        with self._lock:
            while self._at_work < min(capacity, self._at_work + len(self._waiting)):
                self._at_work += 1
                threading.Thread(target=self._take_turns, name="cluster job", daemon=True).start()

    def _take_turns(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work -= 1
                    return
                job, verb, listener, future = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(_Errand(self._crew, self._packer, self._pausing).run(job, verb, listener))
            except BaseException as error:
                log.exception("An unexpected error")
                future.set_exception(error)
            with suppress(EngineError):  # the cluster is gone, which the next job says
                self._staff()


class _Errand:
    """One job, on one node after another until one of them has done it."""

    def __init__(self, crew: Crew, packer: Packer, pausing: threading.Event) -> None:
        self._crew = crew
        self._packer = packer
        self._pausing = pausing
        self._costs = Outcome(errors.EXIT_DONE)
        self._error = ""
        self._patience = liveness.Stopwatch()
        self._asked = ""

    def run(self, job: Path, verb: str, listener: Listener) -> Outcome:
        """Do the job; returns its outcome."""

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Failed):
                self._error = event.message
            listener(event)

        def work(folder: JobFolder, request: JobRequest, resume: bool, report: Listener) -> None:
            self._work(folder, request, resume, report, verb)

        code = worker.run(job, resume=verb == RESUME, listener=hear, work=work)
        return dataclasses.replace(self._costs, exit_code=code, error=self._error)

    def _work(self, folder: JobFolder, request: JobRequest, resume: bool, report: Listener, verb: str) -> None:
        """Do the job on one node, or, if that node fails, on others.

        Raises:
            EngineError: of the kinds that a job on this computer raises.
        """

        def stop() -> None:
            self._stop(folder)

        unfit: dict[str, EngineError] = {}
        losses: list[Place] = []
        parcels = self._packer.parcels(request)
        model = (request.model, request.loras, request.parts, request.precision)
        report(events.Progress("Waiting for a node", 0, 1))
        while True:
            try:
                actor = self._crew.hire(model, unfit, {place.node for place in losses}, stop)
                if actor is None:
                    raise next(iter(unfit.values()))
                with ExitStack() as stack:
                    stack.callback(self._crew.dismiss, actor)
                    visit = _Visit(self._crew, actor, folder, request, report)
                    try:
                        visit.send(parcels, stop)
                        outcome = visit.do(verb, resume, self._flags, self._stop_late)
                    finally:
                        self._count(visit)
                    if outcome.exit_code != CRASHED:  # its graphics card may be lost to it
                        stack.pop_all()
                        self._crew.release(actor)
                self._judge(outcome, visit)
                return
            except UnfitError as error:
                log.warning("%s", error)
                unfit[error.node] = error.error
                resume = resume or is_file(folder.checkpoint_file)
            except LostError as error:
                log.warning("%s was lost: %s", actor.place.name, error)
                losses.append(actor.place)
                if len(losses) == MOST_LOSSES:
                    raise EngineError(_lost(losses)) from error
                report(
                    events.Notice(f"{actor.place.name} was lost: resuming on another node from the last checkpoint.")
                )
                resume = True

    def _count(self, visit: _Visit) -> None:
        """Add a visit's costs to those of the job."""
        self._costs = Outcome(
            errors.EXIT_DONE,
            "",
            *(
                getattr(self._costs, name) + getattr(visit.costs, name)
                for name in ("seconds", "optimise_seconds", "load_seconds", "model_evaluations")
            ),
        )

    def _judge(self, outcome: Outcome, visit: _Visit) -> None:
        """Raise the error that corresponds to a job's outcome on a node, unless it is done."""
        code = outcome.exit_code
        if code == errors.EXIT_DONE:
            return
        if code == errors.EXIT_CANCELLED:
            if visit.state == events.PAUSED:
                raise JobPausedError("The job was paused.")
            raise JobCancelledError("The job was cancelled.")
        message = visit.as_here(outcome.error)
        if code in _OF_THE_NODE:
            raise UnfitError(visit.node, _ERRORS[code](f"On {visit.name}: {message}"))
        raise _ERRORS.get(code, EngineError)(message)

    def _flags(self, folder: JobFolder) -> list[str]:
        """The names of the flags to set on the node too."""
        flags = (folder.cancel_flag, folder.pause_flag, folder.finish_flag, folder.live_flag)
        found = [flag.name for flag in flags if is_there(flag)]
        return [*found, folder.pause_flag.name] if self._pausing.is_set() else found

    def _stop(self, folder: JobFolder) -> None:
        """Raise if the job was stopped; for phases in which there is nothing to save."""
        folder.stop_if_told()
        if self._pausing.is_set():
            raise JobPausedError("The job was paused.")

    def _stop_late(self, folder: JobFolder) -> None:
        """Raise if the job was stopped and the node has not followed within its time limit."""
        try:
            self._stop(folder)
        except JobCancelledError as error:
            if self._asked != type(error).__name__:
                self._asked = type(error).__name__
                self._patience.restart()
            if self._patience.look() > (PAUSE_SECONDS if isinstance(error, JobPausedError) else CANCEL_SECONDS):
                raise


class _Visit:
    """A job on one node."""

    def __init__(self, crew: Crew, actor: Actor, folder: JobFolder, request: JobRequest, report: Listener) -> None:
        self._crew = crew
        self._actor = actor
        self._folder = folder
        self._request = request
        self._report = report
        self._there: dict[str, str] = {}
        self._started = time.perf_counter()
        self._outcome: Outcome | None = None
        self.name = actor.place.name
        self.node = actor.place.node
        self.state = ""
        """The last of `events.STATES` that the node reported."""

    @property
    def costs(self) -> Outcome:
        """The costs reported by the node; if it was lost, just the time."""
        return self._outcome or Outcome(errors.EXIT_CANCELLED, seconds=round(time.perf_counter() - self._started, 3))

    def as_here(self, text: str) -> str:
        """A text from the node, with its file names replaced by those on this machine."""
        for named, there in self._there.items():
            text = text.replace(there, named)
        return text

    def send(self, parcels: list[Parcel], stop: Stop) -> None:
        """Send the files that the request names, unless the node has them already; raises BadInputError."""
        for parcel in parcels:
            try:
                self._there[parcel.named] = self._find(parcel, stop) or self._sent(parcel, stop)
            except OSError as error:  # it was there when it was packed
                raise unreadable(parcel.named, error) from error

    def do(self, verb: str, resume: bool, flags: Any, stop_late: Any) -> Outcome:
        """Do the job on the node, and write what comes back into the job's folder; returns its outcome there."""
        folder = self._folder

        def stop() -> None:
            stop_late(folder)

        checkpoint = None
        if resume and is_file(folder.checkpoint_file):
            with storage_errors(folder.path), open_to_read(folder.checkpoint_file) as file:
                checkpoint = file.read()
        source = None
        if self._request.is_of_a_mesh and is_file(folder.source_file):
            with storage_errors(folder.path), open_to_read(folder.source_file) as file:
                source = file.read()

        def place(path: str) -> str:
            return self._there.get(path, path)

        there = dataclasses.replace(
            self._request,
            model=place(self._request.model),
            loras=tuple(dataclasses.replace(lora, file=place(lora.file)) for lora in self._request.loras),
            **dataclasses.asdict(self._request.parts.at(place)),
        )
        verb = verb if verb == SAMPLE else (RESUME if checkpoint is not None else RUN)
        self._started = time.perf_counter()
        self._crew.ask(self._actor, stop, "start", there.to_json(), verb, checkpoint, source)
        have: dict[str, tuple[int, int]] = {}
        heard = printed = 0
        next_checkpoint = 0.0
        while True:
            asked_at = time.monotonic()
            without = self._outcome is None and asked_at < next_checkpoint
            said = self._crew.ask(
                self._actor, stop, "poll", flags(folder), heard, printed, have, without_checkpoint=without
            )
            if CHECKPOINT in said["files"]:
                now = time.monotonic()
                next_checkpoint = now + (now - asked_at) / CHECKPOINT_SHARE
            accept(folder, {name: content for name, (_, content) in said["files"].items()}, self._request)
            have |= {name: state for name, (state, _) in said["files"].items()}
            heard += len(said["events"])
            self._tell(said["events"])
            printed += self._print(said["log"], whole=self._outcome is not None)
            if self._outcome is not None and not (said["files"] or said["events"] or said["log"]):
                self._crew.ask(self._actor, stop, "leave")
                return self._outcome
            if said["outcome"] is not None:
                self._outcome = Outcome(**said["outcome"])
            else:
                stop()
                time.sleep(POLL_SECONDS)

    def _find(self, parcel: Parcel, stop: Stop) -> str:
        sizes = {name: source.stat().st_size for name, source in parcel.sources.items()}
        return str(self._crew.ask(self._actor, stop, "find", parcel.named, parcel.key, sizes))

    def _sent(self, parcel: Parcel, stop: Stop) -> str:
        """Send a parcel; returns its path on the node."""
        log.info('Sending "%s" to %s.', parcel.named, self.name)
        self._report(events.Progress(f"Sending {parcel.entry} to {self.name}", 0, len(parcel.files)))
        for number, name in enumerate(parcel.files, start=1):
            for index, part in enumerate(parcel.parts(name)):
                self._crew.ask(self._actor, stop, "receive", parcel.key, name, part, first=index == 0)
            self._report(events.Progress(f"Sending {parcel.entry} to {self.name}", number, len(parcel.files)))
        if not self._crew.ask(self._actor, stop, "accept", parcel.key, dict(parcel.files)):
            raise BadInputError(f'"{parcel.named}" was changed while it was sent to {self.name}: start the job again.')
        return self._find(parcel, stop)

    def _tell(self, lines: list[str]) -> None:
        """Report the node's events, with this computer's clock and file names."""
        for event in filter(None, map(events.from_line, lines)):
            now = time.time()
            if isinstance(event, events.StateChanged):
                self.state = event.state
            if isinstance(event, events.Failed) or (
                isinstance(event, events.StateChanged) and event.state in _OWN_STATES
            ):
                continue
            if isinstance(event, events.Progress):
                event = dataclasses.replace(event, phase=f"{event.phase} on {self.name}")
            elif isinstance(event, events.Notice):
                event = dataclasses.replace(event, message=self.as_here(event.message))
            self._report(dataclasses.replace(event, time=now))

    def _print(self, output: bytes, *, whole: bool) -> int:
        """Append whole lines to the job's log; returns their number of bytes."""
        end = len(output) if whole else output.rfind(b"\n") + 1
        if end > 0:
            text = redacted(self.as_here(output[:end].decode("utf-8", "replace")))
            with storage_errors(self._folder.path), open_to_append(self._folder.log_file) as file:
                file.write(text.encode("utf-8"))
        return end


def _lost(places: list[Place]) -> str:
    names = ", ".join(place.name for place in places)
    return (
        f"The nodes that worked on this job were lost one after the other ({names}): see Ray's logs on them, then "
        "resume the job."
    )
