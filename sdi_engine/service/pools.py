"""Chooses the pool that does the work."""

from __future__ import annotations

from pathlib import Path

from .local_pool import LocalPool
from .pool import Pool


def open_pool(processes: int = 1, log_file: Path | None = None, cluster: str = "") -> Pool:
    """A new pool.

    Args:
        processes: how many processes on this computer work at once.
        log_file: gets what they print between jobs.
        cluster: the address of a Ray cluster (`cluster_connection`) that does the work instead; "" for none.

    Raises:
        EngineError: there is no such cluster, or the number of processes is invalid.
    """
    if cluster:
        from .cluster import ClusterPool

        return ClusterPool(cluster)
    return LocalPool(processes, log_file)
