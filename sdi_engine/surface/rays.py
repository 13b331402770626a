"""Which point of a triangle mesh each ray hits first.

Three ways of finding the face: NVIDIA Warp on a CUDA device, Embree on a processor, plain torch where neither can be
had; `ray_caster` chooses. Where on the face a ray hits is computed by the same few lines for all of them, so that
their figures differ only where a ray passes an edge within rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import kernels

BLOCK = 16
"""Plain torch: rays of so many rows and columns are compared with the triangles that one cone around them meets."""

PAIRS_AT_ONCE = 2**21
"""Plain torch: rays times triangles that are in memory at once."""

FARTHEST = 1e6
"""Warp: what is farther along a ray is not hit, scene units."""


@dataclass(frozen=True)
class Hits:
    """What rays of any shape (…) hit first; both sides of a triangle are hit.

    Attributes:
        face: (…), int64; −1 where nothing is hit.
        barycentric: (…, 3), the weights of the face's corners in 0…1; 0 where nothing is hit.
        distance: (…), along the ray; 0 where nothing is hit.
    """

    face: Tensor
    barycentric: Tensor
    distance: Tensor

    @property
    def is_hit(self) -> Tensor:
        """(…), bool."""
        return self.face >= 0

    def interpolate(self, corners: Tensor) -> Tensor:
        """Values (F, 3, C) at the corners of the faces, where the rays hit: (…, C), 0 where they hit nothing."""
        return (self.barycentric[..., None] * corners[self.face.clamp(min=0)]).sum(dim=-2)


class RayCaster(ABC):
    """A mesh that does not move, ready to be hit by rays.

    Args:
        corners: (F, 3, 3), the corners of its triangles, scene units.
    """

    def __init__(self, corners: Tensor) -> None:
        self.corners = corners.float().contiguous()

    @torch.no_grad()
    def first_hits(self, origins: Tensor, directions: Tensor) -> Hits:
        """What the rays of B images hit.

        Args:
            origins, directions: (B, H, W, 3), scene units, on the mesh's device; directions of unit length.
        """
        face = self._first_faces(origins.contiguous(), directions.contiguous())
        distance, barycentric = _intersection(self.corners[face.clamp(min=0)], origins, directions)
        barycentric = barycentric.clamp(min=0.0)
        barycentric = barycentric / barycentric.sum(dim=-1, keepdim=True).clamp(min=1e-12)
        # one that is seen edge on, by rounding, is none: there is no saying where it is hit
        is_hit = (face >= 0) & distance.isfinite() & barycentric.isfinite().all(dim=-1)
        return Hits(
            torch.where(is_hit, face, -1),
            torch.where(is_hit[..., None], barycentric, 0.0),
            torch.where(is_hit, distance, 0.0),
        )

    @abstractmethod
    def _first_faces(self, origins: Tensor, directions: Tensor) -> Tensor:
        """(B, H, W), int64: the face that each ray hits first, −1 where it hits none."""


def ray_caster(corners: Tensor) -> RayCaster:
    """The fastest way that works here for a mesh (F, 3, 3) on its device."""
    device = corners.device.type
    if device == "cuda" and _works(WarpRayCaster, device):
        return WarpRayCaster(corners)
    if _works(EmbreeRayCaster, device):
        return EmbreeRayCaster(corners)
    if device == "cpu" and _works(WarpRayCaster, device):
        return WarpRayCaster(corners)
    return TorchRayCaster(corners)


class EmbreeRayCaster(RayCaster):
    """Intel's Embree by `embreex`, on the processor; rays from another device come over and go back."""

    package, name = "embreex", "Embree"

    def __init__(self, corners: Tensor) -> None:
        super().__init__(corners)
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene(robust=True)
        self._mesh = TriangleMesh(self._scene, self.corners.cpu().numpy())

    def _first_faces(self, origins: Tensor, directions: Tensor) -> Tensor:
        start, along = (np.ascontiguousarray(rays.reshape(-1, 3).cpu().numpy()) for rays in (origins, directions))
        face = self._scene.run(start, along).astype(np.int64)
        return torch.from_numpy(face).to(origins.device).view(origins.shape[:-1])


class WarpRayCaster(RayCaster):
    """NVIDIA Warp, on CUDA or a processor. Its kernel is compiled once per machine, and then kept on the disk."""

    package, name = "warp", "Warp"

    def __init__(self, corners: Tensor) -> None:
        super().__init__(corners)
        warp = kernels.warp_module()
        points = self.corners.view(-1, 3)
        indices = torch.arange(len(points), dtype=torch.int32, device=points.device)
        self._mesh = warp.Mesh(warp.from_torch(points, dtype=warp.vec3), warp.from_torch(indices))

    def _first_faces(self, origins: Tensor, directions: Tensor) -> Tensor:
        face = torch.empty(origins.shape[:-1], dtype=torch.int32, device=origins.device)
        rays = [kernels.array(rays.view(-1, 3), kernels.warp_module().vec3) for rays in (origins, directions)]
        arguments = [self._mesh.id, *rays, FARTHEST, kernels.array(face.view(-1))]
        kernels.launch(_warp_kernel(), face.numel(), arguments, origins.device)
        return face.long()


class TorchRayCaster(RayCaster):
    """Plain torch: the twin that the others are compared with, and what stands in where they are not installed."""

    def __init__(self, corners: Tensor) -> None:
        super().__init__(corners)
        self._centres = self.corners.mean(dim=1)
        self._radii = (self.corners - self._centres[:, None]).norm(dim=-1).amax(dim=1)

    def _first_faces(self, origins: Tensor, directions: Tensor) -> Tensor:
        faces = torch.full(origins.shape[:-1], -1, dtype=torch.int64, device=origins.device)
        for image, (starts, along) in enumerate(zip(origins, directions, strict=True)):
            for row in range(0, starts.shape[0], BLOCK):
                for column in range(0, starts.shape[1], BLOCK):
                    block = (slice(row, row + BLOCK), slice(column, column + BLOCK))
                    some = starts[block].reshape(-1, 3), along[block].reshape(-1, 3)
                    faces[image][block] = self._first_among(*some).view(faces[image][block].shape)
        return faces

    def _first_among(self, origins: Tensor, directions: Tensor) -> Tensor:
        """(N, 3), (N, 3) → (N,), for rays that are close to each other."""
        near = self._near(origins, directions)
        best = torch.full((len(origins),), torch.inf, device=origins.device)
        face = torch.full((len(origins),), -1, dtype=torch.int64, device=origins.device)
        for some in near.split(max(1, PAIRS_AT_ONCE // len(origins))):
            distance, barycentric = _intersection(self.corners[some], origins[:, None], directions[:, None])
            is_hit = (barycentric >= 0.0).all(dim=-1) & (distance > 0.0)
            nearest, which = torch.where(is_hit, distance, torch.inf).min(dim=1)
            face = torch.where(nearest < best, some[which], face)
            best = torch.minimum(nearest, best)
        return face

    def _near(self, origins: Tensor, directions: Tensor) -> Tensor:
        """The faces (M,) whose spheres meet a cone that all of the rays are in."""
        apex = origins.mean(dim=0)
        spread = (origins - apex).norm(dim=-1).max()
        axis = torch.nn.functional.normalize(directions.mean(dim=0), dim=0)
        cosine = (directions @ axis).min().clamp(-1.0, 1.0)
        sine = (1.0 - cosine.square()).sqrt()
        towards = self._centres - apex
        along = towards @ axis
        beside = (towards.square().sum(dim=-1) - along.square()).clamp(min=0.0).sqrt()
        reach = self._radii + spread + 1e-5
        meets = (beside * cosine - along * sine <= reach) & (along >= -reach)
        if cosine <= 0.0:  # wider than a half-space: no cone at all
            meets = torch.ones_like(meets)
        return meets.nonzero().squeeze(dim=1)


def _intersection(corners: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the planes of triangles (Möller & Trumbore 1997).

    Args:
        corners: (…, 3, 3).
        origins, directions: (…, 3); all broadcast.

    Returns:
        distance (…), barycentric (…, 3); NaN or infinite where the triangle has no area or is seen edge on, which
        compares as no hit.
    """
    first = corners[..., 0, :]
    edge_1, edge_2 = corners[..., 1, :] - first, corners[..., 2, :] - first
    across = torch.linalg.cross(directions.expand_as(edge_2 + directions), edge_2.expand_as(edge_2 + directions))
    determinant = (edge_1 * across).sum(dim=-1)
    towards = origins - first
    other = torch.linalg.cross(towards, edge_1.expand_as(towards))
    weight_1 = (towards * across).sum(dim=-1) / determinant
    weight_2 = (directions * other).sum(dim=-1) / determinant
    distance = (edge_2 * other).sum(dim=-1) / determinant
    return distance, torch.stack([1.0 - weight_1 - weight_2, weight_1, weight_2], dim=-1)


@cache
def _works(kind: type[EmbreeRayCaster | WarpRayCaster], device: str) -> bool:
    """Whether a way is installed and finds something; if it only is installed, the log says what is wrong."""

    def trial() -> None:
        origin, direction = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]], device=device).view(2, 1, 1, 1, 3)
        kind(torch.eye(3, device=device)[None]).first_hits(origin, direction)

    return kernels.works(trial, kind.package, kind.name)


@cache
def _warp_kernel() -> Any:
    warp = kernels.warp_module()

    @warp.kernel(enable_backward=False, module="unique")
    def first_faces(
        mesh: warp.uint64,
        origins: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        directions: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        farthest: float,
        faces: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
    ) -> None:
        ray = warp.tid()
        query = warp.mesh_query_ray(mesh, origins[ray], directions[ray], farthest)
        faces[ray] = query.face if query.result else -1

    return first_faces
