"""A stand-in for the package `ray` with a cluster, which a `Crew` cannot tell from a real one."""

from __future__ import annotations

from types import SimpleNamespace


class FakeRay:
    """A cluster of named nodes with resources.

    Attributes:
        made: the nodes on which actors were made, in order.
        killed: the nodes whose actors were killed, in order.
        options: the options of each actor.
    """

    class RayError(Exception):
        pass

    class RayActorError(RayError):
        pass

    class ObjectLostError(RayError):
        pass

    class RayTaskError(RayError):
        pass

    exceptions = SimpleNamespace(
        RayError=RayError, RayActorError=RayActorError, ObjectLostError=ObjectLostError, RayTaskError=RayTaskError
    )

    def __init__(self, nodes=(), slow=(), deaf=False, works=False):
        """Make a cluster.

        Args:
            nodes: resources by the node's name.
            slow: the same for nodes whose actors do not answer before `hurry`.
            deaf: whether actors answer their greeting, but are lost at any other call.
            works: whether actors do what they are told, in this process.
        """
        self._nodes = dict(slow) | dict(nodes)
        self._slow = set(slow)
        self._deaf = deaf
        self._works = works
        self.made, self.killed, self.options = [], [], []

    def hurry(self, name):
        """Let the actors on a slow node answer from now on."""
        self._slow.discard(name)

    def nodes(self):
        return [
            {"Alive": True, "NodeID": _id_of(name), "NodeName": name, "Resources": resources}
            for name, resources in self._nodes.items()
        ]

    def remote(self, kind):
        def options(**chosen):
            node = next(name for name in self._nodes if _id_of(name) == chosen["scheduling_strategy"].node_id)
            self.options.append(chosen)

            def make():
                self.made.append(node)
                return _Handle(node, self._deaf, kind() if self._works else None)

            return SimpleNamespace(remote=make)

        return SimpleNamespace(options=options)

    def wait(self, answers, timeout, num_returns=1):
        return ([answer for answer in answers if answer.node not in self._slow], [])

    def get(self, answer):
        if answer.is_lost:
            raise self.RayActorError(f"the actor on {answer.node} died")
        if answer.error is not None:
            raise self.RayTaskError(f"ray::Node.method() Traceback… {answer.error}") from answer.error
        return answer.value

    def kill(self, handle):
        self.killed.append(handle.node)


class _Handle:
    def __init__(self, node, deaf, actor):
        self.node = node
        self._deaf = deaf
        self._actor = actor

    def __getattr__(self, method):
        def remote(*arguments, **named):
            value = error = None
            try:
                value = getattr(self._actor, method)(*arguments, **named) if self._actor is not None else None
            except Exception as raised:
                error = raised
            is_lost = self._deaf and method != "greet"
            return SimpleNamespace(node=self.node, is_lost=is_lost, value=value, error=error)

        return SimpleNamespace(remote=remote)


def _id_of(name):
    """A node's id in Ray's form: 28 bytes in hexadecimal."""
    return name.encode().hex().ljust(56, "0")
