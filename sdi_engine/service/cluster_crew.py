"""A pool's actors on the nodes of a cluster: starting, hiring, calling and ending them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ..errors import EnvironmentMissingError, StorageError
from ..system import liveness
from ..system.untrusted import printable
from . import worker
from .cluster_node import Node

GREETING_SECONDS = 30.0
"""After so long without an answer a new actor is slow, or waits for resources in use, and another node is tried too."""

ANSWER_SECONDS = 300.0
"""After so long without an answer an actor is taken for lost; until then it may be loading a model or reading files."""

EMPTY_SECONDS = 60.0
"""How long a job waits for a node when the cluster has none left."""

POLL_SECONDS = 0.25

Stop = Callable[[], None]
"""Called repeatedly while waiting; raises to stop waiting."""


class LostError(Exception):
    """An actor, its node, or the connection to it is gone; `str(error)` has details for the log."""


class UnfitError(Exception):
    """A node cannot do the job, but another may; `error` is raised if none can."""

    def __init__(self, node: str, error: Exception) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


@dataclass(frozen=True)
class Place:
    """A node that has room for our actors.

    Attributes:
        node: Ray's id of the node.
        name: its name for people (`name_of`).
        slots: number of actors that it has room for.
        options: the resources of each actor, as options of `ray.remote`.
        threads: number of processor threads of each actor.
    """

    node: str
    name: str
    slots: int
    options: dict[str, float]
    threads: int


@dataclass(eq=False)
class Actor:
    """One of our actors on a node.

    Attributes:
        handle: Ray's handle of it.
        place: its node.
        greeting: Ray's reference to the answer of `Node.greet`, which comes once the actor has started.
        is_ready: whether it has answered.
        is_free: whether it can be hired.
        model: the model of its last job.
    """

    handle: Any
    place: Place
    greeting: Any
    is_ready: bool = False
    is_free: bool = False
    model: object = None


class Crew:
    """The actors on a cluster: one per accelerator, or, if it has none, one per `cores` processor cores."""

    def __init__(self, ray: Any, cores: int) -> None:
        self._ray = ray
        self._cores = cores
        self._lock = threading.Lock()
        self._actors: list[Actor] = []

    def places(self) -> list[Place]:
        """The present nodes that have room for actors, sorted by name.

        Raises:
            EnvironmentMissingError: the cluster does not answer any more.
        """
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise EnvironmentMissingError(
                f"The Ray cluster does not answer any more ({_end_of(error)}): see that its head runs and can be "
                "reached, then resume the job."
            ) from error
        has_accelerators = any(node["Resources"].get("GPU", 0.0) >= 1.0 for node in nodes)
        make = self._with_accelerators if has_accelerators else self._with_cores
        return sorted(filter(lambda place: place.slots > 0, map(make, nodes)), key=lambda place: place.name)

    def hire(self, model: object, avoid: Collection[str], shun: Collection[str], stop: Stop) -> Actor | None:
        """A free actor, if possible with the model loaded; a new one is started if there is room, else waits for one.

        Args:
            model: the model of its job.
            avoid: ids of nodes that cannot do the job.
            shun: ids of nodes that are chosen last, since their actors were lost; Ray notices late that a node is gone.
            stop: see `Stop`.

        Returns:
            The actor, to be released or dismissed later; None if there are no nodes but those to avoid.

        Raises:
            UnfitError: an actor cannot be started on a node.
            EnvironmentMissingError: the cluster has no nodes left, or does not answer any more.
        """
        watch = liveness.Stopwatch()
        while True:
            stop()
            places = self.places()
            if places and all(place.node in avoid for place in places):
                return None
            if not places and watch.look() > EMPTY_SECONDS:
                raise EnvironmentMissingError(
                    "No node of the Ray cluster is left: start one (`ray start`), then resume the job."
                )
            there = [place for place in places if place.node not in avoid]
            actor = self._free_or_new([place for place in there if place.node not in shun] or there, model)
            if actor is not None and (actor.is_ready or self._has_greeted(actor, stop)):
                actor.model = model
                return actor
            time.sleep(POLL_SECONDS)

    def ask(self, actor: Actor, stop: Stop, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of an actor and return its answer.

        Raises:
            LostError: it does not answer any more.
            UnfitError: its node cannot do that, such as for a full disk.
        """
        try:
            answer = getattr(actor.handle, method).remote(*arguments, **named)
            watch = liveness.Stopwatch()
            while not self._ray.wait([answer], timeout=POLL_SECONDS)[0]:
                stop()
                if watch.look() > ANSWER_SECONDS:
                    raise LostError(f"no answer for {ANSWER_SECONDS:.0f} s")
            return self._ray.get(answer)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError, ConnectionError) as error:
            raise LostError(str(error)) from error
        except self._ray.exceptions.RayTaskError as error:  # as which Ray raises what the method raised
            raise UnfitError(actor.place.node, _has_failed(actor.place.name, error)) from error

    def release(self, actor: Actor) -> None:
        """Make an actor free to be hired again; its model stays loaded."""
        actor.is_free = True

    def dismiss(self, actor: Actor) -> None:
        """Kill an actor, even in the middle of a job."""
        with self._lock:
            if actor in self._actors:
                self._actors.remove(actor)
        self._ray.kill(actor.handle)

    def dismiss_all(self) -> None:
        """Kill all actors."""
        for actor in list(self._actors):
            self.dismiss(actor)

    def _free_or_new(self, places: list[Place], model: object) -> Actor | None:
        with self._lock:
            nodes = {place.node for place in places}
            free = [actor for actor in self._actors if actor.place.node in nodes and self._can_be_hired(actor)]
            fitting = [actor for actor in free if actor.model == model]
            room = [place for place in places if self._count_on(place) < place.slots]
            if fitting or (free and not room):
                actor = (fitting or free)[-1]
                actor.is_free = False
                return actor
            if not room:
                return None
            actor = self._make(min(room, key=self._count_on))
            self._actors.append(actor)
            return actor

    def _can_be_hired(self, actor: Actor) -> bool:
        """Whether it is free and has answered its greeting, possibly late."""
        return actor.is_free and (actor.is_ready or bool(self._ray.wait([actor.greeting], timeout=0)[0]))

    def _count_on(self, place: Place) -> int:
        return sum(actor.place.node == place.node for actor in self._actors)

    def _make(self, place: Place) -> Actor:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        threads = {"OMP_NUM_THREADS": str(place.threads), "GOMP_SPINCOUNT": worker.SPIN_COUNT}
        handle = (
            self._ray.remote(Node)
            .options(
                **place.options,
                scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=False),
                runtime_env={"env_vars": threads},
            )
            .remote()
        )
        return Actor(handle, place, handle.greet.remote())

    def _has_greeted(self, actor: Actor, stop: Stop) -> bool:
        """Wait for a new actor to answer; raises UnfitError, and what `stop` raises.

        Returns:
            False if its node is gone, or if the actor is slow: it may be hired once it has answered, since a new one
            would be no faster.
        """
        watch = liveness.Stopwatch()
        try:
            while not self._ray.wait([actor.greeting], timeout=POLL_SECONDS)[0]:
                stop()
                if watch.look() > GREETING_SECONDS:
                    self.release(actor)
                    return False
            self._ray.get(actor.greeting)
        except BaseException as error:
            self.dismiss(actor)
            if isinstance(error, self._ray.exceptions.RayError):
                if actor.place.node not in {place.node for place in self.places()}:
                    return False
                raise UnfitError(actor.place.node, _cannot_work(actor.place.name, error)) from error
            raise
        actor.is_ready = True
        return True

    def _with_accelerators(self, node: dict[str, Any]) -> Place:
        resources = node["Resources"]
        slots = int(min(resources.get("GPU", 0.0), resources.get("CPU", 0.0)))
        threads = max(1, int(resources.get("CPU", 0.0)) // max(1, slots))
        return Place(node["NodeID"], name_of(node), slots, {"num_gpus": 1, "num_cpus": 1}, threads)

    def _with_cores(self, node: dict[str, Any]) -> Place:
        all_cores = int(node["Resources"].get("CPU", 0.0))
        cores = max(1, min(self._cores, all_cores))
        return Place(node["NodeID"], name_of(node), all_cores // cores, {"num_cpus": cores}, cores)


def name_of(node: dict[str, Any]) -> str:
    """A node's name for people: the one it was given when it was started, or else its machine's."""
    given, host = str(node.get("NodeName", "")), str(node.get("NodeManagerHostname", ""))
    name = host if given in ("", node.get("NodeManagerAddress")) else given
    return printable(name or str(node.get("NodeManagerAddress", "")))[:100]


def _cannot_work(name: str, error: Exception) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        f"{name} cannot start to work ({_end_of(error)}): `doctor --cluster` says what each node lacks."
    )


def _has_failed(name: str, error: Exception) -> StorageError:
    return StorageError(
        f"{name} cannot keep the files of the job ({_end_of(error)}): see whether the disk of its temporary folder is "
        "full, then resume the job."
    )


def _end_of(error: Exception) -> str:
    """The last words of an error, of which the first ones are a traceback."""
    detail = " ".join(str(error).split())
    return detail if len(detail) <= 300 else f"…{detail[-300:]}"
