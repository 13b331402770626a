"""Connects to a Ray cluster, and explains in plain sentences why that fails.

There are three kinds of address: `auto` for the cluster that this computer is a node of; HOST:PORT of a cluster's head,
for computers that are its nodes; and `ray://HOST:PORT` of its Ray Client server, for all others. HOST alone means the
last kind, with Ray's default port. The server is asked directly which kind it is, since Ray takes minutes to report
that none answers. Imports ray only to connect.

Whoever can connect to a Ray cluster can run programs on its nodes, and its nodes can do so on computers that connect: a
cluster belongs in a trusted network.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from ..errors import EnvironmentMissingError
from ..system import liveness
from ..system.cluster_address import AUTO, CLIENT_PORT, CLIENT_PREFIX, check_cluster_address
from ..system.network import OFFLINE_VARIABLES
from ..system.untrusted import printable

REQUIREMENTS_FILE = Path(__file__).parent.with_name("requirements-cluster.txt")

ANSWER_SECONDS = 15.0
"""How long a server may take to answer."""

CONNECT_SECONDS = 180.0
"""How long Ray may take to connect: our package, 20 MB, is sent, and a process started there for each client. By itself
Ray waits without end."""

LEAVE_SECONDS = 10.0
"""How long it may take to disconnect; now and then a Ray Client waits for ever for its server to end the connection."""

_HEAD_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT_METHOD = "/ray.rpc.RayletDriver/ClusterInfo"
"""Methods that a head, or a Ray Client server, is called with; the answer does not matter."""

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def connect(address: str) -> Any:
    """Connect this process to a cluster; returns the module `ray`, whose functions now use that cluster.

    Our package is sent to the nodes, so that they only need its requirements installed.

    Raises:
        BadInputError: the address is invalid.
        EnvironmentMissingError: `ray` is missing here, no cluster answers in time, or its versions do not match.
    """
    ray = _imported()
    target = _checked(address)
    log.info("Connecting to the Ray cluster %s.", target)
    package = Path(__file__).resolve().parents[1]
    environment = {"py_modules": [str(package)], "excludes": ["**/__pycache__/**"], "env_vars": _node_environment()}
    options = {"log_to_driver": False, "logging_level": logging.CRITICAL, "namespace": "sdi"}
    try:
        in_time(ray, address, CONNECT_SECONDS, lambda: ray.init(target, runtime_env=environment, **options))
    except EnvironmentMissingError:
        raise
    except Exception as error:  # Ray raises many kinds
        raise EnvironmentMissingError(_why_not(address, error)) from error
    return ray


def in_time(ray: Any, address: str, seconds: float, call: Callable[[], Answer]) -> Answer:
    """What a call to Ray returns, or raises.

    Most of Ray's functions wait without end for a cluster that is silent. The call is made in a thread of its own,
    which is left behind if it takes longer; there Ray does not replace our handler of SIGTERM either.

    Args:
        ray: the module.
        address: the cluster's, for the message.
        seconds: that it may take.
        call: without arguments.

    Raises:
        EnvironmentMissingError: it took longer.
    """
    answer: Future[Answer] = Future()

    def answered() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=answered, name="cluster", daemon=True).start()
    watch = liveness.Stopwatch()
    try:
        while not wait([answer], timeout=1.0).done:  # so that Ctrl+C is noticed on Windows too
            if watch.look() > seconds:
                raise EnvironmentMissingError(
                    f'The Ray cluster "{printable(address)}" has not answered for {seconds:.0f} s: try again once its '
                    "machines have less to do, or start it anew (`ray stop` and `ray start` on each)."
                )
    finally:
        if not answer.done():  # Ray would wait for it again when this process ends
            atexit.unregister(ray.shutdown)
    return answer.result()


def leave(ray: Any, address: str, last: Callable[[], object] = lambda: None) -> None:
    """Disconnect from the cluster, after a `last` call; what a cluster that is silent keeps waiting is given up."""

    def gone() -> None:
        try:
            last()
        finally:
            ray.shutdown()

    try:
        in_time(ray, address, LEAVE_SECONDS, gone)
    except EnvironmentMissingError as error:
        log.debug("%s", error)


def _imported() -> Any:
    for package in ("ray", "grpc"):
        if importlib.util.find_spec(package) is None:
            raise EnvironmentMissingError(
                f'The Python "{sys.executable}" lacks the package "ray", which a cluster needs: install it with '
                f'"{sys.executable}" -m pip install -r "{REQUIREMENTS_FILE}", or leave the cluster out.'
            )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("RAY_LOG_TO_STDERR", "0")
    import ray
    from ray._private import worker

    # Ray prints events of the nodes on our terminal, and has no option to turn that off.
    worker.print_to_stdstream = lambda data, ignore_prefix: log.debug("%s", data.get("lines"))
    return ray


def _checked(address: str) -> str:
    """The address in Ray's form, once a server has answered there; raises EngineError."""
    text = address.strip()
    match = check_cluster_address(text)
    if match["client"] is None and (text == AUTO or match["port"]):
        head = _head(text)
        if head and _answers(head, _HEAD_METHOD):
            return head
        if text == AUTO:
            raise EnvironmentMissingError(
                "This computer is no node of a Ray cluster that is running: give the address of one, such as "
                f"ray://HOST:{CLIENT_PORT}, or start one with `ray start --head`."
            )
    server = f"{match['host']}:{match['port'] or CLIENT_PORT}"
    if _answers(server, _CLIENT_METHOD):
        return CLIENT_PREFIX + server
    raise EnvironmentMissingError(
        f'No Ray cluster answers at "{server}": check the address, and that the cluster is running and accepts '
        "connections from this computer."
    )


def _head(address: str) -> str | None:
    """The address at which Ray would look for a cluster's head; None if it finds none."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        log.debug("%s", error)
        return None


def _answers(server: str, method: str) -> bool:
    """Whether a server at HOST:PORT has such a method, whatever it answers."""
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(server, options=options) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            absent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED)
            return error.code() not in absent
    return True


def _node_environment() -> dict[str, str]:
    """Environment variables of the nodes; whether models may be downloaded is decided here, not by the node."""
    passed_on = {name: os.environ[name] for name in OFFLINE_VARIABLES if name in os.environ}
    return {"PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1", **passed_on}


def _why_not(address: str, error: Exception) -> str:
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 300 else f"{detail[:300]}…"
    if "ersion" in detail:
        cure = "use the same versions of Python and ray here as on the cluster."
    else:
        cure = "a computer that is not one of its nodes needs the address of its Ray Client server (ray://HOST:10001)."
    return f'The Ray cluster "{printable(address)}" refuses the connection ({detail}): {cure}'
