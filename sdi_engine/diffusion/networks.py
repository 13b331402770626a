"""One network of a pipeline with all of its weights, and nothing else: from a folder, or from a file's tensors.

The libraries leave out what they do not know and fill what is missing with random numbers; here both are refused.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import BadInputError
from .families import VAE
from .header import (
    HALF_VARIANT,
    SCALES,
    check_index,
    current_name,
    is_harmless,
    listed,
    read_header,
    says_half,
    weight_files,
)
from .location import companion_folder
from .original_names import Layout, flux2_vae_layout, open_clip_layout, own_layout, vae_layout, video_vae_layout
from .parts import VAES, Network
from .read_share import WidenedCount, count_read
from .tensors import open_tensors

_UNUSED = re.compile(
    r"(.*\.)?(position_ids|logit_scale|text_projection(\.weight)?)|(vision_model|visual_projection)\..*"
)
"""What the folder of a text encoder may also hold: the rest of CLIP, and buffers that later versions compute."""

_UNUSED_IN_FILES = re.compile(r"(.*\.)?(spiece_model|tekken_model|tokenizer_json|lm_head\.weight)")
"""What a text encoder's file may also hold: its tokenizer, as some programs put it there, and what would write on."""

_LAST = "lm_head.weight"
"""What would make words of a language model's hidden states, which are all that is used."""

_NOWHERE = "meta"
"""The device of tensors that have a shape and no numbers."""

_VAE_LAYOUTS: Mapping[str, tuple[Callable[..., Layout], ...]] = {
    "AutoencoderKL": (vae_layout, own_layout),
    "AutoencoderKLFlux2": (flux2_vae_layout, vae_layout, own_layout),
    "AutoencoderKLQwenImage": (video_vae_layout, own_layout),
    "AutoencoderDC": (own_layout,),
}
"""The namings that the files of each kind of VAE have."""


class Readable(Container[str], Protocol):
    """Tensors by name."""

    def __getitem__(self, name: str, /) -> Tensor: ...


def network_in_folder(folder: Path, model: str, part: str, kind: Sequence[str], dtype: torch.dtype) -> nn.Module:
    """One part of a model in Diffusers layout, all of whose tensors were in its files, and nothing else.

    Args:
        folder: the model's.
        model: what a person calls it.
        part: the name of the folder in it.
        kind: the part's library and class.
        dtype: of its numbers.

    Raises:
        BadInputError: tensors are missing, left over, NaN or infinite, or the index of several files is wrong.
    """
    library, name = kind
    what = f'The {part.replace("_", " ")} of the model "{model}"'
    cls = getattr(importlib.import_module(library), name)
    if library == "transformers":  # which reads in threads of its own, where nothing can be counted
        settings = cls.config_class.from_pretrained(str(folder), subfolder=part, local_files_only=True)
        state = _read(what, weight_files(folder / part), dtype)
        becomes_narrow = any(
            tensor.is_floating_point() and tensor.itemsize > dtype.itemsize for tensor in state.values()
        )
        network, account = _of_transformers(cls, settings, state, dtype)
        _check_account(what, account, _UNUSED)
        if becomes_narrow:
            for name, tensor in network.named_parameters():
                check_finite(what, name, tensor)
        return network.eval()
    check_index(folder / part)
    with WidenedCount() as widened:
        network, account = cls.from_pretrained(
            str(folder),
            subfolder=part,
            dtype=dtype,
            variant=_variant(folder / part),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    _check_account(what, account, _UNUSED)
    for name, tensor in network.named_parameters():
        check_finite(what, name, tensor)
        if not widened.numbers:
            count_read(tensor)
    return network.eval()


def _read(what: str, files: Iterable[Path], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a network's files; those of 16 bits in 32 where it computes in those, and the rest as it is.

    Raises:
        BadInputError: one holds NaN or infinite values.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        with open_tensors(file) as tensors:
            for name in tensors:
                tensor = tensors[name]
                is_narrow = tensor.is_floating_point() and tensor.itemsize < dtype.itemsize
                state[name] = tensor.to(dtype) if is_narrow else tensor
                check_finite(what, name, state[name])
                count_read(tensor)
    return state


def network_of_its_own(
    network: Network, part: str, kind: Sequence[str], config: Path, dtype: torch.dtype, identities: Collection[str] = ()
) -> nn.Module:
    """A text encoder or VAE from a file or folder of its own.

    Args:
        network: as `parts.network_at` found it.
        part: its name in the pipeline.
        kind: its library and class there.
        config: a folder with its configuration, in a folder of its name; a folder of its own has another.
        dtype: of its numbers.
        identities: as of `Family`.

    Raises:
        BadInputError: it lacks tensors, holds more than its place takes, or NaN or infinite values.
    """
    if network.path.is_dir():
        return network_in_folder(network.path.parent, str(network.path), network.path.name, kind, dtype)
    with open_tensors(network.path) as tensors:
        return _of_tensors(network, part, kind, config, tensors, dtype, identities)


def check_network(
    network: Network, part: str, kind: Sequence[str], config: Path, identities: Collection[str] = ()
) -> None:
    """Refuse a file that `network_of_its_own` would refuse for its names and shapes, by its header alone.

    Raises:
        BadInputError: as there, but for values.
    """
    if network.path.is_dir():
        return
    header = read_header(network.path)
    tensors = {current_name(name): torch.empty(entry.shape, device=_NOWHERE) for name, entry in header.items()}
    _of_tensors(network, part, kind, config, tensors, torch.float32, identities)


def _of_tensors(
    network: Network,
    part: str,
    kind: Sequence[str],
    config: Path,
    tensors: Any,
    dtype: torch.dtype,
    identities: Collection[str],
) -> nn.Module:
    """The network that a file's tensors come to, by their names; one without numbers, of tensors that have none."""
    if network.kind in VAES:
        return _vae_of(network, empty(kind, config, part), tensors, dtype)
    names = list(tensors)
    if any(".resblocks." in name for name in names):
        module = empty(kind, config, part)
        start = next(name for name in names if name.endswith("token_embedding.weight"))
        layout = open_clip_layout(module, start.removesuffix("token_embedding.weight"))
        _check_names(network.path, set(layout), names, f"{network.label}", open_clip_rest=set(layout))
        return fill(network.path, module, layout, tensors, dtype, identities)
    return encoder_of(network.path, "", part, kind, config, tensors, dtype, identities)


def encoder_of(
    file: Path,
    prefix: str,
    part: str,
    kind: Sequence[str],
    config: Path,
    tensors: Any,
    dtype: torch.dtype,
    identities: Collection[str] = (),
) -> nn.Module:
    """A text encoder of Transformers of a file's tensors, whose names are those of any of the library's versions.

    Args:
        file: for messages.
        prefix: how the names of its tensors begin in the file.
        tensors: `Tensors` of the file; if they have no numbers, nor has the network.
    """
    library, name = kind
    state: dict[str, Tensor] = {}
    for original in tensors:
        if not original.startswith(prefix) or is_harmless(original) or original.endswith(SCALES):
            continue
        tensor = tensors[original]
        check_finite(f'The file "{file}"', original, tensor)
        count_read(tensor)
        state[original.removeprefix(prefix)] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    for identity in identities:
        layer = identity.rpartition("transformer.")[2]
        if part == "text_encoder" and layer not in state:
            width = next(len(tensor) for name, tensor in state.items() if name.endswith("final_layer_norm.weight"))
            state[layer] = torch.eye(width, dtype=dtype, device=state[next(iter(state))].device)
    cls = getattr(importlib.import_module(library), name)
    settings = cls.config_class.from_pretrained(str(config), subfolder=part, local_files_only=True)
    _fit(settings, {name: tuple(tensor.shape) for name, tensor in state.items()})
    where = {"device_map": _NOWHERE} if all(tensor.is_meta for tensor in state.values()) else {}
    network, account = _of_transformers(cls, settings, state, dtype, **where)
    _check_account(f'The text encoder in "{file}"', account, _UNUSED, _UNUSED_IN_FILES)
    return network.eval()


def _of_transformers(
    cls: Any, settings: Any, state: dict[str, Tensor], dtype: torch.dtype, **where: Any
) -> tuple[nn.Module, Mapping[str, Any]]:
    """A network of Transformers made of tensors, and what the library says of its loading."""
    network, account = cls.from_pretrained(
        None, config=settings, state_dict=state, dtype=dtype, output_loading_info=True, local_files_only=True, **where
    )
    return network, account


def empty(kind: Sequence[str], config: Path, part: str, **settings: Any) -> nn.Module:
    """A network without weights.

    Args:
        kind: its library and class.
        config: a folder with its configuration, in a folder of its name.
        settings: of its configuration, instead of what is there.
    """
    from accelerate import init_empty_weights

    library, name = kind
    cls = getattr(importlib.import_module(library), name)
    with init_empty_weights(include_buffers=False):
        if library == "transformers":
            return cls(cls.config_class.from_pretrained(str(config), subfolder=part))
        return cls.from_config(cls.load_config(str(config), subfolder=part, local_files_only=True) | settings)


def fill(
    file: Path,
    module: nn.Module,
    layout: Layout,
    tensors: Readable,
    dtype: torch.dtype,
    identities: Collection[str] = (),
) -> nn.Module:
    """Give a network without weights those of a file; `identities` as of `Family`.

    Raises:
        BadInputError: a tensor has another shape than the network needs, or holds NaN or infinite values.
    """
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    state: dict[str, Tensor] = {}
    for original, held in layout.items():
        if original in identities and original not in tensors:
            state[held.names[0]] = torch.eye(*shapes[held.names[0]], dtype=dtype)
            continue
        if is_dispensable(original) and original not in tensors:
            state[held.names[0]] = torch.zeros(shapes[held.names[0]], dtype=torch.int64)
            continue
        tensor = held.change(tensors[original])
        check_finite(f'The model file "{file}"', original, tensor)
        count_read(tensor)
        rows = [shapes[name][0] for name in held.names if shapes[name]]
        if len(rows) > 1 and sum(rows) != len(tensor):
            raise _misshapen(file, original, tensor, torch.Size([sum(rows), *tensor.shape[1:]]))
        pieces = tensor.split(rows) if len(rows) > 1 else (tensor,)
        for name, piece in zip(held.names, pieces, strict=True):
            shaped = _shaped(file, original, piece, shapes[name])
            state[name] = (shaped.to(dtype) if shaped.is_floating_point() else shaped).contiguous()
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()


def best_layout(names: Container[str], layouts: Sequence[Layout]) -> Layout:
    """The naming of which a file holds most."""
    return max(layouts, key=lambda layout: sum(name in names for name in layout) / max(1, len(layout)))


def vae_layouts(vae: nn.Module, prefix: str) -> list[Layout]:
    """The namings that the files of a VAE of this class have."""
    return [named(vae, prefix) for named in _VAE_LAYOUTS[type(vae).__name__]]


def is_dispensable(name: str) -> bool:
    """Whether a network works the same without a tensor: the counter of a batch normalisation."""
    return name.endswith("num_batches_tracked")


def _vae_of(network: Network, vae: nn.Module, tensors: Any, dtype: torch.dtype) -> nn.Module:
    names = list(tensors)
    prefix = VAE if any(name.startswith(VAE) for name in names) else ""
    readable: Any = tensors
    if network.kind == "AutoencoderDC" and any(".op_list." in name for name in names):
        from diffusers.loaders.single_file_utils import convert_autoencoder_dc_checkpoint_to_diffusers

        readable = convert_autoencoder_dc_checkpoint_to_diffusers({name: tensors[name] for name in names})
        names = list(readable)
    layout = best_layout(readable, vae_layouts(vae, prefix))
    _check_names(network.path, set(layout), names, network.label)
    return fill(network.path, vae, layout, readable, dtype)


def _check_names(
    file: Path, wanted: set[str], names: Sequence[str], what: str, open_clip_rest: Collection[str] = ()
) -> None:
    """Refuse a file of one network that does not hold each tensor of it, or holds more than that."""
    missing = sorted(name for name in wanted - set(names) if not is_dispensable(name))
    left = [name for name in names if name not in wanted and not is_harmless(name) and not name.endswith(SCALES)]
    if open_clip_rest:
        left = [name for name in left if not re.match(r".*(resblocks\.\d+\.|text_projection$)", name)]
    if missing or left:
        held = f"lacks {listed(missing)}" if missing else f"contains {listed(sorted(left))}, for which it has no place"
        raise BadInputError(
            f'The file "{file}" is {what}, but {held}: it is damaged or of another version; download it again, or '
            "choose another one."
        )


def _check_account(what: str, account: Mapping[str, Any], *unused: re.Pattern[str]) -> None:
    """Refuse a network of which tensors were missing or left over, by what the library says of its loading."""
    missing = sorted(account["missing_keys"])
    left = sorted(name for name in account["unexpected_keys"] if not any(pattern.fullmatch(name) for pattern in unused))
    if missing or left:
        held = f"lacks {listed(missing)}" if missing else f"contains {listed(left)}, for which it has no place"
        raise BadInputError(
            f"{what} {held}: it is damaged or of another kind; download it again, or choose another one."
        )


def check_finite(what: str, name: str, tensor: Tensor) -> None:
    """Refuse a tensor of `what` that holds NaN or infinite values; raises BadInputError."""
    if not tensor.is_meta and not bool(tensor.float().isfinite().all()):
        raise BadInputError(
            f"{what} holds values that are NaN or infinite (in {listed([name])}): it is damaged; download it again, or "
            "choose another one."
        )


def _fit(config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Set in a language model's configuration what differs between the sizes of one kind, by its tensors."""
    if _LAST not in shapes and hasattr(config, "tie_word_embeddings"):
        config.tie_word_embeddings = True  # nobody asks what it would write
    if getattr(config, "model_type", "") != "qwen3":
        return
    own = {name.removeprefix("model."): shape for name, shape in shapes.items()}
    layers = {name.split(".")[1] for name in own if name.startswith("layers.")}
    start = "layers.0.self_attn."
    config.head_dim = own[f"{start}q_norm.weight"][0]
    config.vocab_size, config.hidden_size = own["embed_tokens.weight"]
    config.intermediate_size = own["layers.0.mlp.up_proj.weight"][0]
    config.num_attention_heads = own[f"{start}q_proj.weight"][0] // config.head_dim
    config.num_key_value_heads = own[f"{start}k_proj.weight"][0] // config.head_dim
    if config.num_hidden_layers != len(layers):
        config.num_hidden_layers = len(layers)
        config.layer_types = ["full_attention"] * len(layers)


def _variant(folder: Path) -> str | None:
    """Which copy of the weights Diffusers reads: that in half precision where there is no other."""
    return HALF_VARIANT if any(map(says_half, weight_files(folder))) else None


def _shaped(file: Path, name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Attention made of 1 × 1 convolutions becomes one of matrices."""
    if tensor.shape != shape and tensor.shape[: len(shape)] == shape and tensor.numel() == shape.numel():
        return tensor.view(shape)
    if tensor.shape != shape:
        raise _misshapen(file, name, tensor, shape)
    return tensor


def _misshapen(file: Path, name: str, tensor: Tensor, shape: torch.Size) -> BadInputError:
    cure = f', for which its configuration in Diffusers layout must be in a folder "{file.stem}" beside it'
    return BadInputError(
        f'The model file "{file}" cannot be loaded ({listed([name])} has the shape {tuple(tensor.shape)} instead of '
        f"{tuple(shape)}): it is damaged, or has a non-standard architecture{'' if companion_folder(file) else cure}."
    )
