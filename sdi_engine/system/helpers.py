"""Work that a script does in a process of its own, because it may crash, hang, or take minutes without a pause."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from .liveness import Clock, Stopwatch
from .occasions import occasion

LOOK_SECONDS = 0.5


class HelperFailedError(Exception):
    """The process has crashed, or was ended because it took too long; one sentence."""


def answer_of(
    script: Path,
    asked: bytes,
    most_seconds: float | None = None,
    clock: Clock = time.monotonic,
    look: Callable[[], None] = lambda: None,
) -> bytes:
    """What a Python script writes to its standard output, given `asked` on its standard input, which it reads at first.

    While it works there is an `occasion` every now and then; what that raises ends the process.

    Args:
        most_seconds: after which it is ended; None: it may take as long as it wants.
        look: called at these occasions, too, and at the end.

    Raises:
        HelperFailedError: it has ended with an error, or has not come to an end.
    """
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    command = [sys.executable, "-P", str(script)]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **hidden) as process,
        ThreadPoolExecutor(1, thread_name_prefix="helper") as beside,
    ):
        # `communicate` with a time limit does not go on writing when it is called again
        talk = beside.submit(process.communicate, asked)
        watch = Stopwatch(clock)
        try:
            while not wait([talk], LOOK_SECONDS).done:
                occasion()
                look()
                if most_seconds is not None and watch.look() > most_seconds:
                    raise HelperFailedError("has not come to an end.")
            look()
            answer, complaint = talk.result()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = complaint.decode("utf-8", "replace").strip()
        raise HelperFailedError(f"ended with code {process.returncode}: {said[-2000:]}")
    return answer
