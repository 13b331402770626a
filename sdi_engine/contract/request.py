"""What a person asks for: the settings of one job, as both Blender and the engine understand them.

Standard library only. `None` in an optional field means "as the preset and the model recommend"
(`sdi_engine.settings` resolves that).
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
from dataclasses import dataclass, field
from typing import Any

from ..config.parameters import DEVICES, NOISES, PERP_NEG, PRESETS, STARTER_MODEL
from ..errors import BadInputError
from ..system.untrusted import is_control, is_direction_mark, parse_json, printable, shown

SCHEMA_VERSION = 1
"""A version that adds a field, without which the object would be another one, counts on: what older versions read in
spite of an unknown field is then still what was asked for. Older requests are read, newer ones are not."""

MAX_PROMPT_LENGTH = 1000
MAX_SEED = 2**31 - 1

MAX_SLUG_CHARACTERS = 40
MAX_SLUG_BYTES = 80
"""In UTF-8: with a date, a number and what is put before it, it fits every file system, encrypted ones too (143)."""


@dataclass(frozen=True)
class Lora:
    """A file of low-rank changes to a model.

    Attributes:
        file: a `.safetensors` file.
        weight: how much of it, −10 to 10; 1 is as it was trained.
    """

    file: str
    weight: float = 1.0


@dataclass(frozen=True)
class JobRequest:
    """One object to make.

    Attributes:
        prompt: what to make, in words; 1 to `MAX_PROMPT_LENGTH` characters, white space folded.
        negative_prompt: what to stay away from; may be empty.
        model: "starter", "stable-diffusion" (the first of `diffusion.location.REAL_MODEL_MIRRORS` that can be had), a
            folder in Diffusers layout, a single `.safetensors` file, or a hub id.
        loras: changes to the model, added up.
        preset: one of `PRESETS`: how long and how finely to optimise.
        noise: one of `NOISES`: where κ comes from (`distillation.noise`). "inversion" is SDI, eq. (11); "random" is
            SDS, eq. (4).
        perp_neg: one of `PERP_NEG`: keep other views' features away (`diffusion.perp_neg`) in the prediction only, or
            in the search for κ too, which doubles the cost of that.
        seed: 0 to `MAX_SEED`; the same request with the same seed gives the same object on the same machine; on a
            GPU nearly, since it adds gradients up in any order.
        steps: optimisation steps, at least 1.
        guidance_scale: γ of eq. (3) for the prediction.
        inversion_guidance_scale: γ_inv of eq. (3) for DDIM inversion; by default what the model recommends, or else the
            negative of `guidance_scale`.
        resolution: height and width of the renders in pixels.
        views_per_step: renders per optimisation step.
        face_budget: the mesh is simplified to at most this many triangles.
        texture_size: height and width of the texture in pixels.
        height: height of the object in metres.
        device: one of `DEVICES`.
        overrides: single numbers of `settings.Settings` by name, as JSON allows, which have the last word
            (`sdi_engine.overrides`): for experiments on the command line.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = STARTER_MODEL
    loras: tuple[Lora, ...] = ()
    preset: str = "standard"
    noise: str = "inversion"
    perp_neg: str | None = None
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    inversion_guidance_scale: float | None = None
    resolution: int | None = None
    views_per_step: int | None = None
    face_budget: int = 20_000
    texture_size: int = 1024
    height: float = 1.0
    device: str = "auto"
    overrides: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def validated(self) -> JobRequest:
        """This request with its white space folded.

        Raises:
            BadInputError: a field has a wrong type or is out of range; the sentence names it and what it may be.
        """
        _check_types(self)
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
        _check_choice("preset", request.preset, PRESETS)
        _check_choice("noise", request.noise, NOISES)
        if request.perp_neg is not None:
            _check_choice("Perp-Neg setting", request.perp_neg, PERP_NEG)
        for lora in request.loras:
            if not lora.file.strip():
                raise BadInputError("A LoRA has no file: choose its .safetensors file, or remove it from the list.")
            _check_path("LoRA file", lora.file)
            _check_range(f'weight of the LoRA "{lora.file}"', lora.weight, -10.0, 10.0)
        _check_choice("device", request.device, DEVICES)
        _check_range("seed", request.seed, 0, MAX_SEED)
        _check_range("steps", request.steps, 1, 1_000_000)
        _check_range("guidance scale", request.guidance_scale, -1000.0, 1000.0)
        _check_range("inversion guidance scale", request.inversion_guidance_scale, -1000.0, 1000.0)
        _check_range("resolution", request.resolution, 16, 2048)
        _check_range("views per step", request.views_per_step, 1, 64)
        _check_range("face budget", request.face_budget, 100, 2_000_000)
        _check_range("texture size", request.texture_size, 64, 8192)
        _check_range("height", request.height, 0.001, 1000.0)
        for name, value in request.overrides.items():
            if not isinstance(name, str) or not _is_json(value):
                raise BadInputError(f'The setting "{name}" is {shown(value)}: it must be a number, a word or a list.')
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
        """As `from_json`, and the names of the fields that this version does not know, and leaves out."""
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise BadInputError(f"The job's request.json is damaged ({error}): start the job again.") from error
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
        except (TypeError, ValueError) as error:
            raise BadInputError("The list of LoRAs in the job's request.json is damaged: start it again.") from error
        return cls(**fields).validated(), [printable(name) for name in dict.fromkeys(unknown)]


def slug(prompt: str, fallback: str = "object") -> str:
    """The prompt as a harmless file name: small letters and digits of any script, and single hyphens.

    Never empty, no device's name, and at most `MAX_SLUG_CHARACTERS` and `MAX_SLUG_BYTES` long. Latin letters lose their
    accents; the marks of other scripts are parts of their words, and stay.
    """
    kept: list[str] = []
    for character in unicodedata.normalize("NFKD", prompt.lower()):
        kind = unicodedata.category(character)[0]
        if kind in "LN" or (kind == "M" and kept and kept[-1] != "-" and not kept[-1].isascii()):
            kept.append(character)
        elif kind != "M" and kept and kept[-1] != "-":
            kept.append("-")
    name = unicodedata.normalize("NFC", "".join(kept))[:MAX_SLUG_CHARACTERS]
    name = name.encode("utf-8", errors="ignore")[:MAX_SLUG_BYTES].decode("utf-8", errors="ignore").strip("-")
    reserved = re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name)
    return f"{fallback}-{name}" if reserved else name or fallback


def _take_unknown(fields: dict[str, Any], kind: type) -> list[str]:
    """Take out of the fields those that a class does not have; their names."""
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
    for name in unknown:
        del fields[name]
    return unknown


def _of_a_later_version(schema: int) -> str:
    return (
        f"This job was made by a later version of the extension (schema {schema}, this one reads {SCHEMA_VERSION}): "
        "update the extension, and restart Blender."
    )


def _is_json(value: Any) -> bool:
    """Whether it is a finite number, a word, true, false or nothing, or a list of these."""
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _folded(text: str) -> str:
    """On one line, without control characters and direction marks."""
    visible = (" " if is_control(each) else each for each in text if not is_direction_mark(each))
    return " ".join("".join(visible).split())


@functools.cache
def _types_of(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)  # which takes longer than all the rest of a check


def _check_types(item: JobRequest | Lora) -> None:
    for name, expected in _types_of(type(item)).items():
        value = getattr(item, name)
        allowed = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
        allowed = tuple(typing.get_origin(kind) or kind for kind in allowed)
        if float in allowed:
            allowed += (int,)
        if isinstance(value, bool) or not isinstance(value, allowed):
            kinds = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in allowed)
            raise BadInputError(f'The setting "{name.replace("_", " ")}" is {shown(value)}: it must be {kinds}.')


def _check_path(label: str, path: str) -> None:
    if any(map(is_control, path)):
        raise BadInputError(f'The {label} "{printable(path)}" has control characters in its name: rename it.')


def _check_choice(label: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInputError(f"The {label} {shown(value)} does not exist: choose one of {', '.join(choices)}.")


def _check_range(label: str, value: Any, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:  # which also refuses NaN
        raise BadInputError(f'The setting "{label}" is {shown(value)}: it must be between {low:,} and {high:,}.')
