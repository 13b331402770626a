"""Finds the 2D models on this computer, their families and sizes, without the engine and without Blender.

`inspect` examines one model, fast enough for a button; `Scan` searches for all of them in a thread.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..sdi_engine.config.asked import settings_asked_for
from ..sdi_engine.config.parameters import NO_PARTS, STARTER_MODEL, Parameters, Parts
from ..sdi_engine.contract import speeds
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion import parts
from ..sdi_engine.diffusion.distilled import distilled
from ..sdi_engine.diffusion.families import Family
from ..sdi_engine.diffusion.header import (
    check_lora,
    is_lora,
    lora_family,
    read_shapes,
    says_half,
    weight_files,
)
from ..sdi_engine.diffusion.location import (
    INDEX_FILE,
    MODEL_SUFFIXES,
    REAL_MODEL,
    STARTER_FOLDER,
    check_suffix,
    companion_folder,
    is_denoiser_folder,
    is_hub_id,
    is_model_file,
    last_part,
    locate,
    model_name,
    read_object,
)
from ..sdi_engine.diffusion.look_alikes import look_alike
from ..sdi_engine.diffusion.model_index import (
    check_channels,
    check_files,
    checked_pipeline,
    present,
    words_of,
)
from ..sdi_engine.diffusion.needs import BASE_BYTES, Weights, Work, plan, weigh
from ..sdi_engine.errors import BadInputError, EngineError
from ..sdi_engine.system.files import is_folder, leads_to_file, leads_to_folder, read_json_object
from .placement import Placement

MAX_RECENT = 6
MAX_RECENT_JOBS = 50
MAX_DEPTH = 4
"""How many levels below the model folder to search."""

_NAMES = {STARTER_MODEL: "Starter prior", REAL_MODEL: "Stable Diffusion 2.1 base"}

Found = TypeVar("Found")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """Attributes:
    model: its name in a request.
    name: its name for people.
    kind: its family, such as "SDXL", and that it is for few steps; empty if that is only known once it is downloaded.
    size: bytes on the disk; None if it is not on this computer.
    knows: the vocabulary of a model with a small one, by kind of word; empty for other models.
    weights: what it weighs; None if it is not on this computer.
    takes_parts: it is a denoiser, say, whose VAE or text encoders are in files of their own, or one lies beside it.
    with_parts: which of these are taken; empty for a model that takes none, or lacks something that is nowhere.
    trouble: why it cannot be used yet: what is missing, or does not belong to it.
    """

    model: str
    name: str
    kind: str = ""
    size: int | None = None
    knows: Mapping[str, list[str]] = field(default_factory=dict)
    weights: Weights | None = None
    takes_parts: bool = False
    with_parts: str = ""
    trouble: str = ""

    def needs(self, asked: Parameters, device: str, memory: int) -> str:
        """What a run needs, and what is done to make it fit; "" where that is not known, or not worth a word.

        Args:
            asked: what a person asks for.
            device: "cpu", "cuda" or "mps".
            memory: bytes of the device.
        """
        if self.weights is None or not self.weights.vae_channels or device not in BASE_BYTES or not memory:
            return ""
        own = self.weights.resolution
        try:
            settings = settings_asked_for(asked, own)
        except EngineError:  # said where it is asked for
            return ""
        work = Work.of(settings, asked.resolution or min(settings.resolution or own, own))
        return plan(self.weights, work, device, memory, precision=asked.precision).words(device, "are there")

    @property
    def is_here(self) -> bool:
        """Whether it is on this computer, so that it works offline."""
        return self.size is not None

    @property
    def label(self) -> str:
        """Name, family and size, for a menu."""
        return " · ".join(filter(None, (self.name, self.kind, size_words(self.size) if self.is_here else "")))


@dataclass(frozen=True)
class Piece:
    """What is no model, but may belong to one.

    Attributes:
        file: its path.
        kind: what it is, such as "CLIP-L", or the family that a LoRA is for, as far as that is known.
        size: bytes on the disk.
        network: the text encoder or VAE; None for a LoRA.
    """

    file: str
    kind: str
    size: int
    network: parts.Network | None = None

    @property
    def label(self) -> str:
        """Name, kind and size, for a menu."""
        return " · ".join(filter(None, (Path(self.file).name, self.kind, size_words(self.size))))


@dataclass(frozen=True)
class Models:
    """The result of a scan.

    Attributes:
        recent: models of the latest jobs.
        cached: models in the hub's cache.
        in_folder: models in the person's own folder.
        pieces: text encoders, VAEs and LoRAs in the person's own folder.
        known: all examined models by their name in a request; for one that cannot be used, a sentence that says why.
        speeds: how fast runs were on this machine.
    """

    recent: tuple[Model, ...] = ()
    cached: tuple[Model, ...] = ()
    in_folder: tuple[Model, ...] = ()
    pieces: tuple[Piece, ...] = ()
    known: dict[str, Model | str] = field(default_factory=dict)
    speeds: speeds.Speeds = field(default_factory=dict)


def size_words(size: int | None) -> str:
    """A size in bytes in readable form, such as "5.1 GB"; empty for None."""
    if size is None:
        return ""
    for unit, bytes_in_unit in (("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_in_unit:
            number = size / bytes_in_unit
            return f"{number:.1f} {unit}" if number < 100 else f"{number:.0f} {unit}"
    return f"{max(1, size // 1000)} kB"


def inspect(model: str, cache: Path | None = None) -> Model:
    """Examine a model by its header or its index, without reading weights.

    Args:
        model: "starter", "stable-diffusion", a folder, a file or a hub id.
        cache: the hub's cache, by default `hub_cache()`.

    Raises:
        EngineError: there is nothing at this path, or it is not a model that can be used.
    """
    model = model_name(model)
    location = locate(model)
    name = _NAMES.get(model, "")
    if location.kind == "hub":
        return _hub_model(model, name or model, location.sources, cache or hub_cache())
    path = Path(location.sources[0])
    if location.kind == "folder":
        return Model(model, name or path.name, _label(path, model), _size_of(path), words_of(path), _weighed(model))
    companion = companion_folder(path)
    if companion is not None:
        _folder_family(companion, str(companion))
    planned = parts.plan(model, NO_PARTS)
    assert planned is not None
    kind = _kind(planned.family, model, companion)
    size = _size_of(path) if path.is_dir() else path.stat().st_size
    takes_parts = bool(planned.missing) or parts.vae_beside(path) is not None
    return Model(model, name or last_part(model), kind, size, weights=_weighed(model), takes_parts=takes_parts)


def completed(request: JobRequest, pieces: Iterable[Piece]) -> JobRequest:
    """A request whose model lacks nothing: what is not in its file, nor given, is taken of the pieces.

    Raises:
        EngineError: the model is none, or something is missing, does not belong to it, or is one of several that might.
    """
    networks = [piece.network for piece in pieces if piece.network is not None]
    given = parts.completed(request.model, request.parts, networks)
    parts.check(request.model, given)
    return dataclasses.replace(request, **dataclasses.asdict(given))


def examine_piece(file: Path) -> Piece:
    """What a text encoder's, a VAE's or a LoRA's file is; raises BadInputError if it is none, or cannot be read."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise BadInputError(f'The file "{file}" cannot be read ({error.strerror}): choose another one.') from error
    if not leads_to_folder(file):
        check_suffix(file, "VAE, text encoder or LoRA")
    try:
        network = parts.network_at(file)
    except BadInputError:
        shapes = read_shapes(file)
        if not is_lora(shapes):
            raise
        check_lora(file)
        return Piece(str(file), f"LoRA for {lora_family(shapes) or 'an unknown model'}", size)
    return Piece(str(file), network.label, size, network)


def _weighed(model: str, given: Parts = NO_PARTS) -> Weights | None:
    """What a model weighs; None where its files are not all as they should be, as the engine will say."""
    try:
        return weigh(model, given)
    except EngineError:
        return None


def hub_cache(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of downloads from the Hugging Face hub, by the rules of its own library."""
    settings = os.environ if environment is None else environment
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if settings.get(name):
            return _expanded(settings[name])
    if settings.get("HF_HOME"):
        return _expanded(settings["HF_HOME"]) / "hub"
    return _expanded(settings.get("XDG_CACHE_HOME") or str(Path("~", ".cache"))) / "huggingface" / "hub"


class Seen:
    """What was found out about files, which need not be opened again as long as they stay the same."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[tuple[int, int], Any]] = {}

    def of(self, kind: str, path: str, find: Callable[[], Found]) -> Found:
        """What `find` finds out about a file; of anything else than a file it is asked every time.

        Args:
            kind: of what is found out.
        """
        try:
            status = Path(path).stat()
        except (OSError, ValueError):
            return find()
        state = status.st_mtime_ns, status.st_size
        if not stat.S_ISREG(status.st_mode):
            return find()
        before = self._found.get((kind, path))
        if before is not None and before[0] == state:
            found: Found = before[1]
            return found
        found = find()
        self._found[kind, path] = state, found
        return found


class Scan:
    """Searches for all models in a thread; `models` is None until it is over.

    Args:
        find: `find_models` with all its arguments but `go_on`.
    """

    def __init__(self, find: Callable[..., Models]) -> None:
        self.models: Models | None = None
        self._find = find
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sdi-models", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the search has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is over, at most `timeout` seconds."""
        self._thread.join(timeout)

    def stop(self) -> None:
        """End the search early."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self.models = self._find(go_on=lambda: not self._stop.is_set())
        except OSError as error:  # a disk went away: the former list stays
            log.warning("The models on this computer could not be listed: %s", error)


def find_models(
    model_folder: Path | None,
    results: Path | None,
    asked: Mapping[str, Parts] | None = None,
    cache: Path | None = None,
    seen: Seen | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Models:
    """All models on this computer.

    Args:
        model_folder: the person's own folder of models, or None.
        results: the folder of jobs, for the models used lately, or None.
        asked: further models to examine, such as the chosen one, with the parts that a person chose for each.
        cache: the hub's cache, by default `hub_cache()`.
        seen: what earlier searches found out.
        go_on: the search ends early once this returns False.
    """
    cache, seen, asked = cache or hub_cache(), seen or Seen(), asked or {}
    known: dict[str, Model | str] = {}

    def examine(model: str) -> Model | None:
        if model not in known:
            has_companion = is_model_file(Path(model)) and companion_folder(Path(model)) is not None
            how = Seen() if has_companion else seen  # a companion can change by itself
            known[model] = how.of("model", model, lambda: _inspected(model, cache))
        found = known[model]
        return found if isinstance(found, Model) else None

    def usable(names: Iterable[str]) -> tuple[Model, ...]:
        return tuple(found for name in names if go_on() and (found := examine(name)) is not None)

    for model in (STARTER_MODEL, REAL_MODEL, *asked):
        if model.strip():
            examine(model.strip())
    cached = tuple(model for model in usable(_cached_ids(cache)) if model.is_here)
    names: list[str] = []

    def remembered(found: Iterable[str]) -> Iterator[str]:
        for name in found:
            names.append(name)
            yield name

    in_folder = usable(remembered(_in_folder(model_folder, go_on))) if model_folder else ()
    pieces = tuple(_pieces((name for name in names if go_on() and isinstance(known.get(name), str)), seen))
    recent = usable(_recent(results)) if results else ()
    for name, model in known.items():
        if isinstance(model, Model) and model.takes_parts and go_on():
            known[name] = with_parts(model, pieces, asked.get(name, NO_PARTS))
    return Models(recent[:MAX_RECENT], cached, in_folder, pieces, known, speeds.read())


def _inspected(model: str, cache: Path) -> Model | str:
    """A model, or a sentence on why it cannot be used."""
    try:
        return inspect(model, cache)
    except EngineError as error:
        return str(error)
    except OSError as error:
        return f'The model "{model}" cannot be read ({error.strerror}): choose another one.'


def _pieces(files: Iterable[str], seen: Seen) -> Iterator[Piece]:
    """Those among files that are no models."""

    def piece_in(file: Path) -> Piece | None:
        try:
            return examine_piece(file) if file.is_file() else None
        except (EngineError, OSError):
            return None  # what it is instead is said where it is chosen

    for file in files:
        piece = seen.of("piece", file, lambda file=file: piece_in(Path(file)))
        if piece is not None:
            yield piece


def with_parts(model: Model, pieces: Iterable[Piece], given: Parts = NO_PARTS) -> Model:
    """A model that takes parts, with what it is made complete with, or why that cannot be; `given` is what a person
    chose."""
    networks = [piece.network for piece in pieces if piece.network is not None]
    try:
        given = parts.completed(model.model, given, networks)
        lacking = parts.lacking(model.model, given)
        if not lacking:
            parts.check(model.model, given)
    except EngineError as error:
        return dataclasses.replace(model, with_parts="", trouble=str(error))
    if lacking:
        said = f"It lacks {lacking}: put what is missing into the model folder, or choose it in Advanced."
        return dataclasses.replace(model, with_parts="", trouble=said)
    return dataclasses.replace(model, with_parts=given.words, trouble="", weights=_weighed(model.model, given))


def _recent(results: Path) -> Iterator[str]:
    """The models of the latest jobs, the latest first.

    Paths named by other people's jobs are not accessed: on Windows that alone may send a server the person's password.
    """
    seen = {STARTER_MODEL, REAL_MODEL}  # the menu offers them anyway
    jobs = [folder for folder in reversed(_listed(results)) if not folder.name.startswith(".")]  # named by their time
    for folder in filter(is_folder, jobs[:MAX_RECENT_JOBS]):
        model = (read_json_object(JobFolder(folder).request_file) or {}).get("model")
        if isinstance(model, str) and model.strip() and model not in seen and (is_hub_id(model) or _is_ours(folder)):
            seen.add(model)
            yield model


def _is_ours(folder: Path) -> bool:
    placement = Placement.read(JobFolder(folder))
    return placement is not None and placement.is_ours(JobFolder(folder))


def _cached_ids(cache: Path) -> Iterator[str]:
    """The ids of the pipelines in the hub's cache, derived from the names of its folders."""
    for folder in _listed(cache):
        kind, *parts = folder.name.split("--")
        if kind == "models" and len(parts) == 2 and _snapshot(folder) is not None:
            yield "/".join(parts)


def _in_folder(folder: Path, go_on: Callable[[], bool], depth: int = 0) -> Iterator[str]:
    """Every Diffusers folder and every file of weights, models or not, down to `MAX_DEPTH`.

    Folders that may not be read, such as those that a file system has at the top of a drive, are passed over.
    """
    for path in _listed(folder):
        if not go_on():
            return
        if is_model_file(path) and leads_to_file(path):
            yield str(path)
        elif not path.name.startswith(".") and leads_to_folder(path):
            if leads_to_file(path / INDEX_FILE):
                is_companion = any(leads_to_file(path.with_name(f"{path.name}{suffix}")) for suffix in MODEL_SUFFIXES)
                if not is_companion:
                    yield str(path)
            elif is_denoiser_folder(path):
                yield str(path)
            elif depth < MAX_DEPTH:
                yield from _in_folder(path, go_on, depth + 1)


def _hub_model(model: str, name: str, sources: Iterable[str], cache: Path) -> Model:
    """A model of the hub, with the size of the first of its sources that is completely in the cache."""
    for source in sources:
        snapshot = _snapshot(cache / f"models--{source.replace('/', '--')}")
        if snapshot is not None and _is_complete(snapshot):
            return Model(model, name, _label(snapshot, source), _size_of(snapshot))
    return Model(model, name)


def _snapshot(repository: Path) -> Path | None:
    """The folder of the downloaded version of a hub repository; None if it is no pipeline."""
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    snapshot = repository / "snapshots" / commit
    return snapshot if commit and leads_to_file(snapshot / INDEX_FILE) else None


def _is_complete(snapshot: Path) -> bool:
    """Whether all files that the engine needs are downloaded."""
    index = read_object(snapshot / INDEX_FILE)
    try:
        family = checked_pipeline(snapshot.name, index)
    except BadInputError:
        return True  # it cannot be used, as `_folder_family` will say
    needed = {*family.required, *({"vae"} & present(index))}
    return all(_is_part_complete(snapshot / part, part in family.networks) for part in needed)


def _is_part_complete(folder: Path, has_weights: bool) -> bool:
    # A link whose target does not exist is still being downloaded, and leads to no file.
    if not has_weights:
        return any(map(leads_to_file, _listed(folder)))
    try:
        files = weight_files(folder)
    except BadInputError:
        return False
    # The engine does not need the hub's half-precision copies (NAME.fp16.safetensors).
    return not all(map(says_half, files))


def _folder_family(folder: Path, model: str) -> Family:
    """The family of a folder in Diffusers layout; `model` is its name in messages.

    Raises:
        BadInputError: it is not supported.
    """
    index = read_object(folder / INDEX_FILE)
    if not index:
        raise BadInputError(f'The model "{model}" has a damaged {INDEX_FILE}: download it again.')
    family = checked_pipeline(model, index, folder)
    check_channels(model, folder, index, family)
    return family


def _label(folder: Path, model: str) -> str:
    """The family's label for a folder; empty for the starter prior, whose name says enough."""
    family = _folder_family(folder, model)
    check_files(model, folder, read_object(folder / INDEX_FILE), family)
    return "" if folder == STARTER_FOLDER else _kind(family, model, folder)


def _kind(family: Family, model: str, folder: Path | None) -> str:
    """The family's label, and whether the model was distilled, for which few choices of noise are possible."""
    index = read_object(folder / INDEX_FILE) if folder else {}
    other = look_alike(model, family)
    few = "few steps" if distilled(model, family, folder, index) else ""
    return ", ".join(filter(None, (family.label, other.kind if other else "", few)))


def _size_of(folder: Path) -> int:
    """Bytes of all files below a folder, including the targets of links in the hub's cache, each once."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                sizes[path.resolve()] = path.stat().st_size
            except OSError:  # a broken link
                continue
    return sum(sizes.values())


def _listed(folder: Path) -> list[Path]:
    """The entries of a folder, sorted by name; empty if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()
