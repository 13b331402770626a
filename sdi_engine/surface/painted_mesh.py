"""A mesh that somebody made as the 3D of a run: its shape stays, and its colours are found.

A field of colours is asked at the points of the surface that the cameras' rays hit, so there are no seams whatever the
UV map is like; only at the end it is baked into the texels, also into those that no camera saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from ..config.settings import Settings
from ..contract.request import JobRequest
from ..radiance.background import plain_backgrounds
from ..radiance.shading import Shading
from ..representation import (
    ColouredMesh,
    ParameterGroup,
    Phase,
    Rendering,
    Representation,
    Safepoint,
    Step,
    SurfacePoints,
    TexturedMesh,
    unwatched,
)
from .baking import bake
from .colour_field import ColourField
from .light_mesh import LightMesh, light_mesh
from .look import Look
from .normals import outward_directions
from .rays import Hits
from .sight import Sight
from .source import SourceMesh
from .split import split_at_seams
from .uv_map import UvMap

SUPERSAMPLING = 2
"""Rays per pixel, across and down."""

OUTWARDS = 0.02
"""The field is asked so far in front of the surface, scene units: the two sides of a thin wall may differ."""

SAMPLES_AT_ONCE = {"cpu": 2**18, "cuda": 2**21, "mps": 2**18}
"""Points at which the field is asked with gradients at once, by type of device."""


@dataclass(frozen=True)
class TextureTask:
    """What a job with a mesh is about.

    Attributes:
        source: checked.
        uv_map: that its texture is painted on.
        front: degrees by which the front is turned about Z.
        changes_look: start from the look that the mesh has; otherwise from nothing.
    """

    source: SourceMesh
    uv_map: UvMap
    front: float
    changes_look: bool


class PaintedMesh(Representation):
    """A mesh that does not move, and a field of colours that is asked on its surface.

    Faces that are not painted show their look of before, so that the model sees it, and take no gradient.

    Args:
        task: the mesh.
        settings: resolved.
        start: of the run; the first numbers are drawn from it.
        device: where everything is kept.

    Attributes:
        moves: whether its shape is something to learn about.
    """

    moves = False

    def __init__(self, task: TextureTask, settings: Settings, start: Step, device: torch.device) -> None:
        super().__init__()
        self.task = task
        self.settings = settings
        source = task.source
        self.place = place = source.place(task.front, settings.cameras.frame)
        vertices = place.normalised(source.vertices)
        self.field = ColourField(settings.field, start.random, task.changes_look)
        self.to(device)
        self.corners = torch.from_numpy(vertices[source.faces]).to(device)
        self._outwards = torch.from_numpy(outward_directions(vertices, source.faces)).to(device)
        self.normals = torch.from_numpy(place.normalised_directions(source.shading_normals)).to(device)
        self._painted = torch.from_numpy(source.painted_faces).to(device)
        self._look = Look(source, device)
        self._sight = Sight(self.corners, is_still=True)
        self._light: LightMesh | None = None

    def parameter_groups(self) -> list[ParameterGroup]:
        return [{"name": "field", "params": list(self.field.parameters()), "lr": self.settings.learning_rate}]

    def prepare(self, step: Step) -> None:
        """Switch grid levels on."""
        self.field.activate_levels(step.progress, self.settings.level_starts)

    def resume(self, progress: float) -> None:
        self.field.activate_levels(progress, self.settings.level_starts)

    def render(self, cameras: Cameras, resolution: int, step: Step) -> PaintedRendering:
        size = SUPERSAMPLING * resolution
        samples = Samples.of(self._sight.hits(cameras, size), cameras.rays(size)[1])
        background = self.background(cameras, step)
        return PaintedRendering(self, cameras, samples, self.lamp(step), background, step.safepoint)

    def penalties(self, cameras: Cameras, step: Step) -> Iterator[Tensor]:
        """Smoothness of the grids."""
        if self.settings.smoothness:
            yield self.settings.smoothness * self.field.smoothness()

    @torch.no_grad()
    def view(self, cameras: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
        size = SUPERSAMPLING * resolution
        samples = Samples.of(self.sight().hits(cameras, size), cameras.rays(size)[1])
        colours = [self.colours_at(some.face, some.barycentric) for some in samples.split(self.samples_at_once)]
        return samples.image(torch.cat(colours)), samples.opacity

    def preview_mesh(self, faces: int) -> ColouredMesh:
        """The mesh in its own place, of at most `faces` triangles, with finer ones where there are few."""
        if self._light is None or self._light.most_triangles != faces:
            self._light = light_mesh(self.task.source, faces)
        light, device = self._light, self.corners.device
        with torch.no_grad():
            face, barycentric = (torch.from_numpy(each).to(device) for each in (light.face, light.barycentric))
            colours = self.colours_at(face, barycentric)
        return ColouredMesh(light.vertices, light.triangles, colours, is_placed=True)

    def export(self, request: JobRequest, phase: Phase) -> TexturedMesh:
        """The source's own geometry in its own place, with the colours baked on its UV map or on the new one."""
        source, uv_map = self.task.source, self.task.uv_map
        with phase("Baking the texture", "bake"):
            size, device = request.texture_size, self.corners.device
            albedo = bake(self.colours_at, source, self.place, uv_map, size, device, self.samples_at_once)
        mesh = split_at_seams(self.source_now(), uv_map.uv)
        new_uv = uv_map.uv if uv_map.is_new else None
        return TexturedMesh(mesh, albedo, points=len(source.vertices), is_placed=True, new_uv=new_uv)

    def source_now(self) -> SourceMesh:
        """The source with its vertices where they are now."""
        return self.task.source

    def sight(self) -> Sight:
        """What cameras see of the surface as it is now."""
        return self._sight

    def colours_at(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """The surface's colours, (N, 3), sRGB in 0…1.

        Args:
            face: (N,), int64.
            barycentric: (N, 3), weights of the face's corners.
        """
        weights = barycentric[..., None]
        painted = self._painted[face]
        before = self._look.colours(face, barycentric)
        points = (weights * self.corners[face]).sum(dim=1)
        outwards = F.normalize((weights * self._outwards[face]).sum(dim=1), dim=-1)
        if painted.all():
            return self.field(points + OUTWARDS * outwards, before)
        if not painted.any():
            return before
        new = self.field((points + OUTWARDS * outwards)[painted], before[painted])
        return before.index_put((painted.nonzero().squeeze(dim=1),), new)

    def shaded(self, samples: Samples, lamp: Shading | None) -> Tensor:
        """The colours (N, 3) that the samples' rays see, lit by a lamp if there is one."""
        colours = self.colours_at(samples.face, samples.barycentric)
        if lamp is None:
            return colours
        corners = self.corners[samples.face]
        flat = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        seen_from_behind = ((flat * samples.direction).sum(dim=-1, keepdim=True) > 0.0).float()
        normals = F.normalize((samples.barycentric[..., None] * self.normals[samples.face]).sum(dim=1), dim=-1)
        return lamp(colours, normals * (1.0 - 2.0 * seen_from_behind), samples.direction)

    @property
    def samples_at_once(self) -> int:
        return SAMPLES_AT_ONCE[self.corners.device.type]

    def background(self, cameras: Cameras, step: Step) -> Tensor:
        """What is behind the mesh in this step, (B, 3, 1, 1)."""
        return plain_backgrounds(len(cameras), step.random).to(self.corners.device).permute(0, 3, 1, 2)

    def lamp(self, step: Step) -> Shading | None:
        """How this step's surfaces are lit, by lot; None for bare colours.

        What does not move is shown lit also where a volume would be shown without its texture, to get its shape right:
        there is nothing to learn about a shape that stays.
        """
        settings = self.settings
        random = step.random_for("shading")
        lot = torch.rand((), generator=random).item()
        if step.progress < settings.shading_start or lot >= settings.textureless + settings.lit:
            return None
        offset = 0.5 * torch.randn(3, generator=random).to(self.corners.device)
        mode = "textureless" if self.moves and lot < settings.textureless else "lit"
        return Shading(mode, offset, normal_spacing=0.0)


@dataclass(frozen=True)
class Samples:
    """The rays of B images that hit something, N of them, in the order of the images' pixels.

    Attributes:
        shape: (B, S·H, S·W), how many rays the images have; S is `SUPERSAMPLING`.
        which: (N,), int64, the numbers of these among all rays.
        face: (N,), int64.
        barycentric: (N, 3).
        direction: (N, 3), of the ray, unit length.
        distance: (N,), scene units.
    """

    shape: torch.Size
    which: Tensor
    face: Tensor
    barycentric: Tensor
    direction: Tensor
    distance: Tensor

    @staticmethod
    def of(hits: Hits, directions: Tensor) -> Samples:
        """What rays of these directions, (B, S·H, S·W, 3), have hit."""
        which = hits.is_hit.flatten().nonzero()[:, 0]
        tensors = (hits.face, hits.barycentric, directions, hits.distance)
        return Samples(hits.face.shape, which, *(tensor.flatten(0, 2).index_select(0, which) for tensor in tensors))

    @property
    def opacity(self) -> Tensor:
        """(B, 1, H, W), which share of a pixel's rays hit something."""
        return F.avg_pool2d(self.where.permute(0, 3, 1, 2), SUPERSAMPLING)

    @property
    def where(self) -> Tensor:
        """(B, S·H, S·W, 1), 1 at these rays and 0 at the others."""
        return self.everywhere(torch.ones_like(self.distance[:, None]))

    def image(self, colours: Tensor) -> Tensor:
        """(B, 3, H, W), the mean of each pixel's colours, (N, 3); black where rays hit nothing."""
        return F.avg_pool2d(self.everywhere(colours).permute(0, 3, 1, 2), SUPERSAMPLING)

    def everywhere(self, values: Tensor) -> Tensor:
        """(B, S·H, S·W, C), values of the samples, (N, C), at their rays; 0 where rays hit nothing."""
        channels = values.shape[1]
        return (
            values.new_zeros(self.shape.numel(), channels).index_copy(0, self.which, values).view(*self.shape, channels)
        )

    def gradients(self, of_image: Tensor) -> Tensor:
        """(N, 3), the gradients of the samples' colours, of those of the image, (B, 3, H, W)."""
        everywhere = F.interpolate(of_image, scale_factor=SUPERSAMPLING, mode="nearest") / SUPERSAMPLING**2
        return everywhere.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, self.which)

    def split(self, size: int) -> list[Samples]:
        """The same samples, at most `size` at a time."""
        tensors = (self.which, self.face, self.barycentric, self.direction, self.distance)
        return [Samples(self.shape, *part) for part in zip(*(each.split(size) for each in tensors), strict=True)]


class PaintedRendering(Rendering):
    """Images of a painted mesh. The loss sees a copy that takes gradients, and `backward` takes them to the field.

    Where all samples are asked at once their graph is kept, and else they are asked once more in parts, so that memory
    does not grow with the images.
    """

    def __init__(
        self,
        mesh: PaintedMesh,
        cameras: Cameras,
        samples: Samples,
        lamp: Shading | None,
        background: Tensor,
        safepoint: Safepoint = unwatched,
    ) -> None:
        self._mesh, self._cameras, self._samples, self._lamp = mesh, cameras, samples, lamp
        self._safepoint = safepoint
        self._parts = samples.split(mesh.samples_at_once)
        self._kept: Tensor | None = None
        if len(self._parts) == 1:
            self._kept = self._shaded(samples)
            self._colours = self._kept.detach()
        else:
            with torch.no_grad():
                self._colours = torch.cat([self._shaded(part) for part in self._each_part()])
        self._opacity = samples.opacity
        self._seen = samples.image(self._colours).requires_grad_()
        self._images = self._seen + (1.0 - self._opacity) * background

    @property
    def images(self) -> Tensor:
        return self._images

    @property
    def opacity(self) -> Tensor:
        return self._opacity

    def surface(self, resolution: int) -> SurfacePoints:
        """Where the images' own rays hit: more points than were asked for."""
        samples = self._samples
        origins, directions = self._cameras.rays(samples.shape[-1])
        return SurfacePoints(origins + samples.everywhere(samples.distance[:, None]) * directions, samples.where)

    def losses(self) -> Tensor:
        return self._images.new_zeros(())

    def backward(self) -> None:
        if self._seen.grad is None:
            return
        gradients = self._samples.gradients(self._seen.grad).split(self._mesh.samples_at_once)
        for part, wanted in zip(self._each_part(), gradients, strict=True):
            colours = self._shaded(part) if self._kept is None else self._kept
            if colours.requires_grad:  # something that is painted is seen
                colours.backward(wanted)

    def _shaded(self, samples: Samples) -> Tensor:
        """The colours (N, 3) that the samples' rays see."""
        return self._mesh.shaded(samples, self._lamp)

    def _each_part(self) -> Iterator[Samples]:
        for number, part in enumerate(self._parts):
            self._safepoint(number / len(self._parts))
            yield part
