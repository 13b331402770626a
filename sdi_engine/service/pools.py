"""Which pool does the work."""

from __future__ import annotations

from pathlib import Path

from .local_pool import LocalPool
from .pool import Pool


def open_pool(processes: int = 1, log_file: Path | None = None, cluster: str = "") -> Pool:
    """A pool that nobody has used yet; raises EngineError where it cannot be.

    Args:
        processes: of this computer, at work at once.
        log_file: for what they print between jobs.
        cluster: the address of a Ray cluster (`cluster_connection`) that does the work instead; "" for none.
    """
    if cluster:
        from .cluster import ClusterPool

        return ClusterPool(cluster)
    return LocalPool(processes, log_file)
