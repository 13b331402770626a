"""The Fréchet distance between two sets of pictures, on the judge's features."""

from __future__ import annotations

import numpy as np

from ..errors import BadInputError


def frechet(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """The squared Fréchet distance between two sets of pictures, as normal distributions of features.

    d² = |mean_a - mean_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), as in the FID (Heusel et al., 2017), with the judge's
    features instead of Inception's. Covariances of few samples have too small eigenvalues, so they are shrunk towards
    a multiple of the identity (Ledoit & Wolf, 2004); even so, compare only distances of sets of about the same sizes.

    Args:
        features_a: (N, F) of one set, N >= 2.
        features_b: (M, F) of the other, M >= 2.

    Returns:
        d² >= 0, in squared units of the features; 0 for equal sets.

    Raises:
        BadInputError: a set has fewer than two pictures, or features that are NaN or infinite.
    """
    sets = [np.asarray(features, dtype=np.float64) for features in (features_a, features_b)]
    for features in sets:
        if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
            raise BadInputError("A Fréchet distance needs at least two pictures in each set: measure more objects.")
    shift = sets[0].mean(axis=0) - sets[1].mean(axis=0)
    one, other = (_covariance(features) for features in sets)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # tr (C_a C_b)^(1/2) = tr (C_a^(1/2) C_b C_a^(1/2))^(1/2), whose argument is symmetric.
    both = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    return float(max(0.0, shift @ shift + np.trace(one) + np.trace(other) - 2 * both))


def _covariance(features: np.ndarray) -> np.ndarray:
    """The covariance (F, F) of samples (N, F), shrunk by Ledoit and Wolf's optimal share for this N."""
    count, size = features.shape
    centred = features - features.mean(axis=0)
    sample = centred.T @ centred / count
    scale = np.trace(sample) / size
    target = scale * np.eye(size)
    spread = ((sample - target) ** 2).sum()
    if spread == 0:
        return sample
    squares = (centred**2).sum(axis=1)
    # sum over samples of |x xᵀ - S|², without the (N, F, F) array
    noise = (squares**2).sum() / count**2 - (sample**2).sum() / count
    share = min(1.0, max(0.0, noise / spread))
    return (1 - share) * sample + share * target
