"""The smallest possible representation: a ball around the origin with a radius and a colour, four numbers in all."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from torch import nn

from sdi_engine.cameras import Cameras
from sdi_engine.errors import NoObjectError
from sdi_engine.mesh.unwrap import unwrap
from sdi_engine.radiance.background import plain_backgrounds
from sdi_engine.representation import ColouredMesh, Rendering, Representation, SurfacePoints, TexturedMesh

SOFTNESS = 0.05
"""Width of the ball's soft edge, in scene units."""

LEAST_RADIUS = 0.05
START_RADIUS = 0.3


class ColouredBall(Representation):
    """A ball; its constructor has the signature of `run.representations.Represent`."""

    def __init__(self, settings, start, attempt, device):
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(START_RADIUS))
        self.colour = nn.Parameter(0.1 * torch.randn(3, generator=start.random))
        self.register_buffer("prepared", torch.tensor(0))
        self.to(device)

    def parameter_groups(self):
        return [
            {"name": "colour", "params": [self.colour], "lr": 0.2},
            {"name": "shape", "params": [self.radius], "lr": 0.02},
        ]

    def prepare(self, step):
        self.prepared += 1
        if self.radius < LEAST_RADIUS:
            raise NoObjectError(f"The ball has vanished by step {step.number}: try another seed.")

    def render(self, cameras, resolution, step):
        rgb, opacity = self._seen(cameras, resolution)
        background = plain_backgrounds(len(cameras), step.random).permute(0, 3, 1, 2)
        return BallRendering(rgb + (1.0 - opacity) * background, opacity.detach(), self, cameras)

    def penalties(self, cameras, step):
        yield 1e-3 * self.radius.square()

    def resume(self, progress):
        pass

    @torch.no_grad()
    def view(self, cameras, resolution):
        return self._seen(cameras, resolution)

    def preview_mesh(self, faces):
        ball = self._mesh(faces)
        colours = torch.sigmoid(self.colour.detach()).expand(len(ball.vertices), 3)
        return ColouredMesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32), colours)

    def export(self, request, phase):
        with phase("Making the ball", "mesh"):
            ball = self._mesh(request.face_budget)
        with phase("Unwrapping", "unwrap"):
            unwrapped = unwrap(ball, request.texture_size, padding=2)
        colour = (255.0 * torch.sigmoid(self.colour.detach()) + 0.5).to(torch.uint8).numpy()
        albedo = np.tile(colour, (request.texture_size, request.texture_size, 1))
        return TexturedMesh(unwrapped, albedo, points=len(ball.vertices))

    def _seen(self, cameras, resolution):
        """Premultiplied colours (B, 3, H, W) and opacities (B, 1, H, W): a ray hits if it passes near the centre."""
        origins, directions = cameras.rays(resolution)
        missed_by = torch.linalg.cross(origins, directions).norm(dim=-1)
        opacity = torch.sigmoid((self.radius - missed_by) / SOFTNESS)[:, None]
        return opacity * torch.sigmoid(self.colour)[:, None, None], opacity

    def _mesh(self, faces):
        subdivisions = max(n for n in range(6) if 20 * 4**n <= faces)
        return trimesh.creation.icosphere(subdivisions, self.radius.item())


@dataclass
class BallRendering(Rendering):
    """Images computed from the ball's parameters with autograd, so that `backward` has nothing left to do."""

    images: torch.Tensor = None
    opacity: torch.Tensor = None
    ball: ColouredBall = None
    cameras: Cameras = None

    @torch.no_grad()
    def surface(self, resolution):
        """Where rays enter the ball, or come nearest to its centre."""
        origins, directions = self.cameras.rays(resolution)
        to_middle = -(origins * directions).sum(dim=-1, keepdim=True)
        missed_by = (origins + to_middle * directions).norm(dim=-1, keepdim=True)
        half_chord = (self.ball.radius.square() - missed_by.square()).clamp(min=0.0).sqrt()
        _, opacity = self.ball.view(self.cameras, resolution)
        return SurfacePoints(origins + (to_middle - half_chord) * directions, opacity.permute(0, 2, 3, 1))

    def losses(self):
        return self.images.new_zeros(())

    def backward(self):
        pass
