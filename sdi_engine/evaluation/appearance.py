"""Sharpness, saturation and contrast of pictures, to be compared with those of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..studies.metrics import LUMINANCE, OBJECT_OPACITY
from .pictures import on_grey

HIGH_FREQUENCY = 0.125
"""Cycles per pixel, a quarter of the Nyquist frequency; the energy of higher frequencies is the sharpness."""

_FLOOR = {"sharpness": 1e-4, "saturation": 0.02, "contrast": 0.02}


@dataclass(frozen=True)
class Appearance:
    """The appearance of an object in V views, one number each.

    Attributes:
        sharpness: (V,) energy per pixel of the luminance (0...1, on plain light grey) above `HIGH_FREQUENCY`. The
            outline is included, as it is in the truth's.
        saturation: (V,) mean difference between the largest and the smallest channel inside the object, 0...1. Unlike
            that of HSV it is not divided by the largest, which would make dark pixels very colourful.
        contrast: (V,) standard deviation of the luminance inside the object.
    """

    sharpness: Tensor
    saturation: Tensor
    contrast: Tensor

    @classmethod
    def of(cls, pictures: Tensor) -> Appearance:
        """The appearance in pictures (V, H, W, 4) from `pictures.render_around`."""
        images = on_grey(pictures)
        luminance = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1)
        inside = (pictures[..., 3] > OBJECT_OPACITY).float()
        amount = inside.sum(dim=(1, 2)).clamp(min=1)
        chroma = images.amax(dim=1) - images.amin(dim=1)
        mean = (luminance * inside).sum(dim=(1, 2)) / amount
        variance = ((luminance - mean[:, None, None]) ** 2 * inside).sum(dim=(1, 2)) / amount
        return cls(_high_energy(luminance), (chroma * inside).sum(dim=(1, 2)) / amount, variance.sqrt())

    @classmethod
    def mean(cls, many: list[Appearance]) -> Appearance:
        """The mean appearance of several things, view by view."""
        return cls(*(torch.stack([getattr(one, name) for one in many]).mean(dim=0) for name in _FLOOR))

    def relative_to(self, truth: Appearance) -> dict[str, float]:
        """The ratio of each number to the truth's, averaged over the views; 1 equals the truth.

        A small constant is added to both, so that the ratio for a grey thing is not 0 / 0.
        """
        ratios = {}
        for name, floor in _FLOOR.items():
            ratios[name] = float(((getattr(self, name) + floor) / (getattr(truth, name) + floor)).mean())
        return ratios


def _high_energy(luminance: Tensor) -> Tensor:
    """(V,) mean square of luminances (V, H, W) high-pass filtered at `HIGH_FREQUENCY`, by Parseval's theorem."""
    height, width = luminance.shape[1:]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    high = (rows**2 + columns**2).sqrt() > HIGH_FREQUENCY
    spectrum = torch.fft.fft2(luminance, norm="ortho").abs() ** 2
    return (spectrum * high).sum(dim=(1, 2)) / (height * width)
