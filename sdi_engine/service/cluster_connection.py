"""The way into a Ray cluster, and plain sentences where there is none.

Three kinds of address lead to one: `auto`, the cluster that this computer is a node of; HOST:PORT of a cluster's head,
for computers that are nodes of it; and `ray://HOST:PORT` of its Ray Client server, for all others. HOST alone is the
last, with Ray's usual port. Which of the two kinds a port is we ask ourselves, since Ray takes minutes to say that
nobody is there. Imports ray only to connect.

Whoever may connect to a Ray cluster may run programs on its nodes, and its nodes on the computers that connect: it
belongs in a network that is trusted.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BadInputError, EnvironmentMissingError
from ..system.untrusted import printable

AUTO = "auto"
CLIENT_PORT = 10001
CLIENT_PREFIX = "ray://"

REQUIREMENTS_FILE = Path(__file__).parent.with_name("requirements-cluster.txt")

ANSWER_SECONDS = 5.0
"""Who has not answered after so long is not there."""

_HEAD_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT_METHOD = "/ray.rpc.RayletDriver/ClusterInfo"
"""What a head, and a Ray Client server, are asked; the answer does not matter."""

_ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>[\w.\-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?/?")

log = logging.getLogger(__name__)


def connect(address: str) -> Any:
    """Connect this process to a cluster; returns the module `ray`, whose functions act upon it from now on.

    Our package goes to the nodes that are asked to work, so that they need no more than what it requires.

    Raises:
        BadInputError: this is no address.
        EnvironmentMissingError: `ray` is missing here, nobody answers there, or the two do not fit.
    """
    ray = _imported()
    target = _checked(address)
    log.info("Connecting to the Ray cluster %s.", target)
    package = Path(__file__).resolve().parents[1]
    environment = {"py_modules": [str(package)], "excludes": ["**/__pycache__/**"], "env_vars": _told_to_nodes()}
    try:
        with _own_signals():
            ray.init(
                target, runtime_env=environment, log_to_driver=False, logging_level=logging.CRITICAL, namespace="sdi"
            )
    except Exception as error:  # of many kinds
        raise EnvironmentMissingError(_why_not(address, error)) from error
    return ray


def _imported() -> Any:
    for package in ("ray", "grpc"):
        if importlib.util.find_spec(package) is None:
            raise EnvironmentMissingError(
                f'The Python "{sys.executable}" lacks the package "ray", by which a cluster works: install it with '
                f'"{sys.executable}" -m pip install -r "{REQUIREMENTS_FILE}", or leave the cluster out.'
            )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells Ray's makers nothing
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("RAY_LOG_TO_STDERR", "0")
    import ray
    from ray._private import worker

    # Ray prints what befalls nodes on our terminal, and has no switch for that.
    worker.print_to_stdstream = lambda data, ignore_prefix: log.debug("%s", data.get("lines"))
    return ray


def _checked(address: str) -> str:
    """What Ray takes for an address, after somebody answered there; raises EngineError."""
    text = address.strip()
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"] or CLIENT_PORT) < 2**16:
        raise BadInputError(
            f'"{printable(address)}" is no address of a Ray cluster: give auto, HOST:PORT or ray://HOST:PORT.'
        )
    if match["client"] is None and (text == AUTO or match["port"]):
        head = _head(text)
        if head and _answers(head, _HEAD_METHOD):
            return head
        if text == AUTO:
            raise EnvironmentMissingError(
                "This computer is no node of a Ray cluster that runs: give the address of one, such as "
                f"ray://HOST:{CLIENT_PORT}, or start one with `ray start --head`."
            )
    server = f"{match['host']}:{match['port'] or CLIENT_PORT}"
    if _answers(server, _CLIENT_METHOD):
        return CLIENT_PREFIX + server
    raise EnvironmentMissingError(
        f'No Ray cluster answers at "{server}": check the address, and whether the cluster runs and lets this computer '
        "in."
    )


def _head(address: str) -> str | None:
    """Where Ray would look for a cluster's head; None where it finds none."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        log.debug("%s", error)
        return None


def _answers(server: str, method: str) -> bool:
    """Whether what listens at HOST:PORT has such a method, whatever it says."""
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(server, options=options) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            absent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED)
            return error.code() not in absent
    return True


def _told_to_nodes() -> dict[str, str]:
    """Environment variables: whether models may be downloaded is for the person to say, not for the node."""
    told = {name: os.environ[name] for name in ("HF_HUB_OFFLINE",) if name in os.environ}
    return {"PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1", **told}


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our way of being told to end: Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _why_not(address: str, error: Exception) -> str:
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 300 else f"{detail[:300]}…"
    if "ersion" in detail:
        cure = "let this Python and the cluster's have the same version of Python and of ray."
    else:
        cure = "a computer that is no node of it needs the address of its Ray Client server (ray://HOST:10001)."
    return f'The Ray cluster "{printable(address)}" does not let us in ({detail}): {cure}'
