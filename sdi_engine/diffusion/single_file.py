"""Single `.safetensors` files in the layout that Stability's code writes and most sites distribute.

Diffusers' own loader leaves out what it does not know, and leaves empty what is missing, without a word. So here every
tensor of a file has its place by `original_names`, or the file is refused before its weights are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import BadInputError
from .clip_tokenizer import END, clip_tokenizer
from .header import (
    DENOISER,
    SCALES,
    T5,
    TEXT_ENCODERS,
    Family,
    Shapes,
    check_beside_companion,
    checked_family,
    current_name,
    is_harmless,
    listed,
    read_header,
)
from .kinds import check_channels, checked_kind, left_out, present, read_index
from .location import INDEX_FILE, companion_folder
from .original_names import Layout, clip_layout, open_clip_layout, sd3_layout, unet_layout, vae_layout
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
_ZERO_TERMINAL_SIGNAL = "ztsnr"
"""An empty tensor of this name marks models that were trained up to pure noise (Lin et al. 2024)."""

_SD3_PROJECTION = f"{TEXT_ENCODERS['sd3'][0]}text_projection.weight"
"""The identity, where a file does not hold it."""


def load_single_file(file: Path, device: torch.device) -> tuple[DiffusionPipeline, list[str]]:
    """The pipeline of a file: as its companion folder says, else as its tensors' names and shapes tell.

    Also returns sentences on what could be left out.

    Args:
        file: what `location.locate` found.
        device: where it will run; `precision` follows from it, but the VAE is in float32.

    Raises:
        BadInputError: it is of no family that is supported, parts or tensors of it are missing, or it holds more than
            this model.
    """
    import diffusers

    header = read_header(file)
    companion = companion_folder(file)
    family = None if companion else checked_family(file, header)
    config = companion or CONFIGS / str(family)
    index = read_index(config / INDEX_FILE, str(config))
    name = checked_kind(str(config), index)
    if companion:
        check_channels(str(config), config, index)
        check_beside_companion(file, header, name, present(index))
    shapes = {current_name(key): entry.shape for key, entry in header.items()}
    parts = _empty_parts(name, index, config, shapes)
    layouts = {part: _layout(name, part, module, shapes) for part, module in parts.items()}
    notices = _check_all_used(file, shapes, layouts)
    dtype = precision(name, device)
    with safe_open(file, framework="pt") as stream:
        tensors = _Tensors(stream)
        for part, module in parts.items():
            _fill(file, module, layouts[part], tensors, torch.float32 if part == "vae" else dtype)
    pipeline = getattr(diffusers, name).from_pretrained(
        str(config), local_files_only=True, **left_out(name, index), **_tokenizers(family), **parts
    )
    if _ZERO_TERMINAL_SIGNAL in shapes:
        pipeline.scheduler.register_to_config(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return pipeline, notices


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


class _Tensors:
    """The tensors of an open file by their current names, weights in 8 bits with their scales multiplied in."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._names = {current_name(name): name for name in stream.keys()}  # noqa: SIM118 - it is no mapping

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._stream.get_tensor(self._names[name])
        layer, _, kind = name.rpartition(".")
        for suffix in SCALES:
            if kind == "weight" and layer + suffix in self._names:
                scale = self._stream.get_tensor(self._names[layer + suffix]).float()
                return tensor.float() * (scale.view(-1, *[1] * (tensor.dim() - 1)) if scale.dim() else scale)
        return tensor


def _empty_parts(name: str, index: Mapping[str, Any], config: Path, shapes: Shapes) -> dict[str, nn.Module]:
    """The networks of a pipeline without weights, by the names of the parts."""
    import diffusers
    import transformers
    from accelerate import init_empty_weights

    parts: dict[str, nn.Module] = {}
    absent = left_out(name, index)
    with init_empty_weights(include_buffers=False):
        for part in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2"):
            if part not in present(index) or part in absent:
                continue
            library, kind = index[part]
            if library == "transformers":
                settings = transformers.CLIPTextConfig.from_pretrained(str(config), subfolder=part)
                parts[part] = getattr(transformers, kind)(settings)
                continue
            module = getattr(diffusers, kind)
            settings = module.load_config(str(config), subfolder=part, local_files_only=True)
            own_shape = sd3_transformer_shape(shapes) if part == "transformer" else {}
            parts[part] = module.from_config(settings | own_shape)
    return parts


def _layout(name: str, part: str, module: nn.Module, shapes: Shapes) -> Layout:
    """The names of a part's tensors in a file."""
    if part == "unet":
        return unet_layout(module)
    if part == "transformer":
        return sd3_layout(module)
    if part == "vae":
        return vae_layout(module)
    second = part == "text_encoder_2"
    if name == "StableDiffusion3Pipeline":
        return clip_layout(module, TEXT_ENCODERS["sd3"][second])
    if name == "StableDiffusionXLPipeline":
        return (open_clip_layout if second else clip_layout)(module, TEXT_ENCODERS["sdxl"][second])
    (open_clip,) = TEXT_ENCODERS["sd2"]
    if any(key.startswith(open_clip) for key in shapes):
        return open_clip_layout(module, open_clip)
    return clip_layout(module, *TEXT_ENCODERS["sd1"])


def _check_all_used(file: Path, shapes: Shapes, layouts: Mapping[str, Layout]) -> list[str]:
    """Refuse a file that does not hold each tensor of the model, or holds more than that.

    Returns:
        Sentences on what can be left out.

    Raises:
        BadInputError: the sentence names what is missing, or left over.
    """
    wanted = {name for layout in layouts.values() for name in layout}
    missing = sorted(wanted - set(shapes) - {_SD3_PROJECTION})
    left = sorted(name for name in set(shapes) - wanted if not _may_be_left(name, shapes, wanted))
    without_t5 = [name for name in left if not name.startswith(T5)]
    if missing or without_t5:
        what = [f"lacks {listed(missing)}"] if missing else []
        what += [f"holds {listed(without_t5)}, for which the model has no place"] if without_t5 else []
        advice = (
            "it is damaged, or of another kind"
            if companion_folder(file)
            else f'it is damaged, or of a shape of its own, for which a folder "{file.stem}" beside it must hold its '
            "configuration in Diffusers layout"
        )
        raise BadInputError(f'The model file "{file}" {" and ".join(what)}: {advice}.')
    if left:
        return [f'The text encoder T5 in "{file.name}" is left out: the model was trained to do without it.']
    return []


def _may_be_left(name: str, shapes: Shapes, wanted: set[str]) -> bool:
    if is_harmless(name):
        return True
    if name.endswith(SCALES):  # of a weight that is used
        return f"{name.rpartition('.')[0]}.weight" in wanted
    # OpenCLIP's last layer, which Stable Diffusion 2.x was trained without.
    last = re.fullmatch(rf"{re.escape(TEXT_ENCODERS['sd2'][0])}transformer\.resblocks\.(\d+)\..*", name)
    return last is not None and not any(f".resblocks.{last[1]}." in other for other in wanted)


def _fill(file: Path, module: nn.Module, layout: Layout, tensors: _Tensors, dtype: torch.dtype) -> None:
    """Give a part without weights those of a file.

    Raises:
        BadInputError: a tensor has another shape than the part wants, or holds numbers that are none.
    """
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    state: dict[str, Tensor] = {}
    for original, held in layout.items():
        if original == _SD3_PROJECTION and original not in tensors:
            state[held.names[0]] = torch.eye(*shapes[held.names[0]], dtype=dtype)
            continue
        tensor = held.change(tensors[original])
        if not bool(tensor.float().isfinite().all()):
            raise BadInputError(
                f'The model file "{file}" holds numbers that are none (NaN or infinite, in {listed([original])}): it '
                "is damaged; download it again, or choose another one."
            )
        pieces = tensor.chunk(len(held.names)) if len(held.names) > 1 else (tensor,)
        for name, piece in zip(held.names, pieces, strict=True):
            state[name] = _shaped(file, original, piece, shapes[name]).to(dtype).contiguous()
    module.load_state_dict(state, strict=True, assign=True)
    module.eval()


def _shaped(file: Path, name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Attention made of 1 × 1 convolutions becomes one of matrices."""
    if tensor.shape != shape and tensor.shape[: len(shape)] == shape and tensor.numel() == shape.numel():
        return tensor.view(shape)
    if tensor.shape != shape:
        raise BadInputError(
            f'The model file "{file}" cannot be loaded ({listed([name])} has the shape {tuple(tensor.shape)} where '
            f"{tuple(shape)} belongs): it is damaged, or of a shape of its own, for which a folder "
            f'"{file.stem}" beside it must hold its configuration in Diffusers layout.'
        )
    return tensor


def _tokenizers(family: Family | None) -> dict[str, Any]:
    """By OpenAI's CLIP or by OpenCLIP, which pads differently; none where a companion folder has them."""
    if family is None:
        return {}
    if family in ("sd1", "sd2"):
        return {"tokenizer": clip_tokenizer(END if family == "sd1" else OPEN_CLIP_PADDING)}
    return {"tokenizer": clip_tokenizer(END), "tokenizer_2": clip_tokenizer(OPEN_CLIP_PADDING)}
