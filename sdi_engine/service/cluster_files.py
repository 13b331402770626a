"""Transfers a job's files to a node of a cluster and back, without a shared disk.

The files that a request names are sent by their content: a node keeps them, so that none is sent twice. The files of
the job's folder come back as they change. A node is not trusted: only files with names that an engine writes are
accepted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..contract.job_folder import JobFolder, storage_errors
from ..contract.request import JobRequest
from ..diffusion.location import INDEX_FILE, is_hub_id, is_model_file, is_safetensors
from ..diffusion.parts import TOKENIZER_FILE
from ..errors import BadInputError
from ..system import files
from ..system.pasted import as_meant
from ..system.untrusted import parse_json

CHECKPOINT = "checkpoint/state.safetensors"
RESULT = "result.json"

PART_BYTES = 16 * 2**20
"""The size of the parts in which files are sent."""

_ADAPTER = ("adapter_model", "adapter_config.json")
"""PEFT's file names: the stem of a LoRA's weights, and its settings beside them."""

_READ_OF_MODELS = (".json", ".txt", ".model")
"""The other files of a model's folder that an engine reads, besides its weights."""

_RETURNED = (
    re.compile(r"preview\.png|live\.npz|seed-\d{1,10}\.png|sheet\.png"),
    re.compile(r"(previews/step|turntable/side)-\d{1,10}\.png"),
    re.compile(re.escape(CHECKPOINT)),
    re.compile(r"mesh(-lod\d)?\.glb|texture\.png|(uv|moved)\.npz"),
    re.compile(re.escape(RESULT)),
)
"""The files that come back, in this order: `result.json` last, since it marks the job as done."""


@dataclass(frozen=True)
class Parcel:
    """A file or a folder that a request names, ready to be sent to a node.

    Attributes:
        named: its path on this machine, as in the request.
        entry: its own name.
        files: the SHA-256 of each file, by its path within the parcel, with slashes; `entry` is one of these paths or
            the folder of all.
        sources: the path of each file on this machine.
    """

    named: str
    entry: str
    files: Mapping[str, str]
    sources: Mapping[str, Path]

    @property
    def key(self) -> str:
        """A hash of the parcel's content."""
        return hashlib.sha256(json.dumps([self.entry, sorted(self.files.items())]).encode()).hexdigest()

    def parts(self, name: str) -> Iterator[bytes]:
        """The content of one of its files, piece by piece; raises OSError."""
        with self.sources[name].open("rb") as file:
            while part := file.read(PART_BYTES):
                yield part


class Packer:
    """Makes parcels; no unchanged file is read twice."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int], str] = {}

    def parcels(self, request: JobRequest) -> list[Parcel]:
        """A parcel for each file or folder that the request names and that exists here; others may be on the node.

        Raises:
            BadInputError: one cannot be read.
        """
        named = [request.model, *(lora.file for lora in request.loras), *request.parts.paths]
        return [parcel for name in dict.fromkeys(named) if (parcel := self.parcel(name)) is not None]

    def parcel(self, named: str) -> Parcel | None:
        """The parcel of a model or a LoRA; None if `named` is no path, or has nothing that an engine would read."""
        path = Path(as_meant(named))
        try:
            if not path.is_absolute() or is_hub_id(named):
                return None
            sources = _sources(path)
            digests = {name: self._digest(source) for name, source in sources.items()}
        except OSError as error:
            raise unreadable(named, error) from error
        return Parcel(named, path.name, digests, sources) if digests else None

    def _digest(self, file: Path) -> str:
        status = file.stat()
        state = (str(file), status.st_mtime_ns, status.st_size)
        if state not in self._digests:
            with file.open("rb") as stream:
                self._digests[state] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._digests[state]


def unreadable(named: str, error: OSError) -> BadInputError:
    """The error for a file or folder that a request names and that cannot be read here."""
    return BadInputError(
        f'"{named}" cannot be read ({error.strerror or error}), so it cannot be sent to a node: check the file.'
    )


def changed_files(
    folder: JobFolder, have: Mapping[str, tuple[int, int]], leave_out: Collection[str] = ()
) -> dict[str, tuple[tuple[int, int], bytes]]:
    """The files of a job that have changed on a node and must come back.

    Args:
        folder: the job's folder on the node.
        have: the version (see below) of each file that the other side has.
        leave_out: names of files to leave out this time.

    Returns:
        The version, which is modification time in ns and size in bytes, and the content of each file, by its name.

    Raises:
        OSError: one cannot be read.
    """
    changed = {}
    for name in _names(folder):
        if name in leave_out:
            continue
        path = folder.path / name
        try:
            with files.open_to_read(path) as file:
                status = os.fstat(file.fileno())  # of this file, and not of one that has just taken its place
                state = (status.st_mtime_ns, status.st_size)
                if have.get(name) != state:
                    changed[name] = (state, file.read())
        except FileNotFoundError:  # the engine has just replaced it by one of another name
            continue
    return changed


def accept(folder: JobFolder, content: Mapping[str, bytes], request: JobRequest) -> None:
    """Write files from a node into the job's folder, ignoring names that an engine does not write.

    Args:
        folder: the job's folder on this machine.
        content: bytes by file name.
        request: the job's, with the file names of this machine.

    Raises:
        StorageError: they cannot be written.
    """
    with storage_errors(folder.path):
        for name in sorted(filter(_rank, content), key=_rank):
            data = content[name]
            if name == RESULT:
                data = _with_names_of(data, request)
            path = folder.path / name
            if "/" in name:
                files.make_folder_of_ours(path.parent)
            files.write_atomically(path, data)


def _sources(path: Path) -> dict[str, Path]:
    """The files that an engine reads of a model or LoRA, by their paths in a parcel; raises OSError."""
    if path.is_dir():
        if not _is_of_a_model(path):
            return {}
        return {f"{path.name}/{name}": file for name, file in _read_of_model(path, weights=True).items()}
    if not path.is_file() or not (is_model_file(path) or path.suffix in _READ_OF_MODELS):
        return {}
    sources = {path.name: path}
    if not is_model_file(path):  # of a tokenizer, which is several files
        return {file.name: file for file in sorted(path.parent.iterdir()) if file.suffix in _READ_OF_MODELS}
    companion = path.with_suffix("")  # with the configuration of a model, or the tokenizer of a text encoder
    if companion.is_dir() and _is_of_a_model(companion):
        for name, file in _read_of_model(companion, weights=False).items():
            sources[f"{companion.name}/{name}"] = file
    settings = path.with_name(_ADAPTER[1])
    if path.stem == _ADAPTER[0] and settings.is_file():
        sources[settings.name] = settings
    return sources


def _is_of_a_model(folder: Path) -> bool:
    """Whether a folder holds a model in Diffusers layout, a part of one, or a tokenizer."""
    return any((folder / name).is_file() for name in (INDEX_FILE, "config.json", TOKENIZER_FILE))


def _read_of_model(folder: Path, weights: bool) -> dict[str, Path]:
    """The files that an engine reads of a model's folder, by relative path, on two levels: its parts, and their files.

    Links, which the hub's cache is made of, are followed.
    """
    found = [*folder.iterdir(), *(file for part in folder.iterdir() if part.is_dir() for file in part.iterdir())]
    return {
        file.relative_to(folder).as_posix(): file
        for file in sorted(found)
        if file.is_file() and (file.suffix in _READ_OF_MODELS or (weights and is_safetensors(file)))
    }


def _names(folder: JobFolder) -> list[str]:
    """The names of the existing files that must come back, in the order of `_RETURNED`; raises OSError."""
    found = [entry.name for entry in folder.path.iterdir()]
    for part in (folder.previews_folder, folder.turntable_folder, folder.checkpoint_folder):
        if files.is_folder(part):
            found += [f"{part.name}/{entry.name}" for entry in part.iterdir()]
    return sorted(filter(_rank, found), key=_rank)


def _rank(name: str) -> int:
    """A file's position in `_RETURNED`, from 1; 0 if it does not come back."""
    return next((rank for rank, pattern in enumerate(_RETURNED, start=1) if pattern.fullmatch(name)), 0)


def _with_names_of(result: bytes, request: JobRequest) -> bytes:
    """A node's `result.json`, with the file names of this machine instead of the node's."""
    try:
        content = parse_json(result.decode("utf-8", "replace"))
    except ValueError:
        return result  # whoever reads it will reject it
    if isinstance(content, dict) and "loras" in content:
        content |= {"model": request.model, "loras": [dataclasses.asdict(lora) for lora in request.loras]}
        if request.parts.paths:
            content |= {"parts": dataclasses.asdict(request.parts)}
    return (json.dumps(content, indent=2) + "\n").encode()
