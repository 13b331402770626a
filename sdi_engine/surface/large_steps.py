"""Steps of a mesh's vertices that keep its triangles well shaped: neighbours move together.

Vertices are x = x₀ + (I + λL)⁻¹u, and u is what is optimised: L is the Laplacian of the mesh's graph. A gradient that
reaches a few vertices moves the surface around them, far where it is wanted and without a crease.

Source: Nicolet, Jacobson, Jakob: Large Steps in Inverse Rendering of Geometry, 2021, eq. (8) to (10).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import splu
from torch import Tensor

from ..mesh.topology import half_edges


class LargeSteps:
    """(I + λL)⁻¹ for the vertices of a mesh, factorised once; vertices that are held stay where they are.

    Args:
        faces: (F, 3).
        is_held: (V,), bool.
        smoothing: λ; a step spreads over about √λ edges.
    """

    def __init__(self, faces: NDArray[np.integer], is_held: NDArray[np.bool_], smoothing: float) -> None:
        count = len(is_held)
        edges = np.unique(np.sort(half_edges(faces.astype(np.int64)), axis=1), axis=0)
        edges = edges[edges[:, 0] != edges[:, 1]]
        ones = np.ones(len(edges))
        adjacency = sparse.coo_matrix((ones, edges.T), shape=(count, count))
        adjacency = (adjacency + adjacency.T).tocsr()
        degree = np.asarray(adjacency.sum(axis=1)).ravel()
        matrix = sparse.identity(count) + smoothing * (sparse.diags(degree) - adjacency)
        self._free = np.flatnonzero(~is_held)
        if len(self._free):
            # Neighbours first get numbers close together: where all vertices are alike, as on a subdivided sphere or
            # cube, SuperLU's own ordering takes a hundred times as long otherwise.
            matrix = matrix.tocsr()[self._free][:, self._free]
            order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
            self._free = self._free[order]
            matrix = matrix[order][:, order].tocsc()
            options = {"SymmetricMode": True}
            self._factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)

    def spread(self, values: Tensor) -> Tensor:
        """(I + λL)⁻¹ of values (V, C), 0 at held vertices; differentiable."""
        return _Spread.apply(values, self)

    def solve(self, values: Tensor) -> Tensor:
        """`spread`, without gradients."""
        result = np.zeros(values.shape)
        if len(self._free):
            result[self._free] = self._factors.solve(values.detach().cpu().double().numpy()[self._free])
        return torch.from_numpy(result).to(values.dtype).to(values.device)  # in two steps: MPS knows no doubles


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, steps: LargeSteps) -> Tensor:
        context.steps = steps
        return steps.solve(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.steps.solve(gradient), None  # the matrix is symmetric
