"""What a person sets in the panel, and the one bridge from there to a job's request."""

from __future__ import annotations

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

from ..sdi_engine.contract.request import (
    DEVICES,
    MAX_SEED,
    NOISES,
    PERP_NEG,
    PRESETS,
    STARTER_MODEL,
    JobRequest,
    Lora,
)
from ..sdi_engine.diffusion.location import model_name
from ..sdi_engine.system.pasted import as_meant
from .current import session

_PRESET_WORDS = {
    "draft": ("Draft", "Quick and coarse, to see whether the prompt works"),
    "standard": ("Standard", "A good object in reasonable time"),
    "paper": ("Paper", "The settings of the paper: the best object; needs a strong GPU and patience"),
    "threestudio": ("Threestudio", "The settings of the authors' released code; needs a strong GPU and patience"),
}
_NOISE_WORDS = {
    "inversion": ("Inversion (SDI)", "Noise found by DDIM inversion: sharp shapes and textures"),
    "random": ("Random (SDS)", "Random noise as in DreamFusion: smoother, more saturated; for comparison"),
    "fixed": ("Fixed", "Random noise, but the same in every step; for comparison"),
    "fixed-point": ("Fixed Point", "Noise by iterating the model's own prediction; for comparison, slow"),
    "sgd": ("Gradient Descent", "Noise by optimisation; for comparison, very slow"),
    "interval": ("Interval (ISM)", "Interval score matching: inversion without the prompt; for comparison"),
}
_PERP_NEG_WORDS = {
    "off": ("Off", "Only the words for the view tell the model from which side it looks"),
    "prediction": ("On", "Keep away from the looks of other views, against faces on the back; slower"),
    "everywhere": ("On, Inversion Too", "Keep away from other views also while the noise is found; slowest"),
}
_AS_PRESET = "preset"
_DEVICE_WORDS = {
    "auto": ("Automatic", "The fastest that this computer has"),
    "cpu": ("CPU", "The processor: works everywhere"),
    "cuda": ("CUDA", "An NVIDIA graphics card"),
    "mps": ("MPS", "The graphics of an Apple computer"),
}


def _on_model_changed(_settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    session().model_was_changed(context)


def _on_live_changed(settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    session().set_live(settings.live)


def _items(values: tuple[str, ...], words: dict[str, tuple[str, str]]) -> list[tuple[str, str, str]]:
    return [(value, *words.get(value, (value.capitalize(), ""))) for value in values]


class SDI_PG_lora(bpy.types.PropertyGroup):
    """A file of changes to the model, and how much of it."""

    file: StringProperty(
        name="File",
        description="A .safetensors file with a LoRA that was trained for a model of the same kind",
        subtype="FILE_PATH",
    )  # type: ignore[valid-type]
    weight: FloatProperty(
        name="Weight",
        description="How much of the LoRA: 1 as it was trained, 0 nothing of it, below 0 away from it",
        default=1.0,
        min=-10.0,
        soft_min=0.0,
        soft_max=2.0,
        max=10.0,
        step=5,
    )  # type: ignore[valid-type]
    use: BoolProperty(
        name="Use",
        description="Whether the next object is made with this LoRA",
        default=True,
    )  # type: ignore[valid-type]


class SDI_PG_settings(bpy.types.PropertyGroup):
    """Settings of the next object; in advanced ones, zero means "as the preset and the model recommend"."""

    prompt: StringProperty(
        name="Prompt",
        description='What to make, in words, for example "a red mug"',
    )  # type: ignore[valid-type]
    negative_prompt: StringProperty(
        name="Negative",
        description="What to stay away from, in words; may be empty",
    )  # type: ignore[valid-type]
    model: StringProperty(
        name="Model",
        description=(
            'The 2D diffusion model: "starter" for the one that comes with the extension, a folder in Diffusers '
            "layout, a .safetensors file, or the id of a model on the Hugging Face hub"
        ),
        default=STARTER_MODEL,
        update=_on_model_changed,
    )  # type: ignore[valid-type]
    loras: CollectionProperty(
        name="LoRAs",
        description="Files of changes to the model, such as a style; they add up",
        type=SDI_PG_lora,
    )  # type: ignore[valid-type]
    lora_index: IntProperty(
        name="Chosen LoRA",
        description="The LoRA that the buttons beside the list are for",
        min=0,
    )  # type: ignore[valid-type]
    preset: EnumProperty(
        name="Quality",
        description="How long and how finely to work on the object",
        items=_items(PRESETS, _PRESET_WORDS),
        default="draft",
    )  # type: ignore[valid-type]
    seed: IntProperty(
        name="Seed",
        description="The same settings with the same seed give the same object; another seed gives another",
        min=0,
        max=MAX_SEED,
    )  # type: ignore[valid-type]
    height: FloatProperty(
        name="Size",
        description="Height of the object",
        default=1.0,
        # In the scene's units, whatever they are; a request knows the limits in metres.
        min=1e-6,
        soft_min=0.01,
        soft_max=10.0,
        max=1e6,
        subtype="DISTANCE",
        unit="LENGTH",
    )  # type: ignore[valid-type]
    noise: EnumProperty(
        name="Noise",
        description="Where the noise comes from that the 2D model takes away",
        items=_items(NOISES, _NOISE_WORDS),
    )  # type: ignore[valid-type]
    perp_neg: EnumProperty(
        name="Perp-Neg",
        description="Whether the model is kept from showing the front on every side",
        items=[(_AS_PRESET, "As Preset", "What the preset recommends"), *_items(PERP_NEG, _PERP_NEG_WORDS)],
    )  # type: ignore[valid-type]
    steps: IntProperty(
        name="Steps",
        description="Optimisation steps; 0 for what the preset recommends",
        min=0,
        soft_max=20_000,
        max=1_000_000,
    )  # type: ignore[valid-type]
    guidance: FloatProperty(
        name="Guidance",
        description="How closely to follow the prompt; 0 for what the model recommends",
        min=0.0,
        soft_max=100.0,
        max=1000.0,
    )  # type: ignore[valid-type]
    resolution: IntProperty(
        name="Resolution",
        description="Width and height in pixels of the pictures that the 2D model looks at; 0 for its own",
        min=0,
        max=2048,
        subtype="PIXEL",
    )  # type: ignore[valid-type]
    face_budget: IntProperty(
        name="Faces",
        description="The mesh is simplified to at most this many triangles",
        default=20_000,
        min=100,
        soft_max=200_000,
        max=2_000_000,
    )  # type: ignore[valid-type]
    texture_size: IntProperty(
        name="Texture",
        description="Width and height of the texture in pixels",
        default=1024,
        min=64,
        max=8192,
        subtype="PIXEL",
    )  # type: ignore[valid-type]
    device: EnumProperty(
        name="Device",
        description="What computes",
        items=_items(DEVICES, _DEVICE_WORDS),
    )  # type: ignore[valid-type]
    live: BoolProperty(
        name="Live Object",
        description="Show a light mesh of the object in the scene as it grows",
        default=True,
        update=_on_live_changed,
    )  # type: ignore[valid-type]


CLASSES = (SDI_PG_lora, SDI_PG_settings)


def attach() -> None:
    bpy.types.Scene.sdi = PointerProperty(type=SDI_PG_settings)


def detach() -> None:
    del bpy.types.Scene.sdi


def request_from(scene: Any, prompt: str | None = None) -> JobRequest:
    """The request that a scene's settings describe, or that they describe for another prompt.

    Raises:
        BadInputError: a setting cannot be used.
    """
    settings = scene.sdi
    return JobRequest(
        prompt=settings.prompt if prompt is None else prompt,
        negative_prompt=settings.negative_prompt,
        model=model_of(settings),
        loras=tuple(Lora(as_engine_finds(lora.file), _short(lora.weight)) for lora in settings.loras if lora.use),
        preset=settings.preset,
        noise=settings.noise,
        perp_neg=None if settings.perp_neg == _AS_PRESET else settings.perp_neg,
        seed=settings.seed,
        steps=settings.steps or None,
        guidance_scale=_short(settings.guidance) or None,
        resolution=settings.resolution or None,
        face_budget=settings.face_budget,
        texture_size=settings.texture_size,
        height=_short(settings.height * scene.unit_settings.scale_length),
        device=settings.device,
    ).validated()


def apply_request(scene: Any, request: JobRequest) -> None:
    """Set a scene's settings so that they describe the request; what the panel cannot express is left out."""
    settings = scene.sdi
    for name in ("prompt", "negative_prompt", "model", "preset", "noise", "seed", "face_budget", "texture_size"):
        setattr(settings, name, getattr(request, name))
    settings.perp_neg = request.perp_neg or _AS_PRESET
    settings.steps = request.steps or 0
    settings.guidance = request.guidance_scale or 0.0
    settings.resolution = request.resolution or 0
    settings.height = request.height / scene.unit_settings.scale_length
    settings.device = request.device
    settings.loras.clear()
    settings.lora_index = 0
    for lora in request.loras:
        item = settings.loras.add()
        item.file, item.weight = lora.file, lora.weight


def model_of(settings: Any) -> str:
    """The chosen model as it goes into a request; touches no disk."""
    return as_engine_finds(model_name(settings.model))


def as_engine_finds(path: str) -> str:
    """The model or file as the engine, which runs in another folder, can find it."""
    path = as_meant(path)
    return bpy.path.abspath(path) if path.startswith("//") else path


def _short(number: float) -> float:
    """What a person typed: Blender keeps 32 bits of a number, so that 0.1 comes back as 0.10000000149."""
    return float(f"{number:.6g}")
