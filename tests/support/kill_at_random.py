"""Kills an engine at random moments, resumes, and compares the result with an uninterrupted run.

    python tests/support/kill_at_random.py FOLDER --runs 20 --queues 20 --seed 0

A run is one job, killed, perhaps again while it is resumed, then resumed to its end. A queue is an engine with waiting
jobs, killed; then another engine does the waiting and the unfinished ones. One more job is ended by SIGTERM. Every
engine is a fork of one process that has loaded torch, so that it starts in a second. Prints one JSON object: for each
run and queue when it was killed, and whether the mesh equals, byte for byte, that of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402

torch.set_num_threads(1)  # before the first fork: threads do not survive a fork, and a child would wait for them

from tiny_models import write_stable_diffusion  # noqa: E402

from sdi_engine.cli import commands  # noqa: E402
from sdi_engine.contract import events  # noqa: E402
from sdi_engine.contract.job_folder import JobFolder  # noqa: E402
from sdi_engine.contract.job_queue import RESUME, JobQueue  # noqa: E402
from sdi_engine.contract.request import JobRequest  # noqa: E402
from sdi_engine.run import checkpoint_writer, previews, text_to_mesh  # noqa: E402
from sdi_engine.service import serve, worker  # noqa: E402
from sdi_engine.system import machine  # noqa: E402

checkpoint_writer.seconds_apart = lambda size, seconds: 0.0  # so that many kills happen while a checkpoint is written
text_to_mesh.PREVIEWS_PER_RUN = 2
previews.MAX_PREVIEW_RESOLUTION, previews.TURNTABLE_RESOLUTION = (
    16,
    8,
)  # rendering larger ones would take nearly all of the time
PROMPTS = ("a red mug", "a blue house")

Wanted = dict[str, tuple[float, bytes]]
"""The seconds and the mesh of the uninterrupted run, by prompt."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--queues", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ[machine.FOLDER_VARIABLE] = str(options.folder / "own")
    model = str(write_stable_diffusion(options.folder / "models" / "tiny"))
    worker.run(_job(options.folder / "warm-up", model, PROMPTS[0]).path, resume=False)  # imports what the forks need
    wanted = _uninterrupted(options.folder, model)
    rng = random.Random(options.seed)
    runs = [kill_run(options.folder / f"run-{number}", model, wanted, rng) for number in range(options.runs)]
    queues = [kill_queue(options.folder / f"queue-{number}", model, wanted, rng) for number in range(options.queues)]
    terminated = terminate_run(options.folder / "terminated", model)
    print(json.dumps({"runs": runs, "queues": queues, "terminated": terminated}))
    return 0


def kill_run(folder: Path, model: str, wanted: Wanted, rng: random.Random) -> dict:
    """Do one job, killed at one or two random moments."""
    seconds, mesh = wanted[PROMPTS[0]]
    job = _job(folder, model, PROMPTS[0])
    moments = [rng.uniform(0.0, 1.1 * seconds) for _ in range(rng.choice([1, 1, 2]))]
    for number, moment in enumerate(moments):
        _killed(_fork(lambda: worker.run(job.path, resume=number > 0)), moment)  # noqa: B023 (forked at once)
    code = _ended(_fork(lambda: worker.run(job.path, resume=True)))
    return {"moments": moments, "exit_code": code, **_compared(job, mesh)}


def kill_queue(folder: Path, model: str, wanted: Wanted, rng: random.Random) -> dict:
    """Let an engine do a queue, killed at a random moment."""
    queue = JobQueue(folder)
    jobs = {prompt: _job(folder / f"job-{number}", model, prompt) for number, prompt in enumerate(PROMPTS)}
    for job in jobs.values():
        queue.add(job.path.name)
    moment = rng.uniform(0.0, 1.1 * sum(seconds for seconds, _ in wanted.values()))
    _killed(_fork(lambda: serve.serve(folder, 0.0)), moment)
    waiting = {ticket.name for ticket in queue.waiting()}
    begun = [job for job in jobs.values() if job.path.name not in waiting and job.result() is None]
    for job in begun:  # as Resume does; all other unfinished jobs must still be in the queue
        queue.add(job.path.name, RESUME, first=True)
    code = _ended(_fork(lambda: serve.serve(folder, 0.0)))
    compared = [_compared(job, wanted[prompt][1]) for prompt, job in jobs.items()]
    same = all(each["same"] for each in compared)
    left = [name for each in compared for name in each["left"]]
    return {"moments": [moment], "exit_code": code, "begun": len(begun), "same": same, "left": left}


def terminate_run(folder: Path, model: str) -> dict:
    """End a job of the command line by SIGTERM, in the middle of its work."""
    job = _job(folder, model, PROMPTS[0], steps=10_000)
    pid = _fork(lambda: commands.main(["run", str(job.path)]))
    while not any(isinstance(each, events.Progress) and each.step for each in events.read_new(job.events_file, 0)[0]):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    return {"exit_code": _ended(pid), "state": events.last_state(job.events_file)}


def _uninterrupted(folder: Path, model: str) -> Wanted:
    found = {}
    for number, prompt in enumerate(PROMPTS):
        job = _job(folder / f"whole-{number}", model, prompt)
        started = time.monotonic()
        assert _ended(_fork(lambda job=job: worker.run(job.path, resume=False))) == 0
        found[prompt] = (time.monotonic() - started, job.mesh_file.read_bytes())
    return found


def _job(path: Path, model: str, prompt: str, steps: int = 6) -> JobFolder:
    small = {"preset": "draft", "steps": steps, "resolution": 16, "texture_size": 64, "face_budget": 200}
    small["overrides"] = {"mesh_resolution": 16, "samples_per_ray": 16}
    return JobFolder.create(path, JobRequest(prompt, model=model, device="cpu", **small))


def _compared(job: JobFolder, wanted: bytes) -> dict:
    """Whether the mesh is the wanted one, and which temporary files a killed writer left."""
    made = job.mesh_file.read_bytes() if job.result() is not None else b""
    left = [path.name for path in job.path.rglob("*.part")]
    return {"same": made == wanted, "left": left}


def _fork(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = work()
    finally:
        os._exit(code)


def _killed(pid: int, moment: float) -> None:
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
