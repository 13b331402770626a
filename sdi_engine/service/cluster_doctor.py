"""Examines the nodes of a Ray cluster: what each has of what the engine needs, and what it lacks."""

from __future__ import annotations

from typing import Any

from .cluster_connection import connect, in_time, leave
from .cluster_crew import name_of
from .cluster_node import examine_node

NODE_SECONDS = 120.0
"""How long the nodes may take to answer; they load torch to do so."""

SPARE_SECONDS = 30.0
"""How long what is asked besides may take: which nodes there are, and their answers' way here."""


def examine_cluster(address: str) -> dict[str, Any]:
    """`doctor.examine` on every present node, as a JSON object: ok, nodes (by name).

    A node that did not answer has only `ok` and `error`.

    Raises:
        EngineError: from `cluster_connection.connect`.
        EnvironmentMissingError: the cluster itself does not answer any more.
    """
    ray = connect(address)
    try:
        reports = in_time(ray, address, NODE_SECONDS + SPARE_SECONDS, lambda: _reports(ray))
    finally:
        leave(ray, address)
    return {"ok": bool(reports) and all(report["ok"] for report in reports.values()), "nodes": reports}


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report in lines for a reader: what each node is and what it lacks, each fix on the line below."""
    lines = []
    for name, node in report["nodes"].items():
        if "error" in node:
            lines.append(f"{name}: MISSING: it does not answer ({node['error']})")
            continue
        resources = ", ".join(f"{count:g} {kind}" for kind, count in node["resources"].items()) or "no cores for jobs"
        lines.append(f"{name}: Python {node['python']} ({node['executable']}), device {node['device']}, {resources}")
        missing = [check for check in node["checks"] if not check["ok"]]
        for check in missing:
            lines += [f"    MISSING {check['name']}: {check['detail']}", f"            fix: {check['fix']}"]
        if not missing:
            lines.append("    ok      lacks nothing")
    return lines


def _resources(node: dict[str, Any]) -> dict[str, float]:
    return {kind: node["Resources"][kind] for kind in ("GPU", "CPU") if node["Resources"].get(kind, 0.0) > 0.0}


def _reports(ray: Any) -> dict[str, dict[str, Any]]:
    """The reports by the nodes' names."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = []
    for node in sorted((node for node in ray.nodes() if node["Alive"]), key=name_of):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked.append((node, ray.remote(examine_node).options(num_cpus=0, scheduling_strategy=there).remote()))
    answers = [answer for _, answer in asked]
    come = ray.wait(answers, num_returns=len(answers), timeout=NODE_SECONDS)[0] if answers else []
    reports: dict[str, dict[str, Any]] = {}
    for node, answer in asked:
        name = name_of(node)
        if name in reports:
            name = f"{name} ({node['NodeID'][:8]})"
        if answer not in come:
            reports[name] = {"ok": False, "error": f"nothing for {NODE_SECONDS:.0f} s"}
            continue
        try:
            reports[name] = {**ray.get(answer), "resources": _resources(node)}
        except ray.exceptions.RayError as error:
            said = " ".join(str(error).split())
            reports[name] = {"ok": False, "error": said if len(said) <= 300 else f"…{said[-300:]}"}
    return reports
