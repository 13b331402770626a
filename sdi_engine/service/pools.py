"""Chooses the pool that does the work, and how many processes it has."""

from __future__ import annotations

from pathlib import Path

from .local_pool import LocalPool, core_count
from .pool import Pool
from .worker import torch_work


def open_pool(processes: int | None = 1, log_file: Path | None = None, cluster: str = "") -> Pool:
    """A new pool.

    Args:
        processes: how many processes on this computer work at once; None for `suitable_processes`.
        log_file: gets what they print between jobs.
        cluster: the address of a Ray cluster (`cluster_connection`) that does the work instead; "" for none.

    Raises:
        EngineError: there is no such cluster, or the number of processes is invalid.
    """
    if cluster:
        from .cluster import ClusterPool

        return ClusterPool(cluster)
    return LocalPool(suitable_processes() if processes is None else processes, log_file)


def suitable_processes(device: str = "auto") -> int:
    """One process for each core on a CPU; one on a GPU, since how much of its memory a job needs is not known before.

    Args:
        device: as in a request.

    Raises:
        EnvironmentMissingError: torch or the device is missing.
    """
    with torch_work():
        from ..run.text_to_mesh import choose_device

        return core_count() if choose_device(device).type == "cpu" else 1
