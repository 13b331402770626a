"""A diffusion model in closed form: the exact denoiser of a finite set of images. No weights, exact scores.

For images x_i the marginal of x(t) = a·x0 + b·ε is a mixture of Gaussians around a·x_i with variance b², so
E[x0 | x] = Σ softmax_i(−‖x − a·x_i‖² / 2b²)·x_i, and ε = (x − a·E[x0 | x]) / b (Karras et al. 2022, app. B.3).
"""

import torch
from torch import Tensor

from sdi_engine.diffusion.prior import ModelHints, Prediction, Prior, Text
from sdi_engine.diffusion.schedule import DiscreteSchedule


class ExactPrior(Prior):
    """An exact prior whose x0 are images in −1…1; a prompt selects images by the words in it, an empty one all."""

    def __init__(self, images: dict[str, Tensor]) -> None:
        """`images`: word → (N, 3, H, W) in 0…1."""
        self.hints = ModelHints(guidance_scale=1.0)
        self.resolution = next(iter(images.values())).shape[-1]
        self.device = torch.device("cpu")
        self.evaluations = 0
        self._words = list(images)
        self._images = torch.cat(list(images.values())).flatten(1) * 2.0 - 1.0
        self._word_of_image = torch.cat([torch.full((len(v),), i) for i, v in enumerate(images.values())])
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self._schedule = DiscreteSchedule(torch.cumprod(1.0 - betas, dim=0))

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._schedule.scales(t)
        return a.view(-1, 1, 1, 1), b.view(-1, 1, 1, 1)

    def encode(self, images: Tensor) -> Tensor:
        return images * 2.0 - 1.0

    def decode(self, x0: Tensor) -> Tensor:
        return (x0 * 0.5 + 0.5).clamp(0.0, 1.0)

    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        return torch.linspace(0.98, 0.02, steps)

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        return 3, resolution, resolution

    def text(self, prompts: list[str]) -> Text:
        """{"shares": (B, images)}: the share of each image in a prompt's mixture; an average of texts mixes both."""
        return {"shares": torch.stack([self._shares(prompt) for prompt in prompts])}

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        self.evaluations += len(x)
        a, b = self.scales(t)
        distance = (x.flatten(1)[:, None] - a.view(-1, 1, 1) * self._images).square().sum(-1)
        logits = text["shares"].log() - distance / (2.0 * b.view(-1, 1).square())
        x0 = (logits.softmax(dim=1).to(x) @ self._images.to(x)).view_as(x)
        return Prediction(x0, (x - a * x0) / b)

    def _shares(self, prompt: str) -> Tensor:
        words = [i for i, word in enumerate(self._words) if word in prompt] or list(range(len(self._words)))
        meant = torch.isin(self._word_of_image, torch.tensor(words)).float()
        return meant / meant.sum()


class StraightPrior(ExactPrior):
    """It sees the same noise everywhere, so that its trajectories of x̄ over σ are straight, and all steps exact."""

    def __init__(self, noise: Tensor) -> None:
        """`noise`: (1, 3, H, W)."""
        super().__init__({"any": torch.zeros_like(noise)})
        self.noise = noise
        self.asked: list[float] = []
        """The times at which it was asked."""

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        self.asked.append(t[0].item())
        a, b = self.scales(t)
        return Prediction((x - b * self.noise) / a, self.noise.expand_as(x))


def ball_images(
    resolution: int = 32,
    radius: float = 0.6,
    greys: int = 6,
    colour: tuple[float, float, float] = (0.9, 0.1, 0.1),
) -> Tensor:
    """(greys, 3, H, W) in 0…1: a disc on plain grey backgrounds, which is a ball from any side.

    Args:
        resolution: H and W in pixels.
        radius: of the disc, in units of half the picture.
        greys: number of backgrounds, from dark to light.
        colour: of the disc.
    """
    centre = (torch.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    disc = ((radius - (x * x + y * y).sqrt()) * resolution / 2.0 + 0.5).clamp(0.0, 1.0)
    paint = torch.tensor(colour)[:, None, None]
    return torch.stack([disc * paint + (1.0 - disc) * grey for grey in torch.linspace(0.1, 0.9, greys)])
