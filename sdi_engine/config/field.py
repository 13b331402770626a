"""The size and the shape at the start of the radiance field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .limits import Within


@dataclass(frozen=True)
class FieldConfig:
    """
    Attributes:
        bound: the field fills the cube [−bound, bound]³.
        grid_resolutions: vertices along an edge of each level, coarse to fine.
        features: channels of each level.
        hidden: width of the MLP's one hidden layer.
        blob_density: what the ball that the field starts as adds to the raw output at the centre.
        blob_radius: where that has fallen to 0, in units of `bound`.
        density_scale: density of a raw output of 1; high enough that a surface is thin against a grid cell.
        blob: the ball's shape: "magic3d" falls without end; "soft" does not, and prefers emptiness everywhere.
        log2_table_size: levels with more vertices than 2 to this are hashed (`encoding.HashGrids`); None keeps all
            levels dense.
    """

    bound: Annotated[float, Within(0.01, 100.0)]
    grid_resolutions: Annotated[tuple[int, ...], Within(2, 8192)]
    features: Annotated[int, Within(1, 64)]
    hidden: Annotated[int, Within(1, 1024)]
    blob_density: float
    blob_radius: Annotated[float, Within(0.001, 100.0)]
    density_scale: float = 25.0
    blob: Literal["soft", "magic3d"] = "soft"
    log2_table_size: Annotated[int | None, Within(1, 24)] = None


def geometric_resolutions(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """Vertices along an edge of each level, growing by a constant factor (Müller et al. 2022, eq. 2).

    The paper's field is (16, 16, 4096): a factor of 1.447.
    """
    factor = (finest / coarsest) ** (1.0 / (levels - 1))
    return tuple(round(coarsest * factor**level) for level in range(levels))
