"""The numbers of a run, and what each preset stands for. Standard library only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from .cameras import CameraRanges
from .field import FieldConfig, geometric_resolutions
from .limits import Within
from .parameters import TASKS_OF_A_MESH
from .ramp import Ramp, constant

OFF = constant(0.0)
ONE = constant(1.0)
A_TENTH = constant(0.1)

FINEST_VERTICES_PER_PIXEL = 0.7
"""Vertices of the finest grid of a colour field along its cube, per pixel along an image."""

OBJECT_IN_FRAME = 0.45
"""A mesh that is painted reaches at most so far from the origin on each axis, of an image's height."""

MOST_DENSE = 96
LOG2_TABLE_SIZE = 19
"""A colour field with more vertices along an edge than this is hashed, in tables of 2 to this entries."""

FALLING_TIME = Ramp(0.98, 0.2)
"""The paper's t: from nearly all noise down to where details are made."""


@dataclass(frozen=True)
class Settings:
    """Everything that the optimisation and the export need to know. Schedules are in fractions of the run's length.

    What a person sets, too, has the name that it has in the table (`parameters`), which says what it may be.

    Attributes:
        steps: optimisation steps.
        resolution: height and width of the renders in pixels; None takes the model's own.
        fits: steps of the optimiser towards one target, before each of which the same cameras render anew; the model is
            asked once. Not in the paper, which takes one.
        render_share: of the resolution, at which the object is rendered: less than 1 is rendered in fewer pixels, and
            enlarged for the model.
        views_per_step: renders in each step.
        views: how their cameras are drawn, one of `parameters.VIEWS`.
        guidance_scale: γ_fwd of eq. (3); None takes the model's own.
        guidance_share: how much of γ_fwd − 1, by t; where it is 0, a prediction asks the model once instead of twice
            (guidance in a limited interval, Kynkäänniemi et al. 2024).
        inversion_guidance_scale: γ_inv; None takes the model's own, or else −γ_fwd.
        noise: the choice of κ, one of `parameters.NOISES`.
        perp_neg: a choice of the table.
        released_code: invert as the authors' released code does (`distillation.threestudio`).
        t: the diffusion time.
        anneal: t follows its ramp; otherwise it is drawn between the ramp's ends, as in DreamFusion.
        inversion_steps_per_unit: DDIM inversion to time t takes int(this · t) steps.
        inversion_depth: how much of these steps, by t.
        inversion_share: in which share of the steps of the run κ is found by inversion, by t; in the others it is fresh
            noise (`noise.is_inverted`).
        inversion_guidance: how much of γ_inv, by t; where it is 0, inversion asks the model once instead of twice.
        inversion_start: where inversion starts (`noise.inverted_noise`).
        inversion_overshoot: τ ~ U(0, this).
        inversion_entropy: the factor of H in eq. (11); with `released_code` the η of every step.
        noise_rounds: of fixed-point iteration and of gradient descent for κ.
        noise_learning_rate: of gradient descent for κ.
        noise_cell: edge of the cells of noise on the object, in pixels of the noise in the middle of the camera ranges
            (`distillation.surface_noise`).
        noise_refresh: γ, which share of the noise attached to the object is forgotten before every step, by t.
        cache_refresh: the same of the noise that is cached on the object.
        interval: interval score matching inverts to t − this.
        target_steps: by how many steps of DDIM the target is made, by t, rounded; 1 is eq. (10).
        loss: where renders and targets are compared; "pixels" decodes the target, and no gradient passes the encoder
            (HiFA, Zhu et al. 2023, has such a loss beside that of latents). Pixels are on another scale than latents,
            so the weights of the regularisers count differently.
        learning_rate: of Adam; falls to a fifth over the last 40 % of the run where `fade` says so.
        vertex_learning_rate: how far the vertices of a mesh that moves go in a step at most, scene units.
        samples_per_ray: intervals along a ray; only those where matter may be are evaluated.
        occupancy_resolution: cells along an edge of the grid that remembers where matter may be.
        level_starts: when each grid of the field takes part.
        sparsity, opaqueness, z_variance, orientation, convexity: weights of the regularisers (`radiance.regularisers`)
            beside the distillation loss, a mean over all elements. Sparsity kept on would eat thin parts.
        smoothness: weight of the total variation of the field's grids.
        textureless, lit: in which share of the steps, from shading_start on, surfaces are shown white and shaded, or
            coloured and shaded (`radiance.shading`); in the others the bare albedo is.
        environment_background: an environment map that is optimised with the field stands behind it, instead of plain
            colours drawn at random.
        fit_background: take what a shift of the background explains off the target.
        fit_object: take what a shift of the object's colour explains off what guidance adds to the target.
        mesh_smoothing: bumps on the surface that are smaller than this are smoothed away, a standard deviation in scene
            units (`mesh.surface.smoothed`).
        mesh_start: from this progress on the surface of a new object itself is optimised, as a mesh
            (`surface.field_then_mesh`); 1 for never.
        mesh_resolution: cells along the longest edge of the object's box, in the grid that the surface is taken from.
    """

    steps: int
    resolution: int | None
    views_per_step: int
    field: FieldConfig
    cameras: CameraRanges
    guidance_scale: float | None = None
    guidance_share: Annotated[Ramp, Within(0.0, 1.0)] = ONE
    inversion_guidance_scale: float | None = None
    noise: str = "inversion"
    perp_neg: str = "off"
    views: str = "spread"
    released_code: bool = False
    render_share: Annotated[Ramp, Within(0.01, 1.0)] = ONE
    fits: Annotated[int, Within(1, 16)] = 1
    t: Annotated[Ramp, Within(0.0, 1.0)] = FALLING_TIME
    anneal: bool = True
    inversion_steps_per_unit: Annotated[int, Within(1, 1000)] = 10
    inversion_depth: Annotated[Ramp, Within(0.0, 100.0)] = ONE
    inversion_share: Annotated[Ramp, Within(0.0, 1.0)] = ONE
    inversion_guidance: Annotated[Ramp, Within(0.0, 1.0)] = ONE
    inversion_start: Annotated[float, Within(0.0, 1.0)] = 0.0
    inversion_overshoot: Annotated[float, Within(0.0, 1.0)] = 1.0 / 30.0
    inversion_entropy: float = 0.3
    noise_rounds: Annotated[int, Within(1, 1000)] = 10
    noise_learning_rate: float = 0.1
    noise_cell: Annotated[float, Within(0.05, 20.0)] = 0.6
    noise_refresh: Annotated[Ramp, Within(0.0, 1.0)] = A_TENTH
    cache_refresh: Annotated[Ramp, Within(0.0, 1.0)] = OFF
    interval: Annotated[float, Within(0.0, 1.0)] = 0.05
    target_steps: Annotated[Ramp, Within(1.0, 100.0)] = ONE
    loss: Literal["latents", "pixels"] = "latents"
    learning_rate: Annotated[float, Within(0.0, 10.0)] = 1e-2
    vertex_learning_rate: Annotated[float, Within(0.0, 1.0)] = 3e-3
    fade: bool = False
    samples_per_ray: Annotated[int, Within(1, 4096)] = 64
    occupancy_resolution: Annotated[int, Within(2, 512)] = 32
    level_starts: tuple[float, ...] = (0.0, 0.15, 0.4)
    sparsity: Ramp = OFF
    opaqueness: Ramp = OFF
    z_variance: Ramp = OFF
    orientation: Ramp = OFF
    convexity: Ramp = OFF
    smoothness: float = 0.0
    textureless: Annotated[float, Within(0.0, 1.0)] = 0.0
    lit: Annotated[float, Within(0.0, 1.0)] = 0.0
    shading_start: float = 0.1
    environment_background: bool = False
    fit_background: bool = True
    fit_object: bool = True
    mesh_smoothing: Annotated[float, Within(0.0, 1.0)] = 0.0
    mesh_start: Annotated[float, Within(0.0, 1.0)] = 1.0
    mesh_resolution: Annotated[int, Within(4, 1024)] = 128


_DRAFT = Settings(
    steps=150,
    resolution=None,
    views_per_step=2,
    field=FieldConfig(
        bound=0.7, grid_resolutions=(12, 24, 48), features=4, hidden=32, blob_density=5.0, blob_radius=0.6
    ),
    cameras=CameraRanges(elevation=(-10.0, 45.0), fov=(35.0, 50.0), half_frame=(0.7, 0.85), jitter=0.03),
    noise="cached-3d",
    cache_refresh=constant(0.05),
    t=Ramp(0.98, 0.05),
    inversion_steps_per_unit=3,
    inversion_start=0.1,
    learning_rate=2e-2,
    fade=True,
    samples_per_ray=48,
    sparsity=Ramp(0.03, 0.0, end=0.6),
    opaqueness=Ramp(0.0, 0.01, start=0.3, end=0.3),
    smoothness=0.01,
    mesh_resolution=96,
)

_PAPER = Settings(
    steps=10_000,
    resolution=512,
    views_per_step=1,
    field=FieldConfig(
        bound=2.0,
        grid_resolutions=geometric_resolutions(16, 16, 4096),
        features=2,
        hidden=64,
        blob="magic3d",
        blob_density=10.0,
        blob_radius=0.25,
        density_scale=1.0,
        log2_table_size=19,
    ),
    cameras=CameraRanges(
        elevation=(-10.0, 45.0),
        fov=(40.0, 70.0),
        half_frame=None,
        distance=(1.5, 2.0),
        jitter=0.0,
        position_jitter=0.1,
        target_deviation=0.2,
        up_deviation=0.02,
        spread="antithetic",
    ),
    perp_neg="everywhere",
    samples_per_ray=512,
    occupancy_resolution=64,
    level_starts=(*[0.0] * 8, *(0.25 + 0.05 * level for level in range(8))),
    sparsity=Ramp(0.15, 0.0, end=0.3),
    opaqueness=constant(0.1),
    z_variance=constant(1.0),
    orientation=constant(0.1),
    convexity=Ramp(0.1, 0.0, start=0.4, end=0.4),
    textureless=0.225,
    lit=0.075,
    environment_background=True,
    fit_background=False,
    fit_object=False,
    mesh_resolution=256,
)

PRESETS: dict[str, Settings] = {
    "draft": _DRAFT,
    "standard": dataclasses.replace(
        _DRAFT,
        steps=350,
        render_share=Ramp(0.5, 1.0, start=0.3, end=0.3),
        inversion_steps_per_unit=5,
        mesh_resolution=128,
        mesh_start=0.5,
        mesh_smoothing=0.05,
    ),
    "paper": _PAPER,
    "threestudio": dataclasses.replace(
        _PAPER,
        released_code=True,
        cameras=dataclasses.replace(_PAPER.cameras, spread="independent"),
        t=Ramp(0.98, 0.25),
        convexity=Ramp(1.0, 0.1, end=0.4),
    ),
    "mv-sdi": dataclasses.replace(_PAPER, steps=5_000, views_per_step=2, views="antithetic"),
}
"""For new objects. `draft` and `standard` suit a small model and a processor (why they are as they are, measured, is
said in docs/evaluation/settings.md and mesh.md); `paper` is the paper's appendix, and `threestudio` the authors'
released code where that differs: how noise is inverted (`distillation.threestudio`), the range of t, the convexity and
its schedule, and the guidance without Perp-Neg (`run.resolve`). `mv-sdi` is the paper's with two opposite views in each
of half as many steps, which is as many evaluations of the model (MV-SDI, Lupascu et al. 2026, arXiv 2606.29964; K =
2 there)."""

_TEXTURE_STEPS = {"draft": 60, "standard": 100, "paper": 5_000, "threestudio": 5_000, "mv-sdi": 2_500}
"""A look needs half as many steps as an object, whose shape has to come first."""


def preset_for(preset: str, task: str) -> Settings:
    """What a preset stands for in a job of this task.

    A mesh that is painted has no density, so what keeps a density in shape is off; its exact silhouette needs no
    learned background.

    Nor do Draft and Standard show a shape that is refined shaded or without its texture. Of a bumpy mushroom of the
    starter world lit renders changed no normals. Textureless ones in half of the steps, with vertices that took their
    neighbours along less far (0.02), brought its normals nearer to the truth (by 3 degrees of 17), took those of a mug
    away from it (1 of 16), and left fewer steps for the colours.
    """
    settings = PRESETS[preset]
    if task not in TASKS_OF_A_MESH:
        return settings
    return dataclasses.replace(
        settings,
        steps=_TEXTURE_STEPS[preset],
        render_share=ONE,  # rays find a surface as fast
        sparsity=OFF,
        opaqueness=OFF,
        z_variance=OFF,
        orientation=OFF,
        convexity=OFF,
        smoothness=0.0,
        environment_background=False,
    )


def texture_field(field: FieldConfig, frame: float, resolution: int) -> FieldConfig:
    """The field of colours for renders of a mesh in so many pixels: as fine as they can show.

    Args:
        field: the preset's.
        frame: height of the images at the origin, scene units.
    """
    levels = [12]
    while levels[-1] < FINEST_VERTICES_PER_PIXEL * resolution:
        levels.append(2 * levels[-1])
    return dataclasses.replace(
        field,
        bound=OBJECT_IN_FRAME * frame,
        grid_resolutions=tuple(levels),
        log2_table_size=LOG2_TABLE_SIZE if levels[-1] > MOST_DENSE else None,
    )
