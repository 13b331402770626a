"""The starter prior: a pixel-space diffusion model built from Diffusers' components, and the folder it is saved in.

An image of 64 x 64 is folded by `pixel_unshuffle(2)` into 12 channels of 32 x 32, so that the U-Net is cheap; larger
patches were measured in docs/evaluation/settings.md. A model without a VAE works in pixel space, and the engine's
loader derives its patch size from the channels: sqrt(in_channels / 3).

The U-Net predicts x0 (Diffusers calls that "sample"): noise has as many independent numbers as there are pixels, more
than a few channels can carry, so a network that predicts noise or velocity stays wrong at low noise levels; an image is
far simpler (Li and He 2025, "Back to Basics: Let Denoising Generative Models Denoise").
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ..diffusion.location import HINTS_FILE, INDEX_FILE
from . import captions, paint, world
from .settings import TIMESTEPS

PATCH = 2
GUIDANCE_SCALE = 3.0
INVERSION_GUIDANCE_SCALE = 1.0
"""γ_inv for objects made with this model: with the paper's −γ their colours drift (docs/evaluation/settings.md)."""

MAX_WEIGHT = 5.0
"""The highest weight in `StarterModel.loss`; without a limit the lowest noise levels would outweigh all others."""

Channels = tuple[int, int, int, int]


@dataclass(frozen=True)
class Size:
    """The size of the networks; the defaults give 6 million parameters.

    Larger networks would make every object take longer on a laptop, wherever they were trained.

    Attributes:
        channels: of the U-Net's four levels, multiples of 16.
        text_width: width of the text embeddings, a multiple of 4.
        resolution: height and width of the images in pixels, a multiple of 16.
    """

    channels: Channels = (32, 64, 96, 128)
    text_width: int = 96
    resolution: int = 64

    @staticmethod
    def of(folder: Path) -> Size:
        """The size of the model that `StarterModel.save` wrote into a folder."""
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        return Size(tuple(unet["block_out_channels"]), unet["cross_attention_dim"], unet["sample_size"] * PATCH)


class StarterModel(nn.Module):
    """The U-Net and the text encoder, with the tokenizer and the noise schedule; the weights are random at first.

    Args:
        size: the networks' size.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.tokenizer: CLIPTokenizer = captions.build_tokenizer()
        self.scheduler = DDIMScheduler(
            num_train_timesteps=TIMESTEPS,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="sample",
            clip_sample=False,
            set_alpha_to_one=False,
            # Neighbouring pixels are so alike that Stable Diffusion's last noise level, with 7 % of signal, still tells
            # the background's colour and the outline. Pure noise, where sampling starts, would be new to the model
            # (Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps Are Flawed").
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        )
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=size.text_width,
                intermediate_size=2 * size.text_width,
                projection_dim=size.text_width,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=captions.MAX_LENGTH,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        )
        channels = 3 * PATCH**2
        self.unet = UNet2DConditionModel(
            sample_size=size.resolution // PATCH,
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            block_out_channels=size.channels,
            layers_per_block=1,
            cross_attention_dim=size.text_width,
            attention_head_dim=4,  # Diffusers' name for the number of heads
            norm_num_groups=16,
            time_embedding_dim=4 * size.channels[1],
            # Every block gets the whole prompt through its time embedding, not only by attending to single words.
            resnet_time_scale_shift="scale_shift",
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
        )

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embeddings (B, MAX_LENGTH, text_width) of B texts."""
        tokens = captions.token_ids(self.tokenizer, texts)
        return self.text_encoder(tokens.to(self.unet.device)).last_hidden_state

    def loss(self, images: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of x0, weighted by min(1 / b^2, `MAX_WEIGHT`); 1 / b^2 makes it the error of velocity.

        Args:
            images: (B, 3, H, W) in 0...1.
            tokens: (B, MAX_LENGTH) int64, from `captions.token_ids`.
            timesteps: (B,) int64 in 0...999.
            noise: (B, 3, H, W) standard normal.
        """
        x0, noise = fold(2 * images - 1), fold(noise)
        noisy = self.scheduler.add_noise(x0, noise, timesteps)
        predicted = self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample
        weight = (1 / (1 - self.scheduler.alphas_cumprod.to(x0.device)[timesteps])).clamp(max=MAX_WEIGHT)
        return (weight * (predicted - x0).square().mean(dim=(1, 2, 3))).mean()

    @torch.no_grad()
    def sample(self, texts: list[str], seed: int, steps: int = 25, guidance: float = GUIDANCE_SCALE) -> Tensor:
        """DDIM samples (B, 3, H, W) in 0...1 with classifier-free guidance.

        Args:
            texts: B prompts.
            seed: of the starting noise.
            steps: evaluations of the U-Net.
            guidance: scale γ; 1 follows the prompt without guidance.
        """
        count, grid = len(texts), self.size.resolution // PATCH
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 3 * PATCH**2, grid, grid, generator=generator).to(self.unet.device)
        x = x.contiguous(memory_format=torch.channels_last)
        embeddings = self.encode_text([""] * count + texts)
        for t in scheduler.timesteps:
            free, conditioned = self.unet(torch.cat([x, x]), t, embeddings).sample.chunk(2)
            x = scheduler.step(free + guidance * (conditioned - free), t, x).prev_sample
        return ((unfold(x) + 1) / 2).clamp(0, 1)

    def save(self, folder: Path, half: bool = True) -> None:
        """Writes a Diffusers pipeline folder without a VAE, and `sdi_engine.json` with hints for the engine.

        Args:
            folder: where to; created if missing.
            half: whether to round the U-Net's weights to float16, which halves the file.
        """
        text_encoder = copy.deepcopy(self.text_encoder)
        unet = copy.deepcopy(self.unet)
        with torch.no_grad():
            # Whoever loads the folder does not use `captions.token_ids`: there, pieces look like the unknown word too.
            table = text_encoder.get_input_embeddings().weight
            table[captions.piece_start() :] = table[self.tokenizer.unk_token_id]
        self.tokenizer.save_pretrained(folder / "tokenizer")
        text_encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        (unet.half() if half else unet).save_pretrained(folder / "unet", safe_serialization=True)
        _write_json(folder / INDEX_FILE, _MODEL_INDEX | {"_diffusers_version": diffusers.__version__})
        knows = {
            "things": list(world.things()),
            "colours": list(paint.COLOURS),
            "patterns": list(paint.PATTERNS[1:]),
            "bare shapes": [captions.CLAY],
            "pairs": [f"{upper} on {lower}" for upper, lower in world.PAIRS],
        }
        hints = {
            "guidance_scale": GUIDANCE_SCALE,
            "inversion_guidance_scale": INVERSION_GUIDANCE_SCALE,
            "view_vocabulary": "eight",
            "resolution": self.size.resolution,
            "knows": knows,
        }
        _write_json(folder / HINTS_FILE, hints)

    def load(self, folder: Path) -> None:
        """Loads the weights that `save` wrote into a folder.

        Raises:
            RuntimeError: they are of another size, or some are missing.
        """
        for name, network in (("unet", self.unet), ("text_encoder", self.text_encoder)):
            loaded, told = type(network).from_pretrained(folder / name, output_loading_info=True)
            if told["missing_keys"]:  # which get random numbers
                raise RuntimeError(f'"{folder / name}" lacks weights: {", ".join(sorted(told["missing_keys"]))}')
            network.load_state_dict(loaded.state_dict())


_MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "vae": [None, None],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
}


def fold(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 12, H / 2, W / 2)."""
    return pixel_unshuffle(images, PATCH)


def unfold(x: Tensor) -> Tensor:
    """The inverse of `fold`."""
    return pixel_shuffle(x, PATCH)


def _write_json(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
