"""Measures what the extension costs Blender, and the time from a click to the first step of optimisation.

    python scripts/measure_extension.py [--engine-python PYTHON]
    blender --background --factory-startup --python scripts/measure_extension.py -- --engine-python PYTHON
    python tests/blender/window/real_blender.py run sid -- blender -b -P scripts/measure_extension.py -- --

Prints: milliseconds to enable the extension, and to enable it again; milliseconds of a tick of the timer, median and
longest, while one job runs without news, 50 wait and 200 are done; and, given the engine's Python, the seconds from a
click to the first step, for a first prompt and for a second one, for which the model is loaded already.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bpy

ROOT = Path(__file__).resolve().parent.parent
HISTORY = 200
WAITING = 50
TICKS = 400
PROMPTS = ("a red mushroom", "a green tree")

sys.path.insert(0, str(ROOT))
import headless  # noqa: E402


def main() -> None:
    options = _options()
    print(f"Blender {bpy.app.version_string}")
    with tempfile.TemporaryDirectory(prefix="sdi-measure-") as folder:
        first = _milliseconds_to_enable(Path(folder))
        headless.disable()
        print(f"enable: {first:.0f} ms, again: {_milliseconds_to_enable(Path(folder)):.0f} ms")
        ticks = _ticks(_part("state.current").session())
        print(f"timer, nothing new: median {statistics.median(ticks):.2f} ms, longest of {TICKS} {max(ticks):.2f} ms")
        if options.engine_python:
            for name, seconds in zip(("cold", "warm"), _seconds_to_first_step(options.engine_python), strict=True):
                print(f"click to first step, {name}: {seconds:.2f} s")
        headless.disable()


def _milliseconds_to_enable(results: Path) -> float:
    start = time.perf_counter()
    headless.enable(results_folder=results)
    return (time.perf_counter() - start) * 1000.0


def _part(name: str) -> Any:
    __import__(f"{headless.PACKAGE}.{name}")
    return sys.modules[f"{headless.PACKAGE}.{name}"]


def _ticks(session: Any) -> list[float]:
    """Milliseconds of each tick while a job seems to run in this process, but reports nothing."""
    desk = session.desks.desk(bpy.context)
    request = _part("sdi_engine.contract.request").JobRequest("a red mug")
    events = _part("sdi_engine.contract.events")
    for number in range(HISTORY):
        done = _part("sdi_engine.contract.job_folder").JobFolder.create(desk.results / f"2026-{number:04d}", request)
        done.result_file.write_text("{}")
    job = desk.create(request)
    desk.submit(job)
    desk.queue.take()
    for _ in range(WAITING):
        desk.submit(desk.create(request))
    job.folder.append(events.StateChanged(events.RUNNING))
    job.folder.append(events.Progress("Optimising", 3, 100, 1.0, 97.0))
    job.folder.beat(time.time())
    desk.queue.beat(time.time(), [job.name], request.model)
    session.watcher.refresh_library()
    while session.desks.library.is_refreshing:
        session.watcher.tick()
        time.sleep(0.05)
    durations = []
    for _ in range(TICKS):
        start = time.perf_counter()
        session.watcher.tick()
        durations.append((time.perf_counter() - start) * 1000.0)
        time.sleep(0.002)
    desk.queue.status_file.unlink()
    for ticket in desk.queue.waiting():
        desk.queue.remove(ticket.name)
    job.give_up("measured", 1)
    desk.jobs.clear()
    return durations


def _seconds_to_first_step(python: str) -> list[float]:
    """Seconds from a click to the end of the first step, for one prompt after the other."""
    bpy.context.preferences.addons[headless.PACKAGE].preferences.engine_python = python
    session, events = _part("state.current").session(), _part("sdi_engine.contract.events")
    engine = _part("state.preferences").engine(bpy.context)
    desk = session.desks.desk(bpy.context)
    seconds = []
    for prompt in PROMPTS:
        bpy.context.scene.sdi.prompt = prompt
        request = _part("state.properties").request_from(bpy.context.scene)
        clicked = time.time()
        job = desk.create(request)
        desk.submit(job)
        while job.progress is None or job.progress.phase != "Optimising" or job.progress.step == 0:
            desk.poll(lambda: engine)
            assert not job.is_over, job.log_tail()
            time.sleep(_part("state.watcher").TICK_SECONDS)
        said, _ = events.read_new(job.folder.events_file, 0)
        first = next(event for event in said if isinstance(event, events.Progress) and event.step and event.rate)
        seconds.append(first.time - clicked)
        desk.cancel(job)
        while not job.is_over:
            desk.poll(lambda: engine)
            time.sleep(0.05)
    desk.close()
    return seconds


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-python", help="a Python that has the engine's packages")
    arguments = sys.argv[1:]
    while "--" in arguments:
        arguments = arguments[arguments.index("--") + 1 :]
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
