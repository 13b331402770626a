"""Which files a model was read from, so that a run that it began goes on with the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..contract.request import JobRequest, Lora
from ..errors import BadInputError
from ..system.pasted import as_meant
from .fingerprint import Source, source
from .header import weight_files
from .location import companion_folder, locate
from .loras import check_loras
from .parts import Plan, check

_WITHOUT_WEIGHTS = (
    "scheduler_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
)
"""Patterns for what is read of a scheduler's or a tokenizer's folder, and decides what a model makes of a prompt."""


def digest(sources: Mapping[str, Source]) -> str:
    """16 hexadecimal digits that change with what the files of a model hold, not with their places or times."""
    held = sorted((part, each.digest.hex()) for part, each in sources.items())
    return hashlib.sha256(repr(held).encode()).hexdigest()[:16]


def sources_before_loading(request: JobRequest) -> dict[str, Source]:
    """`sources_of` a request's model; empty for one on the hub, which may not be on this computer yet.

    Raises:
        EngineError: the model is not there, lacks a part, or a part or LoRA of it cannot be read.
    """
    location = locate(request.model)
    planned = check(request.model, request.parts)
    if planned is None:
        return {}
    check_loras(request.loras)
    path = Path(location.sources[0])
    if location.kind == "folder":
        return sources_of(planned, None, path, request.loras)
    return sources_of(planned, path, companion_folder(path), request.loras)


def sources_of(planned: Plan, file: Path | None, folder: Path | None, loras: Sequence[Lora]) -> dict[str, Source]:
    """Where all that a prior computes with came from, by the parts of its pipeline, "model", "tiny_vae" and "lora_0".

    Args:
        file: with the denoiser, which can be the folder of that alone; None of a model in Diffusers layout.
        folder: in Diffusers layout, if there is one.

    Raises:
        OSError: a file cannot be read.
    """
    read: dict[str, tuple[Path, list[Path]]] = {}
    if folder is not None:
        parts = (*planned.family.required, *planned.family.optional)
        read |= {part: (folder / part, _files_of_part(folder / part, part)) for part in parts}
    if file is not None:
        read["model"] = file, weight_files(file) if file.is_dir() else [file]
    networks = {part: network.path for part, network in planned.given.items()}
    if planned.tiny_vae is not None:
        networks["tiny_vae"] = planned.tiny_vae.path
    for part, path in (networks | planned.tokenizers).items():
        read[part] = path, _files_of_part(path, part) if path.is_dir() else [path]
    for number, lora in enumerate(loras):
        path = Path(as_meant(lora.file))
        read[f"lora_{number}"] = path, [path]
    return {part: source(path, files) for part, (path, files) in read.items() if files}


def check_unchanged(sources: Mapping[str, Source]) -> None:
    """Raise BadInputError where a file has been replaced while it was read: nobody knows of which the numbers are."""
    changed = [each for each in sources.values() if each.has_changed]
    if changed:
        raise BadInputError(f'"{changed[0].path}" was replaced while the model was read: start the job again.')


def _files_of_part(folder: Path, part: str) -> list[Path]:
    """The files in the folder of one part on which a run's numbers depend."""
    if part.startswith(("tokenizer", "scheduler")):
        return sorted({file for pattern in _WITHOUT_WEIGHTS for file in folder.glob(pattern)})
    return weight_files(folder)
