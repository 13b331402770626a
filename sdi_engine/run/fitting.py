"""Makes a run fit into its device's memory before its first step, and again where memory runs out; or says what would.

How much is needed is an estimate, so a run that was thought to fit may not: then it goes on with one measure more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..config.parameters import NO_PARTS, Parts
from ..config.settings import Settings
from ..contract.events import Event, Notice
from ..diffusion.device_memory import free_bytes
from ..diffusion.needs import MEASURES, Measure, Weights, Work, plan, smaller, weigh, while_loaded
from ..diffusion.prior import Prior
from ..errors import EngineError, OutOfMemoryError, out_of_memory


@dataclass
class Fitting:
    """The measures that a run takes.

    Attributes:
        prior: takes them.
        work: what the run does at once.
        weights: of the model; None where they are not known.
        taken: the measures so far.
    """

    prior: Prior
    work: Work
    weights: Weights | None
    taken: tuple[Measure, ...] = ()

    def take(self, measures: tuple[Measure, ...]) -> None:
        """Take these measures and no others."""
        self.taken = measures
        self.prior.save_memory(measures)

    def take_another(self, error: BaseException) -> str:
        """Take the next measure, since memory ran out in spite of those so far.

        Args:
            error: for which `is_out_of_memory` holds.

        Returns:
            What is done, as the beginning of a sentence.

        Raises:
            OutOfMemoryError: nothing is left to do; the sentence says which setting would fit.
        """
        device = self.prior.device.type
        left = [each for each in while_loaded(self.work, device, self.weights) if each not in self.taken]
        if not left:
            said = smaller(self.work, device, self.taken, self.weights)
            raise OutOfMemoryError(out_of_memory(error, anew=said)) from error
        self.take((*self.taken, left[0]))
        return f"Memory ran out: from now on {MEASURES[left[0]]}"


def fit(
    prior: Prior,
    model: str,
    settings: Settings,
    report: Callable[[Event], None],
    parts: Parts = NO_PARTS,
    work: Work | None = None,
) -> Fitting:
    """Have a loaded prior take the measures with which a run fits.

    Args:
        model: its name, by which it was loaded.
        settings: resolved.
        report: is told of the measures.
        parts: with which it was loaded.
        work: what the run does at once; by default that of one with these settings.

    Raises:
        OutOfMemoryError: there is certainly not enough memory; the sentence says which settings would do.
    """
    assert settings.resolution is not None
    work = work or Work.of(settings, settings.resolution)
    try:
        weights = weigh(model, parts)
    except EngineError:  # what has been loaded all the same, such as a file that is gone by now
        weights = None
    fitting = Fitting(prior, work, weights)
    fitting.take(())  # an engine that does many jobs keeps its model
    if weights is None or not weights.vae_channels:
        return fitting
    kind = prior.device.type
    loaded = weights.denoiser_bytes(kind, (prior.packed,)) + weights.bytes_of("vae", kind)
    found = plan(weights, work, kind, free_bytes(prior.device) + loaded, precision=prior.packed, is_loaded=True)
    if found.is_hopeless:
        raise OutOfMemoryError(found.words(kind))
    if found.measures:
        report(Notice(found.words(kind)))
    fitting.take(found.measures)
    return fitting
