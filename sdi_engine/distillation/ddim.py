"""DDIM (Song et al. 2021) without added noise (η = 0), forwards and backwards; equation numbers are the SDI paper's."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..diffusion.prior import Conditioning, Prediction, Prior


def ddim_step(prior: Prior, prediction: Prediction, t_next: Tensor) -> Tensor:
    """x(t_next) = a·x0 + b·ε: one Euler step of the probability flow, eq. (2), in either direction.

    x̄(t') = x̄(t) + ε·[σ(t') − σ(t)], written with x = a·x̄, σ = b/a and eq. (5). For a flow model it is Euler's step
    x(s') = x(s) + v·(s' − s).

    Args:
        prediction: at the current time, x0 and ε of (B, C, h, w).
        t_next: (B,) in [0, 1], earlier or later.

    Returns:
        x(t_next), (B, C, h, w).
    """
    a, b = prior.scales(t_next)
    return a * prediction.x0 + b * prediction.noise


@torch.no_grad()
def ddim_trajectory(
    prior: Prior, x: Tensor, times: Tensor, conditioning: Conditioning, guidance: float
) -> Iterator[Prediction]:
    """The model's prediction at every time of a DDIM run.

    Args:
        x: (B, C, h, w), the noise at times[0].
        times: (n,) falling, in [0, 1].
        conditioning: of the B images.
        guidance: γ of eq. (3).

    Yields:
        n predictions, x0 and ε of (B, C, h, w), one for each time.
    """
    for index, t in enumerate(times):
        prediction = prior.predict(x, t.expand(len(x)), conditioning, guidance)
        yield prediction
        if index + 1 < len(times):
            x = ddim_step(prior, prediction, times[index + 1].expand(len(x)))


@torch.no_grad()
def ddim_invert(
    prior: Prior,
    x: Tensor,
    t_start: Tensor,
    t_end: Tensor,
    steps: int,
    conditioning: Conditioning,
    guidance: float,
) -> Tensor:
    """Run DDIM backwards: from x at t_start up to t_end > t_start in equal steps of t.

    Args:
        x: (B, C, h, w), x(t_start); a clean x0 for t_start = 0.
        t_start, t_end: (B,) in [0, 1].
        steps: at least 1; a step evaluates the model once without guidance (γ_inv of 0 or 1), else twice.
        conditioning: of the B images.
        guidance: γ_inv of eq. (3); the paper's is the negative of the forward guidance scale.

    Returns:
        x(t_end), (B, C, h, w).
    """
    for step in range(steps):
        t = torch.lerp(t_start, t_end, step / steps)
        t_next = torch.lerp(t_start, t_end, (step + 1) / steps)
        x = ddim_step(prior, prior.predict(x, t, conditioning, guidance), t_next)
    return x
