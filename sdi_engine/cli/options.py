"""Options of command lines for the settings of the table (`config.parameters`), and the request that they come to.

Standard library only: Blender's command line has them, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..config.overrides import parse_override
from ..config.parameters import PARAMETERS, SCOPES, Lora, Parameter, Scope, Task
from ..contract.request import JobRequest
from ..diffusion.location import model_named_here
from ..system.pasted import as_meant_here


def add_options(
    parser: argparse.ArgumentParser, scope: Scope, helps: Mapping[str, str] | None = None, task: Task = "object"
) -> None:
    """Give a command the options that commands of its scope have.

    Args:
        helps: what some are called here, by name, instead of what the table says.
        task: what the command's jobs make; what they do not use is no option.
    """
    within = SCOPES[: SCOPES.index(scope) + 1]
    for parameter in PARAMETERS.values():
        if parameter.scope in within and parameter.is_used_by(task):
            text = (helps or {}).get(parameter.name) or _help(parameter)
            parser.add_argument(parameter.flag, **_reading(parameter), help=text.replace("%", "%%"))


def add_processes(parser: argparse.ArgumentParser, default: int | None) -> None:
    """Give a command the option `--processes`, whose value None stands for "auto" (`pools.suitable_processes`)."""
    parser.add_argument(
        "--processes",
        type=_processes,
        default=default,
        metavar="N|auto",
        help="objects made at once, each with a model of its own; auto for one per core of the processor, or one "
        f"on a GPU (default: {default or 'auto'})",
    )


def request_of(options: argparse.Namespace, prompt: str) -> JobRequest:
    """A request of what the command has options for, not validated.

    Raises:
        BadInputError: an override has no name or no equals sign.
    """
    fields = {name: getattr(options, name) for name in PARAMETERS if hasattr(options, name)}
    for name, value in fields.items():
        if PARAMETERS[name].kind is Lora:
            fields[name] = tuple(value)
        elif PARAMETERS[name].kind is dict:
            fields[name] = dict(map(parse_override, value))
    return JobRequest(**fields | {"prompt": prompt})


def _reading(parameter: Parameter) -> dict[str, Any]:
    """How argparse reads the values of an option."""
    how: dict[str, Any] = {"dest": parameter.name, "default": parameter.default, "metavar": parameter.metavar}
    if parameter.kind in (Lora, dict):
        return how | {"default": [], "action": "append", "type": _lora if parameter.kind is Lora else str}
    if parameter.kind is bool:
        del how["metavar"]
        return how | {"action": argparse.BooleanOptionalAction}
    return how | {"type": model_named_here if parameter.name == "model" else parameter.kind}


def _processes(text: str) -> int | None:
    return None if text == "auto" else int(text)


def _help(parameter: Parameter) -> str:
    text = parameter.help[0].lower() + parameter.help[1:]
    if parameter.unit == "metres":
        text += " in metres"
    if parameter.choices:
        text += f": {', '.join(parameter.words)}"
    if parameter.kind in (Lora, dict):
        return f"{text}; may be given several times"
    if parameter.is_optional:
        return f"{text} (default: the {parameter.recommended_by}'s)"
    return text if parameter.default == "" else f"{text} (default: {parameter.default})"


def _lora(text: str) -> Lora:
    file, equals, weight = text.rpartition("=")
    try:
        return Lora(as_meant_here(file), float(weight)) if equals else Lora(as_meant_here(text))
    except ValueError:
        return Lora(as_meant_here(text))  # a file whose name has an equals sign
