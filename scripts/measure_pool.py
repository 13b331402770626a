"""Measures the overhead and the speed-up of a cluster, on a Ray cluster of two one-core nodes on this machine.

python scripts/measure_pool.py [--steps N]   (needs sdi_engine/requirements-cluster.txt, and two idle cores)

"overhead" is the time of a job through the pool divided by that in a local process of one thread, both with the model
loaded; "two nodes" is the throughput of two nodes divided by that of one. Two cores of one machine slow each other
down, so the same is measured for two local processes: two nodes on this machine cannot do better than those.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}

from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.service.cluster import ClusterPool
from sdi_engine.service.local_pool import LocalPool, core_count
from sdi_engine.service.pool import Pool

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "node_ip_address": "127.0.0.2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=30, help="steps of a job, which should take 30 s (default: %(default)s)"
    )
    steps = parser.parse_args().steps
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0})
    cluster.add_node(**NODE, node_name="one")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        with LocalPool(core_count()) as own:  # one thread each, as on a node
            jobs_in(own, results / "load own", 2, 1)
            with ClusterPool(cluster.address, cores=1) as pool:
                jobs_in(pool, results / "load one", 1, 1)
                alone, pooled = [], []
                for turn in range(2):  # in turns, so that other load affects both alike
                    alone.append(jobs_in(own, results / f"own {turn}", 1, steps))
                    pooled.append(jobs_in(pool, results / f"pool {turn}", 1, steps))
                cluster.add_node(**NODE, node_name="two")
                jobs_in(pool, results / "load two", 2, 1)
                one, own_one = min(pooled), min(alone)
                two = jobs_in(pool, results / "both", 2, steps)
                own_two = jobs_in(own, results / "own both", 2, steps)
    cluster.shutdown()
    print(f"without a pool {own_one:.1f} s, through it {one:.1f} s: overhead {one / own_one:.3f}")
    for names, first, both in (("two nodes", one, two), ("two processes without a cluster", own_one, own_two)):
        print(f"one job in {first:.1f} s, two in {both:.1f} s: {names} do {2.0 * first / both:.2f} times what one does")


def jobs_in(pool: Pool, results: Path, count: int, steps: int) -> float:
    """Seconds that `count` jobs at once take."""
    folders = [
        JobFolder.create(results / str(number), JobRequest("a red mug", preset="draft", steps=steps, device="cpu"))
        for number in range(count)
    ]
    start = time.perf_counter()
    for future in [pool.submit(folder.path) for folder in folders]:
        outcome = future.result()
        assert outcome.exit_code == 0, outcome
    seconds = time.perf_counter() - start
    print(f"{results.name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


if __name__ == "__main__":
    main()
