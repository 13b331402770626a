"""Single numbers of a run's settings, changed by name: what a preset cannot say, for experiments."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ..contract.request import NOISES, PERP_NEG, shown
from ..errors import BadInputError
from .ramp import Ramp, constant

T = TypeVar("T")

CHOICES = {"noise": NOISES, "perp_neg": PERP_NEG}
"""Settings whose type says less than what they may be."""

MOST = 1e6
RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 1_000_000),
    "resolution": (16, 2048),
    "views_per_step": (1, 64),
    "t": (0.0, 1.0),
    "inversion_steps_per_unit": (1, 1000),
    "inversion_start": (0.0, 1.0),
    "inversion_overshoot": (0.0, 1.0),
    "noise_rounds": (1, 1000),
    "interval": (0.0, 1.0),
    "learning_rate": (0.0, 10.0),
    "samples_per_ray": (1, 4096),
    "occupancy_resolution": (2, 512),
    "textureless": (0.0, 1.0),
    "lit": (0.0, 1.0),
    "mesh_resolution": (4, 1024),
    "field.bound": (0.01, 100.0),
    "field.grid_resolutions": (2, 8192),
    "field.features": (1, 64),
    "field.hidden": (1, 1024),
    "field.blob_radius": (0.001, 100.0),
    "field.log2_table_size": (1, 24),
    "cameras.elevation": (-90.0, 90.0),
    "cameras.fov": (1.0, 170.0),
    "cameras.half_frame": (0.01, 100.0),
    "cameras.distance": (0.01, 100.0),
}
"""Between which numbers those settings lie that would be none otherwise, or fill any memory; the others lie between
±`MOST`."""


def override(settings: T, values: Mapping[str, Any]) -> T:
    """The settings, a dataclass that may hold others, with some fields changed.

    Args:
        values: what JSON allows, by name; a field of an inner dataclass is called "field.hidden". A `Ramp` is a number,
            [first, last] or [first, last, start, end].

    Raises:
        BadInputError: there is no such field, or it cannot be that; the sentence names the field and what it may be.
    """
    names = _names(settings)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
            raise BadInputError(f"There is no setting {shown(name)} to change: it may be {' or '.join(close)}.")
        try:
            read[name] = _read(value, names[name], CHOICES.get(name, ()))
            _check_range(read[name], *RANGES.get(name, (-MOST, MOST)))
        except ValueError as error:
            raise BadInputError(f'The setting "{name}" is {shown(value)}: it must be {error}.') from error
    return _replaced(settings, read)


def _names(settings: Any, prefix: str = "") -> dict[str, Any]:
    """The types of all fields by their names, those of inner dataclasses instead of these."""
    names: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, Ramp):
            names |= _names(value, f"{prefix}{name}.")
        else:
            names[prefix + name] = kind
    return names


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


def _check_range(value: Any, low: float, high: float) -> None:
    """Raise the ValueError of a number out of range; of a `Ramp` or a list, each number counts, but not when."""
    items = (value.first, value.last) if isinstance(value, Ramp) else value
    for item in items if isinstance(items, tuple) else (items,):
        if isinstance(item, int | float) and not isinstance(item, bool) and not low <= item <= high:
            raise ValueError(f"between {low:,} and {high:,}")


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
