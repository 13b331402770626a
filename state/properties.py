"""The settings in the panel, and the one bridge between them and a job's request.

Both derive from the table of parameters: each has a property and a field of the request.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..scene.units import metres_in
from ..sdi_engine.config.limits import Within
from ..sdi_engine.config.overrides import parse_overrides, written
from ..sdi_engine.config.parameters import LORA_PARAMETERS, PARAMETERS, Lora, Parameter, Parameters, Parts, Task
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.location import model_name
from ..sdi_engine.system.pasted import as_meant
from .current import session

IN_BLENDER = {name: parameter for name, parameter in PARAMETERS.items() if parameter.section is not None}
"""The parameters that have properties."""

SEPARATOR = ";"
"""Between several paths in one property."""

_AS_PRESET = ("preset", "As Preset", "What the preset recommends")
"""The additional item of an optional choice, which leaves it to the preset."""

_UNTRANSLATED = "SDI"
"""A context of translation that Blender has no words for: in others it calls the preset Paper a sheet of paper. The
names of choices are those of the documentation and the command line."""

_SCENE_LIMITS = Within(1e-6, 1e6)
"""Limits of a length in the scene's units, whatever these are; the request checks the limits in metres."""

_PERCENT = 100.0


def _on_model_changed(_settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    session().model_was_changed(context)


def _on_live_changed(settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    session().set_live(settings.live)


_ON_CHANGE: dict[str, Callable[[bpy.types.PropertyGroup, bpy.types.Context], None]] = dict.fromkeys(
    ("model", *(field.name for field in dataclasses.fields(Parts))), _on_model_changed
)


class SDI_PG_lora(bpy.types.PropertyGroup):
    """A LoRA: its file and its weight."""

    use: BoolProperty(
        name="Use",
        description="Whether the next object is made with this LoRA",
        default=True,
    )  # type: ignore[valid-type]


class SDI_PG_settings(bpy.types.PropertyGroup):
    """The settings of the next object; of optional numbers without a switch, 0 leaves them to preset and model."""

    lora_index: IntProperty(
        name="Chosen LoRA",
        description="The LoRA that the buttons beside the list are for",
        min=0,
    )  # type: ignore[valid-type]
    texture_only: EnumProperty(
        name="Only",
        description="Which faces of the selected meshes get the texture and may move; the others stay as they are",
        items=[
            ("ALL", "All Faces", "The whole mesh"),
            ("SELECTED", "Selected Faces", "The faces that are selected in Edit Mode"),
            ("GROUP", "Vertex Group", "The faces whose vertices are all in a vertex group"),
        ],
    )  # type: ignore[valid-type]
    texture_group: StringProperty(
        name="Group",
        description="The vertex group; every selected object needs one of this name",
    )  # type: ignore[valid-type]
    live: BoolProperty(
        name="Live Object",
        description="Show a light mesh of the object in the scene as it grows",
        default=True,
        update=_on_live_changed,
    )  # type: ignore[valid-type]

    def use_recommended(self) -> None:
        """Leave all optional settings to preset and model; preset files call this first."""
        for parameter in IN_BLENDER.values():
            if parameter.is_optional or parameter.kind is dict:
                for name in properties_of(parameter):
                    self.property_unset(name)


def properties_of(parameter: Parameter) -> Iterator[str]:
    """The names of a parameter's properties, its switch first if it has one."""
    yield from filter(None, (parameter.switch, parameter.prop))


def _declared(parameter: Parameter) -> dict[str, Any]:
    """Blender's declarations of a parameter's properties."""
    common: dict[str, Any] = {"name": parameter.label, "description": _description(parameter)}
    if parameter.name in _ON_CHANGE:
        common["update"] = _ON_CHANGE[parameter.name]
    if isinstance(parameter.default, str | int | float):
        common["default"] = parameter.default
    declared = {parameter.prop: _property(parameter, common)}
    if parameter.switch:
        instead = f"Set it here, instead of what the {parameter.recommended_by} recommends"
        declared[parameter.switch] = BoolProperty(name=f"Use {parameter.label}", description=instead)
    return declared


def _property(parameter: Parameter, common: dict[str, Any]) -> Any:
    if parameter.kind is Lora:
        return CollectionProperty(**common, type=SDI_PG_lora)
    if parameter.choices:
        items = [(choice.value, choice.label, choice.help) for choice in parameter.choices]
        items = [_AS_PRESET, *items] if parameter.is_optional else items
        return EnumProperty(**common, items=items, translation_context=_UNTRANSLATED)
    if parameter.kind is bool:
        return BoolProperty(**common)
    if parameter.kind in (int, float):
        return _number(parameter, common)
    path = {"subtype": "FILE_PATH"} if parameter.name == "file" or (parameter.is_path and not parameter.is_list) else {}
    return StringProperty(**common, **path)


def _number(parameter: Parameter, common: dict[str, Any]) -> Any:
    limits = parameter.limits
    assert limits is not None
    usual = parameter.usual or limits
    if parameter.unit == "metres":
        limits = _SCENE_LIMITS
        common |= {"subtype": "DISTANCE", "unit": "LENGTH"}
    elif parameter.unit == "share":
        limits, usual = (Within(_PERCENT * each.low, _PERCENT * each.high) for each in (limits, usual))
        common |= {"subtype": "PERCENTAGE", "default": _PERCENT * parameter.default}
    elif parameter.unit == "pixels":
        common |= {"subtype": "PIXEL"}
    low, soft_low = limits.low, usual.low
    if parameter.is_optional and not parameter.switch:  # 0 leaves it to preset and model
        low, soft_low = min(low, 0), min(soft_low, 0)
    common |= {"min": low, "soft_min": soft_low, "soft_max": usual.high, "max": limits.high}
    return IntProperty(**common) if parameter.kind is int else FloatProperty(**common)


def _description(parameter: Parameter) -> str:
    zero_is_open = parameter.is_optional and not parameter.choices and not parameter.switch
    if not zero_is_open:
        return parameter.help
    zero = "; -0.0 for exactly zero" if _may_be_zero(parameter) else ""
    return f"{parameter.help}; 0 for what the {parameter.recommended_by} recommends{zero}"


def _may_be_zero(parameter: Parameter) -> bool:
    """Whether 0 is a value of its own, and leaves a property to others all the same: the negative zero stands for it.

    People's files and presets have 0 for what is recommended, since before anybody could ask for zero.
    """
    limits = parameter.limits
    is_open_at_zero = parameter.is_optional and not parameter.switch and parameter.kind is float
    return is_open_at_zero and limits is not None and limits.low <= 0.0 <= limits.high


for _group, _table in ((SDI_PG_lora, LORA_PARAMETERS), (SDI_PG_settings, IN_BLENDER)):
    for _parameter in _table.values():
        _group.__annotations__.update(_declared(_parameter))

CLASSES = (SDI_PG_lora, SDI_PG_settings)


def attach() -> None:
    """Called when the extension is enabled."""
    bpy.types.Scene.sdi = PointerProperty(type=SDI_PG_settings)


def detach() -> None:
    """Called when the extension is disabled."""
    del bpy.types.Scene.sdi


def asked_of(scene: Any) -> Parameters:
    """What a scene's settings ask for of a new object, without overrides and LoRAs; it may be impossible."""
    plain = (parameter for parameter in IN_BLENDER.values() if parameter.kind not in (dict, Lora))
    return Parameters(**{each.name: _value_in(scene, each) for each in plain if each.is_used_by("object")})


def request_from(scene: Any, prompt: str | None = None, task: Task = "object") -> JobRequest:
    """The request for a job of this task that a scene's settings describe, with another prompt if one is given.

    Raises:
        BadInputError: a setting is invalid.
    """
    used = {name: parameter for name, parameter in IN_BLENDER.items() if parameter.is_used_by(task)}
    fields = {name: _value_in(scene, parameter) for name, parameter in used.items()}
    if prompt is not None:
        fields["prompt"] = prompt
    return JobRequest(**fields, task=task).validated()


def apply_request(scene: Any, request: JobRequest) -> None:
    """Set a scene's settings so that they describe the request; what its task does not use stays as it is."""
    for name, parameter in IN_BLENDER.items():
        if parameter.is_used_by(request.task):
            _set_in(scene, parameter, getattr(request, name))


def model_of(settings: Any) -> str:
    """The chosen model's name in a request; does not access the disk."""
    return as_engine_finds(model_name(settings.model))


def as_engine_finds(path: str) -> str:
    """A model or file, with a path relative to the .blend file made absolute: the engine runs in another folder."""
    path = as_meant(path)
    return bpy.path.abspath(path) if path.startswith("//") else path


def _value_in(scene: Any, parameter: Parameter) -> Any:
    """The value of a parameter for a request, from the scene's properties."""
    settings = scene.sdi
    value = getattr(settings, parameter.prop)
    if parameter.name == "model":
        return model_of(settings)
    if parameter.kind is Lora:
        return tuple(Lora(as_engine_finds(lora.file), _short(lora.weight)) for lora in value if lora.use)
    if parameter.kind is dict:
        return parse_overrides(value)
    if parameter.is_path:
        if not parameter.is_list:
            return as_engine_finds(value)
        return tuple(as_engine_finds(path) for path in value.split(SEPARATOR) if path.strip())
    if parameter.unit == "metres":
        value *= metres_in(scene)
    elif parameter.unit == "share":
        value /= _PERCENT
    if parameter.kind is float:
        value = _short(value)
    if parameter.switch:
        return value if getattr(settings, parameter.switch) else None
    if not parameter.is_optional:
        return value
    if _may_be_zero(parameter) and value == 0.0 and math.copysign(1.0, value) < 0.0:
        return 0.0
    return None if value in (0, _AS_PRESET[0]) else value


def _set_in(scene: Any, parameter: Parameter, value: Any) -> None:
    """Set the properties so that `_value_in` returns the value."""
    settings = scene.sdi
    if parameter.kind is Lora:
        _fill(settings, value)
        return
    if parameter.switch:
        setattr(settings, parameter.switch, value is not None)
    if parameter.kind is dict:
        value = written(value)
    elif parameter.is_list:
        value = f"{SEPARATOR} ".join(value)
    elif value is None:
        value = _AS_PRESET[0] if parameter.choices else 0
    elif parameter.unit == "metres":
        value /= metres_in(scene)
    elif parameter.unit == "share":
        value *= _PERCENT
    elif _may_be_zero(parameter) and value == 0.0:
        value = -0.0
    setattr(settings, parameter.prop, value)


def _fill(settings: Any, loras: tuple[Lora, ...]) -> None:
    settings.loras.clear()
    settings.lora_index = 0
    for lora in loras:
        item = settings.loras.add()
        item.file, item.weight = lora.file, lora.weight


def _short(number: float) -> float:
    """The number as it was typed: Blender stores 32-bit floats, so that 0.1 is read back as 0.10000000149."""
    return float(f"{number:.6g}")
