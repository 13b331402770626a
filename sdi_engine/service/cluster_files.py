"""The files of a job on their way to a node of a cluster and back; no disk is shared.

Out go the files that a request names, by their content: a node keeps them, and is sent none twice. Back come the files
of the job's folder as they change. What a node says is not believed: only names that an engine writes are taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..contract.job_folder import JobFolder, storage_errors
from ..contract.request import JobRequest
from ..diffusion.location import INDEX_FILE, companion_folder, is_hub_id, is_safetensors
from ..errors import BadInputError
from ..system import files
from ..system.pasted import as_meant
from ..system.untrusted import parse_json

CHECKPOINT = "checkpoint/state.safetensors"
RESULT = "result.json"

PART_BYTES = 16 * 2**20
"""Files go in parts of this size."""

_ADAPTER = ("adapter_model", "adapter_config.json")
"""PEFT's names of a LoRA and, beside it, its settings."""

_READ_OF_MODELS = (".json", ".txt", ".model")
"""What is read of a model's folder besides its weights."""

_RETURNED = (
    re.compile(r"preview\.png|live\.npz|seed-\d{1,10}\.png|sheet\.png"),
    re.compile(r"(previews/step|turntable/side)-\d{1,10}\.png"),
    re.compile(re.escape(CHECKPOINT)),
    re.compile(r"mesh\.glb"),
    re.compile(re.escape(RESULT)),
)
"""What comes back, in this order: a job whose `result.json` is there is done."""


@dataclass(frozen=True)
class Parcel:
    """A file or a folder that a request names, as it goes to a node.

    Attributes:
        named: its path here, as the request names it.
        entry: its own name.
        files: SHA-256 of the content by path within the parcel, with slashes; `entry` is one of them, or their folder.
        sources: where each of them is here.
    """

    named: str
    entry: str
    files: Mapping[str, str]
    sources: Mapping[str, Path]

    @property
    def key(self) -> str:
        """Tells parcels of different content apart."""
        return hashlib.sha256(json.dumps([self.entry, sorted(self.files.items())]).encode()).hexdigest()

    def parts(self, name: str) -> Iterator[bytes]:
        """The content of one of its files, piece by piece; raises OSError."""
        with self.sources[name].open("rb") as file:
            while part := file.read(PART_BYTES):
                yield part


class Packer:
    """Makes parcels, and reads no file twice that has not changed."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int], str] = {}

    def parcels(self, request: JobRequest) -> list[Parcel]:
        """One for each file or folder that the request names and that is here; others may be on the node.

        Raises:
            BadInputError: one cannot be read.
        """
        named = [request.model, *(lora.file for lora in request.loras)]
        return [parcel for name in dict.fromkeys(named) if (parcel := self.parcel(name)) is not None]

    def parcel(self, named: str) -> Parcel | None:
        """A model or a LoRA; None where this is no path, or nothing is there that an engine would read."""
        path = Path(as_meant(named))
        try:
            if not path.is_absolute() or is_hub_id(named):
                return None
            sources = _sources(path)
            digests = {name: self._digest(source) for name, source in sources.items()}
        except OSError as error:
            raise BadInputError(f'"{named}" cannot be read ({error.strerror or error}), and so not be sent.') from error
        return Parcel(named, path.name, digests, sources) if digests else None

    def _digest(self, file: Path) -> str:
        status = file.stat()
        state = (str(file), status.st_mtime_ns, status.st_size)
        if state not in self._digests:
            with file.open("rb") as stream:
                self._digests[state] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._digests[state]


def changed_files(
    folder: JobFolder, have: Mapping[str, tuple[int, int]], leave_out: Collection[str] = ()
) -> dict[str, tuple[tuple[int, int], bytes]]:
    """The files of a job that are to come back, with their content and what tells it from another.

    Args:
        folder: on the node.
        have: of each file that the other side has, what was told with it.
        leave_out: names that are not wanted now.

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
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size)
                if have.get(name) != state:
                    changed[name] = (state, file.read())
        except FileNotFoundError:  # replaced by a newer one, which has another name
            continue
    return changed


def accept(folder: JobFolder, content: Mapping[str, bytes], request: JobRequest) -> None:
    """Write what came back from a node into the job's folder; other names than an engine's are left out.

    Raises:
        StorageError: it cannot be written.
    """
    with storage_errors(folder.path):
        for name in sorted(filter(_rank, content), key=_rank):
            data = content[name]
            if name == RESULT:
                data = _as_asked(data, request)
            path = folder.path / name
            if "/" in name:
                files.make_folder_of_ours(path.parent)
            files.write_atomically(path, data)


def _sources(path: Path) -> dict[str, Path]:
    """What an engine reads when it is given this model or LoRA, by their paths in a parcel. Raises OSError."""
    if path.is_dir():
        if not (path / INDEX_FILE).is_file():
            return {}
        return {f"{path.name}/{name}": file for name, file in _read_of_model(path, weights=True).items()}
    if not path.is_file() or not is_safetensors(path):
        return {}
    sources = {path.name: path}
    companion = companion_folder(path)
    if companion is not None:
        for name, file in _read_of_model(companion, weights=False).items():
            sources[f"{companion.name}/{name}"] = file
    settings = path.with_name(_ADAPTER[1])
    if path.stem == _ADAPTER[0] and settings.is_file():
        sources[settings.name] = settings
    return sources


def _read_of_model(folder: Path, weights: bool) -> dict[str, Path]:
    """Two levels are all that a model has: its parts, and their files. Links of the hub's cache are followed."""
    found = [*folder.iterdir(), *(file for part in folder.iterdir() if part.is_dir() for file in part.iterdir())]
    return {
        file.relative_to(folder).as_posix(): file
        for file in sorted(found)
        if file.is_file() and (file.suffix in _READ_OF_MODELS or (weights and is_safetensors(file)))
    }


def _names(folder: JobFolder) -> list[str]:
    """Of the files that are there and are to come back, in their order; raises OSError."""
    found = [entry.name for entry in folder.path.iterdir()]
    for part in (folder.previews_folder, folder.turntable_folder, folder.checkpoint_folder):
        if files.is_folder(part):
            found += [f"{part.name}/{entry.name}" for entry in part.iterdir()]
    return sorted(filter(_rank, found), key=_rank)


def _rank(name: str) -> int:
    """1 for what comes back first; 0 for what does not come back."""
    return next((rank for rank, pattern in enumerate(_RETURNED, start=1) if pattern.fullmatch(name)), 0)


def _as_asked(result: bytes, request: JobRequest) -> bytes:
    """A node's `result.json`, which names files as they are called there, with the names that they have here."""
    try:
        said = parse_json(result.decode("utf-8", "replace"))
    except ValueError:
        return result  # which nobody takes for a result
    if isinstance(said, dict) and "loras" in said:
        said |= {"model": request.model, "loras": [dataclasses.asdict(lora) for lora in request.loras]}
    return (json.dumps(said, indent=2) + "\n").encode()
