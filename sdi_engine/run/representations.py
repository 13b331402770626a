"""Which 3D a run has: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..config.settings import Settings
from ..radiance.volume import RadianceVolume
from ..representation import Representation, Step

Represent = Callable[[Settings, Step, int, torch.device], Representation]
"""Settings, the start of the run (`representation.START`), how many attempts came to nothing before, and the device →
the 3D as it is before the first step, on that device."""


def represent(settings: Settings, start: Step, attempt: int, device: torch.device) -> Representation:
    """The representation that the settings ask for; a `Represent`."""
    return RadianceVolume(settings, start, attempt, device)
