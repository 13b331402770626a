"""Single `.safetensors` files in the layout that Stability's code writes and most sites distribute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..errors import BadInputError
from .clip_tokenizer import END, clip_tokenizer
from .header import DENOISER, Family, Shapes, family_of, read_shapes
from .kinds import checked_kind, left_out
from .location import companion_folder
from .precision import precision
from .unet_prior import UNetPrior

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

CONFIGS = Path(__file__).parent / "configs"
OPEN_CLIP_PADDING = "!"
SD2_TEXT_WIDTH = 1024
SD2_VELOCITY_SAMPLE_SIZE = 96
"""Those of Stable Diffusion 2.x that predict velocity are the ones for 768 pixels."""

_HEAD_CHANNELS = 64
_VAES = ("first_stage_model.", "vae.")
_ZERO_TERMINAL_SIGNAL = "ztsnr"
"""An empty tensor of this name marks models that were trained up to pure noise (Lin et al. 2024)."""


def load_single_file(file: Path, device: torch.device) -> DiffusionPipeline:
    """The pipeline of a file: as its companion folder says, else as its tensors' names and shapes tell.

    Args:
        file: what `location.locate` found.
        device: where it will run; `precision` follows from it, but the VAE is in float32.

    Raises:
        BadInputError: it is of no family that is supported, or parts of it are missing.
    """
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    shapes = read_shapes(file)
    companion = companion_folder(file)
    family = None if companion else family_of(shapes)
    config = str(companion or CONFIGS / family)
    index = diffusers.DiffusionPipeline.load_config(config)
    name = checked_kind(str(file), index)
    dtype = precision(name, device)
    parts: dict[str, Any] = left_out(name, index) | _tokenizers(family)
    try:
        if family == "sd3":
            parts["transformer"] = diffusers.SD3Transformer2DModel.from_single_file(
                str(file), config=config, subfolder="transformer", dtype=dtype, **sd3_transformer_shape(shapes)
            )
        if "vae" not in parts:
            if not any(key.startswith(_VAES) for key in shapes):
                raise SingleFileComponentError("no VAE")
            parts["vae"] = diffusers.AutoencoderKL.from_single_file(
                str(file), config=config, subfolder="vae", dtype=torch.float32
            )
        pipeline = getattr(diffusers, name).from_single_file(str(file), config=config, dtype=dtype, **parts)
    except SingleFileComponentError as error:
        raise BadInputError(
            f'The file "{file}" lacks parts of the model, such as text encoders or the VAE: choose the file that '
            "includes them, or the model's folder in Diffusers layout."
        ) from error
    if _ZERO_TERMINAL_SIGNAL in shapes:
        pipeline.scheduler.register_to_config(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return pipeline


def sd3_transformer_shape(shapes: Shapes) -> dict[str, Any]:
    """What tells the transformers of Stable Diffusion 3, 3.5 medium and 3.5 large apart, by their tensors."""
    own = {name.removeprefix(DENOISER): shape for name, shape in shapes.items()}
    blocks = {int(name.split(".")[1]) for name in own if name.startswith("joint_blocks.")}
    dual = sorted(block for block in blocks if f"joint_blocks.{block}.x_block.attn2.qkv.weight" in own)
    return {
        "num_layers": len(blocks),
        "num_attention_heads": own["x_embedder.proj.weight"][0] // _HEAD_CHANNELS,
        "caption_projection_dim": own["context_embedder.weight"][0],
        "pos_embed_max_size": math.isqrt(own["pos_embed"][1]),
        "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in own else None,
        "dual_attention_layers": tuple(dual),
    }


@torch.no_grad()
def predicts_velocity(prior: UNetPrior) -> bool:
    """Whether a U-Net that was taken for one that predicts ε predicts v: no name in a file tells, but its answers do.

    At t = 1 x is all but noise. A prediction of ε is x over again there, while v is −x0, which x has no part in.
    """
    shape = (1, *prior.latent_shape(prior.resolution))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(prior.device)
    output = prior.predict_unguided(x, torch.ones(1, device=prior.device), prior.text([""])).noise
    return F.cosine_similarity(output.flatten(), x.flatten(), dim=0).item() < 0.5


def set_velocity(pipeline: DiffusionPipeline) -> None:
    """Correct the configuration of a pipeline that `load_single_file` took for one that predicts ε."""
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    if pipeline.text_encoder.config.hidden_size == SD2_TEXT_WIDTH:
        pipeline.unet.register_to_config(sample_size=SD2_VELOCITY_SAMPLE_SIZE)


def _tokenizers(family: Family | None) -> dict[str, Any]:
    """By OpenAI's CLIP or by OpenCLIP, which pads differently; none where a companion folder has them."""
    if family is None:
        return {}
    if family in ("sd1", "sd2"):
        return {"tokenizer": clip_tokenizer(END if family == "sd1" else OPEN_CLIP_PADDING)}
    return {"tokenizer": clip_tokenizer(END), "tokenizer_2": clip_tokenizer(OPEN_CLIP_PADDING)}
