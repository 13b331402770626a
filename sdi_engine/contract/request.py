"""What a person asks for: the settings of one job, as both Blender and the engine understand them.

Standard library only. The settings are those of the table (`config.parameters`); `None` in an optional one means "as
the preset and the model recommend" (`run.resolve`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
import unicodedata
from dataclasses import dataclass
from typing import Any

from ..config.asked import settings_asked_for
from ..config.parameters import (
    LORA_PARAMETERS,
    PARAMETERS,
    SCHEMA_VERSION,
    TASKS_OF_A_MESH,
    Lora,
    Parameter,
    Parameters,
)
from ..errors import BadInputError
from ..system.untrusted import is_control, is_direction_mark, parse_json, printable, shown

MAX_PROMPT_LENGTH = 1000

MAX_SLUG_CHARACTERS = 40
MAX_SLUG_BYTES = 80
"""In UTF-8: with a date, a number and what is put before it, it fits every file system, encrypted ones too (143)."""


@dataclass(frozen=True)
class JobRequest(Parameters):
    """One object to make. Its settings are the table's; the same request with the same seed gives the same object on
    the same machine, on a GPU nearly, since it adds gradients up in any order.

    Attributes:
        schema: the version of the fields.
    """

    schema: int = SCHEMA_VERSION

    @property
    def is_of_a_mesh(self) -> bool:
        """Whether the job is about a mesh that there is, `source.npz` in its folder (`source_mesh`)."""
        return self.task in TASKS_OF_A_MESH

    def validated(self) -> JobRequest:
        """This request with its white space folded.

        Raises:
            BadInputError: a field has a wrong type or is out of range, or an override names no number of the run, or
                says what it cannot be, or two settings contradict each other; the sentence names it and what it may be.
        """
        request = self._checked()
        settings_asked_for(request)
        return request

    def to_json(self) -> str:
        """The request as JSON text, field by field."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> JobRequest:
        """The validated request that `to_json` wrote, of this version or an older one.

        Raises:
            BadInputError: the text is no JSON object, is of a later version, or a field is out of range.
        """
        return cls.read(text)[0]

    @classmethod
    def read(cls, text: str) -> tuple[JobRequest, list[str]]:
        """`from_json`, and the names of the fields that this version does not know and drops.

        Overrides stay as they are: a job of a later version with numbers unknown here can be viewed, not made again.
        """
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise BadInputError(
                f"The job's request.json is damaged ({_why_damaged(error)}): start the job again."
            ) from error
        if not isinstance(fields, dict) or "prompt" not in fields:
            raise BadInputError("The job's request.json is not a request: start the job again from its prompt.")
        schema = fields.get("schema", 0)
        if isinstance(schema, int) and not isinstance(schema, bool):
            if schema > SCHEMA_VERSION:
                raise BadInputError(_of_a_later_version(schema))
            fields["schema"] = SCHEMA_VERSION
        unknown = _take_unknown(fields, cls)
        try:
            loras = [dict(lora) for lora in fields.get("loras", [])]
            for lora in loras:
                unknown += _take_unknown(lora, Lora)
            fields["loras"] = tuple(Lora(**lora) for lora in loras)
            encoders = fields.get("text_encoders", ())
            if isinstance(encoders, str | dict):
                raise TypeError("not a list")
            fields["text_encoders"] = tuple(encoders)
        except (TypeError, ValueError) as error:
            raise BadInputError(
                "The list of LoRAs or text encoders in the job's request.json is damaged: start it again."
            ) from error
        return cls(**fields)._checked(), [printable(name) for name in dict.fromkeys(unknown)]

    def _checked(self) -> JobRequest:
        """As `validated`, but with any names in the overrides."""
        _check_types(self)
        for file in self.text_encoders:
            if not isinstance(file, str) or not file.strip():
                raise BadInputError(f"{shown(file)} is not a text encoder: give a file or folder.")
        for lora in self.loras:
            if not isinstance(lora, Lora):
                raise BadInputError(f"{shown(lora)} is not a LoRA: give a file and a weight.")
            _check_types(lora)
        request = dataclasses.replace(
            self,
            prompt=_folded(self.prompt),
            negative_prompt=_folded(self.negative_prompt),
            model=self.model.strip(),
        )
        if request.schema > SCHEMA_VERSION:
            raise BadInputError(_of_a_later_version(request.schema))
        if not request.prompt:
            raise BadInputError('The prompt is empty: describe the object to make, for example "a red mug".')
        for label, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
            if len(text) > MAX_PROMPT_LENGTH:
                raise BadInputError(
                    f"The {label} has {len(text)} characters: shorten it to at most {MAX_PROMPT_LENGTH}."
                )
        if not request.model:
            raise BadInputError('No model is chosen: use "starter", a model folder, a .safetensors file or a hub id.')
        _check_path("model", request.model)
        for path in request.parts.paths:
            _check_path("file", path)
        for lora in request.loras:
            if not lora.file.strip():
                raise BadInputError("A LoRA has no file: choose its .safetensors file, or remove it from the list.")
            _check_path("LoRA file", lora.file)
            _check_value(f'weight of the LoRA "{lora.file}"', lora.weight, LORA_PARAMETERS["weight"])
        for name, parameter in PARAMETERS.items():
            _check_value(name.replace("_", " "), getattr(request, name), parameter)
        for name, value in request.overrides.items():
            if not isinstance(name, str) or not _is_json(value):
                raise BadInputError(f'The setting "{name}" is {shown(value)}: it must be a number, a word or a list.')
        return request


def slug(prompt: str) -> str:
    """The prompt as a harmless file name: small letters and digits of any script, and single hyphens.

    Never empty, no device's name, and at most `MAX_SLUG_CHARACTERS` and `MAX_SLUG_BYTES` long. Latin letters lose their
    accents; the marks of other scripts are parts of their words, and stay.
    """
    kept: list[str] = []
    for character in unicodedata.normalize("NFKD", prompt.lower()):
        kind = unicodedata.category(character)[0]
        if kind in "LN" or (kind == "M" and kept and not kept[-1].isascii()):
            kept.append(character)
        elif kind != "M" and kept and kept[-1] != "-":
            kept.append("-")
    name = unicodedata.normalize("NFC", "".join(kept))[:MAX_SLUG_CHARACTERS]
    name = name.encode("utf-8", errors="ignore")[:MAX_SLUG_BYTES].decode("utf-8", errors="ignore").strip("-")
    reserved = re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name)
    return f"object-{name}" if reserved else name or "object"


def _take_unknown(fields: dict[str, Any], kind: type) -> list[str]:
    """Remove the fields that a class does not have, and return their names."""
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
    for name in unknown:
        del fields[name]
    return unknown


def _why_damaged(error: ValueError) -> str:
    """Where a text stops being JSON, or why it is no JSON of ours."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON from line {error.lineno}, column {error.colno} on"
    return str(error)


def _of_a_later_version(schema: int) -> str:
    return (
        f"This job was made by a later version of the extension (schema {schema}, this one reads {SCHEMA_VERSION}): "
        "update the extension, and restart Blender."
    )


def _is_json(value: Any) -> bool:
    """Whether it is a finite number, a string, true, false, null, or a list of these."""
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _folded(text: str) -> str:
    """On one line, without control characters, direction marks and the byte order marks that come along when pasted."""
    visible = (" " if is_control(each) else each for each in text.replace("\ufeff", "") if not is_direction_mark(each))
    return " ".join("".join(visible).split())


@functools.cache
def _types_of(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)  # which takes longer than all the rest of a check


_NAMES_OF_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list",
    dict: "values by name",
    type(None): "nothing",
}


def _check_types(item: JobRequest | Lora) -> None:
    for name, expected in _types_of(type(item)).items():
        value = getattr(item, name)
        allowed = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
        allowed = tuple(typing.get_origin(kind) or kind for kind in allowed)
        kinds = " or ".join(_NAMES_OF_KINDS[kind] for kind in allowed)
        if float in allowed:
            allowed += (int,)
        if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, allowed):
            raise BadInputError(f'The setting "{name.replace("_", " ")}" is {shown(value)}: it must be {kinds}.')


def _check_path(label: str, path: str) -> None:
    if any(map(is_control, path)):
        raise BadInputError(f'The {label} "{printable(path)}" has control characters in its name: rename it.')


def _check_value(label: str, value: Any, parameter: Parameter) -> None:
    """Refuse a value that is not among a parameter's choices, or outside its limits."""
    if value is None:
        return
    if parameter.choices and value not in parameter.words:
        raise BadInputError(f"The {label} {shown(value)} does not exist: choose one of {', '.join(parameter.words)}.")
    limits = parameter.limits
    if limits is not None and not limits.low <= value <= limits.high:  # which also refuses NaN
        unit = " metres" if parameter.unit == "metres" else ""  # which may be of another scale in Blender
        raise BadInputError(
            f'The setting "{label}" is {shown(value)}{unit}: it must be between {limits.low:,} and {limits.high:,}.'
        )
