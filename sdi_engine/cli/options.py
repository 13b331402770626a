"""Options of command lines for the settings of the table (`config.parameters`), and the request that they come to.

Standard library only: Blender's command line has them, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..config.overrides import parse_override
from ..config.parameters import PARAMETERS, SCOPES, Lora, Parameter, Parts, Scope, Task
from ..contract.request import JobRequest
from ..diffusion.location import locate, model_named_here
from ..diffusion.parts import completed, networks_in
from ..errors import BadInputError, EngineError
from ..system.files import leads_to_file, leads_to_folder
from ..system.pasted import as_meant, as_meant_here
from ..system.untrusted import shown

_TOO_MUCH = "unrecognized arguments: "
"""The beginning of what argparse says of words that it has no use for."""


class Parser(argparse.ArgumentParser):
    """Raises a `BadInputError` of one sentence for what it cannot read, instead of printing a page and exiting."""

    def error(self, message: str) -> NoReturn:
        if message.startswith(_TOO_MUCH) and not message.startswith(f"{_TOO_MUCH}-"):
            message += " (put what is one argument in quotation marks, and an option before each of its values)"
        raise BadInputError(f'{self.prog}: {message}; see "{self.prog} --help".')


def path_of(text: str) -> Path:
    """The path that an option's text means, with the person's folder for `~`, which shells of Windows leave as it is.

    A blank one, as of a script's empty variable, would be the current folder.
    """
    meant = as_meant(text)
    if not meant:
        raise argparse.ArgumentTypeError("the path is blank")
    return Path(meant)


def whole_number(text: str) -> int:
    """A whole number, of an option's text."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number") from error


def number(text: str) -> float:
    """A finite number, of an option's text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number")
    return value


_READERS = {int: whole_number, float: number}


def add_options(
    parser: argparse.ArgumentParser, scope: Scope, helps: Mapping[str, str] | None = None, task: Task | None = "object"
) -> None:
    """Give a command the options that commands of its scope have.

    Args:
        helps: what some are called here, by name, instead of what the table says.
        task: what the command's jobs make; what they do not use is no option. None for any of the tasks.
    """
    within = SCOPES[: SCOPES.index(scope) + 1]
    used = [each for each in PARAMETERS.values() if task is None or each.is_used_by(task)]
    names = [each.name for each in used if each.scope in within]
    _add(parser, names, helps or {})


def add_model(parser: argparse.ArgumentParser, about: str) -> None:
    """Give a command the options that say which model is meant, none by default; `about` is the help of `--model`."""
    _add(parser, ("model", *(field.name for field in dataclasses.fields(Parts)), "precision"), {"model": about})
    parser.set_defaults(model="")


def _add(parser: argparse.ArgumentParser, names: Iterable[str], helps: Mapping[str, str]) -> None:
    for parameter in map(PARAMETERS.__getitem__, names):
        text = helps.get(parameter.name) or _help(parameter)
        parser.add_argument(parameter.flag, **_reading(parameter), help=text.replace("%", "%%"))
    parser.add_argument(
        "--models-folder",
        type=as_meant_here,
        default="",
        metavar="FOLDER",
        help="a folder of models, such as ComfyUI's or WebUI's: the text encoders and VAE that a model lacks are taken "
        "from it (default: the one that the model's file lies in)",
    )


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
        BadInputError: an override has no name or no equals sign, the model's file cannot be used, or a part does not
            belong to it.
    """
    fields = {name: getattr(options, name) for name in PARAMETERS if hasattr(options, name)}
    for name, value in fields.items():
        if PARAMETERS[name].is_list:
            fields[name] = tuple(value)
        elif PARAMETERS[name].kind is dict:
            fields[name] = dict(map(parse_override, value))
    return _completed(JobRequest(**fields | {"prompt": prompt}), getattr(options, "models_folder", ""))


def _completed(request: JobRequest, folder: str) -> JobRequest:
    """A request with the parts that its model lacks, where the model's file is on this computer.

    Raises:
        BadInputError: as `request_of`, or the folder of models is none.
    """
    if folder and not leads_to_folder(Path(folder)):
        what = "is a file" if leads_to_file(Path(folder)) else "does not exist or cannot be read"
        raise BadInputError(
            f'The folder of models "{folder}" {what}: give the folder that holds "vae" and "text_encoders", such as '
            "ComfyUI's folder models, or leave it out."
        )
    try:
        kind = locate(request.model).kind
        if kind == "hub" or (kind == "folder" and not request.tiny_vae):
            return request
    except EngineError:  # said where it is loaded
        return request
    found = networks_in(Path(folder)) if folder else []
    return dataclasses.replace(request, **dataclasses.asdict(completed(request.model, request.parts, found)))


def _reading(parameter: Parameter) -> dict[str, Any]:
    """How argparse reads the values of an option."""
    how: dict[str, Any] = {"dest": parameter.name, "default": parameter.default, "metavar": parameter.metavar}
    if parameter.is_list or parameter.kind is dict:
        return how | {"default": [], "action": "append", "type": _type_of(parameter)}
    if parameter.kind is bool:
        del how["metavar"]
        return how | {"action": argparse.BooleanOptionalAction}
    return how | {"type": _type_of(parameter)}


def _type_of(parameter: Parameter) -> Any:
    """What makes a value of an option's text."""
    if parameter.kind is Lora:
        return _lora
    if parameter.kind is dict:
        return str
    if parameter.is_path:
        return as_meant_here
    return model_named_here if parameter.name == "model" else _READERS.get(parameter.kind, parameter.kind)


def _processes(text: str) -> int | None:
    try:
        return None if text == "auto" else whole_number(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is neither a whole number nor auto") from error


def _help(parameter: Parameter) -> str:
    text = parameter.help[0].lower() + parameter.help[1:]
    if parameter.unit == "metres":
        text += " in metres"
    if parameter.choices:
        text += f": {', '.join(parameter.words)}"
    if parameter.is_list or parameter.kind is dict:
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
