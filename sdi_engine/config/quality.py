"""What Draft and Standard are for models of different sizes: one table. Standard library only.

They were tuned with the starter prior, whose images have 64 pixels, and stay as they are for such models. A large model
shows more than a grid of 48³ can hold, and an evaluation of it costs a thousand times as much. Nothing of what follows
was measured with a real model: each number has its source beside it, and docs/realsize.md the arithmetic.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .parameters import TASKS_OF_A_MESH, Parameters
from .ramp import Ramp
from .settings import PRESETS, Settings, preset_for

SMALL, LATENT_512, LATENT_1024 = "small", "latent 512", "latent 1024"

LARGE_IMAGES = 384
LARGEST_IMAGES = 768
"""From so many pixels along an edge on, a model is of the next class: those in use have 512, 768 and 1024."""


def model_class(resolution: int) -> str:
    """The class of a model that was made for images of so many pixels along an edge.

    Stable Diffusion 2.1 of 768 pixels counts among those of 512, since it costs about as much.
    """
    if resolution < LARGE_IMAGES:
        return SMALL
    return LATENT_512 if resolution <= LARGEST_IMAGES else LATENT_1024


def levels_to(finest: int) -> tuple[int, ...]:
    """Grids of a field, each twice as fine as the last, as those for images of 64 pixels are."""
    levels = [12]
    while levels[-1] < finest:
        levels.append(2 * levels[-1])
    return tuple(levels)


def _finer(finest: int) -> dict[str, Any]:
    """A field whose cells are as large as the renders' pixels, and everything that goes with that."""
    levels = levels_to(finest)
    return {
        # a sample for each cell along a ray, as in Draft (48 of 48)
        "samples_per_ray": finest,
        # Instant-NGP's tables (Mueller et al. 2022), whose smoothness cannot be measured
        "field": dataclasses.replace(PRESETS["draft"].field, grid_resolutions=levels, hidden=64, log2_table_size=19),
        "smoothness": 0.0,
        # coarse to fine until 0.4 of the run, as in Draft
        "level_starts": tuple(0.4 * level / (len(levels) - 1) for level in range(len(levels))),
        # of the paper, for 512 pixels
        "occupancy_resolution": 64,
        # a mesh for the second half was measured with small models only (docs/evaluation/mesh.md)
        "mesh_start": 1.0,
        "mesh_smoothing": 0.0,
    }


_OPPOSITE = {
    # two opposite views a step instead of one: as good as the paper with half the evaluations (MV-SDI, Lupascu et al.
    # 2026, arXiv 2606.29964)
    "views_per_step": 2,
    "views": "antithetic",
}

CHANGES: dict[tuple[str, str], dict[str, Any]] = {
    ("draft", LATENT_512): _OPPOSITE
    | _finer(192)  # 0.75 vertices a pixel of the largest renders (`settings.FINEST_VERTICES_PER_PIXEL` has 0.7)
    | {
        "steps": 500,  # DreamGaussian's first stage (Tang et al. 2023), "within 2 minutes"
        # 128 pixels, then 256: Magic3D's first stage (Lin et al. 2023) has 64, ProlificDreamer (Wang et al. 2023) 64
        # for the first fifth; the latents have 64 cells
        "render_share": Ramp(0.25, 0.5, start=0.3, end=0.3),
        "mesh_resolution": 192,  # of the field
    },
    ("standard", LATENT_512): _OPPOSITE
    | _finer(384)
    | {
        "steps": 1200,  # GaussianDreamer (Yi et al. 2023), "within 15 minutes" on one consumer card
        # 128 pixels to 384: what 12 minutes allow
        "render_share": Ramp(0.25, 0.75, end=0.6),
        "mesh_resolution": 256,  # of the paper
    },
    ("draft", LATENT_1024): _OPPOSITE
    | _finer(192)
    | {
        "steps": 150,  # what 3 minutes allow, as many as with small models
        "render_share": Ramp(0.125, 0.25, start=0.3, end=0.3),  # the same pixels
        "mesh_resolution": 192,
    },
    ("standard", LATENT_1024): _OPPOSITE
    | _finer(384)
    | {
        "steps": 500,  # what 12 minutes allow
        "render_share": Ramp(0.125, 0.375, end=0.6),  # the same pixels
        "mesh_resolution": 256,
    },
}
"""By preset and class of the model. How κ is found (cached on the object), t, the guidance of the paper, the face
budget and the texture are those of the preset for all models; a look for a mesh is the same for all, too."""


def preset_of_model(asked: Parameters, model_resolution: int | None) -> Settings:
    """What the preset of a job stands for with a model for images of so many pixels along an edge.

    Args:
        asked: of which the preset, the task, and whether an odd number of views is wanted, which are no pairs.
        model_resolution: None where the model is not known yet.
    """
    settings = preset_for(asked.preset, asked.task)
    if model_resolution is None or asked.task in TASKS_OF_A_MESH:
        return settings
    changes = CHANGES.get((asked.preset, model_class(model_resolution)), {})
    is_odd = asked.views_per_step is not None and asked.views_per_step % 2 == 1
    return dataclasses.replace(settings, **changes | ({"views": settings.views} if is_odd else {}))
