"""Makes a run fit into its device's memory before its first step, and says how; or refuses what cannot fit."""

from __future__ import annotations

from collections.abc import Callable

from ..config.parameters import NO_PARTS, Parts
from ..config.settings import Settings
from ..contract.events import Event, Notice
from ..diffusion.device_memory import free_bytes
from ..diffusion.needs import Work, plan, weigh
from ..diffusion.prior import Prior
from ..errors import EngineError, OutOfMemoryError


def fit(prior: Prior, model: str, settings: Settings, report: Callable[[Event], None], parts: Parts = NO_PARTS) -> None:
    """Have a loaded prior take the measures with which a run fits.

    Args:
        model: its name, by which it was loaded.
        settings: resolved.
        report: is told of the measures.
        parts: with which it was loaded.

    Raises:
        OutOfMemoryError: there is certainly not enough memory; the sentence says which settings would do.
    """
    prior.save_memory(())  # an engine that does many jobs keeps its model
    try:
        weights = weigh(model, parts)
    except EngineError:  # what has been loaded all the same, such as a file that is gone by now
        return
    if weights is None or not weights.vae_channels:
        return
    assert settings.resolution is not None
    kind = prior.device.type
    loaded = weights.denoiser_bytes(kind, (prior.packed,)) + weights.bytes_of("vae", kind)
    work = Work.of(settings, settings.resolution)
    found = plan(weights, work, kind, free_bytes(prior.device) + loaded, precision=prior.packed, is_loaded=True)
    if found.is_hopeless:
        raise OutOfMemoryError(found.words(kind))
    if found.measures:
        report(Notice(found.words(kind)))
    prior.save_memory(found.measures)
