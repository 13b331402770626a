"""Which networks of a model come from files of their own, what such a file is, and whether it belongs to the model.

Artists keep a transformer, text encoders that several models share, and a VAE in files of their own. All is told by
headers and configurations, in Blender too, so that a wrong pairing is named before anything is loaded. Standard library
only.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config.parameters import Parts
from ..errors import BadInputError
from ..system.files import leads_to_file, leads_to_folder
from ..system.pasted import as_meant
from .families import VAE, Component, Family, Shapes
from .header import (
    Header,
    check_numbers,
    denoiser_prefix,
    denoiser_shapes,
    family_beside,
    family_of,
    is_denoiser,
    is_lora,
    is_model,
    kind_of,
    read_header,
    read_shapes,
    weight_files,
)
from .location import (
    CONFIG_FILE,
    INDEX_FILE,
    SUFFIXES,
    check_suffix,
    companion_folder,
    is_safetensors,
    locate,
    read_object,
)
from .model_index import check_settings, checked_pipeline, present, read_index
from .tiny_vae import TINY_VAE, belongs_to_another, is_tiny_decoder, tiny_encoder_in, usual_name

ENCODERS = {
    "CLIP": {768: ("CLIP-L", "clip_l"), 1024: ("OpenCLIP-H", ""), 1280: ("CLIP-G", "clip_g")},
    "T5": {4096: ("T5-XXL", "t5xxl_fp16")},
    "Qwen 2.5 VL": {3584: ("Qwen 2.5 VL 7B", "qwen_2.5_vl_7b")},
    "Qwen 3": {2560: ("Qwen 3 4B", "qwen_3_4b"), 4096: ("Qwen 3 8B", "qwen_3_8b_fp8mixed")},
    "Gemma 2": {2304: ("Gemma 2 2B", "gemma_2_2b_fp16")},
}
"""The kinds of text encoders: for each size, by the numbers that it gives for a word, its name, and that of the file
that is usually taken."""

VAES = {
    "AutoencoderKL": "as of Stable Diffusion",
    "AutoencoderKLFlux2": "of FLUX.2",
    "AutoencoderKLQwenImage": "of Qwen-Image and Wan",
    "AutoencoderDC": "of Sana",
}
"""The kinds of VAEs, by their classes in Diffusers."""

_OF_CHANNELS = {4: "as of Stable Diffusion 1, 2 and XL", 16: "as of Stable Diffusion 3, FLUX.1 and Z-Image"}
"""What VAEs of the class AutoencoderKL are of, by the channels of their latents."""

_MODEL_TYPES = {
    "clip_text_model": "CLIP",
    "clip": "CLIP",
    "t5": "T5",
    "qwen2_5_vl": "Qwen 2.5 VL",
    "qwen3": "Qwen 3",
    "gemma2": "Gemma 2",
}
"""What configurations of Transformers call the kinds of text encoders."""

_EMBEDDING = re.compile(r"(.*\.)?(token_embedding|shared|embed_tokens)\.weight")
"""The table of a text encoder that has a row for each word."""

_FIRST_OF_DECODER = re.compile(r"(.*\.)?decoder\.(conv_in|conv1|project_in(\.main)?\.conv)\.(conv\.)?weight")

_FOLDERS_OF_MODELS = ("diffusion_models", "unet", "checkpoints", "stable-diffusion")
_FOLDERS_OF_PARTS = ("text_encoders", "clip", "text_encoder", "vae", "VAE", "vae_approx", "VAE-approx")
"""Where ComfyUI and WebUI keep models, and their parts."""

_PICKLED = (".pt", ".ckpt")
"""Suffixes of the VAEs that WebUI takes by their name, besides `SUFFIXES`."""

TOKENIZER_FILE = "tokenizer_config.json"
"""It says of which kind a tokenizer is, how it pads, and how it writes a chat, which the words alone do not."""

TOKENIZER_TENSOR = "spiece_model"
"""The tensor with the bytes of a text encoder's tokenizer, a SentencePiece model, where its file has that, as those of
Gemma 2 for ComfyUI."""

_WITH_TOKENIZER = ("T5", "Gemma 2")
"""The kinds of text encoders whose tokenizers are such models."""


@dataclass(frozen=True)
class Network:
    """A network in a file, or in a folder as Diffusers has for each part of a model.

    Attributes:
        path: of the file or folder.
        kind: one of `ENCODERS` or `VAES`, or `TINY_VAE`.
        width: the numbers that a text encoder gives for a word, or the channels of a VAE's latents.
    """

    path: Path
    kind: str
    width: int

    @property
    def is_vae(self) -> bool:
        return self.kind in VAES

    @property
    def is_tiny_vae(self) -> bool:
        return self.kind == TINY_VAE

    @property
    def label(self) -> str:
        """What it is, for a sentence."""
        return _label(self.kind, self.width)


@dataclass(frozen=True)
class Need:
    """What one part of a model has to be."""

    component: Component
    width: int

    @property
    def label(self) -> str:
        """The same for a sentence."""
        return _label(self.component.kind, self.width)

    @property
    def usual(self) -> str:
        """The name of the file that is usually taken; "" where there is none."""
        if self.component.kind in VAES:
            return self.component.usual
        stem = ENCODERS[self.component.kind].get(self.width, ("", ""))[1]
        return f"{stem}.safetensors" if stem else ""

    @property
    def name(self) -> str:
        """What it is with the file that is usually taken."""
        return f'{self.label} (usually "{self.usual}")' if self.usual else self.label

    def is_met_by(self, network: Network) -> bool:
        return (network.kind, network.width) == (self.component.kind, self.width)


@dataclass
class Plan:
    """Where the networks of a model come from.

    Attributes:
        family: of the model.
        config: a folder with the configurations of all its parts.
        given: those from files or folders of their own, by the part's name.
        missing: those that are nowhere yet, and that the model cannot do without.
        tokenizers: where tokenizers come from that the model does not hold, by their names: folders, or the files of
            text encoders that hold theirs.
        needs_tokenizers: those that are nowhere else, with the file or folder of their text encoder.
        tiny_vae: whose encoder is used for gradients; None for none.
    """

    family: Family
    config: Path
    given: dict[str, Network] = field(default_factory=dict)
    missing: list[Need] = field(default_factory=list)
    tokenizers: dict[str, Path] = field(default_factory=dict)
    needs_tokenizers: list[tuple[Component, Path]] = field(default_factory=list)
    tiny_vae: Network | None = None


def network_at(path: Path) -> Network:
    """The text encoder or VAE in a file or folder.

    Raises:
        BadInputError: there is none, or it is neither; the sentence says what it is, where that is known.
    """
    if leads_to_folder(path):
        return _network_in_folder(path)
    if not leads_to_file(path):
        raise BadInputError(
            f'The file "{path}" does not exist or cannot be seen: check that the path is complete and correct.'
        )
    check_suffix(path, "VAE or text encoder")
    status = path.stat()
    found = _in_file(path, status.st_mtime_ns, status.st_size)
    if isinstance(found, str):
        raise BadInputError(found)
    return found


def plan(model: str, parts: Parts, found: Iterable[Network] = ()) -> Plan | None:
    """Where the networks of a model come from; None of one on the hub, of which nothing is known before it is loaded.

    Args:
        model: as in `location.locate`.
        parts: the files that a person gave for it.
        found: further networks on this computer, of which those are taken that the model lacks.

    Raises:
        EnvironmentMissingError: there is nothing at the model's path.
        BadInputError: a file is not what it should be, does not belong to the model, or is one of several that might.
    """
    location = locate(model)
    if location.kind == "hub":
        return None
    path = Path(location.sources[0])
    if location.kind == "folder":
        index = read_index(path / INDEX_FILE, model)
        family = checked_pipeline(model, index, path)
        return _planned(family, path, {}, {part.part for part in family.components}, parts, found)
    header = read_header(path)
    companion = companion_folder(path)
    family, config = family_in(path, header, companion)
    if path.is_dir():
        check_settings(f'The folder "{path}"', read_object(path / CONFIG_FILE), family)
    check_numbers(path, header)  # before a person looks for parts of a file that cannot be read
    shapes = {name: entry.shape for name, entry in header.items()}
    prefixes = {part.part: family.prefix_of(part) for part in family.components}
    held = {part for part, prefix in prefixes.items() if prefix and any(_starts(shapes, prefix))}
    if companion is not None:
        held |= {part.part for part in family.components} - present(read_index(companion / INDEX_FILE, str(companion)))
    return _planned(family, config, denoiser_shapes(shapes), held, parts, found, path)


def check(model: str, parts: Parts) -> Plan | None:
    """`plan`, of which nothing is missing.

    Raises:
        EnvironmentMissingError: there is nothing at the model's path.
        BadInputError: as `plan`, or a network or tokenizer is missing; the sentence says which file is usually taken.
    """
    planned = plan(model, parts)
    if planned is not None:
        check_complete(model, planned)
    return planned


def lacking(model: str, parts: Parts) -> str:
    """What a model lacks in spite of these parts, with the files that are usually taken; "" where it lacks nothing.

    Raises:
        EnvironmentMissingError, BadInputError: as `plan`.
    """
    planned = plan(model, parts)
    return " and ".join(need.name for need in planned.missing) if planned else ""


def check_complete(model: str, planned: Plan) -> None:
    """Refuse a model that lacks networks, or tokenizers for those that it has; raises BadInputError."""
    if planned.missing:
        raise BadInputError(
            f'The file "{model}" lacks {" and ".join(_belonging(need, planned) for need in planned.missing)}: choose '
            f"{'it' if len(planned.missing) == 1 else 'them'} as well, or the folder of models where "
            f"{'it lies' if len(planned.missing) == 1 else 'they lie'}; or a file or folder with all of the model. "
            f"Needed: {', '.join(need.name for need in planned.missing)}."
        )
    for part, path in planned.needs_tokenizers:
        raise BadInputError(
            f'The text encoder "{path}" needs its tokenizer, which its file does not hold: put tokenizer.json and '
            f'tokenizer_config.json (on the Hugging Face hub: {part.page}) into a folder "{path.stem}" beside it, or '
            "choose the folder in which they are as the tokenizer."
        )


def completed(model: str, parts: Parts, found: Iterable[Network]) -> Parts:
    """The parts that a person gave, with the VAE beside the model (`vae_beside`) and those of the found networks that
    the model lacks.

    Raises:
        EnvironmentMissingError: there is nothing at the model's path.
        BadInputError: as `plan`.
    """
    found = list(found)
    location = locate(model)
    beside = vae_beside(Path(location.sources[0])) if location.kind == "file" and not parts.vae else None
    if beside is not None:
        parts = replace(parts, vae=str(beside))
    try:
        planned = plan(model, parts, found)
    except BadInputError as error:
        if beside is None:
            raise
        raise BadInputError(
            f'{error} "{beside.name}" is taken since it is called like the model beside it: if it is not meant for '
            "that, rename it, or choose another VAE."
        ) from error
    if planned is None:
        return parts
    root = models_folder_of(Path(model))
    if planned.missing and root is not None:
        known = {network.path for network in found}
        around = [network for network in networks_in(root) if network.path not in known]
        planned = plan(model, parts, [*found, *around])
        assert planned is not None
    vae = planned.given.get("vae")
    encoders = [str(network.path) for part, network in planned.given.items() if part != "vae"]
    tiny = str(planned.tiny_vae.path) if planned.tiny_vae else ""
    return Parts(str(vae.path) if vae else "", tuple(encoders), parts.tokenizer, tiny)


def vae_beside(model: Path) -> Path | None:
    """The VAE that is meant for a model's file by its name, instead of the file's own, as WebUI takes it.

    `dream.vae.safetensors` is that of `dream.safetensors`; None where there is none.
    """
    beside = (model.with_suffix(f".vae{suffix}") for suffix in SUFFIXES)
    return next((file for file in beside if leads_to_file(file)), None)


def about_unread_vae(model: Path) -> list[str]:
    """A sentence on a VAE that is meant for a model's file by its name, in a format that is never opened."""
    beside = (model.with_suffix(f".vae{suffix}") for suffix in _PICKLED)
    return [
        f'The VAE "{file.name}" beside the model is not used, since files in its format can run code when they are '
        f'opened: to use it, convert it to "{model.stem}.vae{SUFFIXES[0]}".'
        for file in beside
        if leads_to_file(file)
    ]


def files_of(planned: Plan) -> list[Path]:
    """The files of text encoders and tokenizers of their own, on which the embeddings of texts depend."""
    paths = [network.path for network in planned.given.values() if not network.is_vae]
    paths += planned.tokenizers.values()
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def models_folder_of(model: Path) -> Path | None:
    """The folder in which a model's file lies in a folder for its kind, as ComfyUI and WebUI have them."""
    return next((folder.parent for folder in model.parents if folder.name.lower() in _FOLDERS_OF_MODELS), None)


def networks_in(folder: Path) -> list[Network]:
    """The text encoders and VAEs in a folder of models.

    They are looked for in the folders that ComfyUI and WebUI have for them, if there are any, else everywhere.
    """
    own = [folder / name for name in _FOLDERS_OF_PARTS if leads_to_folder(folder / name)]
    every = (file for each in own or [folder] for file in each.rglob("*") if is_safetensors(file))
    files = {os.path.realpath(file): file for file in every}  # Path.resolve raises where links lead in a circle
    networks = []
    for file in sorted(files.values()):
        try:
            networks.append(network_at(file))
        except (BadInputError, OSError):
            continue  # it is something else, which is said where a person chooses it
    return networks


def family_in(file: Path, header: Header, companion: Path | None) -> tuple[Family, Path]:
    """The family of a file, and the folder of its configurations.

    Raises:
        BadInputError: it is of none that is supported.
    """
    if companion is None:
        family = family_of({name: entry.shape for name, entry in header.items()}, f'The file "{file}"')
        return family, family.config
    pipeline = checked_pipeline(str(companion), read_index(companion / INDEX_FILE, str(companion)), companion).pipeline
    family = family_beside(header, pipeline)
    names = list(header)
    if not denoiser_prefix(names) and not is_denoiser(family, names):
        raise BadInputError(
            f'The file "{file}" lacks its denoiser: choose the file that includes it, or the model\'s folder in '
            "Diffusers layout."
        )
    return family, companion


def _planned(
    family: Family,
    config: Path,
    denoiser: Shapes,
    held: set[str],
    parts: Parts,
    found: Iterable[Network],
    file: Path | None = None,
) -> Plan:
    """The plan for a model that holds some of its parts itself; `denoiser` are the shapes of its file, `file` is it."""
    _check_first_layer(family, config, denoiser, file)
    needs = [Need(part, _width(part, denoiser, config)) for part in family.components]
    planned = Plan(family, config)
    for path in filter(None, (parts.vae, *parts.text_encoders)):
        network = network_at(Path(as_meant(path)))
        _check_role(network, is_vae=path == parts.vae)
        fitting = [need for need in needs if need.is_met_by(network)]
        if not fitting:
            raise _mismatch(network, needs, family)
        part = fitting[0].component.part
        if part in planned.given:
            raise BadInputError(
                f'"{planned.given[part].path}" and "{network.path}" are both {network.label}, and the model needs one: '
                "leave one out."
            )
        planned.given[part] = network
    if parts.tiny_vae:
        planned.tiny_vae = _tiny_vae(Path(as_meant(parts.tiny_vae)), family, needs, config)
    tokenizer = Path(as_meant(parts.tokenizer))
    if parts.tokenizer and not any(need.component.tokenizer for need in needs):
        raise BadInputError(f"This {family.label} model takes no tokenizer from elsewhere: leave the tokenizer out.")
    if parts.tokenizer and not leads_to_folder(tokenizer) and not leads_to_file(tokenizer):
        raise BadInputError(
            f'The tokenizer "{parts.tokenizer}" does not exist: check that the path is complete and correct.'
        )
    found = list(found)
    for need in needs:
        part = need.component.part
        if part in held or part in planned.given or (part in family.optional and part != "vae"):
            continue
        network = _chosen(need, found)
        if network is None:
            planned.missing.append(need)
        else:
            planned.given[part] = network
    missing = {need.component.part for need in planned.missing}
    for part in family.components:
        network = planned.given.get(part.part)
        is_own = part.part in held and part.part not in family.optional
        if not part.tokenizer or part.part in missing or (network is None and not is_own):
            continue
        folder = tokenizer_folder(part, network.path if network else file, parts, config)
        if folder is None and network is not None and _holds_tokenizer(network):
            folder = network.path
        if folder is not None:
            planned.tokenizers[part.tokenizer] = folder
        elif network or file:
            planned.needs_tokenizers.append((part, network.path if network else file))
    return planned


def _tiny_vae(path: Path, family: Family, needs: Iterable[Need], config: Path) -> Network:
    """The tiny VAE in a file or a folder of its own, or the one for a model in a folder of models.

    Raises:
        BadInputError: there is none, or it does not belong to the model.
    """
    vae = next((need for need in needs if need.component.part == "vae"), None)
    has_vae = "vae" in present(read_index(config / INDEX_FILE, str(config)))
    if vae is None or vae.component.kind != "AutoencoderKL" or not has_vae:
        raise BadInputError(
            f"This {family.label} model has no VAE that a tiny one could stand in for: leave the tiny VAE out."
        )
    usual = f"{usual_name(family)}_encoder.safetensors"
    is_of_models = leads_to_folder(path) and not (path / "config.json").is_file()
    networks = networks_in(path) if is_of_models else [network_at(path)]
    tiny = [network for network in networks if network.is_tiny_vae]
    fitting = [
        network for network in tiny if network.width == vae.width and not belongs_to_another(network.path.name, family)
    ]
    by_name = [network for network in fitting if network.path.name.startswith(usual_name(family))]
    if by_name or len(fitting) == 1:
        network = next(iter(by_name or fitting))
        _check_cells(network, config)
        return network
    if fitting:
        names = ", ".join(str(network.path) for network in fitting)
        raise BadInputError(f'The folder "{path}" has several tiny VAEs for this model: {names}. Choose one.')
    if is_of_models:
        raise BadInputError(
            f'The folder "{path}" has no tiny VAE for this {family.label} model (usually "{usual}", in a folder '
            "vae_approx): download it, or leave the tiny VAE out."
        )
    if not tiny:
        raise BadInputError(f'"{path}" is {networks[0].label}, no tiny VAE: choose one, such as "{usual}".')
    other = belongs_to_another(path.name, family)
    what = f"{networks[0].label}{f', by its name of the kind {other}' if other else ''}"
    raise BadInputError(
        f'"{path}" is {what}, and this {family.label} model needs one with {vae.width} channels (usually "{usual}"): '
        "they do not belong together; choose that instead."
    )


def _check_cells(tiny: Network, config: Path) -> None:
    """Refuse a tiny VAE without an encoder, or one with other cells than the model; raises BadInputError."""
    encoder = tiny_encoder_in(read_shapes(file_of_tiny(tiny)))
    cell = 2 ** (len(read_object(config / "vae" / "config.json").get("block_out_channels", ())) - 1)
    if encoder is None or encoder.pixels_per_cell != cell:
        what = "has no encoder" if encoder is None else f"makes cells of {encoder.pixels_per_cell} pixels"
        raise BadInputError(
            f'The tiny VAE "{tiny.path}" {what}, and the model\'s VAE makes cells of {cell}: they do not belong '
            "together; choose another one, or leave it out."
        )


def file_of_tiny(tiny: Network) -> Path:
    """The file with the weights of a tiny VAE."""
    return weight_files(tiny.path)[0] if tiny.path.is_dir() else tiny.path


def _check_first_layer(family: Family, config: Path, denoiser: Shapes, file: Path | None) -> None:
    """Refuse a denoiser that takes more than the latents of its family; raises BadInputError."""
    latents = _width_said(read_object(config / "vae" / "config.json"))
    taken = next((denoiser[name] for name in family.takes if name in denoiser), ())
    if latents is None or len(taken) < 2:
        return
    expected = latents * family.folded**2 * family.taken_at_once
    if taken[1] != expected:
        raise BadInputError(
            f'The file "{file}" has a denoiser that takes {taken[1]} channels for images of {expected}, as those for '
            f"inpainting, depth or editing do: choose the {family.label} model for text to image."
        )


def tokenizer_folder(part: Component, beside: Path | None, parts: Parts, config: Path) -> Path | None:
    """The folder with the tokenizer for a text encoder, where there is one.

    It is the one that a person gave, or its folder in a model that they gave; or it lies in the text encoder's folder,
    in one of its name beside it, or beside it as in a model in Diffusers layout; or among the model's configurations.
    """
    candidates: list[Path] = []
    if parts.tokenizer:
        given = Path(as_meant(parts.tokenizer))
        candidates = [given / part.tokenizer, given] if leads_to_folder(given) else [given.parent]
    elif beside is not None:
        own = beside if beside.is_dir() else beside.with_suffix("")
        candidates = [own, own / part.tokenizer, own.with_name(own.name.replace("text_encoder", "tokenizer"))]
        candidates += [config / part.tokenizer]
    return next((folder for folder in candidates if leads_to_file(folder / TOKENIZER_FILE)), None)


def _holds_tokenizer(network: Network) -> bool:
    """Whether the file of a text encoder holds its tokenizer, too."""
    if network.path.is_dir() or network.kind not in _WITH_TOKENIZER:
        return False
    return any(name.rpartition(".")[2] == TOKENIZER_TENSOR for name in read_header(network.path))


def _config_of(config: Path, part: Component) -> dict[str, Any]:
    return read_object(config / part.part / "config.json")


def _width(part: Component, denoiser: Shapes, config: Path) -> int:
    """How wide a part has to be: by the denoiser's header where that tells, else by the configuration."""
    for name in part.told:
        if len(denoiser.get(name, ())) == 2:
            return denoiser[name][1] // part.times
    return _width_said(_config_of(config, part)) or 0


def _width_said(config: Mapping[str, Any]) -> int | None:
    of_text = config.get("text_config")  # of a model that reads pictures, too
    nested = of_text if isinstance(of_text, dict) else {}
    said = (config.get("hidden_size"), nested.get("hidden_size"), config.get("d_model"))
    said += (config.get("latent_channels"), config.get("z_dim"))
    return next((number for number in said if isinstance(number, int)), None)


@functools.lru_cache(maxsize=4096)
def _in_file(path: Path, mtime_ns: int, size: int) -> Network | str:
    """The network in a file, or a sentence on why there is none; a file that stays the same is opened once."""
    try:
        header = read_header(path)
        check_numbers(path, header)
    except BadInputError as error:
        return str(error)
    shapes = {name: entry.shape for name, entry in header.items()}
    if is_model(shapes):
        return f'The file "{path}" is a model, and not a text encoder or VAE of one: choose it as the model.'
    found = _recognised(shapes)
    if found is None and is_tiny_decoder(shapes):
        return (
            f'The file "{path}" is the decoder of a tiny VAE: choose the file of its encoder, such as '
            "taesd_encoder.safetensors."
        )
    if found is None and is_lora(header):
        return f'The file "{path}" is a LoRA, and not a text encoder or VAE: give it as a LoRA.'
    if found is None:
        return (
            f'The file "{path}" {kind_of(header)}, and not a text encoder or VAE of a model that is supported: choose '
            "another one."
        )
    return Network(path, *found)


def _network_in_folder(folder: Path) -> Network:
    config = read_object(folder / "config.json")
    kind = config.get("_class_name")
    if kind not in VAES and kind != TINY_VAE:
        kind = _MODEL_TYPES.get(str(config.get("model_type")))
    width = _width_said(config)
    if kind is None or width is None:
        raise BadInputError(
            f'The folder "{folder}" is no text encoder or VAE that is supported here: choose one with a config.json, '
            "as in a model in Diffusers layout, or a .safetensors file."
        )
    if not _has_weights(folder):
        raise BadInputError(
            f'The folder "{folder}" has no weights in the safetensors format: download them, or choose another one.'
        )
    read_header(folder)  # so that a file that is cut off is named before anything is loaded
    return Network(folder, kind, width)


def _has_weights(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_safetensors, folder.glob("*")))


def _recognised(shapes: Shapes) -> tuple[str, int] | None:
    """The kind of a network, and its width, by the names and shapes of its tensors."""
    tiny = tiny_encoder_in(shapes)
    if tiny is not None:
        return TINY_VAE, tiny.channels
    encoder = _encoder_kind(shapes)
    if encoder:
        table = next((shape for name, shape in shapes.items() if _EMBEDDING.fullmatch(name)), ())
        return (encoder, table[1]) if len(table) == 2 else None
    first = next((shape for name, shape in shapes.items() if _FIRST_OF_DECODER.fullmatch(name)), ())
    return (_vae_kind(shapes), first[1]) if len(first) >= 4 else None


def _encoder_kind(names: Iterable[str]) -> str:
    def has(pattern: str) -> bool:
        return any(re.fullmatch(rf"(.*\.)?{pattern}", name) for name in names)

    if has(r"encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight"):
        return "" if has(r"encoder\.block\.1\.layer\.0\.SelfAttention\.relative_attention_bias\.weight") else "T5"
    if has(r"token_embedding\.weight"):
        return "CLIP"
    if not has(r"embed_tokens\.weight"):
        return ""
    if has(r"layers\.0\.self_attn\.q_norm\.weight"):
        return "" if has(r"layers\.0\.pre_feedforward_layernorm\.weight") or has(r"visual\..*") else "Qwen 3"
    if has(r"layers\.0\.self_attn\.q_proj\.bias"):
        return "Qwen 2.5 VL"
    return "Gemma 2" if has(r"layers\.0\.pre_feedforward_layernorm\.weight") else ""


def _vae_kind(names: Iterable[str]) -> str:
    names = {name.removeprefix(VAE).removeprefix("vae.") for name in names}
    if any(name.endswith("residual.0.gamma") or name.endswith("resnets.0.norm1.gamma") for name in names):
        return "AutoencoderKLQwenImage"
    if any(name.startswith(("decoder.project_in.", "decoder.up_blocks.0.0.")) for name in names):
        return "AutoencoderDC"
    return "AutoencoderKLFlux2" if "bn.running_mean" in names else "AutoencoderKL"


def _chosen(need: Need, found: Iterable[Network]) -> Network | None:
    """The network that meets a need, best the file that is usually taken.

    Raises:
        BadInputError: several do, and none is the usual one.
    """
    fitting = [network for network in found if need.is_met_by(network)]
    usual = [network for network in fitting if network.path.name == need.usual]
    if len(fitting) > 1 and len(usual) != 1:
        raise BadInputError(
            f"The model needs {need.name}, and there are several: "
            f"{', '.join(str(network.path) for network in fitting)}. Choose one."
        )
    return next(iter(usual or fitting), None)


def _check_role(network: Network, is_vae: bool) -> None:
    if network.is_tiny_vae:
        raise BadInputError(f'"{network.path}" is {network.label}: choose it as the tiny VAE, beside the model\'s own.')
    if is_vae != network.is_vae:
        wanted, other = ("VAE", "text encoder") if is_vae else ("text encoder", "VAE")
        raise BadInputError(f'"{network.path}" is {network.label}, no {wanted}: choose it as the {other}.')


def _mismatch(network: Network, needs: Iterable[Need], family: Family) -> BadInputError:
    """That a file does not belong to a model."""
    alike = [need for need in needs if (need.component.kind in VAES) == (network.kind in VAES)]
    wanted = " and ".join(need.name for need in alike) or "none"
    return BadInputError(
        f'"{network.path}" is {network.label}, and this {family.label} model needs {wanted}: they do not belong '
        "together; choose that instead."
    )


def _belonging(need: Need, planned: Plan) -> str:
    """What a missing part is called."""
    if need.component.kind in VAES:
        return "its VAE"
    encoders = [part.part for part in planned.family.components if part.kind not in VAES]
    if len(encoders) == 1:
        return "its text encoder"
    return f"its {('first', 'second', 'third')[encoders.index(need.component.part)]} text encoder"


def _label(kind: str, width: int) -> str:
    if kind in VAES:
        of_models = _OF_CHANNELS.get(width, VAES[kind]) if kind == "AutoencoderKL" else VAES[kind]
        return f"a VAE with {width} channels, {of_models}"
    if kind == TINY_VAE:
        return f"a tiny VAE with {width} channels"
    name = ENCODERS[kind].get(width, ("", ""))[0]
    return f"the text encoder {name}" if name else f"a text encoder {kind} with {width} numbers for a word"


def _starts(names: Iterable[str], prefix: str) -> Iterable[str]:
    other = "vae." if prefix == VAE else prefix
    return (name for name in names if name.startswith((prefix, other)))
