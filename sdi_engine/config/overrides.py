"""Single numbers of a run's settings, changed by name: what a preset cannot say, for experiments."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from ..errors import BadInputError
from ..system.untrusted import shown
from .limits import MOST, Within
from .parameters import PARAMETERS
from .ramp import Ramp, constant

T = TypeVar("T")


def override(settings: T, values: Mapping[str, Any]) -> T:
    """The settings, a dataclass that may hold others, with some fields changed.

    Args:
        values: what JSON allows, by name; a field of an inner dataclass is called "field.hidden". A `Ramp` is a number,
            [first, last] or [first, last, start, end].

    Raises:
        BadInputError: there is no such field, or it cannot be that; the sentence names the field and what it may be.
    """
    numbers = _numbers(settings)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in numbers:
            close = difflib.get_close_matches(name, numbers, n=3, cutoff=0.5) or numbers
            raise BadInputError(f"There is no setting {shown(name)} to change: it may be {' or '.join(close)}.")
        number = numbers[name]
        try:
            read[name] = _read(value, number.kind, number.choices)
            _check_range(read[name], number.limits)
        except ValueError as error:
            raise BadInputError(f'The setting "{name}" is {shown(value)}: it must be {error}.') from error
    return _replaced(settings, read)


def parse_override(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a name and what JSON makes of the value, or the value itself as a word.

    Raises:
        BadInputError: there is no name or no equals sign.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name or not equals:
        raise BadInputError(
            f'"{text}" does not change a setting: write a name, an equals sign and a value, such as steps=300.'
        )
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def parse_overrides(text: str) -> dict[str, Any]:
    """Several overrides in one line, such as "t=[0.98, 0.2] field.hidden=64"; commas may separate them too.

    Raises:
        BadInputError: one has no name or no equals sign.
    """
    return dict(parse_override(each) for each in _BETWEEN_OVERRIDES.split(text.strip(" ,;")) if each)


def written(overrides: Mapping[str, Any]) -> str:
    """The line that `parse_overrides` reads as these values."""
    return " ".join(f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in overrides.items())


_BETWEEN_OVERRIDES = re.compile(r"[\s,;]+(?=[A-Za-z_][\w.]*\s*=)")


@dataclass(frozen=True)
class _Number:
    """The values that a field takes: their type, limits of their numbers, and the choices where they are words."""

    kind: Any
    limits: Within = MOST
    choices: tuple[str, ...] = ()


@cache
def _hints(of: type) -> dict[str, Any]:
    return typing.get_type_hints(of, include_extras=True)  # evaluates every annotation: ten milliseconds


def _numbers(settings: Any, prefix: str = "") -> dict[str, _Number]:
    """All fields by their names; an inner dataclass is replaced by its fields.

    For a field that is a setting of the table too, the table's limits and choices hold.
    """
    numbers: dict[str, _Number] = {}
    for field, hint in _hints(type(settings)).items():
        value, name = getattr(settings, field), prefix + field
        kind, *said = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        if dataclasses.is_dataclass(value) and not isinstance(value, Ramp):
            numbers |= _numbers(value, f"{name}.")
        elif name in PARAMETERS:
            numbers[name] = _Number(kind, PARAMETERS[name].limits or MOST, PARAMETERS[name].words)
        else:
            numbers[name] = _Number(kind, *said)
    return numbers


def _replaced(settings: T, values: Mapping[str, Any], prefix: str = "") -> T:
    own = {name: value for name, value in values.items() if "." not in name}
    for group in {name.partition(".")[0] for name in values if "." in name}:
        dot = f"{group}."
        inner = {name.removeprefix(dot): value for name, value in values.items() if name.startswith(dot)}
        own[group] = _replaced(getattr(settings, group), inner, prefix + dot)
    try:
        return dataclasses.replace(settings, **own)  # type: ignore[type-var]
    except ValueError as error:  # the fields do not go together
        named = ", ".join(f'"{prefix}{name}"' for name in values)
        raise BadInputError(f"The settings {named} cannot be so: {error}") from error


def _read(value: Any, kind: Any, choices: tuple[str, ...] = ()) -> Any:
    """JSON's value as a type; the ValueError of one that does not fit says what it must be."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    choices = inner if origin is Literal else choices
    if choices:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value
    if origin in (types.UnionType, typing.Union):
        return _read_first(value, inner)
    if kind is Ramp:
        return _read_ramp(value)
    if origin is tuple:
        return _read_tuple(value, inner)
    if kind is type(None) and value is None:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ValueError(_NAMES_OF_KINDS[kind])


_NAMES_OF_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}


def _check_range(value: Any, limits: Within) -> None:
    """Raise the ValueError of a number out of range; of a `Ramp` or a list, each number counts, but not when."""
    items = (value.first, value.last) if isinstance(value, Ramp) else value
    for item in items if isinstance(items, tuple) else (items,):
        if isinstance(item, int | float) and not isinstance(item, bool) and not limits.low <= item <= limits.high:
            raise ValueError(f"between {limits.low:,} and {limits.high:,}")


def _read_first(value: Any, kinds: tuple[Any, ...]) -> Any:
    wanted = []
    for kind in kinds:
        try:
            return _read(value, kind)
        except ValueError as error:
            wanted.append(str(error))
    raise ValueError(" or ".join(wanted))


def _read_ramp(value: Any) -> Ramp:
    try:
        if isinstance(value, list | tuple):
            if len(value) not in (2, 4):
                raise ValueError
            return Ramp(*(_read(number, float) for number in value))
        return constant(_read(value, float))
    except ValueError as error:
        raise ValueError("a number, [first, last] or [first, last, start, end]") from error


def _read_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    endless = kinds[-1] is Ellipsis
    size = "numbers" if endless else f"{len(kinds)} numbers"
    if not isinstance(value, list | tuple) or (len(value) == 0 if endless else len(value) != len(kinds)):
        raise ValueError(f"a list of {size}")
    try:
        return tuple(_read(item, kind) for item, kind in zip(value, kinds[:1] * len(value), strict=True))
    except ValueError as error:
        raise ValueError(f"a list of {size}, each {error}") from error
