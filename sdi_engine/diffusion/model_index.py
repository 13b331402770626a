"""What the index of a model in Diffusers layout (`model_index.json`) says of it, and whether that can be used.

Standard library only, since Blender asks here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..contract import vocabulary
from ..errors import BadInputError, IncompleteModelError
from . import families
from .families import Family
from .header import weight_files
from .location import CONFIG_FILE, HINTS_FILE, INDEX_FILE, companion_folder, locate, read_object

LIBRARIES = ("diffusers", "transformers")
"""Where the classes of a pipeline's parts may come from. Diffusers imports whatever else an index names, and older
versions of it run code that lies beside the index."""

_CONFIGURATIONS = {"scheduler": "scheduler_config.json"}
"""What the configuration of a part is called, where it is not `CONFIG_FILE`."""

_OF_NOISE = ("beta_schedule", "beta_start", "beta_end")
_OF_FLOWS = ("shift", "flow_shift", "use_dynamic_shifting")
"""What configurations say of the noise schedule: all of the first for U-Nets, one of the second for flows."""

_OTHER_WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
"""Suffixes of weights in formats that are not read here."""

_FOR_IMAGES = re.compile("Kontext|Fill|Control|Edit|Inpaint|Img2Img|Redux|Pix2Pix|Depth|Upscale|Variation|Omni")
"""Words in the names of pipelines that want an image besides a prompt."""

_SAFETY_CHECKER = ["stable_diffusion", "StableDiffusionSafetyChecker"]
"""A part of most models of the Stable Diffusion family; it is never loaded here."""


def read_index(file: Path, model: str) -> dict[str, Any]:
    """The index of a model; `model` is what a person calls it.

    Raises:
        BadInputError: the file is damaged, or cannot be read.
    """
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(
            f'The {INDEX_FILE} of the model "{model}" cannot be read ({error.strerror}): see to its permissions, or '
            "download the model again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f'The model "{model}" has a damaged {INDEX_FILE} ({error}): download it again.') from error
    if not isinstance(index, dict):
        raise BadInputError(f'The model "{model}" has a damaged {INDEX_FILE}: download it again.')
    return index


def checked_pipeline(model: str, index: Mapping[str, Any], folder: Path | None = None) -> Family:
    """The family of a model, by the class of its pipeline, and by the width of its text encoder where `folder` has it.

    Raises:
        BadInputError: it is not supported, lacks a part, or wants code of its own.
    """
    name = index.get("_class_name")
    if not isinstance(name, str) or not all(_is_trusted(value) for part, value in index.items() if part[:1] != "_"):
        raise BadInputError(
            f'The model "{model}" asks for code from outside {" and ".join(LIBRARIES)} (in its {INDEX_FILE}), which is '
            "never run here: choose another copy of it."
        )
    family = families.of_pipeline(name, _text_width(folder) if folder else None)
    missing = sorted(set(family.required) - present(index)) if family else []
    if family is None or missing:
        if name in families.DISTILLED_PIPELINES:
            raise BadInputError(
                f'The model "{model}" is a {name}: it was distilled to a few steps, and has lost the guidance that '
                f"inversion needs. Choose {families.DISTILLED_PIPELINES[name].base}."
            )
        if family is None and _FOR_IMAGES.search(name):
            raise BadInputError(
                f'The model "{model}" is a {name}, which changes or completes images that it is given: choose '
                f"{families.base_of_pipeline(name)}."
            )
        lack = f" without {' and '.join(missing)}" if missing else ""
        raise BadInputError(
            f'The model "{model}" is a {name}{lack}, which is not supported: choose one of the {families.supported()} '
            "family for text to image."
        )
    return family


def check_channels(model: str, folder: Path, index: Mapping[str, Any], family: Family) -> None:
    """Refuse a model whose parts do not go together, by the configurations in its folder.

    Raises:
        BadInputError: its denoiser takes more than an image, gives another one, or takes another text than it gets.
    """
    denoiser = read_object(folder / family.denoiser / CONFIG_FILE)
    check_settings(f'The model "{model}"', denoiser, family)
    takes, gives = denoiser.get("in_channels"), denoiser.get("out_channels")
    image = latents = _latent_channels(folder) if "vae" in present(index) else takes
    if isinstance(image, int):
        image *= family.folded**2
    if takes is not None and image is not None and (takes != image or gives not in (image, latents, None)):
        raise BadInputError(
            f'The model "{model}" takes {takes} channels for images of {image}, as those for inpainting, depth or '
            "editing do: choose the plain text-to-image model it was made from."
        )
    setting, times = family.told
    told, width = denoiser.get(setting), _text_width(folder)
    if isinstance(told, int) and isinstance(width, int) and told != times * width:
        raise BadInputError(
            f'The text encoder of the model "{model}" gives {times * width} numbers for a word, and its denoiser takes '
            f"{told}: they belong to two models; download one of them as a whole."
        )


def check_settings(who: str, denoiser: Mapping[str, Any], family: Family) -> None:
    """Refuse a denoiser whose configuration is that of a variant for something else.

    Args:
        who: the beginning of the sentence.

    Raises:
        BadInputError: it is.
    """
    for setting, what in family.refused_settings:
        if denoiser.get(setting):
            raise BadInputError(f"{who} {what}: choose {family.base}.")


def check_files(
    model: str, folder: Path, index: Mapping[str, Any], family: Family, others: Container[str] = ()
) -> None:
    """Refuse a folder in which a part lacks what it is read from, before any of it is.

    Args:
        others: parts that are not taken from the folder.

    Raises:
        BadInputError: a configuration is missing or damaged, a network has no weights in the safetensors format or not
            all of them, or a tokenizer has no words, of which its library makes up one that knows none; the sentence
            names the part.
    """
    for part in (*family.required, *family.optional):
        if part not in present(index):
            continue
        what = f'The {part.replace("_", " ")} of the model "{model}"'
        is_tokenizer = part.startswith("tokenizer")
        if not is_tokenizer:  # whose configuration is used, too, where its weights are not
            _check_configuration(what, folder / part, _CONFIGURATIONS.get(part, CONFIG_FILE))
        if part in others:
            continue
        if part in family.networks and not weight_files(folder / part):
            if any(file.suffix.lower() in _OTHER_WEIGHTS for file in (folder / part).glob("*")):
                raise BadInputError(
                    f"{what} has no weights in the safetensors format, and others can run code when they are opened: "
                    "download another copy of it, or convert it."
                )
            raise IncompleteModelError(f"{what} has no weights: download the model again.")
        if is_tokenizer and not _holds_words(folder / part):
            raise IncompleteModelError(
                f"{what} lacks the files with its words (tokenizer.json, or vocab.json with merges.txt): download the "
                "model again."
            )


def check_schedule_is_told(model: str, folder: Path, family: Family) -> None:
    """Refuse a model whose scheduler's configuration leaves the noise schedule to Diffusers, which has no model's.

    Raises:
        BadInputError: it does; the sentence names what it lacks.
    """
    said = read_object(folder / "scheduler" / _CONFIGURATIONS["scheduler"])
    is_whole = said.get("trained_betas") is not None or said.get("beta_schedule") == "squaredcos_cap_v2"
    missing = [] if is_whole else [name for name in _OF_NOISE if name not in said]
    if missing and not family.may_predict_velocity:  # it may be that of a flow
        missing = [] if any(name in said for name in _OF_FLOWS) else [_OF_FLOWS[0]]
    if missing:
        raise BadInputError(
            f'The {_CONFIGURATIONS["scheduler"]} of the model "{model}" does not say its noise schedule (it lacks '
            f"{', '.join(missing)}): download the model again."
        )


def says_prediction(folder: Path) -> bool:
    """Whether the scheduler's configuration says what a U-Net predicts, which older ones for ε do not."""
    return "prediction_type" in read_object(folder / "scheduler" / _CONFIGURATIONS["scheduler"])


def _check_configuration(what: str, folder: Path, name: str) -> None:
    """Refuse a part without a configuration, or with one that cannot be read; raises BadInputError."""
    try:
        said = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        detail = "" if isinstance(error, FileNotFoundError) else f" that can be read ({error.strerror})"
        raise IncompleteModelError(f"{what} has no {name}{detail}: download the model again.") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{what} has a damaged {name} ({error}): download the model again.") from error
    if not isinstance(said, dict):
        raise BadInputError(f"{what} has a damaged {name}: download the model again.")


def _holds_words(tokenizer: Path) -> bool:
    """Whether a folder has the files of one of the formats that tokenizers have, a SentencePiece model among them."""
    names = {file.name for file in tokenizer.glob("*")}
    is_whole = "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names
    return is_whole or any(name.endswith(".model") for name in names)


def words_of(folder: Path) -> dict[str, list[str]]:
    """The words or phrases of a model of a small vocabulary in Diffusers layout, by kind; empty for others."""
    return vocabulary.sound(read_object(folder / HINTS_FILE).get("knows"))


def check_prompt(prompt: str, model: str) -> None:
    """`check_prompts` of one."""
    check_prompts([prompt], model)


def check_prompts(prompts: Iterable[str], model: str) -> None:
    """Refuse before a model is loaded what would be refused after it: nothing but a small file beside it is read, once.

    Args:
        model: as in `locate`. Of one on the hub nothing is known before it is loaded.

    Raises:
        EnvironmentMissingError: there is nothing at this path.
        BadInputError: what is there is not a model, or it does not know any word of a prompt.
    """
    location = locate(model)
    folder: Path | None = None
    if location.kind != "hub":
        path = Path(location.sources[0])
        folder = path if location.kind == "folder" else companion_folder(path)
    if folder is not None:
        words = words_of(folder)
        for prompt in prompts:
            vocabulary.check(prompt, words)


def absent_parts(family: Family, index: Mapping[str, Any]) -> dict[str, None]:
    """The parts that a pipeline is built without, as arguments: those not used here, and optional ones not there."""
    absent = set(family.optional) - present(index)
    return dict.fromkeys([*family.unused, *sorted(absent)])


def present(index: Mapping[str, Any]) -> set[str]:
    """The parts that a pipeline has, by its index."""
    return {part for part, value in index.items() if isinstance(value, list) and value[:1] not in ([], [None])}


def _text_width(folder: Path) -> Any:
    """How many numbers the (first) text encoder gives for a word, where its configuration says so."""
    config = read_object(folder / "text_encoder" / "config.json")
    of_text = config.get("text_config")  # of a model that reads pictures, too
    return config.get("hidden_size", of_text.get("hidden_size") if isinstance(of_text, dict) else None)


def _latent_channels(folder: Path) -> Any:
    """Of the VAE, where its configuration says so; video VAEs call them z."""
    config = read_object(folder / "vae" / "config.json")
    return config.get("latent_channels", config.get("z_dim"))


def _is_trusted(value: Any) -> bool:
    """Whether an entry of an index is a plain setting, no part, or one whose class comes from `LIBRARIES`."""
    if not isinstance(value, list | dict):
        return True
    if value in ([None, None], _SAFETY_CHECKER):
        return True
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(word, str) for word in value):
        return False
    library, kind = value
    # AutoModel and its kin take the class from the part's configuration, which can name code.
    return library in LIBRARIES and re.fullmatch(r"[A-Z]\w*", kind) is not None and not re.match("Auto[A-Z]", kind)
