"""A mesh that somebody made as the 3D of a run that refines it: colours are found, and vertices move.

Colours belong to the points of the mesh as it was, wherever these have moved to, and so does the noise that lives on
the surface: what moves takes its look along.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..cameras import Cameras
from ..config.settings import Settings
from ..contract.request import JobRequest
from ..representation import ColouredMesh, ParameterGroup, Phase, Step, TexturedMesh, broken_down
from .moving_rendering import MovingRendering
from .moving_surface import Moved, MovingSurface
from .normals import same_places
from .painted_mesh import PaintedMesh, TextureTask
from .sight import Sight
from .source import SourceMesh

SAFELY = 1.0 - 1e-5
"""Share of the way that vertices may go that they go at most, so that rounding takes none of them too far."""


class MovingMesh(PaintedMesh):
    """A mesh whose vertices move, but those of faces that are not painted.

    Args:
        max_move: how far a vertex may end from where it was, as a share of the mesh's largest extent.
    """

    moves = True

    def __init__(
        self, task: TextureTask, max_move: float, settings: Settings, start: Step, device: torch.device
    ) -> None:
        super().__init__(task, settings, start, device)
        source = task.source
        self._used = np.zeros(len(source.vertices), bool)
        self._used[source.faces] = True
        is_held = np.zeros(len(source.vertices), bool)  # one that no face has holds nothing that is at the same place
        is_held[source.faces[~source.painted_faces]] = True
        extent = np.ptp(source.vertices[self._used].astype(np.float64), axis=0).max()
        self._reach = SAFELY * max_move * float(extent)
        self.surface = MovingSurface(
            self.place.normalised(source.vertices),
            source.faces,
            same_places(source.vertices),
            is_held,
            self._reach * self.place.scale,
            self.normals.cpu().numpy(),
            device,
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return [*super().parameter_groups(), self.surface.parameter_group(self.settings.vertex_learning_rate)]

    def render(self, cameras: Cameras, resolution: int, step: Step) -> MovingRendering:
        """What B cameras see.

        Raises:
            NoObjectError: positions are NaN or infinite.
        """
        moved = Moved(self.surface)
        if not moved.is_finite:
            raise broken_down(step.number)
        background = self.background(cameras, step)
        return MovingRendering(self, moved, cameras, resolution, self.lamp(step), background, step.safepoint)

    def sight(self) -> Sight:
        with torch.no_grad():
            return Moved(self.surface).sight

    def preview_mesh(self, faces: int) -> ColouredMesh:
        mesh = super().preview_mesh(faces)
        source, light = self.task.source, self._light
        assert light is not None
        change = (self._vertices_now() - source.vertices)[source.faces[light.face]]
        return replace(mesh, vertices=mesh.vertices + np.einsum("vk,vkc->vc", light.barycentric, change))

    def export(self, request: JobRequest, phase: Phase) -> TexturedMesh:
        """The source in its own place with its vertices moved, and the colours baked as those of `PaintedMesh`."""
        return replace(super().export(request, phase), moved=self._vertices_now())

    def source_now(self) -> SourceMesh:
        with torch.no_grad():
            normals = self.surface.normals_now(self.surface.positions()).cpu().numpy()
        turned = self.place.directions_back(normals)
        return replace(self.task.source, vertices=self._vertices_now(), normals=turned)

    @torch.no_grad()
    def _vertices_now(self) -> NDArray[np.float32]:
        """(V, 3), the source's vertices where they are now, in its own place.

        Rounded towards where they were, which counts where they are far from the origin.
        """
        before = self.task.source.vertices
        moved = self.surface.displacement()[self.surface.place].cpu().numpy().astype(np.float64)
        moved[~self._used] = 0.0
        change = self.place.directions_back(moved) / self.place.scale
        now = (before + change).astype(np.float32)
        too_far = np.abs(now.astype(np.float64) - before) > np.abs(change)
        return np.where(too_far, np.nextafter(now, before), now)
