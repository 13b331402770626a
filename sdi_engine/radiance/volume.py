"""A radiance field in its volume as the 3D of a run: where matter is, how it is lit, what keeps it an object."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from torch import Tensor

from ..cameras import Cameras
from ..config.settings import Settings
from ..contract.request import JobRequest
from ..errors import NoObjectError
from ..mesh.bake import Canvas, ColoursAt, bake
from ..mesh.normal_map import FineNormals, Normals, bake_normals
from ..mesh.quads import remeshed
from ..mesh.surface import automatic_threshold, fine_surface, simplified, smoothed
from ..mesh.unwrap import unwrap
from ..representation import (
    ColouredMesh,
    ParameterGroup,
    Phase,
    Rendering,
    Representation,
    Step,
    SurfacePoints,
    TexturedMesh,
    broken_down,
)
from . import regularisers
from .background import EnvironmentMap, plain_backgrounds
from .field import RadianceField
from .isosurface import density_grid, extract_surface, grid_cell
from .occupancy import OccupancyGrid
from .patches import Patches, rays_per_patch
from .renderer import RayColours, render_at_surface, render_image, render_rays
from .shading import Shading

STRONGER_BLOB = 1.5
"""Factor by which the central ball of each further attempt is denser than the last one's."""

BACKGROUND_LEARNING_RATE = 1e-3
"""Learning rate of the environment map; the paper's."""

OCCUPANCY_EVERY = 5
"""Steps between two updates of the occupancy grid."""

EMPTY_OPACITY = 0.02
"""A volume of which no ray of a step sees more is empty, and no gradient will fill it again."""

FOG_START = 0.3
FOG_SHARE = 0.6
"""From this progress on a volume counts as fog if this share of the cells at its faces stops light; until then the
early haze may still clear. An object that stands in the cube touches its faces in places at most."""

NORMAL_RESOLUTION = 32
"""Height and width of the renders in which orientation and convexity are measured: a normal costs six densities, which
is too dear for every ray of a large image."""

VIEW_SAMPLES = 2
"""Views to be looked at have so many times the samples along a ray of those that are optimised."""

SHADED_EFFORT = 4.0
"""A step whose surfaces are shaded takes so many times as long in the 3D: it asks for seven densities at a sample."""

PREVIEW_MESH_RESOLUTION = 48
"""Cells along the longest edge of what is occupied, for a mesh in little time."""

LEAST_FACES = 100
LEAST_TEXTURE = 64
"""Levels of detail have at least so many triangles and pixels across their textures: no fewer can be asked for."""

NO_QUADS = "No sound mesh of quads came of it, so that Blender joins triangles to quads where two make a good one."

NO_LOD = "Nothing of the object is left with the triangles of level of detail {}, so that there is none from there on."

TEXTURE_PADDING = 2
"""Texels between charts."""


class RadianceVolume(Representation):
    """A radiance field, the grid that remembers where it has matter, and perhaps an environment map around it.

    Args:
        settings: resolved.
        start: of the run; the first numbers are drawn from it.
        attempt: how many came to nothing before; each further one starts with a stronger central ball.
        device: where everything is kept.
    """

    def __init__(self, settings: Settings, start: Step, attempt: int, device: torch.device) -> None:
        super().__init__()
        self.settings = settings
        config = dataclasses.replace(settings.field, blob_density=settings.field.blob_density * STRONGER_BLOB**attempt)
        self.field = RadianceField(config, start.random)
        self.occupancy = OccupancyGrid(config.bound, settings.occupancy_resolution)
        self.environment = EnvironmentMap(start.random_for("background")) if settings.environment_background else None
        self.to(device)

    def parameter_groups(self) -> list[ParameterGroup]:
        groups: list[ParameterGroup] = [
            {"name": "field", "params": list(self.field.parameters()), "lr": self.settings.learning_rate}
        ]
        if self.environment is not None:
            parameters = list(self.environment.parameters())
            groups.append({"name": "environment", "params": parameters, "lr": BACKGROUND_LEARNING_RATE})
        return groups

    def prepare(self, step: Step) -> None:
        """Switch grid levels on, and update the occupancy grid every `OCCUPANCY_EVERY` steps.

        Raises:
            NoObjectError: the volume is full of fog, or its densities are NaN or infinite.
        """
        self.field.activate_levels(step.progress, self.settings.level_starts)
        if step.number % OCCUPANCY_EVERY:
            return
        self.occupancy.update(self.field, step.random)
        if not self.occupancy.density.isfinite().all():
            raise broken_down(step.number)
        if step.progress >= FOG_START and self.occupancy.filled_boundary > FOG_SHARE:
            raise NoObjectError(
                f"The volume is full of fog at step {step.number}: try another seed, or a lower guidance scale."
            )

    def render(self, cameras: Cameras, resolution: int, step: Step) -> VolumeRendering:
        """What B cameras see, in images of `resolution` × `resolution` pixels.

        Raises:
            NoObjectError: the volume is empty.
        """
        origins, directions = cameras.rays(resolution)
        patches = Patches(
            field=self.field,
            occupancy=self.occupancy,
            origins=origins,
            directions=directions,
            samples=self.settings.samples_per_ray,
            seed=int(torch.randint(2**62, (1,), generator=step.random)),
            size=rays_per_patch(origins.device, self.settings.samples_per_ray),
            shading=self._shading(step, origins.device),
            safepoint=step.safepoint,
        )
        seen = patches.render()
        if seen.opacity.max() < EMPTY_OPACITY:
            raise NoObjectError(
                f"The volume has become empty by step {step.number}: try another seed, or words which the model knows."
            )
        if self.environment is not None:
            background = self.environment(directions)
        else:
            background = plain_backgrounds(len(directions), step.random).to(directions.device)
        leaves = seen.map(lambda tensor: tensor.detach().requires_grad_())
        return VolumeRendering(self.settings, step.progress, cameras, patches, leaves, background)

    def penalties(self, cameras: Cameras, step: Step) -> Iterator[Tensor]:
        """Smoothness of the grids; orientation and convexity of the normals, seen by the same cameras from afar."""
        settings = self.settings
        if settings.smoothness:
            yield settings.smoothness * self.field.smoothness()
        orientation, convexity = settings.orientation(step.progress), settings.convexity(step.progress)
        if not orientation and not convexity:
            return
        origins, directions = cameras.rays(NORMAL_RESOLUTION)
        shape = origins.shape[:-1]
        seen = render_rays(
            self.field,
            self.occupancy,
            origins.reshape(-1, 3),
            directions.reshape(-1, 3),
            settings.samples_per_ray,
            step.random,
            normal_spacing=self.field.cell,
        ).map(lambda tensor: tensor.view(*shape, -1))
        if not seen.normal.requires_grad:
            return
        yield orientation * regularisers.orientation(seen.facing_away, seen.opacity) + convexity * (
            regularisers.convexity_of_colours(seen.normal, seen.opacity)
            if settings.released_code
            else regularisers.convexity(regularisers.view_space(seen.normal, cameras.axes()))
        )

    def effort(self, step: Step) -> float:
        return 1.0 if self._shading(step, torch.device("cpu")) is None else SHADED_EFFORT

    def resume(self, progress: float) -> None:
        self.field.activate_levels(progress, self.settings.level_starts)

    def view(self, cameras: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
        samples = self.settings.samples_per_ray * VIEW_SAMPLES
        origins, directions = cameras.rays(resolution)
        patch = rays_per_patch(origins.device, samples)
        seen = render_image(self.field, self.occupancy, origins, directions, samples, patch)
        return seen.rgb.permute(0, 3, 1, 2), seen.opacity.permute(0, 3, 1, 2)

    def preview_mesh(self, faces: int) -> ColouredMesh:
        surface = extract_surface(self.field, self.occupancy, PREVIEW_MESH_RESOLUTION, faces)
        vertices = np.asarray(surface.vertices, dtype=np.float32)
        with torch.no_grad():
            _, albedo = self.field(torch.from_numpy(vertices).to(self.occupancy.density.device))
        return ColouredMesh(vertices, np.asarray(surface.faces, dtype=np.int32), albedo)

    def export(self, request: JobRequest, phase: Phase) -> TexturedMesh:
        """The isosurface at `mesh_resolution`, simplified, unwrapped, with the albedo that is seen along short rays
        and the normals that it had before."""
        with phase("Extracting the surface", "mesh"):
            fine = self.fine_surface(torch.Generator().manual_seed(request.seed))
        return self.textured(fine.mesh, fine.colours_at, fine.normals, request, phase)

    def fine_surface(self, random: torch.Generator) -> FineSurface:
        """The isosurface at `mesh_resolution`, smoothed.

        Raises:
            NoObjectError: there is none.
        """
        settings = self.settings
        self.occupancy.update(self.field, random)
        cell = grid_cell(self.occupancy, settings.mesh_resolution)
        density = density_grid(self.field, self.occupancy, cell)
        origin = self.occupancy.bounding_box()[0].cpu().numpy()
        level = automatic_threshold(density, cell)
        mesh = smoothed(fine_surface(density, level, cell, origin), settings.mesh_smoothing)
        normals = FineNormals(density, level, cell, origin, settings.mesh_smoothing)
        return FineSurface(mesh, functools.partial(render_at_surface, self.field, depth=2.0 * cell), normals)

    def textured(
        self, fine: trimesh.Trimesh, colours_at: ColoursAt, normals: Normals, request: JobRequest, phase: Phase
    ) -> TexturedMesh:
        """A surface simplified to what the request wants, unwrapped, with its colours and its finer normals baked."""
        with phase("Unwrapping", "unwrap"):
            quads = remeshed(fine, request.face_budget) if request.quads else None
            surface = simplified(fine, request.face_budget) if quads is None else quads
            halves = None if quads is None else np.arange(len(quads.faces)).reshape(-1, 2)
            size = request.texture_size
            canvas = Canvas.of(unwrap(surface, size, TEXTURE_PADDING, halves), size)
        device = self.occupancy.density.device
        patch = rays_per_patch(device, self.settings.samples_per_ray)

        def textured(canvas: Canvas, points: int) -> TexturedMesh:
            albedo = bake(colours_at, canvas, device, patch)
            return TexturedMesh(canvas.mesh, albedo, points, normals=bake_normals(normals, canvas))

        with phase("Baking the texture", "bake"):
            exported = textured(canvas, len(surface.vertices))
        budget = min(request.face_budget, len(fine.faces))
        notices = [NO_QUADS] if request.quads and quads is None else []
        lods = []
        for level in range(1, request.lods + 1):
            with phase(f"Making level of detail {level}", f"lod{level}"):
                try:
                    surface = simplified(fine, max(LEAST_FACES, budget >> level))
                except NoObjectError:  # its pieces are too many: that costs no finished object
                    notices.append(NO_LOD.format(level))
                    break
                size = max(LEAST_TEXTURE, request.texture_size >> level)
                lods.append(textured(Canvas.of(unwrap(surface, size, TEXTURE_PADDING), size), len(surface.vertices)))
        return dataclasses.replace(exported, lods=tuple(lods), notices=tuple(notices))

    def _shading(self, step: Step, device: torch.device) -> Shading | None:
        """How this step's surfaces are lit, by lot; None for bare albedo."""
        settings = self.settings
        random = step.random_for("shading")
        lot = torch.rand((), generator=random).item()
        if step.progress < settings.shading_start or lot >= settings.textureless + settings.lit:
            return None
        return Shading(
            mode="textureless" if lot < settings.textureless else "lit",
            light_offset=0.5 * torch.randn(3, generator=random).to(device),
            normal_spacing=self.field.cell,
        )


class FineSurface(NamedTuple):
    """The surface of a field before it is simplified: its mesh, scene units, and the colours and normals around it."""

    mesh: trimesh.Trimesh
    colours_at: ColoursAt
    normals: Normals


@dataclass
class VolumeRendering(Rendering):
    """Rays that were rendered patch by patch: the loss sees `seen`, and `backward` renders the patches once more.

    Attributes:
        settings: resolved.
        progress: 0…1.
        cameras: that see it.
        patches: of the rays.
        seen: what they see, (B, H, W, …), cut off from the field: leaves, which take gradients.
        background: (B, H, W, 3) or (B, 1, 1, 3), sRGB in 0…1.
    """

    settings: Settings
    progress: float
    cameras: Cameras
    patches: Patches
    seen: RayColours
    background: Tensor

    def __post_init__(self) -> None:
        composed = self.seen.rgb + (1.0 - self.seen.opacity) * self.background
        self._images = composed.permute(0, 3, 1, 2)

    @property
    def images(self) -> Tensor:
        return self._images

    @property
    def opacity(self) -> Tensor:
        return self.seen.opacity.detach().permute(0, 3, 1, 2)

    def surface(self, resolution: int) -> SurfacePoints:
        """The points at the expected depth of rays, whose samples lie in the middles of their intervals.

        (Moved about in them, as in the images, they would move the points by a pixel's width, in every step anew.)
        """
        patches = self.patches
        origins, directions = self.cameras.rays(resolution)
        seen = render_image(patches.field, patches.occupancy, origins, directions, patches.samples, patches.size)
        return SurfacePoints(origins + seen.depth * directions, seen.opacity)

    def losses(self) -> Tensor:
        """Sparsity, opaqueness and spread along the rays, weighted."""
        settings, progress, seen = self.settings, self.progress, self.seen
        loss = settings.sparsity(progress) * regularisers.sparsity(seen.opacity)
        loss = loss + settings.opaqueness(progress) * regularisers.opaqueness(seen.opacity)
        return loss + settings.z_variance(progress) * regularisers.z_variance(seen.depth_variance, seen.opacity)

    def backward(self) -> None:
        self.patches.backward(self.seen)
