"""Sharpness and saturation of pictures: what score distillation is known to get wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OBJECT_OPACITY = 0.5
"""A pixel of higher opacity belongs to the object."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue (ITU-R BT.709)."""


def object_pixels(opacity: Tensor) -> Tensor:
    """The mask (B, 1, H, W) bool of the object, from rendered opacities (B, 1, H, W) in 0…1."""
    return opacity > OBJECT_OPACITY


def all_pixels(images: Tensor) -> Tensor:
    """A mask (B, 1, H, W) bool of all pixels, for images (B, C, H, W) without a known object mask."""
    return torch.ones_like(images[:, :1], dtype=torch.bool)


def saturation(images: Tensor, mask: Tensor) -> float:
    """Mean saturation of HSV, (max − min) / max over the channels, 0…1; 0 for black, and for a mask without pixels.

    Args:
        images: (B, 3, H, W) in 0…1.
        mask: (B, 1, H, W) bool, the pixels to measure.
    """
    high, low = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    return _mean_where((high - low) / high.clamp(min=1e-6), mask)


def sharpness(images: Tensor, mask: Tensor) -> float:
    """Mean length of the luminance's gradient by Sobel's filter, in luminance (0…1) per pixel; 0 for an empty mask.

    This is the focus measure "Tenengrad", unsquared. It is local, so it can be taken over an object of any outline,
    where a share of spectral energy would measure the outline. Only pixels whose eight neighbours all belong to the
    mask count, which leaves out the silhouette. It grows with contrast and falls with resolution: compare pictures of
    one size and one prompt only.

    Args:
        images: (B, 3, H, W) in 0…1.
        mask: (B, 1, H, W) bool, the pixels to measure.
    """
    luminance = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    sobel = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
    gradient = F.conv2d(F.pad(luminance, (1, 1, 1, 1), mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    inside = F.max_pool2d((~mask).to(images), kernel_size=3, stride=1, padding=1) == 0.0
    return _mean_where(gradient.norm(dim=1, keepdim=True), inside)


def _mean_where(values: Tensor, mask: Tensor) -> float:
    return values[mask].mean().item() if mask.any() else 0.0
