"""Volume rendering with nerfacc's batched functions, which are plain torch and so run on every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import nerfacc
import torch
from torch import Generator, Tensor

from . import compositing, marching
from .compositing import along_rays, composed, fused_composed
from .field import GridField, RadianceField
from .marching import fused_samples_along
from .occupancy import OccupancyGrid
from .samples import Samples, samples_along
from .shading import Shading

UNSEEN = 1e-8
"""Samples whose visibility is less than this leave no trace: neither in colours, nor, since that of little matter grows
with its density, in gradients of the field's raw output."""

NEGLIGIBLE_VISIBILITY = 0.05
"""Samples whose visibility is less than this in all take no part in a ray's normals, which cost six densities each."""

SURFACE_SAMPLES = 12
"""Field evaluations along each texel's short ray (`render_at_surface`)."""


@dataclass(frozen=True)
class RayColours:
    """What N rays see (or B×H×W of them, once reshaped).

    Attributes:
        rgb: (N, 3), albedo (or shaded colour) weighted by visibility, *without* background (premultiplied).
        opacity: (N, 1) in 0…1.
        depth: (N, 1), mean distance of what is seen, scene units; 0 where nothing is.
        depth_variance: (N, 1), spread of the matter along the ray, square scene units; 0 where nothing is.
        normal: (N, 3), unit normals in world space weighted by visibility (premultiplied); 0 if not asked for.
        facing_away: (N, 1) in 0…1, how much of what is seen has a normal that points away from the camera,
            Σ w · max(0, n·d)² with the weights w held fixed (Ref-NeRF, Verbin et al. 2022); 0 if not asked for.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    depth_variance: Tensor
    normal: Tensor
    facing_away: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> RayColours:
        """The same with `function` applied to every tensor."""
        return RayColours(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    @staticmethod
    def cat(parts: list[RayColours]) -> RayColours:
        """Rays of several patches as one."""
        return RayColours(
            **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(RayColours)}
        )


def render_rays(
    field: RadianceField,
    occupancy: OccupancyGrid,
    origins: Tensor,
    directions: Tensor,
    samples: int,
    generator: Generator | None,
    shading: Shading | None = None,
    normal_spacing: float | None = None,
) -> RayColours:
    """Render N rays through the field's cube.

    Args:
        origins, directions: (N, 3); directions of unit length.
        samples: evenly spaced intervals along each ray; only those which may be seen are evaluated.
        generator: moves the samples of each ray within their intervals; None takes the middles.
        shading: how surfaces are lit; None shows the bare albedo.
        normal_spacing: distance in scene units over which `normal` and `facing_away` are measured, unless the shading
            measures normals already; None leaves them 0.
    """
    places = find_samples(field, occupancy, origins, directions, samples, generator)
    return render_samples(field, places, shading, normal_spacing)[0]


def find_samples(
    field: RadianceField,
    occupancy: OccupancyGrid,
    origins: Tensor,
    directions: Tensor,
    samples: int,
    generator: Generator | None,
) -> Samples:
    """The samples along N rays that may be seen (`samples.samples_along`)."""
    find = fused_samples_along if _has_kernels(field, origins) and marching.can_be_fused(origins) else samples_along
    return find(occupancy, origins, directions, samples, generator)


def render_samples(
    field: RadianceField, samples: Samples, shading: Shading | None = None, normal_spacing: float | None = None
) -> tuple[RayColours, Tensor]:
    """What N rays see in their M samples (`render_rays`), and how much of each sample is seen, (M,) in 0…1."""
    if not len(samples):
        return _nothing_seen(samples.origins), samples.distance
    points = samples.points
    compose = fused_composed if _has_kernels(field, points) and compositing.can_be_fused(points) else composed
    density, colour = field(points)
    if shading is not None or normal_spacing is not None:
        directions = samples.directions[samples.ray]
        with torch.no_grad():
            visible = compose(density, colour, samples).visibility
        if shading is not None:
            normals = _normals(field, points, visible > UNSEEN, shading.normal_spacing)
            colour = shading(colour, normals, directions)
        else:
            negligible = NEGLIGIBLE_VISIBILITY / samples.intervals
            normals = _normals(field, points, visible > negligible, normal_spacing)
    seen = compose(density, colour, samples)
    normal, facing_away = torch.zeros_like(seen.rgb), torch.zeros_like(seen.opacity)
    if normal_spacing is not None:
        normal = along_rays(seen.visibility[:, None] * normals, samples)
        away = (normals * directions).sum(dim=-1).clamp(min=0.0).square()
        facing_away = along_rays((seen.visibility.detach() * away)[:, None], samples)
    return RayColours(*seen[:4], normal, facing_away), seen.visibility


@torch.no_grad()
def render_image(
    field: RadianceField,
    occupancy: OccupancyGrid,
    origins: Tensor,
    directions: Tensor,
    samples: int,
    patch: int,
) -> RayColours:
    """Render whole images to be looked at, without gradients and without random numbers.

    Args:
        origins, directions: (B, H, W, 3), scene units; directions of unit length.
        samples: evenly spaced intervals along each ray.
        patch: rays at a time.

    Returns:
        Every tensor as (B, H, W, …), of bare albedo and without normals.
    """
    shape = origins.shape[:-1]
    parts = [
        render_rays(field, occupancy, some_origins, some_directions, samples, None)
        for some_origins, some_directions in zip(
            origins.reshape(-1, 3).split(patch), directions.reshape(-1, 3).split(patch), strict=True
        )
    ]
    return RayColours.cat(parts).map(lambda tensor: tensor.view(*shape, -1))


@torch.no_grad()
def render_at_surface(field: RadianceField, points: Tensor, normals: Tensor, depth: float) -> Tensor:
    """The colours around points of a surface, rendered against its normals as if nothing else were there.

    A point of a simplified mesh may lie beside the field's surface, so its colour is not read at the point: it is
    volume-rendered from `depth` above the surface to `depth` below it, as the renders were while optimising.

    Args:
        points: (N, 3), scene units.
        normals: (N, 3), unit length, outwards.
        depth: scene units.

    Returns:
        (N, 3), sRGB in 0…1.
    """
    edges = torch.linspace(-depth, depth, SURFACE_SAMPLES + 1, device=points.device)
    middles = (edges[:-1] + edges[1:]) / 2.0
    along = points[:, None] + middles[:, None] * -normals[:, None]
    density, albedo = field(along.reshape(-1, 3))
    starts, ends = edges[:-1].expand(len(points), -1), edges[1:].expand(len(points), -1)
    weights, _, _ = nerfacc.render_weight_from_density(starts, ends, density.view(len(points), -1))
    # where hardly anything is seen, the samples count equally
    weights = weights + 1e-4
    return (weights[..., None] * albedo.view(len(points), -1, 3)).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def _has_kernels(field: RadianceField, points: Tensor) -> bool:
    """Whether kernels do the rest, too: where they read the field, so that no compiler is loaded for it."""
    return isinstance(field, GridField) and field.grids.are_fused(points)


def _nothing_seen(origins: Tensor) -> RayColours:
    """The colours of N rays that meet no matter."""
    three, one = torch.zeros_like(origins), torch.zeros_like(origins[:, :1])
    return RayColours(rgb=three, opacity=one, depth=one, depth_variance=one, normal=three, facing_away=one)


def _normals(field: RadianceField, points: Tensor, wanted: Tensor, spacing: float) -> Tensor:
    """Unit normals (M, 3) at those of the points that are wanted (M,); zeros at the others."""
    where = wanted.nonzero()[:, 0]
    normals = torch.zeros_like(points)
    return normals.index_put((where,), field.normal(points[where], spacing)) if len(where) else normals
