"""What has become of the jobs of a command, and how the command ends: the file is saved, and a table printed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..jobs.terminal import say
from ..jobs.words import duration
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_STORAGE
from ..sdi_engine.system.untrusted import printable


@dataclass(frozen=True)
class Outcome:
    """The result of one job.

    Attributes:
        prompt: the prompt.
        exit_code: of `sdi_engine.errors`.
        seconds: from its start to its end.
        object: the name of the object that was made, or that has the texture; empty if there is none.
        folder: the job's folder; empty if there is none.
        error: one sentence if it failed, else empty.
        title: what it is called in the terminal.
    """

    prompt: str
    exit_code: int
    seconds: float
    object: str = ""
    folder: str = ""
    error: str = ""
    title: str = ""


def finish(outcomes: Sequence[Outcome], output: Path, options: argparse.Namespace, made: str) -> int:
    """Save the file if something has come into it, and print what has become of the jobs; returns the exit code.

    Args:
        outcomes: of all jobs that were started.
        output: the .blend file.
        options: those of the command line.
        made: what they are when they succeed, such as "objects made".
    """
    exit_code = _exit_code(outcomes)
    saved = any(outcome.object for outcome in outcomes)
    if saved:
        try:
            bpy.ops.wm.save_as_mainfile(filepath=str(output), check_existing=False)
        except RuntimeError as error:
            saved, exit_code = False, EXIT_STORAGE
            sentence = f'"{output}" could not be saved ({str(error).strip()}): free some space or choose another.'
            say(f"error: {printable(sentence)}")
    _print_table(outcomes, output if saved else None, made)
    if options.json:
        answer = {
            "ok": exit_code == EXIT_DONE,
            "exit_code": exit_code,
            "output": str(output) if saved else None,
            "objects": [dataclasses.asdict(outcome) for outcome in outcomes],
        }
        say(json.dumps(answer, ensure_ascii=True))
    return exit_code


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    failures = {outcome.exit_code for outcome in outcomes if outcome.exit_code != EXIT_DONE}
    if len(failures) > 1:
        return EXIT_CANCELLED if EXIT_CANCELLED in failures else 1
    return failures.pop() if failures else EXIT_DONE


def _print_table(outcomes: Sequence[Outcome], output: Path | None, made_as: str) -> None:
    made = [outcome for outcome in outcomes if outcome.object]
    failed = [outcome for outcome in outcomes if not outcome.object]
    where = f', saved in "{printable(str(output))}"' if output else ""
    say(f"\n{len(made)} of {len(outcomes)} {made_as}{where}")
    for outcome in made:
        say(f"  {duration(outcome.seconds):>8}  {shown(outcome.title)}")
    if not failed:
        return
    if any(outcome.exit_code == EXIT_CANCELLED for outcome in failed):
        say("\nStopped: the same command with --resume continues from here.")
    width = max(40, shutil.get_terminal_size().columns - 10)
    say(f"\n{len(failed)} failed\n  exit code  prompt and cause")
    for outcome in failed:
        say(f"  {outcome.exit_code:>9}  {shown(outcome.title)}")
        say(textwrap.indent(textwrap.fill(printable(outcome.error), width), " " * 13))
        if outcome.folder:
            say(f"{'':13}{printable(outcome.folder)}")


def shown(prompt: str) -> str:
    """A prompt shortened to fit into a line of a terminal."""
    return textwrap.shorten(printable(prompt), 60, placeholder="…")
