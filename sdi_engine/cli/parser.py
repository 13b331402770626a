"""The command line. Exit codes: 0 done, 2 bad input, 3 environment or model missing, 4 no object emerged,
5 out of memory, 6 storage full or not writable midway, 130 cancelled; 1 is a defect of ours."""

from __future__ import annotations

import argparse
from typing import Any

from .. import __version__
from ..config.parameters import NOISES_2D, TASKS_OF_A_MESH
from ..diffusion.sizes import SIZE_NAMES
from ..system.untrusted import shown
from .options import Parser, add_model, add_options, add_processes, number, path_of, whole_number

FIGURES = ("1", "8", "9", "10", "11")


def make_parser() -> argparse.ArgumentParser:
    """A parser whose result says in `command` what to do."""
    parser = Parser(prog="sdi_engine", description="Text to 3D by Score Distillation via Inversion.", epilog=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    common.add_argument("--verbose", action="store_true", help="log more")

    generate = commands.add_parser("generate", parents=[common], help="make a textured mesh from a prompt")
    generate.add_argument("prompt", help='what to make, for example "a red mug"')
    generate.add_argument("-o", "--output", type=path_of, required=True, metavar="DIR", help="a new job folder")
    add_options(generate, "object")

    for task, text in (
        ("texture", "give a mesh from a file a new look from a prompt"),
        ("refine", "give a mesh from a file a new look from a prompt, and a shape that fits it"),
    ):
        command = commands.add_parser(task, parents=[common], help=text)
        command.add_argument("mesh", type=path_of, metavar="MESH", help="a GLB, glTF, OBJ, PLY or STL file")
        command.add_argument("prompt", help='what it shall look like, for example "a checkered red chair"')
        command.add_argument("-o", "--output", type=path_of, required=True, metavar="DIR", help="a new job folder")
        add_options(command, "object", task=task)
        command.set_defaults(task=task)

    _add_studies(commands, common)

    for name, text in (
        ("run", "do the job in a job folder, from its beginning"),
        ("resume", "go on with the job in a job folder from its last checkpoint"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("job", type=path_of, metavar="JOB", help="the job folder")

    bench = commands.add_parser(
        "bench",
        parents=[common],
        conflict_handler="resolve",  # --steps is another one here
        help="what a run would take on this machine, by part, measured in some of its steps",
    )
    bench.add_argument(
        "--size",
        choices=SIZE_NAMES,
        help="instead of --model: a model of this size with random weights, which draws nothing",
    )
    bench.add_argument(
        "--keep",
        type=path_of,
        metavar="DIR",
        help="a folder that keeps such models (default: they are made and deleted)",
    )
    add_options(bench, "object", task=None)
    bench.add_argument(
        "--task",
        choices=("object", *TASKS_OF_A_MESH),
        default="object",
        help="what the run would make (default: %(default)s)",
    )
    bench.add_argument(
        "--mesh", type=path_of, help="a GLB, glTF, OBJ, PLY or STL file, for the tasks texture and refine"
    )
    bench.add_argument(
        "--steps",
        dest="measured",
        type=counted,
        default=2,
        metavar="N",
        help="steps to measure at each of three places of the schedule (default: %(default)s)",
    )

    serve = commands.add_parser(
        "serve", parents=[common], help="do the jobs that wait in a results folder, and keep the model loaded"
    )
    serve.add_argument("results", type=path_of, metavar="RESULTS", help="the results folder")
    serve.add_argument(
        "--idle-minutes",
        type=minutes,
        default=10.0,
        help="leave when no job has come for so long (default: %(default)s)",
    )
    add_processes(serve, 1)
    add_cluster(serve)

    doctor = commands.add_parser("doctor", parents=[common], help="what is installed, what is missing, how to fix it")
    add_model(doctor, "what runs with this model need on this computer, at each quality")
    doctor.add_argument("--cluster", default="", metavar="auto|ADDRESS", help="look at the nodes of a Ray cluster")
    return parser


def _add_studies(commands: Any, common: argparse.ArgumentParser) -> None:
    def command(name: str, text: str, *, has_prompt: bool = True) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, parents=[common], help=text, description=text)
        if has_prompt:
            parser.add_argument("prompt", help='what to show, for example "a red mug"')
        parser.add_argument(
            "-o", "--output", type=path_of, required=True, metavar="DIR", help="a folder for the results"
        )
        return parser

    ddim_steps = {"steps": "DDIM steps (default: 30)"}
    sample = command("sample", "2D pictures by DDIM: what the model makes of the prompt, before any 3D")
    sample.add_argument(
        "--count", type=whole_number, default=4, help="pictures, each of its own seed (default: %(default)s)"
    )
    add_options(sample, "image", ddim_steps)

    distill2d = command("distill2d", "2D score distillation, eq. (10), beside DDIM from the same noise")
    noises = ", ".join(NOISES_2D)
    distill2d.add_argument("--noise", dest="noise_2d", default="cached", help=f"one of {noises} (default: %(default)s)")
    add_options(distill2d, "distillation", ddim_steps)

    compare = command("compare", "all choices of κ side by side in 3D; goes on where it was stopped")
    add_options(compare, "3d")

    noise_error = command(
        "noise-error", "the residual of eq. (8) against t, for every κ, along a 3D run; goes on where it was stopped"
    )
    noise_error.add_argument(
        "--points", type=whole_number, default=24, help="steps of the run to measure at (default: %(default)s)"
    )
    add_options(noise_error, "3d")

    figures = command("figures", "the paper's figures again; goes on where it was stopped", has_prompt=False)
    figures.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"one or more of {', '.join(FIGURES)}, or all (default: all)"
    )
    figures.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        default=[],
        help="a row of each figure; may be given several times (default: for the starter prior four in Fig. 1 and two "
        "in the others, for other models one)",
    )
    figures.add_argument(
        "--seeds",
        type=whole_number,
        default=3,
        help="runs of each prompt of Fig. 1, whose differences get intervals; the first one is shown (default: "
        "%(default)s)",
    )
    add_options(figures, "3d")

    residuals = command(
        "residuals",
        "the residual of eq. (8) of each setting of an evaluation, and what it has to do with its objects' quality",
        has_prompt=False,
    )
    residuals.add_argument("evaluation", type=path_of, metavar="EVALUATION", help="the folder of a finished evaluation")

    evaluate = command(
        "evaluate",
        "measure objects of prompts x seeds x settings; goes on where it was stopped, also with more of them",
        has_prompt=False,
    )
    _add_evaluation_options(evaluate)


def _add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--prompts",
        dest="lists",
        action="append",
        default=[],
        metavar="LIST",
        help="default, held-out, pairs, paper, or a text file with one prompt per line; may be given several times",
    )
    add("--prompt", dest="prompts", action="append", default=[], help="one more prompt; may be given several times")
    add("--seeds", default="0", metavar="N,N,…", help="of every prompt (default: %(default)s)")
    add(
        "--setting",
        dest="settings",
        action="append",
        default=[],
        metavar='"NAME: option=value …"',
        help="a column of the table, such as SDS: preset=standard noise=random set.t=[0.98,0.02] equal_time=SDI; may "
        "be given several times, and the others are compared with the first (default: standard: preset=standard)",
    )
    add(
        "--task",
        choices=("object", "texture"),
        default="object",
        help="what to measure: new objects, or new looks of the starter world's own meshes (default: %(default)s)",
    )
    add_processes(parser, None)
    add_cluster(parser)
    add("--samples", type=whole_number, default=4, help="2D pictures of each prompt (default: %(default)s)")
    add("--clip", type=path_of, metavar="FOLDER", help="a CLIP model, for its score of results; needs no other truth")
    add("--baseline", type=path_of, metavar="DIR", help="another evaluation's folder, to compare with")
    add_options(parser, "model")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        default="",
        metavar="auto|ADDRESS",
        help="let the nodes of a Ray cluster do the work: auto for the one that this computer is a node of, HOST:PORT, "
        "or ray://HOST:PORT from a computer that is no node",
    )


def counted(text: str) -> int:
    """A whole number from 1 on, of an option's text."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number from 1 on")
    return int(text)


def minutes(text: str) -> float:
    """Minutes, of an option's text."""
    if (minutes := number(text)) < 0.0:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number of minutes from 0 on")
    return minutes
