"""How sharp, how colourful and how rich in contrast pictures of a thing are, to be compared with those of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..studies.metrics import LUMINANCE, OBJECT_OPACITY
from .pictures import on_grey

HIGH_FREQUENCY = 0.125
"""Cycles per pixel; a quarter of Nyquist's limit. What is finer counts as sharp."""

_FLOOR = {"sharpness": 1e-4, "saturation": 0.02, "contrast": 0.02}


@dataclass(frozen=True)
class Looks:
    """What pictures look like, a number for each of V views.

    Attributes:
        sharpness: (V,) energy of the luminance (0...1, on plain light grey) in frequencies above `HIGH_FREQUENCY`, per
            pixel. The outline counts, as it does in the truth.
        saturation: (V,) mean difference of the largest and the smallest channel inside the object, 0...1. It is not
            divided by the largest, as in HSV, which would find much colour in the dark.
        contrast: (V,) standard deviation of the luminance inside the object.
    """

    sharpness: Tensor
    saturation: Tensor
    contrast: Tensor

    @classmethod
    def of(cls, pictures: Tensor) -> Looks:
        """Of pictures (V, H, W, 4) from `pictures.look_around`."""
        images = on_grey(pictures)
        luminance = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1)
        inside = (pictures[..., 3] > OBJECT_OPACITY).float()
        amount = inside.sum(dim=(1, 2)).clamp(min=1)
        chroma = images.amax(dim=1) - images.amin(dim=1)
        mean = (luminance * inside).sum(dim=(1, 2)) / amount
        variance = ((luminance - mean[:, None, None]) ** 2 * inside).sum(dim=(1, 2)) / amount
        return cls(_high_energy(luminance), (chroma * inside).sum(dim=(1, 2)) / amount, variance.sqrt())

    @classmethod
    def mean(cls, many: list[Looks]) -> Looks:
        """The mean of several things' looks, view by view."""
        return cls(*(torch.stack([getattr(looks, name) for looks in many]).mean(dim=0) for name in _FLOOR))

    def relative_to(self, truth: Looks) -> dict[str, float]:
        """The mean ratio of mine to the truth's by name; 1 is as in truth, 0 is nothing at all.

        Both are raised by a little, so that a grey thing's ratio does not come from nothing over nothing.
        """
        ratios = {}
        for name, floor in _FLOOR.items():
            ratios[name] = float(((getattr(self, name) + floor) / (getattr(truth, name) + floor)).mean())
        return ratios


def _high_energy(luminance: Tensor) -> Tensor:
    """(V,) mean square of what is left of luminances (V, H, W) above `HIGH_FREQUENCY`, by Parseval's theorem."""
    height, width = luminance.shape[1:]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    high = (rows**2 + columns**2).sqrt() > HIGH_FREQUENCY
    spectrum = torch.fft.fft2(luminance, norm="ortho").abs() ** 2
    return (spectrum * high).sum(dim=(1, 2)) / (height * width)
