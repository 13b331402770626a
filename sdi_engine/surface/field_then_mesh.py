"""A new object that begins as a radiance field and is finished as a mesh.

The field finds out what the object is and which parts it has. From then on its surface is what is seen: its vertices
move, and the field goes on learning its colours, which stay on the surface wherever that moves to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from ..cameras import Cameras
from ..config.settings import Settings
from ..contract.request import JobRequest
from ..errors import NoObjectError
from ..mesh.around import Around
from ..mesh.bake import ColoursAt
from ..mesh.surface import simplified
from ..radiance.background import plain_backgrounds
from ..radiance.volume import RadianceVolume
from ..representation import ColouredMesh, ParameterGroup, Phase, Rendering, Step, TexturedMesh, broken_down
from ..system.occasions import at_occasions
from .moving_rendering import MovingRendering
from .moving_surface import Moved, MovingSurface
from .normals import computed_normals
from .normals_beside import NormalsBeside
from .painted_mesh import SAMPLES_AT_ONCE, SUPERSAMPLING, Samples

TRIANGLES_PER_PIXEL = 2.0
MOST_TRIANGLES = 200_000
"""The mesh has so many triangles for each pixel of an image, of which the object covers about a third."""


ASKED_EVERY = 10
"""Steps after which a field that had no surface is asked for it again."""


class FieldThenMesh(RadianceVolume):
    """A `RadianceVolume` until `Settings.mesh_start`, and then a mesh with the field's colours.

    Checkpoints have `mesh_vertices` (V, 3) and `mesh_faces` (F, 3), the mesh as it was at first, once there is one.
    """

    surface: MovingSurface | None
    mesh_vertices: Tensor
    mesh_faces: Tensor

    def __init__(self, settings: Settings, start: Step, attempt: int, device: torch.device) -> None:
        super().__init__(settings, start, attempt, device)
        self.surface = None

    def parameter_groups(self) -> list[ParameterGroup]:
        if self.surface is None:
            return super().parameter_groups()
        return [*super().parameter_groups(), self.surface.parameter_group(self.settings.vertex_learning_rate)]

    def prepare(self, step: Step) -> None:
        """As of the volume; when it is time the field's surface becomes the mesh.

        A field that has none yet goes on, and is asked again some steps later.

        Raises:
            NoObjectError: the volume has come to nothing.
        """
        late = step.number - math.ceil(self.settings.mesh_start * step.steps)
        if self.surface is None and late >= 0 and late % ASKED_EVERY == 0:
            with suppress(NoObjectError):
                self._become_mesh(step)
        if self.surface is None:
            super().prepare(step)
        else:
            self.field.activate_levels(step.progress, self.settings.level_starts)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take a state that `state_dict` gave, also one in which there is a mesh already.

        Raises:
            ValueError: its mesh is none.
        """
        if "mesh_vertices" in state_dict and self.surface is None:
            vertices, faces = (state_dict[name].cpu().numpy() for name in ("mesh_vertices", "mesh_faces"))
            if not (np.isfinite(vertices).all() and len(faces) and faces.min() >= 0 and faces.max() < len(vertices)):
                raise ValueError("a mesh with vertices that do not exist or are no numbers")
            self._take(vertices, faces)
        return super().load_state_dict(state_dict, strict, assign)

    def render(self, cameras: Cameras, resolution: int, step: Step) -> Rendering:
        if self.surface is None:
            return super().render(cameras, resolution, step)
        moved = Moved(self.surface)
        if not moved.is_finite:
            raise broken_down(step.number)
        device = self.corners.device
        if self.environment is None:
            background = plain_backgrounds(len(cameras), step.random).to(device)
        else:
            background = self.environment(cameras.rays(resolution)[1])
        lamp = self._shading(step, device)
        return MovingRendering(self, moved, cameras, resolution, lamp, background.permute(0, 3, 1, 2), step.safepoint)

    def penalties(self, cameras: Cameras, step: Step) -> Iterator[Tensor]:
        """As of the volume; of a mesh the smoothness of its colours alone."""
        if self.surface is None:
            yield from super().penalties(cameras, step)
        elif self.settings.smoothness:
            yield self.settings.smoothness * self.field.smoothness()

    @torch.no_grad()
    def view(self, cameras: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
        if self.surface is None:
            return super().view(cameras, resolution)
        size = SUPERSAMPLING * resolution
        samples = Samples.of(Moved(self.surface).sight.hits(cameras, size), cameras.rays(size)[1])
        colours = [self.colours_at(some.face, some.barycentric) for some in samples.split(self.samples_at_once)]
        return samples.image(torch.cat(colours)), samples.opacity

    def preview_mesh(self, faces: int) -> ColouredMesh:
        if self.surface is None:
            return super().preview_mesh(faces)
        now = self._mesh_now()
        light = simplified(now, faces)
        vertices = np.asarray(light.vertices, np.float32)
        with torch.no_grad():
            colours = self._colours_beside(now)(torch.from_numpy(vertices).to(self.corners.device), torch.empty(0))
        return ColouredMesh(vertices, np.asarray(light.faces, np.int32), colours)

    def export(self, request: JobRequest, phase: Phase) -> TexturedMesh:
        if self.surface is None:
            return super().export(request, phase)
        now = self._mesh_now()
        return self.textured(now, self._colours_beside(now), NormalsBeside(now), request, phase)

    def colours_at(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """The mesh's colours, (N, 3), sRGB in 0…1, at points of faces (N,) with the weights (N, 3) of their corners."""
        return self.field((barycentric[..., None] * self.corners[face]).sum(dim=1))[1]

    @property
    def samples_at_once(self) -> int:
        return SAMPLES_AT_ONCE[self.corners.device.type]

    def _become_mesh(self, step: Step) -> None:
        assert self.settings.resolution is not None
        self.field.activate_levels(step.progress, self.settings.level_starts)
        triangles = min(round(TRIANGLES_PER_PIXEL * self.settings.resolution**2), MOST_TRIANGLES)
        with at_occasions(lambda: step.safepoint(0.0)):
            mesh = simplified(self.fine_surface(step.random_for("mesh")).mesh, triangles)
        self._take(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int64))

    def _take(self, vertices: NDArray[np.float32], faces: NDArray[np.int64]) -> None:
        """Go on as the mesh with these vertices (V, 3), scene units, and faces (F, 3)."""
        device = self.occupancy.density.device
        self.register_buffer("mesh_vertices", torch.from_numpy(vertices).to(device))
        self.register_buffer("mesh_faces", torch.from_numpy(faces).to(device))
        self.corners = self.mesh_vertices[self.mesh_faces]
        own = np.arange(len(vertices))
        held = np.zeros(len(vertices), bool)
        normals = computed_normals(vertices, faces.astype(np.int32))
        self.surface = MovingSurface(vertices, faces, own, held, None, normals, device)

    def _mesh_now(self) -> trimesh.Trimesh:
        """The mesh as it is now, scene units."""
        assert self.surface is not None
        with torch.no_grad():
            vertices = self.surface.positions().cpu().numpy()
        return trimesh.Trimesh(vertices, self.mesh_faces.cpu().numpy(), process=False)

    def _colours_beside(self, now: trimesh.Trimesh) -> ColoursAt:
        """The colours of points on or near the mesh as it is now: those of the points that have come to be there."""
        around = Around(now.vertices)
        change = self.mesh_vertices.cpu().numpy() - np.asarray(now.vertices)

        def colours(points: Tensor, normals: Tensor) -> Tensor:
            before = points.cpu().numpy() + around.mean(points.cpu().numpy(), change)
            return self.field(torch.from_numpy(before.astype(np.float32)).to(points.device))[1]

        return colours
