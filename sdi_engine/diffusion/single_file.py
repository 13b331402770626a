"""Single `.safetensors` files in the layout that Stability's code writes and most sites distribute.

Diffusers' own loader silently ignores tensors that it does not know, and leaves missing ones uninitialised. Here every
tensor of a file has its place by `original_names`, or the file is refused before its weights are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..config.parameters import NO_PARTS, Parts
from ..errors import BadInputError
from .clip_tokenizer import clip_tokenizer
from .families import OPEN_CLIP_LAYOUT, VAE, Family, Shapes
from .header import SCALES, Header, current_name, denoiser_prefix, denoiser_shapes, is_harmless, listed, read_header
from .location import CONFIG_FILE, INDEX_FILE, companion_folder, read_object
from .model_index import absent_parts, check_channels, check_schedule_is_told, present, read_index
from .narrow_weights import NARROW, keep_narrow
from .networks import (
    best_layout,
    check_network,
    empty,
    encoder_of,
    fill,
    is_dispensable,
    network_in_folder,
    network_of_its_own,
    vae_layouts,
)
from .original_names import Layout, own_layout
from .packed import take_packed
from .parts import Plan, check
from .precision import precision
from .prior import Prior
from .read_share import expect
from .tensors import Tensors, open_tensors
from .text_encoders import TEXT_ENCODERS, ReadEncoders, without_weights
from .tokenizer_files import tokenizer_in
from .unet_prior import configure
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


def load_single_file(
    file: Path, device: torch.device, parts: Parts = NO_PARTS, may_stay_narrow: bool = True
) -> SingleFile:
    """The pipeline of a file, as its companion folder says, or else as its tensors' names and shapes tell.

    Args:
        file: what `location.locate` found, which may be a folder with a denoiser alone, whose configuration it has.
        device: where it will run; `precision` follows from it, but the VAE is in float32.
        parts: files and folders for what this one does not hold, or instead of it.
        may_stay_narrow: whether weights in 16 bits stay so where they are computed in 32 (`narrow_weights`), in which
            nothing can be added to them.

    Raises:
        BadInputError: it is of no family that is supported, parts or tensors of it are missing, or it holds more than
            this model.
    """
    import diffusers

    found = _examined(file, parts)
    planned, index, shapes, inside, layouts = found.plan, found.index, found.shapes, found.inside, found.layouts
    read_by_prefix = found.read_by_prefix
    family, config = planned.family, planned.config
    dtype = precision(family, device)
    header = {current_name(name): entry for name, entry in found.header.items()}

    def header_of(part: str) -> Header:
        if part in planned.given:
            return read_header(planned.given[part].path)
        if part not in layouts and part not in read_by_prefix:
            return read_header(config / part)
        names = layouts.get(part) or [name for name in header if name.startswith(read_by_prefix[part])]
        return {name: header[name] for name in names if name in header}

    narrow = NARROW.get(narrow_kind(header_of(family.denoiser))) if may_stay_narrow and device.type == "cpu" else None

    def network(part: str, module: nn.Module | None, tensors: Tensors) -> nn.Module:
        of_part = torch.float32 if part == "vae" else dtype
        if part in planned.given:
            return network_of_its_own(planned.given[part], part, index[part], config, of_part, family.identities)
        if module is not None:
            if part != family.denoiser:
                return fill(file, module, layouts[part], tensors, of_part, family.identities)
            layout = take_packed(module, layouts[part], tensors, dtype, device)
            fill(file, module, layout, tensors, narrow or dtype, family.identities)
            if narrow:
                keep_narrow(module, dtype)
            return module
        if part in read_by_prefix:
            return encoder_of(file, read_by_prefix[part], part, index[part], config, tensors, of_part)
        return network_in_folder(config, str(config), part, index[part], of_part)

    networks = [part for part in family.networks if part in present(index)]
    encoders = [part for part in networks if part in TEXT_ENCODERS]

    def read_encoders() -> dict[str, nn.Module]:
        again = _empty_parts(file, family, index, config, shapes, planned.given)
        expect(map(header_of, encoders))
        with open_tensors(file) as tensors:
            return {part: network(part, again.get(part), tensors) for part in encoders}

    expect(header_of(part) for part in networks if part not in encoders)
    with open_tensors(file) as tensors:
        made = {part: network(part, inside.get(part), tensors) for part in networks if part not in encoders}
    made |= {part: without_weights(config, part, index[part]) for part in encoders}
    pipeline = getattr(diffusers, family.pipeline).from_pretrained(
        str(config),
        local_files_only=True,
        **absent_parts(family, index) | _tokenizers(planned, index, made, companion_folder(file)) | made,
    )
    if _ZERO_TERMINAL_SIGNAL in shapes:
        configure(pipeline.scheduler, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return SingleFile(pipeline, family, found.notices, read_encoders)


def check_single_file(file: Path, parts: Parts = NO_PARTS) -> None:
    """Refuse a file as `load_single_file` would, but for the values of its weights, which are not read.

    Raises:
        BadInputError: as there.
    """
    found = _examined(file, parts)
    planned, index = found.plan, found.index
    encoders = [part for part in TEXT_ENCODERS if part in planned.family.networks and part in present(index)]
    networks = {part: without_weights(planned.config, part, index[part]) for part in encoders}
    _tokenizers(planned, index, networks, companion_folder(file))


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


def set_velocity(pipeline: DiffusionPipeline, family: Family, sets_size: bool = True) -> None:
    """Correct the configuration of a pipeline that was taken for one that predicts ε.

    Args:
        sets_size: whether the size of its images is not told by a configuration either.
    """
    configure(pipeline.scheduler, prediction_type="v_prediction")
    if sets_size and family.velocity_sample_size is not None:
        getattr(pipeline, family.denoiser).register_to_config(sample_size=family.velocity_sample_size)


@dataclass(frozen=True)
class _Examined:
    """What a file's header and configuration say.

    Attributes:
        plan: where each network comes from.
        index: of its pipeline.
        header: as the file has it.
        shapes: by the names that later files have.
        inside: the networks that the file holds, without weights.
        layouts: the names of their tensors in it.
        read_by_prefix: how the names of the tensors of its other text encoders begin.
        notices: sentences on what of the file is not used.
    """

    plan: Plan
    index: Mapping[str, Any]
    header: Header
    shapes: Shapes
    inside: Mapping[str, nn.Module]
    layouts: Mapping[str, Layout]
    read_by_prefix: Mapping[str, str]
    notices: list[str]


def _examined(file: Path, parts: Parts) -> _Examined:
    """What `load_single_file` knows before it reads weights; raises BadInputError as that does."""
    planned = check(str(file), parts)
    assert planned is not None
    family, config = planned.family, planned.config
    index = read_index(config / INDEX_FILE, str(config))
    if companion_folder(file):
        check_channels(str(config), config, index, family)
        check_schedule_is_told(str(config), config, family)
    for part, given in planned.given.items():
        check_network(given, part, index[part], config, family.identities)
    header = read_header(file)
    shapes = {current_name(key): entry.shape for key, entry in header.items()}
    inside = _empty_parts(file, family, index, config, shapes, planned.given)
    layouts = _layouts(family, inside, shapes)
    read_by_prefix = _text_encoders_inside(family, index, shapes, {*planned.given, *layouts})
    elsewhere = [*read_by_prefix.values(), *_replaced(family, planned.given)]
    notices = _check_all_used(file, shapes, layouts, family, elsewhere)
    return _Examined(planned, index, header, shapes, inside, layouts, read_by_prefix, notices)


def _empty_parts(
    file: Path, family: Family, index: Mapping[str, Any], config: Path, shapes: Shapes, given: Container[str]
) -> dict[str, nn.Module]:
    """The networks of a pipeline that the file holds, without weights."""
    prefixes = {encoder.part: encoder.prefix for encoder in family.text_encoders} | {"vae": VAE}
    parts: dict[str, nn.Module] = {}
    for part in (family.denoiser, *prefixes):
        if part not in present(index) or part in given:
            continue
        if part == family.denoiser:
            own = read_object(file / CONFIG_FILE) if file.is_dir() else {}
            settings = read_object(config / part / CONFIG_FILE)
            parts[part] = empty(index[part], config, part, **own or family.shape(denoiser_shapes(shapes), settings))
        elif any(name.startswith(prefixes[part]) for name in shapes):
            parts[part] = empty(index[part], config, part)
    return parts


def _layouts(family: Family, parts: Mapping[str, nn.Module], names: Collection[str]) -> dict[str, Layout]:
    """The names of each part's tensors in a file."""
    denoiser, prefix = parts[family.denoiser], denoiser_prefix(names)
    layouts = {family.denoiser: best_layout(names, [family.layout(denoiser, prefix), own_layout(denoiser, prefix)])}
    if "vae" in parts:
        layouts["vae"] = best_layout(names, vae_layouts(parts["vae"], VAE))
    return layouts | {
        encoder.part: encoder.layout(parts[encoder.part], encoder.prefix)
        for encoder in family.text_encoders
        if encoder.part in parts
    }


def _text_encoders_inside(
    family: Family, index: Mapping[str, Any], names: Collection[str], others: Collection[str]
) -> dict[str, str]:
    """The text encoders besides CLIP that a file holds, with how the names of their tensors begin."""
    return {
        part.part: family.prefix_of(part)
        for part in family.components
        if part.part in present(index)
        and part.part not in others
        and family.prefix_of(part)
        and any(name.startswith(family.prefix_of(part)) for name in names)
    }


def _replaced(family: Family, given: Container[str]) -> list[str]:
    """How the names of tensors begin that a file may hold, although others are taken instead of them."""
    prefixes = (family.prefix_of(part) for part in family.components if part.part in given)
    return [prefix for prefix in prefixes if prefix]


def _check_all_used(
    file: Path, shapes: Shapes, layouts: Mapping[str, Layout], family: Family, read_elsewhere: Collection[str]
) -> list[str]:
    """Refuse a file that does not hold each tensor of the model, or holds more than that.

    Args:
        read_elsewhere: how the names of tensors begin that are not among the layouts.

    Returns:
        Sentences on the tensors of the file that the model works without.

    Raises:
        BadInputError: tensors are missing or left over; the sentence names them.
    """
    wanted = {name for layout in layouts.values() for name in layout}
    missing = sorted(
        name for name in wanted - set(shapes) if name not in family.identities and not is_dispensable(name)
    )
    unused = sorted(
        name
        for name in set(shapes) - wanted
        if not name.startswith(tuple(read_elsewhere)) and not _is_expected(name, shapes, wanted, family)
    )
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


def _tokenizers(
    planned: Plan, index: Mapping[str, Any], networks: Mapping[str, nn.Module], companion: Path | None
) -> dict[str, Any]:
    """The tokenizers that the folder of configurations does not hold, by the name of their part.

    Those of OpenAI's CLIP and of OpenCLIP, which pad differently, are made here; others come from folders.
    """
    family = planned.family
    made = {} if companion else {part.tokenizer: clip_tokenizer(part.padding) for part in family.text_encoders}
    for part in family.components:
        folder = planned.tokenizers.get(part.tokenizer)
        if folder is not None and part.part in networks:
            made[part.tokenizer] = tokenizer_in(folder, part, index[part.tokenizer], networks[part.part])
    return made
