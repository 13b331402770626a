"""What a model cannot make of a request, known before it is loaded, in Blender too: standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config.parameters import Parts
from ..contract.request import JobRequest
from ..errors import BadInputError
from ..system.pasted import as_meant
from .distilled import check_noise
from .header import check_lora, read_header
from .location import CONFIG_FILE, INDEX_FILE, locate, read_object
from .model_index import check_channels, check_files, check_prompt, checked_pipeline, present, read_index
from .parts import Plan
from .parts import check as check_parts

UNSUSPICIOUS_LAYERS = 1000
"""So many may be said of any network: not all settings of this name are counts of layers that it has."""


def check_request(request: JobRequest, resume: bool = False) -> None:
    """Refuse what the small files of the request's model, and the headers of the others, say that it cannot make.

    Args:
        request: validated.
        resume: whether it was begun before; its noise is then looked at once the model is loaded.

    Raises:
        EnvironmentMissingError: there is nothing at the model's path.
        BadInputError: what is there is not a model, knows no word of the prompt, lacks a part, or cannot give the
            noise; or a LoRA's file is none.
    """
    check_prompt(request.prompt, request.model)
    if not resume:
        check_noise(request.noise, request.model)  # before a person looks for the parts of a model that will not do
    location = locate(request.model)
    if location.kind == "folder":
        examined_folder(Path(location.sources[0]), request.model, request.parts)
    else:
        check_parts(request.model, request.parts)
    for lora in request.loras:
        check_lora(Path(as_meant(lora.file)))


def examined_folder(folder: Path, model: str, parts: Parts) -> tuple[dict[str, Any], Plan]:
    """The index of a folder in Diffusers layout, and where each network comes from.

    Args:
        model: what a person calls it.
        parts: the files that a person gave for it.

    Raises:
        BadInputError: it cannot be loaded, as far as is known before weights are read; the sentence says why.
    """
    index = read_index(folder / INDEX_FILE, model)
    family = checked_pipeline(model, index, folder)
    check_channels(model, folder, index, family)
    planned = check_parts(str(folder), parts)
    assert planned is not None, "a folder is not on the hub"
    check_files(model, folder, index, family, {*planned.given, *(planned.tokenizers if parts.tokenizer else ())})
    for part in family.networks:
        if part in present(index) and part not in planned.given:
            _check_layers(folder / part, len(read_header(folder / part)))  # which finds a file that is cut off
    return index, planned


def _check_layers(folder: Path, tensors: int) -> None:
    """Refuse a network that would have more layers than its files have tensors: its library would make them all."""
    said = read_object(folder / CONFIG_FILE)
    settings = [*said.items(), *(item for each in said.values() if isinstance(each, dict) for item in each.items())]
    for name, value in settings:
        counts = value if isinstance(value, list) else [value]
        most = max((count for count in counts if isinstance(count, int)), default=0)
        if "layers" in name and most > max(tensors, UNSUSPICIOUS_LAYERS):
            raise BadInputError(
                f'The file "{folder / CONFIG_FILE}" is damaged ({name} is {most}, and there are {tensors} tensors): '
                "download the model again."
            )
