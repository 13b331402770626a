"""The one table of what a person can set for an object: everything else that knows of settings is made from it.

Standard library only; it imports nothing but `limits`. From it follow a request's fields and their checks
(`contract.request`), the properties, rows and presets of Blender's panel (`state/properties.py`, `panels/settings.py`,
`operators/presets.py`), and the options of the command lines (`cli.options`, `console/commands.py`, `evaluation.plan`).
A new setting is one entry here and the code that uses it; one of the name of a field of `settings.Settings` goes there
by itself (`run.resolve`).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .limits import Within

SCHEMA_VERSION = 4
"""A version that adds a field, without which the object would be another one, counts on: what older versions read in
spite of an unknown field is then still what was asked for. Older requests are read, newer ones are not."""

STARTER_MODEL = "starter"

AUTO = "auto"
"""A precision: as in the model's file, or packed where a graphics card has no room for the model otherwise."""

MAX_SEED = 2**31 - 1

Scope = Literal["model", "image", "distillation", "3d", "object"]
SCOPES: tuple[Scope, ...] = typing.get_args(Scope)
"""What a command makes, from the least to the most: it has the options of its own scope and of those before it."""

Task = Literal["object", "texture", "refine"]
"""What a job makes: an object of its own, the look of a mesh that there is, or its look and its shape."""

TASKS_OF_A_MESH: tuple[Task, ...] = ("texture", "refine")
"""Jobs about a mesh that there is, `source.npz` in the job's folder (`contract.source_mesh`)."""

Section = Literal["prompt", "basic", "texture", "loras", "parts", "optimisation", "mesh", "device"]
"""Where a setting shows in Blender: "prompt" and "basic" in the panel, "texture" where meshes are textured, the others
below Advanced."""


@dataclass(frozen=True)
class Choice:
    """One of the words that a setting may be.

    Attributes:
        value: the word in requests and on the command line.
        label: the same for people.
        help: what it means, without a full stop.
    """

    value: str
    label: str
    help: str


@dataclass(frozen=True)
class Parameter:
    """What is known of one setting.

    Attributes:
        name: of the field; it and the next three are read off the field's declaration.
        kind: of its values: str, int, float, bool, dict, or `Lora`.
        is_list: it has several of them; always so for `Lora`.
        is_optional: it may be None, which means "as the preset and the model recommend".
        default: what it is where nobody says anything; `dataclasses.MISSING` where somebody must.
        label: for people, a word or two.
        help: what it is for, without a full stop; for people, too.
        limits: of a number.
        usual: the limits that a slider has; those of `limits` where None.
        choices: the words that it may be.
        recommended_by: who says what None means: "preset" or "model".
        unit: "pixels", "metres", which Blender shows in the scene's unit, or "share", which it shows in percent.
        section: where it shows in Blender; None for what follows from the button that was pressed, and has no property.
        prop: the name of Blender's property, which .blend files and people's presets hold; by default the field's.
        switch: the name of a second property of Blender's, without which the value is None; "" where the value 0 of a
            number says so, or a choice of its own ("preset").
        is_saved: Blender's presets keep it: it says how objects are made, not which.
        tasks: the jobs that use it; empty for all.
        scope: which commands have an option for it; None for none.
        flag: that option; made from the name by default. It may be given several times for a list or a dictionary.
        metavar: what stands for the option's value in the help.
        is_compared: the settings that `evaluate` compares may choose it.
        is_path: it names a file or folder.
    """

    label: str
    help: str
    limits: Within | None = None
    usual: Within | None = None
    choices: tuple[Choice, ...] = ()
    recommended_by: Literal["preset", "model"] = "preset"
    unit: Literal["", "pixels", "metres", "share"] = ""
    section: Section | None = "optimisation"
    prop: str = ""
    switch: str = ""
    is_saved: bool = True
    tasks: tuple[Task, ...] = ()
    scope: Scope | None = "3d"
    flag: str = ""
    metavar: str | None = None
    is_compared: bool = True
    is_path: bool = False
    name: str = ""
    kind: type = str
    is_list: bool = False
    is_optional: bool = False
    default: Any = None

    @property
    def words(self) -> tuple[str, ...]:
        """The values of its choices."""
        return tuple(choice.value for choice in self.choices)

    def is_used_by(self, task: str) -> bool:
        """Whether a job of this task depends on it."""
        return not self.tasks or task in self.tasks


def parameter(default: Any, label: str, help: str, **more: Any) -> Any:
    """A dataclass's field with what `Parameter` says of it; a dictionary as its default is copied for each request."""
    how = {"default_factory": default.copy} if isinstance(default, dict) else {"default": default}
    return dataclasses.field(**how, metadata={"parameter": Parameter(label, help, **more)})


@dataclass(frozen=True)
class Lora:
    """A file of low-rank changes to a model.

    Attributes:
        file: a `.safetensors` file.
        weight: how much of it, −10 to 10; 1 is as it was trained.
    """

    file: str = parameter(
        dataclasses.MISSING,
        "File",
        "A .safetensors file with a LoRA that was trained for a model of the same kind",
    )
    weight: float = parameter(
        1.0,
        "Weight",
        "How much of the LoRA: 1 as it was trained, 0 nothing of it, below 0 away from it",
        limits=Within(-10.0, 10.0),
        usual=Within(0.0, 2.0),
    )


@dataclass(frozen=True)
class Parts:
    """Files and folders for networks that a model does not hold itself, or instead of those that it holds.

    Attributes:
        vae: a file, or a folder as of Diffusers; "" for none.
        text_encoders: the same, in any order.
        tokenizer: of the text encoder, where it does not lie beside it; "" for none.
        tiny_vae: whose encoder is used for gradients alone; "" for none.
    """

    vae: str = ""
    text_encoders: tuple[str, ...] = ()
    tokenizer: str = ""
    tiny_vae: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(filter(None, (self.vae, *self.text_encoders, self.tokenizer, self.tiny_vae)))

    @property
    def words(self) -> str:
        """What is said of them, "With NAME, NAME"; empty where there are none."""
        return f"With {', '.join(Path(path).name for path in self.paths)}" if self.paths else ""

    def at(self, place: Callable[[str], str]) -> Parts:
        """The same parts in other places; `place` tells where each path is."""
        encoders = tuple(map(place, self.text_encoders))
        return Parts(place(self.vae), encoders, place(self.tokenizer), place(self.tiny_vae))


NO_PARTS = Parts()


@dataclass(frozen=True)
class Parameters:
    """The table: the fields of a request that a person sets, in the order in which a request is written.

    Attributes:
        model: "stable-diffusion" is the first of `diffusion.location.REAL_MODEL_MIRRORS` that can be had.
        noise: where κ comes from (`distillation.noise`). "inversion" is SDI, eq. (11); "random" is SDS, eq. (4);
            "cached-3d" carries the cached noise of 2D, eq. (6), to the object.
        perp_neg: `diffusion.perp_neg` in the prediction only, or in the search for κ too, which doubles its cost.
        seed: on a GPU the object is nearly the same, since gradients are added up in any order there.
        guidance_scale: γ of eq. (3) for the prediction.
        inversion_guidance_scale: γ_inv of eq. (3) for DDIM inversion; where the model says nothing, −γ.
        resolution: of the renders.
        views: how the cameras of a step are drawn (`cameras.SAMPLERS`).
        strength: how much of the look of before gives way (SDEdit's sense): the share of the schedule of t that is run.
        front: by how much the cameras' front is turned about Z, seen from above counter-clockwise; 0 is −Y, 90 is +X.
        overrides: single numbers of `settings.Settings` by name, as JSON allows (`config.overrides`).
    """

    prompt: str = parameter(
        dataclasses.MISSING,
        "Prompt",
        'What to make, in words, for example "a red mug"',
        section="prompt",
        is_saved=False,
        scope=None,
        is_compared=False,
    )
    negative_prompt: str = parameter(
        "",
        "Negative",
        "What to stay away from, in words; may be empty",
        scope="image",
    )
    model: str = parameter(
        STARTER_MODEL,
        "Model",
        'The 2D diffusion model: "starter" for the one that comes with the extension, "stable-diffusion", a folder in '
        "Diffusers layout, a .safetensors file, or the id of a model on the Hugging Face hub",
        section="basic",
        scope="model",
        is_compared=False,
    )
    loras: tuple[Lora, ...] = parameter(
        (),
        "LoRAs",
        "Changes to the model, such as a style, each in a file; they add up",
        section="loras",
        scope="model",
        flag="--lora",
        metavar="FILE[=WEIGHT]",
        is_compared=False,
    )
    vae: str = parameter(
        "",
        "VAE",
        "A .safetensors file or folder with the VAE, for a model without one, or instead of its own",
        section="parts",
        scope="model",
        metavar="FILE",
        is_compared=False,
        is_path=True,
    )
    text_encoders: tuple[str, ...] = parameter(
        (),
        "Text Encoders",
        "Files or folders with text encoders, for a model without them, or instead of its own",
        section="parts",
        scope="model",
        flag="--text-encoder",
        metavar="FILE",
        is_compared=False,
        is_path=True,
    )
    tokenizer: str = parameter(
        "",
        "Tokenizer",
        "A folder with the tokenizer of a text encoder (tokenizer.json), where it does not lie beside it",
        section="parts",
        scope="model",
        metavar="FOLDER",
        is_compared=False,
        is_path=True,
    )
    tiny_vae: str = parameter(
        "",
        "Tiny VAE",
        "A file or folder with a tiny VAE made for the model (TAESD, TAEF1 and the like), or a folder of models that "
        "has one: gradients pass its encoder, in less time and memory; the model is shown what its own VAE makes",
        section="parts",
        scope="model",
        metavar="FILE",
        is_compared=False,
        is_path=True,
    )
    preset: str = parameter(
        "standard",
        "Quality",
        "How long and how finely to work on the object",
        choices=(
            Choice("draft", "Draft", "Quick and coarse, to see whether the prompt works"),
            Choice("standard", "Standard", "A good object in reasonable time"),
            Choice("paper", "Paper", "The settings of the paper: the best object; needs a strong GPU and patience"),
            Choice(
                "threestudio",
                "Threestudio",
                "The settings of the authors' released code; needs a strong GPU and patience",
            ),
            Choice(
                "mv-sdi",
                "MV-SDI",
                "The paper's settings, but pairs of opposite views and half as many steps (MV-SDI, arXiv 2606.29964); "
                "needs a strong GPU and patience",
            ),
        ),
        section="basic",
        scope="distillation",
    )
    noise: str | None = parameter(
        None,
        "Noise",
        "Where the noise κ comes from that the 2D model takes away",
        choices=(
            Choice(
                "inversion",
                "Inversion (SDI)",
                "Noise found by DDIM inversion, as in the paper; asks the model about twice as often in each step",
            ),
            Choice(
                "random", "Random (SDS)", "Random noise as in DreamFusion: smoother, more saturated; for comparison"
            ),
            Choice("fixed", "Fixed", "Random noise, but the same in every step; for comparison"),
            Choice("fixed-point", "Fixed Point", "Noise by iterating the model's own prediction; for comparison, slow"),
            Choice("sgd", "Gradient Descent", "Noise by optimisation; for comparison, very slow"),
            Choice(
                "interval", "Interval (ISM)", "Interval score matching: inversion without the prompt; for comparison"
            ),
            Choice(
                "attached",
                "Attached to the Surface",
                "Random noise that sticks to the object, so that all sides agree on it",
            ),
            Choice(
                "cached-3d",
                "Cached on the Surface",
                "Noise that the model saw on the object in earlier steps: DDIM inversion's noise without its cost",
            ),
        ),
        scope="object",
    )
    perp_neg: str | None = parameter(
        None,
        "Perp-Neg",
        "Whether the model is kept from showing the front on every side",
        choices=(
            Choice("off", "Off", "Only the words for the view tell the model from which side it looks"),
            Choice("prediction", "On", "Keep away from the looks of other views, against faces on the back; slower"),
            Choice(
                "everywhere",
                "On, Inversion Too",
                "Keep away from other views also while the noise is found; slowest",
            ),
        ),
    )
    seed: int = parameter(
        0,
        "Seed",
        "The same settings with the same seed give the same object; another seed gives another",
        limits=Within(0, MAX_SEED),
        section="basic",
        is_saved=False,
        scope="image",
        is_compared=False,
    )
    steps: int | None = parameter(
        None,
        "Steps",
        "Optimisation steps",
        limits=Within(1, 1_000_000),
        usual=Within(0, 20_000),
        scope="image",
    )
    guidance_scale: float | None = parameter(
        None,
        "Guidance",
        "How closely to follow the prompt: γ of eq. (3)",
        limits=Within(-1000.0, 1000.0),
        usual=Within(0.0, 100.0),
        recommended_by="model",
        prop="guidance",
        scope="image",
    )
    inversion_guidance_scale: float | None = parameter(
        None,
        "Inversion Guidance",
        "How closely to follow the prompt while the noise is found: γ_inv, mostly minus the guidance",
        limits=Within(-1000.0, 1000.0),
        usual=Within(-100.0, 100.0),
        recommended_by="model",
        prop="inversion_guidance",
        switch="use_inversion_guidance",
        scope="distillation",
    )
    resolution: int | None = parameter(
        None,
        "Resolution",
        "Width and height in pixels of the pictures that the 2D model looks at",
        limits=Within(16, 2048),
        recommended_by="model",
        unit="pixels",
        scope="image",
    )
    views_per_step: int | None = parameter(
        None,
        "Views per Step",
        "From how many sides the object is looked at in each step",
        limits=Within(1, 64),
        usual=Within(0, 8),
    )
    views: str | None = parameter(
        None,
        "Views",
        "How the views of one step stand to each other",
        choices=(
            Choice("spread", "Spread", "Around the object, each view from a height of its own"),
            Choice(
                "antithetic",
                "Opposite Pairs",
                "In pairs from opposite sides, from the same height and distance (MV-SDI); an even number of views",
            ),
        ),
    )
    face_budget: int = parameter(
        20_000,
        "Faces",
        "The mesh is simplified to at most this many triangles",
        limits=Within(100, 2_000_000),
        usual=Within(100, 200_000),
        section="mesh",
        tasks=("object",),
        scope="object",
    )
    quads: bool = parameter(
        False,
        "Quads",
        "Lay quads of about one size along the surface, half as many as triangles, which Blender joins again from the "
        "triangles that every glTF file has; where no sound mesh comes of it, of the triangles that make good ones",
        section="mesh",
        tasks=("object",),
        scope="object",
        is_compared=False,
    )
    lods: int = parameter(
        0,
        "Levels of Detail",
        "Further meshes of the object to show from afar, each with half as many triangles and half as large a texture "
        "as the one before: mesh-lod1.glb and so on, beside mesh.glb",
        limits=Within(0, 6),
        section="mesh",
        scope="object",
        tasks=("object",),
    )
    texture_size: int = parameter(
        1024,
        "Texture",
        "Width and height of the texture in pixels",
        limits=Within(64, 8192),
        unit="pixels",
        section="mesh",
        scope="object",
    )
    height: float = parameter(
        1.0,
        "Size",
        "Height of the object",
        limits=Within(0.001, 1000.0),
        usual=Within(0.01, 10.0),
        unit="metres",
        section="basic",
        tasks=("object",),
        scope="object",
        is_compared=False,
    )
    task: str = parameter(
        "object",
        "Task",
        "What to make",
        choices=(
            Choice("object", "Object", "A new object"),
            Choice("texture", "Texture", "A new look for a mesh"),
            Choice("refine", "Refine Shape", "A new look for a mesh, and a shape that fits it"),
        ),
        section=None,
        is_saved=False,
        scope=None,
        is_compared=False,
    )
    strength: float = parameter(
        1.0,
        "Strength",
        "How far the new look may go from the one that the mesh has: 0 leaves it as it is, 1 starts from nothing",
        limits=Within(0.0, 1.0),
        section="texture",
        is_saved=False,
        tasks=TASKS_OF_A_MESH,
        scope="object",
        is_compared=False,
    )
    front: float = parameter(
        0.0,
        "Front",
        "Where the mesh's front is, in degrees about Z: 0 where it faces −Y, 90 where it faces +X",
        limits=Within(-360.0, 360.0),
        usual=Within(-180.0, 180.0),
        section="texture",
        is_saved=False,
        tasks=TASKS_OF_A_MESH,
        scope="object",
        is_compared=False,
    )
    max_move: float = parameter(
        0.02,
        "Max Move",
        "How far a point of the mesh may move at most, as a share of the mesh's largest extent",
        limits=Within(0.0, 0.2),
        unit="share",
        section="texture",
        is_saved=False,
        tasks=("refine",),
        scope="object",
        is_compared=False,
    )
    device: str = parameter(
        "auto",
        "Device",
        "What computes",
        choices=(
            Choice("auto", "Automatic", "The fastest that this computer has"),
            Choice("cpu", "CPU", "The processor: works everywhere"),
            Choice("cuda", "CUDA", "An NVIDIA graphics card"),
            Choice("mps", "MPS", "The graphics of an Apple computer"),
        ),
        section="device",
        scope="model",
        is_compared=False,
    )
    precision: str = parameter(
        AUTO,
        "Precision",
        "In how many bits the model's weights are kept in memory; fewer need less and change the object a little",
        choices=(
            Choice(
                "auto", "Automatic", "As in the model's file; in fewer bits where a graphics card has no room for it"
            ),
            Choice("full", "Full", "As in the model's file"),
            Choice("8-bit", "8 Bits", "About half as much memory as in 16 bits, nearly the same pictures; slower"),
            Choice("4-bit", "4 Bits", "About a quarter as much memory as in 16 bits, somewhat other pictures; slower"),
        ),
        section="device",
        scope="model",
        is_compared=False,
    )
    compiled: bool = parameter(
        False,
        "Compile",
        "Have torch compile the model, which takes minutes before the first step and may make long runs on a graphics "
        "card faster; where it does not work, the model runs as it is",
        section="device",
        scope="model",
        flag="--compile",
        is_compared=False,
    )
    overrides: dict[str, Any] = parameter(  # noqa: RUF009 (a field of its own for each request)
        {},
        "Other Numbers",
        "Any other number of the run by its name, such as t=[0.98,0.2] or field.hidden=64; it has the last word",
        flag="--set",
        metavar="NAME=VALUE",
        is_compared=False,
    )

    @property
    def parts(self) -> Parts:
        """The networks that come from files of their own."""
        return Parts(self.vae, self.text_encoders, self.tokenizer, self.tiny_vae)


def read_off(table: type) -> dict[str, Parameter]:
    """The parameters that a dataclass's fields declare, by name."""
    hints = typing.get_type_hints(table)
    return {field.name: _read_one(field, hints[field.name]) for field in dataclasses.fields(table)}


def _read_one(field: dataclasses.Field[Any], hint: Any) -> Parameter:
    said: Parameter = field.metadata["parameter"]
    may_be = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else may_be[0]
    return dataclasses.replace(
        said,
        name=field.name,
        kind=typing.get_origin(kind) or kind,
        is_list=typing.get_origin(hint) is tuple,
        is_optional=types.NoneType in may_be,
        default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
        prop=said.prop or field.name,
        flag=said.flag or "--" + field.name.replace("_", "-"),
    )


PARAMETERS = read_off(Parameters)
LORA_PARAMETERS = read_off(Lora)

VIEWS = PARAMETERS["views"].words

NOISES = PARAMETERS["noise"].words

NOISES_2D = (*NOISES, "cached")
"""κ may also be the model's previous prediction where there is only one image (`distill2d`)."""


def following_seed(seed: int, number: int = 1) -> int:
    """The seed that is so many after another; after `MAX_SEED` comes 0."""
    return (seed + number) % (MAX_SEED + 1)
