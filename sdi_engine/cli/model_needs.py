"""What runs with a model need on this computer, for the doctor."""

from __future__ import annotations

from typing import Any

from ..config.parameters import AUTO, NO_PARTS, Parts
from ..config.settings import PRESETS
from ..diffusion.distilled import check_noise
from ..diffusion.look_alikes import look_alike
from ..diffusion.needs import Work, gib, plan, weigh
from ..diffusion.parts import plan as plan_of_parts
from ..errors import BadInputError


def needs_of(model: str, device: str, parts: Parts = NO_PARTS, precision: str = AUTO) -> dict[str, Any]:
    """What a model weighs, and at each quality what a run needs and the measures that it takes; a JSON object.

    Args:
        model: its name, as in a request.
        device: "cpu", "cuda" or "mps".
        parts: files and folders for networks that it does not hold, or instead of its own.
        precision: as in a request.

    Raises:
        EngineError: it is not a model, parts of it are missing or do not belong to it, or nothing can be said of it
            before it is downloaded.
    """
    import torch

    from ..diffusion.device_memory import free_bytes, packs_by_itself
    from ..diffusion.loading import check_loadable

    check_loadable(model, parts)
    weights = weigh(model, parts)
    if weights is None:
        raise BadInputError(
            f'The model "{model}" is not a file or folder of this computer: name one to learn its needs.'
        )
    may_pack = packs_by_itself(torch.device(device))
    free = free_bytes(torch.device(device))
    sizes = {part: weights.bytes_of(part, device) for part in weights.parts}
    plans = {
        name: plan(weights, Work.of(settings, weights.resolution), device, free, may_pack, precision)
        for name, settings in PRESETS.items()
    }
    weighs = ", ".join(f"{part.replace('_', ' ')} {gib(size)}" for part, size in sizes.items())
    return {
        "model": model,
        "family": weights.family,
        "bytes": sizes,
        "free": free,
        "runs": {
            name: {"need": each.need, "measures": list(each.measures), "fits": not each.is_hopeless}
            for name, each in plans.items()
        },
        "lines": [
            f"{weights.family}: {weighs}; the text encoders are freed before the first step",
            *filter(None, [parts.words]),
            *(f"{name:12} {each.words(device)}" for name, each in plans.items()),
            *_on_few_steps(model),
            *_on_another_use(model, parts),
        ],
    }


def _on_another_use(model: str, parts: Parts) -> list[str]:
    """What is said of a model that seems to be for something else, such as editing."""
    planned = plan_of_parts(model, parts)
    other = look_alike(model, planned.family) if planned else None
    return [other.notice] if other else []


def _on_few_steps(model: str) -> list[str]:
    """What is said of a model that was distilled to few steps, as every run of it with inversion would."""
    try:
        check_noise(None, model)
    except BadInputError as error:
        return [str(error)]
    return []
