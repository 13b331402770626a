"""The actors of a pool on the nodes of a cluster: who is there, who is free, and what they answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ..errors import EnvironmentMissingError
from ..system import liveness
from ..system.untrusted import printable
from . import worker
from .cluster_node import Node

GREETING_SECONDS = 30.0
"""An actor that has not greeted after so long is slow, or waits for what others use: another node is tried beside."""

ANSWER_SECONDS = 300.0
"""Who has not answered after so long is lost; it may be loading a model, or look through its files."""

EMPTY_SECONDS = 60.0
"""For so long a job waits for a node where there is none any more."""

LOOK_SECONDS = 0.25

Stop = Callable[[], None]
"""Called again and again while somebody waits; raises where it is to wait no longer."""


class LostError(Exception):
    """An actor, its node, or the way to it is gone; `str(error)` says more, for the log."""


class UnfitError(Exception):
    """A node cannot do the job; others may. `error` is what to say where none can."""

    def __init__(self, node: str, error: Exception) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


@dataclass(frozen=True)
class Place:
    """A node that has room for actors of ours.

    Attributes:
        node: Ray's id of it.
        name: what people call it.
        slots: how many actors it has room for.
        options: what each of them takes, as `ray.remote` names it.
        threads: of each on the processor.
    """

    node: str
    name: str
    slots: int
    options: dict[str, float]
    threads: int


@dataclass(eq=False)
class Actor:
    """One of ours, on a node.

    Attributes:
        handle: Ray's.
        place: where it is.
        greeting: Ray's promise of an answer, which comes once the actor has started.
        is_ready: it has greeted.
        is_free: nobody has hired it.
        model: what it worked with last.
    """

    handle: Any
    place: Place
    greeting: Any
    is_ready: bool = False
    is_free: bool = False
    model: object = None


class Crew:
    """An actor for each accelerator of a cluster, or, where it has none, for so many cores of the processors."""

    def __init__(self, ray: Any, cores: int) -> None:
        self._ray = ray
        self._cores = cores
        self._lock = threading.Lock()
        self._actors: list[Actor] = []

    def places(self) -> list[Place]:
        """The nodes that can work for us now, in the order of their names."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        has_accelerators = any(node["Resources"].get("GPU", 0.0) >= 1.0 for node in nodes)
        make = self._with_accelerators if has_accelerators else self._with_cores
        return sorted(filter(lambda place: place.slots > 0, map(make, nodes)), key=lambda place: place.name)

    def hire(self, model: object, avoid: Collection[str], shun: Collection[str], stop: Stop) -> Actor | None:
        """A free actor, one that has the model if possible; made where there is room, waited for where there is none.

        Args:
            model: what it is to work with.
            avoid: nodes that cannot do it.
            shun: nodes that come last, since their actors were lost; Ray itself notices late that a node is gone.
            stop: see `Stop`.

        Returns:
            It, until it is released or dismissed; None where no node is left but those to avoid.

        Raises:
            UnfitError: one cannot be made on a node.
            EnvironmentMissingError: no node is there any more.
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
            time.sleep(LOOK_SECONDS)

    def ask(self, actor: Actor, stop: Stop, method: str, *arguments: Any, **named: Any) -> Any:
        """What an actor answers.

        Raises:
            LostError: it does not any more.
        """
        try:
            answer = getattr(actor.handle, method).remote(*arguments, **named)
            watch = liveness.Stopwatch()
            while not self._ray.wait([answer], timeout=LOOK_SECONDS)[0]:
                stop()
                if watch.look() > ANSWER_SECONDS:
                    raise LostError(f"no answer for {ANSWER_SECONDS:.0f} s")
            return self._ray.get(answer)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError, ConnectionError) as error:
            raise LostError(str(error)) from error

    def release(self, actor: Actor) -> None:
        """Let it be hired again; its model stays loaded."""
        actor.is_free = True

    def dismiss(self, actor: Actor) -> None:
        """End it, whatever it is at."""
        with self._lock:
            if actor in self._actors:
                self._actors.remove(actor)
        self._ray.kill(actor.handle)

    def dismiss_all(self) -> None:
        """End all."""
        for actor in list(self._actors):
            self.dismiss(actor)

    def _free_or_new(self, places: list[Place], model: object) -> Actor | None:
        with self._lock:
            nodes = {place.node for place in places}
            free = [actor for actor in self._actors if actor.place.node in nodes and self._can_be_hired(actor)]
            fitting = [actor for actor in free if actor.model == model]
            room = [place for place in places if self._at_work_on(place) < place.slots]
            if fitting or (free and not room):
                actor = (fitting or free)[-1]
                actor.is_free = False
                return actor
            if not room:
                return None
            actor = self._make(min(room, key=self._at_work_on))
            self._actors.append(actor)
            return actor

    def _can_be_hired(self, actor: Actor) -> bool:
        """Whether it is free and, if it was too slow for who made it, has greeted since."""
        return actor.is_free and (actor.is_ready or bool(self._ray.wait([actor.greeting], timeout=0)[0]))

    def _at_work_on(self, place: Place) -> int:
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
        """Wait for a new actor; raises UnfitError, and what `stop` raises.

        Returns:
            False where its node is gone, and where the actor is slow: it may be hired as soon as it has greeted, since
            one that began anew would be no faster.
        """
        watch = liveness.Stopwatch()
        try:
            while not self._ray.wait([actor.greeting], timeout=LOOK_SECONDS)[0]:
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
    """What people call a node: the name that it was given when it was started, or else its machine's."""
    given, host = str(node.get("NodeName", "")), str(node.get("NodeManagerHostname", ""))
    name = host if given in ("", node.get("NodeManagerAddress")) else given
    return printable(name or str(node.get("NodeManagerAddress", "")))[:100]


def _cannot_work(name: str, error: Exception) -> EnvironmentMissingError:
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 300 else f"…{detail[-300:]}"
    return EnvironmentMissingError(
        f"No work can be begun on {name} ({detail}): `doctor --cluster` says what each node lacks."
    )
