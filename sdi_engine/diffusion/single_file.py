"""Single `.safetensors` files in the layout that Stability's code writes and most sites distribute.

Diffusers' own loader silently ignores tensors that it does not know, and leaves missing ones uninitialised. Here every
tensor of a file has its place by `original_names`, or the file is refused before its weights are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import BadInputError
from .clip_tokenizer import clip_tokenizer
from .families import OPEN_CLIP_LAYOUT, Family, Shapes
from .header import (
    SCALES,
    check_beside_companion,
    checked_family,
    current_name,
    is_harmless,
    listed,
    read_header,
)
from .location import INDEX_FILE, companion_folder
from .model_index import absent_parts, check_channels, checked_pipeline, present, read_index
from .narrow_weights import NARROW, keep_narrow
from .original_names import Layout, vae_layout
from .packed import take_packed
from .precision import precision
from .prior import Prior
from .tensors import Tensors, open_tensors
from .text_encoders import ReadEncoders, without_weights
from .weight_bytes import narrow_kind

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

VELOCITY_TEST_CELLS = 32
"""Edge of the image by which ε is told from v."""

_ZERO_TERMINAL_SIGNAL = "ztsnr"
"""An empty tensor of this name marks models that were trained up to pure noise (Lin et al. 2024)."""


@dataclass(frozen=True)
class SingleFile:
    """What was made of a file.

    Attributes:
        pipeline: its text encoders have no weights (`text_encoders.TextEncoders`).
        family: of the pipeline.
        notices: sentences on what of the file is not used.
        read_encoders: reads the text encoders.
    """

    pipeline: DiffusionPipeline
    family: Family
    notices: list[str]
    read_encoders: ReadEncoders


def load_single_file(file: Path, device: torch.device, may_stay_narrow: bool = True) -> SingleFile:
    """The pipeline of a file, as its companion folder says, or else as its tensors' names and shapes tell.

    Args:
        file: what `location.locate` found.
        device: where it will run; `precision` follows from it, but the VAE is in float32.
        may_stay_narrow: whether weights in 16 bits stay so where they are computed in 32 (`narrow_weights`), in which
            nothing can be added to them.

    Raises:
        BadInputError: it is of no family that is supported, parts or tensors of it are missing, or it holds more than
            this model.
    """
    import diffusers

    header = read_header(file)
    companion = companion_folder(file)
    if companion:
        index = read_index(companion / INDEX_FILE, str(companion))
        family = checked_pipeline(str(companion), index, companion)
        check_channels(str(companion), companion, index, family)
        family = check_beside_companion(file, header, family.pipeline, present(index))
        config, tokenizers = companion, {}
    else:
        family = checked_family(file, header)
        config, tokenizers = family.config, _tokenizers(family)
        index = read_index(config / INDEX_FILE, str(config))
    shapes = {current_name(key): entry.shape for key, entry in header.items()}
    parts = _empty_parts(family, index, config, shapes)
    layouts = _layouts(family, parts)
    notices = _check_all_used(file, shapes, layouts, family)
    dtype = precision(family, device)
    of_denoiser = {current_name(name): entry for name, entry in header.items()}
    of_denoiser = {name: entry for name, entry in of_denoiser.items() if name in layouts[family.denoiser]}
    narrow = NARROW.get(narrow_kind(of_denoiser)) if may_stay_narrow and device.type == "cpu" else None
    encoders = {encoder.part for encoder in family.text_encoders}

    def filled(networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
        with open_tensors(file) as tensors:
            for part, network in networks.items():
                of_part, layout = torch.float32 if part == "vae" else dtype, layouts[part]
                if part == family.denoiser:
                    layout = take_packed(network, layout, tensors, dtype, device)
                    of_part = narrow or dtype
                _fill(file, network, layout, tensors, of_part, family.identities)
                if part == family.denoiser and narrow:
                    keep_narrow(network, dtype)
        return networks

    def read_encoders() -> dict[str, nn.Module]:
        empty = _empty_parts(family, index, config, shapes)
        return filled({part: network for part, network in empty.items() if part in encoders})

    filled({part: network for part, network in parts.items() if part not in encoders})
    pipeline = getattr(diffusers, family.pipeline).from_pretrained(
        str(config), local_files_only=True, **absent_parts(family, index), **tokenizers, **parts
    )
    if _ZERO_TERMINAL_SIGNAL in shapes:
        pipeline.scheduler.register_to_config(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return SingleFile(pipeline, family, notices, read_encoders)


@torch.no_grad()
def predicts_velocity(prior: Prior) -> bool:
    """Whether a U-Net that was taken for one that predicts ε predicts v: no name in a file tells, but its answers do.

    At t = 1 x is all but noise. A prediction of ε is x over again there, whatever the image and the text, while v is
    −x0, which x has no part in. So a small image does, and a text of one token of zeros, for which no text encoder is
    read: at full size this took 97 of the 136 s in which an SDXL file was loaded on two cores.
    """
    channels, side, _ = prior.latent_shape(prior.resolution)
    side = min(side, VELOCITY_TEST_CELLS)
    x = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0)).to(prior.device)
    output = prior.predict_unguided(x, torch.ones(1, device=prior.device), prior.no_text()).noise
    return F.cosine_similarity(output.flatten(), x.flatten(), dim=0).item() < 0.5


def set_velocity(pipeline: DiffusionPipeline, family: Family) -> None:
    """Correct the configuration of a pipeline that `load_single_file` took for one that predicts ε."""
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    if family.velocity_sample_size is not None:
        getattr(pipeline, family.denoiser).register_to_config(sample_size=family.velocity_sample_size)


def _empty_parts(family: Family, index: Mapping[str, Any], config: Path, shapes: Shapes) -> dict[str, nn.Module]:
    """The networks of a pipeline without weights, by the names of the parts."""
    import diffusers
    from accelerate import init_empty_weights

    parts: dict[str, nn.Module] = {}
    with init_empty_weights(include_buffers=False):
        for part in (family.denoiser, "vae", *(encoder.part for encoder in family.text_encoders)):
            if part not in present(index):
                continue
            library, kind = index[part]
            if library == "transformers":
                parts[part] = without_weights(config, part, index[part])
                continue
            module = getattr(diffusers, kind)
            settings = module.load_config(str(config), subfolder=part, local_files_only=True)
            own_shape = family.shape(shapes) if part == family.denoiser else {}
            parts[part] = module.from_config(settings | own_shape)
    return parts


def _layouts(family: Family, parts: Mapping[str, nn.Module]) -> dict[str, Layout]:
    """The names of each part's tensors in a file."""
    layouts = {family.denoiser: family.layout(parts[family.denoiser])}
    if "vae" in parts:
        layouts["vae"] = vae_layout(parts["vae"])
    return layouts | {
        encoder.part: encoder.layout(parts[encoder.part], encoder.prefix) for encoder in family.text_encoders
    }


def _check_all_used(file: Path, shapes: Shapes, layouts: Mapping[str, Layout], family: Family) -> list[str]:
    """Refuse a file that does not hold each tensor of the model, or holds more than that.

    Returns:
        Sentences on the tensors of the file that the model works without.

    Raises:
        BadInputError: tensors are missing or left over; the sentence names them.
    """
    wanted = {name for layout in layouts.values() for name in layout}
    missing = sorted(wanted - set(shapes) - set(family.identities))
    unused = sorted(name for name in set(shapes) - wanted if not _is_expected(name, shapes, wanted, family))
    dispensable = {name for name in unused if name.startswith(tuple(family.dispensable))}
    homeless = [name for name in unused if name not in dispensable]
    if missing or homeless:
        what = [f"lacks {listed(missing)}"] if missing else []
        what += [f"contains {listed(homeless)}, for which the model has no place"] if homeless else []
        advice = (
            "it is damaged, or of another kind"
            if companion_folder(file)
            else "it is damaged, or has a non-standard architecture, for which its configuration in Diffusers layout "
            f'must be in a folder "{file.stem}" beside it'
        )
        raise BadInputError(f'The model file "{file}" {" and ".join(what)}: {advice}.')
    return [
        f'The {what} in "{file.name}" is not used: the model was trained to do without it.'
        for prefix, what in family.dispensable.items()
        if any(name.startswith(prefix) for name in dispensable)
    ]


def _is_expected(name: str, shapes: Shapes, wanted: set[str], family: Family) -> bool:
    """Whether a file may hold a tensor that the model has no place for."""
    if is_harmless(name):
        return True
    if name.endswith(SCALES):  # of a weight that is used
        return f"{name.rpartition('.')[0]}.weight" in wanted
    for encoder in family.text_encoders:
        if encoder.lacks_last_layer and encoder.layout is OPEN_CLIP_LAYOUT:
            layer = re.fullmatch(rf"{re.escape(encoder.prefix)}transformer\.resblocks\.(\d+)\..*", name)
            if layer is not None and not any(f".resblocks.{layer[1]}." in other for other in wanted):
                return True
    return False


def _fill(
    file: Path,
    module: nn.Module,
    layout: Layout,
    tensors: Tensors,
    dtype: torch.dtype,
    identities: Collection[str],
) -> None:
    """Give a part without weights those of a file; `identities` as of `Family`.

    Raises:
        BadInputError: a tensor has another shape than the part needs, or holds NaN or infinite values.
    """
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    state: dict[str, Tensor] = {}
    for original, held in layout.items():
        if original in identities and original not in tensors:
            state[held.names[0]] = torch.eye(*shapes[held.names[0]], dtype=dtype)
            continue
        tensor = held.change(tensors[original])
        if not bool(tensor.float().isfinite().all()):
            raise BadInputError(
                f'The model file "{file}" holds values that are NaN or infinite (in {listed([original])}): it is '
                "damaged; download it again, or choose another one."
            )
        rows = [shapes[name][0] for name in held.names]
        pieces = tensor.split(rows) if len(rows) > 1 and sum(rows) == len(tensor) else tensor.chunk(len(rows))
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
            f'The model file "{file}" cannot be loaded ({listed([name])} has the shape {tuple(tensor.shape)} instead '
            f"of {tuple(shape)}): it is damaged, or has a non-standard architecture, for which its configuration in "
            f'Diffusers layout must be in a folder "{file.stem}" beside it.'
        )
    return tensor


def _tokenizers(family: Family) -> dict[str, Any]:
    """A family's tokenizers, by part: OpenAI's CLIP or OpenCLIP, which pad differently."""
    return {encoder.tokenizer: clip_tokenizer(encoder.padding) for encoder in family.text_encoders}
