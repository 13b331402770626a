"""Plain sampling, to hold the parts of distillation against."""

from torch import Tensor

from sdi_engine.diffusion.prior import Conditioning, Prior
from sdi_engine.distillation.ddim import ddim_trajectory


def ddim_sample(prior: Prior, x: Tensor, times: Tensor, conditioning: Conditioning, guidance: float) -> Tensor:
    """Denoise x from times[0] down to times[-1], and take the one-step x0 there, eq. (5).

    Args:
        x: (B, C, h, w), the noise at times[0].
        times: (n,) falling, in [0, 1].
        conditioning: of the B images.
        guidance: γ of eq. (3).

    Returns:
        x0, (B, C, h, w).
    """
    *_, last = ddim_trajectory(prior, x, times, conditioning, guidance)
    return last.x0
