"""From what a person calls a model (a name, a folder, a file, a hub id) to a `Prior`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import __version__
from ..config.overrides import override
from ..config.parameters import AUTO, NO_PARTS, STARTER_MODEL, Parts
from ..contract import vocabulary
from ..contract.request import Lora
from ..doctor import too_old
from ..errors import (
    BadInputError,
    EngineError,
    EnvironmentMissingError,
    IncompleteModelError,
    OutOfMemoryError,
    is_out_of_memory,
    out_of_memory,
)
from ..system import network
from ..system.pasted import as_meant
from .device_memory import precision_with_room
from .distilled import NATIVE_GUIDANCE, Distilled, about_loras, distilled
from .families import Family
from .fetch import fetch
from .header import read_header
from .lean import import_diffusers
from .location import HINTS_FILE, INDEX_FILE, REAL_MODEL, REAL_MODEL_MIRRORS, ModelLocation, is_model_file, locate
from .look_alikes import look_alike
from .loras import check_loras, fuse_loras
from .model_index import (
    LIBRARIES,
    absent_parts,
    check_schedule_is_told,
    checked_pipeline,
    present,
    read_index,
    says_prediction,
)
from .narrow_weights import NARROW, keep_narrow
from .networks import check_network, empty, network_in_folder, network_of_its_own
from .packed_on_loading import pack_denoiser, precision_of
from .parts import Plan, about_unread_vae, check, files_of
from .precision import precision
from .prior import ModelHints, Prior
from .read_share import expect
from .request_check import examined_folder
from .sources import check_unchanged, sources_of
from .text_encoders import TEXT_ENCODERS, ReadEncoders, TextEncoders, without_weights
from .tokenizer_files import check_knows_words, tokenizer_in, tokenizer_of_model
from .weight_bytes import narrow_kind

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_ADVICE_ON_SHAPES = "ignore_mismatched_sizes"
"""A setting that Diffusers and Transformers name in their errors where a weight does not fit its configuration."""

_PIPELINE_THAT_CORRECTS = "StableDiffusionPipeline"
_CORRECTED = {"steps_offset": 1, "clip_sample": False}
"""The values that this pipeline puts into its scheduler's configuration, with a long warning for each."""

LoadPrior = Callable[[str, torch.device, Sequence[Lora], Parts, str], Prior]
"""`load_prior`."""

log = logging.getLogger(__name__)


def load_prior(
    model: str, device: torch.device, loras: Sequence[Lora] = (), parts: Parts = NO_PARTS, bits: str = AUTO
) -> Prior:
    """Load a text-to-image model, frozen, onto a device.

    Args:
        model: "starter", "stable-diffusion", a folder in Diffusers layout, a single `.safetensors` file, or a hub id
            ("owner/name"). A folder of the file's name beside it may hold its configuration (`companion_folder`).
        device: where it runs; `precision` follows from it.
        loras: changes to the model, added up.
        parts: files and folders for networks that the model does not hold, or instead of them.
        bits: how its denoiser's weights are kept, as a request's `precision` says.

    Raises:
        EnvironmentMissingError: the model is not on this computer and cannot be downloaded, or what packs it
            is missing.
        BadInputError: it is not a model, or not one of a supported family; or a LoRA is missing or does not fit.
        OutOfMemoryError: there is too little memory for it.
    """
    location = locate(model)
    check_loras(loras)
    offline = network.is_forbidden()
    unreachable = ""
    _check_libraries()
    with _explained_errors(model, location):
        import_diffusers()
        _quieten()
        if location.kind == "file":
            return _load_file(Path(location.sources[0]), device, loras, parts, bits)
        if location.kind == "folder":
            return _load_folder(Path(location.sources[0]), model, device, loras, parts, bits)
        if not offline:
            unreachable = network.unreachable(*_hub()) or _distrust(location.sources[0])
    if unreachable:
        log.warning(
            "The Hugging Face hub cannot be reached, since %s; only models downloaded before are available.",
            unreachable,
        )
    with _explained_errors(model, location, unreachable):
        return _load_first(location, device, loras, parts, bits, offline or bool(unreachable))


def check_loadable(model: str, parts: Parts = NO_PARTS) -> None:
    """Refuse a model on this computer as `load_prior` would, but for the values of its weights, which are not read.

    Of one on the hub nothing is known.

    Raises:
        EngineError: as `load_prior`.
    """
    location = locate(model)
    if location.kind == "hub":
        return
    path = Path(location.sources[0])
    _check_libraries()
    with _explained_errors(model, location):
        import_diffusers()
        _quieten()
        if location.kind == "folder":
            _check_folder(path, model, parts)
        else:
            from .single_file import check_single_file

            check_single_file(path, parts)


@contextmanager
def _explained_errors(model: str, location: ModelLocation, unreachable: str = "") -> Iterator[None]:
    """Turn whatever the libraries raise in a block that reads a model into an EngineError."""
    try:
        yield
    except ImportError as error:
        raise EnvironmentMissingError(
            f'The Python package "{error.name}" is missing: install the engine\'s requirements.'
        ) from error
    except EngineError:
        raise
    except Exception as error:  # there is no telling what the libraries raise for damaged files
        if is_out_of_memory(error):
            raise OutOfMemoryError(out_of_memory(error, f'the model "{model}"')) from error
        log.debug("loading %s failed", model, exc_info=True)
        raise _explained(model, location, error, unreachable) from error


def _check_libraries() -> None:
    """Older versions of the libraries ran code that came with a model; whoever never pressed Check is told here.

    Raises:
        EnvironmentMissingError: one of them is older than the tested one.
    """
    for old in too_old(LIBRARIES):
        raise EnvironmentMissingError(f"The Python package {old.name} is too old ({old.detail}): {old.fix}.")


def _load_first(
    location: ModelLocation, device: torch.device, loras: Sequence[Lora], parts: Parts, bits: str, offline: bool
) -> Prior:
    """The first source that can be had; those that have been fetched before come first."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HTTPError

    sources = location.sources
    if len(sources) > 1:
        sources = sorted(sources, key=lambda source: not isinstance(try_to_load_from_cache(source, INDEX_FILE), str))
    in_part: EnvironmentMissingError | None = None
    for source in sources:
        try:
            return _load_hub(source, device, loras, parts, bits, offline)
        except IncompleteModelError as error:
            if not offline:
                raise
            in_part = in_part or _downloaded_in_part(source, error)
        except (OSError, HTTPError) as error:  # the hub's library lets some errors of the one below it through
            if not offline and _network_cause(error):
                raise OSError(str(error)) from error
            if source == sources[-1] and in_part is None:
                raise OSError(str(error)) from error
            log.info("%s is not available (%s): trying the next copy", source, error)
    assert in_part is not None
    raise in_part


def _downloaded_in_part(name: str, error: IncompleteModelError) -> EnvironmentMissingError:
    """What a person is told of a model of the hub whose download was broken off, while there is no network."""
    lack = str(error).rpartition(": ")[0]
    return EnvironmentMissingError(
        f'The model "{name}" was downloaded only in part ({lack}): the rest is downloaded once there is a network (in '
        f'Blender: Preferences, System, Allow Online Access); "{STARTER_MODEL}" needs none.'
    )


def _load_hub(name: str, device: torch.device, loras: Sequence[Lora], parts: Parts, bits: str, offline: bool) -> Prior:
    """A model of the hub, by its id. Diffusers sees the folder where it was downloaded to, and never the id.

    It would take a folder of that name below the working directory for it.
    """
    import diffusers
    from huggingface_hub import hf_hub_download

    index_file = Path(hf_hub_download(name, INDEX_FILE, local_files_only=offline))
    index = read_index(index_file, name)
    family = checked_pipeline(name, index)
    if not offline and not _has_weights(index_file.parent, family, index):
        fetch(name, family.pipeline, absent_parts(family, index))
    folder = getattr(diffusers, family.pipeline).download(
        name, use_safetensors=True, local_files_only=offline, **absent_parts(family, index)
    )
    with _explained_errors(name, ModelLocation("folder", (folder,))):
        return _load_folder(Path(folder).absolute(), name, device, loras, parts, bits)


def _has_weights(folder: Path, family: Family, index: Mapping[str, Any]) -> bool:
    """Whether all networks of a model are in a folder, whole."""
    try:
        return all(read_header(folder / part) for part in family.networks if part in present(index))
    except BadInputError:
        return False


def _load_folder(
    folder: Path, model: str, device: torch.device, loras: Sequence[Lora], parts: Parts, bits: str
) -> Prior:
    """A folder in Diffusers layout; `model` is what a person calls it."""
    import diffusers

    index, planned = _examined_folder(folder, model, parts)
    family = planned.family
    weights = sources_of(planned, None, folder, loras)  # before they are read: who replaces one meanwhile is noticed
    absent = absent_parts(family, index)
    dtype, packed = precision(family, device), precision_with_room(str(folder), device, parts, bits)
    narrow = None if loras or device.type != "cpu" else NARROW.get(narrow_kind(read_header(folder / family.denoiser)))
    networks = [part for part in family.networks if part in present(index)]
    encoders = [part for part in networks if part in TEXT_ENCODERS]

    def made(part: str) -> nn.Module:
        if part == family.denoiser:
            return read_denoiser()
        number = torch.float32 if part == "vae" else dtype
        if part in planned.given:
            return network_of_its_own(planned.given[part], part, index[part], folder, number, family.identities)
        return network_in_folder(folder, model, part, index[part], number)

    def read(some: Sequence[str]) -> dict[str, nn.Module]:
        expect(read_header(planned.given[part].path if part in planned.given else folder / part) for part in some)
        return {part: made(part) for part in some}

    def read_denoiser() -> nn.Module:
        denoiser = network_in_folder(folder, model, family.denoiser, index[family.denoiser], narrow or dtype)
        if narrow:
            keep_narrow(denoiser, dtype)
        return denoiser

    pipeline = getattr(diffusers, family.pipeline).from_pretrained(
        str(folder),
        local_files_only=True,
        scheduler=_scheduler(folder, model, family, index["scheduler"]),
        **absent | _tokenizers_given(parts, planned, index, folder),
        **read([part for part in networks if part not in encoders]),
        **{part: without_weights(folder, part, index[part]) for part in encoders},
    )
    check_knows_words(
        folder, {part: each for part, each in pipeline.components.items() if part.startswith("tokenizer")}
    )
    notices = fuse_loras(pipeline, loras, family) + about_loras(loras)
    notices += pack_denoiser(getattr(pipeline, family.denoiser), packed, device)
    found = distilled(model, family, folder, index)
    prior = _with_prediction(
        lambda: _prior_of(model, family, pipeline, folder, device, notices, found), pipeline, family, folder
    )
    prior.packed = precision_of(getattr(pipeline, family.denoiser))
    prior.quick_encoder = _quick_encoder(planned, device)
    prior.weights = weights
    files = [folder / INDEX_FILE, folder / HINTS_FILE]
    files += [file for part in ("text_encoder*", "tokenizer*") for file in folder.glob(f"{part}/*")]
    files += files_of(planned)
    return _with_encoders(prior, family, pipeline, model, lambda: read(encoders), files, dtype, loras)


def _examined_folder(folder: Path, model: str, parts: Parts) -> tuple[dict[str, Any], Plan]:
    """`examined_folder`, and that the networks from elsewhere fit into the model; raises BadInputError."""
    index, planned = examined_folder(folder, model, parts)
    for part, network_given in planned.given.items():
        check_network(network_given, part, index[part], folder, planned.family.identities)
    return index, planned


def _check_folder(folder: Path, model: str, parts: Parts) -> None:
    """Make all of a folder's pipeline that needs no weights; raises what `_load_folder` would."""
    index, planned = _examined_folder(folder, model, parts)
    family, here = planned.family, present(index)
    _scheduler(folder, model, family, index["scheduler"])
    for part in family.networks:
        if part in here and part not in TEXT_ENCODERS:
            empty(index[part], folder, part)
        elif part in here:
            without_weights(folder, part, index[part])
    given = _tokenizers_given(parts, planned, index, folder)
    own = [part for part in (*family.required, *family.optional) if part.startswith("tokenizer") and part in here]
    check_knows_words(folder, {part: given.get(part) or tokenizer_of_model(folder, part, index[part]) for part in own})


def _tokenizers_given(parts: Parts, planned: Plan, index: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The tokenizer that a person gave instead of the model's own, by the name of its part."""
    if not parts.tokenizer:
        return {}
    return {
        part.tokenizer: tokenizer_in(
            planned.tokenizers[part.tokenizer],
            part,
            index[part.tokenizer],
            without_weights(folder, part.part, index[part.part]),
        )
        for part in planned.family.components
        if part.tokenizer in planned.tokenizers and part.part in present(index)
    }


def _scheduler(folder: Path, model: str, family: Family, kind: Sequence[str]) -> Any:
    """The scheduler of a model in Diffusers layout, with the corrections that its pipeline would make.

    Raises:
        BadInputError: a U-Net with this one is not supported, or its configuration does not say the noise schedule.
    """
    library, name = kind
    scheduler = getattr(importlib.import_module(library), name).from_pretrained(
        str(folder), subfolder="scheduler", local_files_only=True
    )
    if family.pipeline == _PIPELINE_THAT_CORRECTS:
        known = {name: value for name, value in _CORRECTED.items() if name in scheduler.config}
        scheduler.register_to_config(**known)
    if family.may_predict_velocity:
        from .unet_prior import check_schedule

        check_schedule(scheduler)
    check_schedule_is_told(model, folder, family)
    return scheduler


def _load_file(file: Path, device: torch.device, loras: Sequence[Lora], parts: Parts, bits: str) -> Prior:
    from .single_file import companion_folder, load_single_file

    planned, companion = check(str(file), parts), companion_folder(file)
    assert planned is not None
    weights = sources_of(planned, file, companion, loras)
    packed = precision_with_room(str(file), device, parts, bits)
    loaded = load_single_file(file, device, parts, may_stay_narrow=not loras)
    pipeline, family = loaded.pipeline, loaded.family
    notices = loaded.notices + fuse_loras(pipeline, loras, family) + about_loras(loras)
    if not parts.vae:
        notices += about_unread_vae(file)
    notices += pack_denoiser(getattr(pipeline, family.denoiser), packed, device)
    found = distilled(str(file), family, companion)
    prior = _with_prediction(
        lambda: _prior_of(str(file), family, pipeline, companion, device, notices, found), pipeline, family, companion
    )
    prior.packed = precision_of(getattr(pipeline, family.denoiser))
    prior.quick_encoder = _quick_encoder(planned, device)
    prior.weights = weights
    files = [file, *(companion.rglob("*.json") if companion else ()), *files_of(planned)]
    return _with_encoders(
        prior, family, pipeline, str(file), loaded.read_encoders, files, precision(family, device), loras
    )


def _with_prediction(make: Callable[[], Prior], pipeline: Any, family: Family, folder: Path | None) -> Prior:
    """The prior of a pipeline, made anew where its U-Net turns out to predict velocity and no configuration says it.

    Args:
        make: the prior of the pipeline as it is.
        folder: with the model's configurations, if it has its own.
    """
    from .single_file import predicts_velocity, set_velocity

    prior = make()
    is_told = folder is not None and says_prediction(folder)
    if not family.may_predict_velocity or is_told or not predicts_velocity(prior):
        return prior
    set_velocity(pipeline, family, sets_size=folder is None)
    return make()


def _quick_encoder(planned: Plan, device: torch.device) -> nn.Module | None:
    """The encoder of the tiny VAE that a person gave, if they did."""
    if planned.tiny_vae is None:
        return None
    from .tiny_encoder import load_quick_encoder

    return load_quick_encoder(planned.tiny_vae, device)


def _with_encoders(
    prior: Prior,
    family: Family,
    pipeline: DiffusionPipeline,
    model: str,
    read: ReadEncoders,
    files: Sequence[Path],
    dtype: torch.dtype,
    loras: Sequence[Lora],
) -> Prior:
    """A prior whose text encoders are read when they are needed.

    Args:
        read: reads them, without LoRAs.
        files: on which their embeddings depend.
        dtype: in which they compute.

    Raises:
        BadInputError: a file of the model was replaced while it was read.
    """
    check_unchanged(prior.weights)
    text_encoders = getattr(prior, "text_encoders", None)
    if not isinstance(text_encoders, TextEncoders):
        return prior

    def changed() -> dict[str, nn.Module]:
        what = "file" if is_model_file(Path(model)) else "folder"
        with _explained_errors(model, ModelLocation(what, (model,))):
            encoders = dict(read())
            if loras:
                denoiser = getattr(pipeline, family.denoiser)
                parts = SimpleNamespace(**{family.denoiser: denoiser}, **encoders)
                fuse_loras(parts, loras, family, done=(family.denoiser,))
            check_unchanged(prior.weights)
            return encoders

    text_encoders.read = changed
    prior.text_identity = _text_identity(
        [*files, *(Path(as_meant(lora.file)) for lora in loras)],
        [family.name, str(dtype), prior.device.type, *(f"{lora.weight}" for lora in loras)],
    )
    return prior


def _text_identity(files: Iterable[Path], more: Iterable[str]) -> str:
    """A hash of the states of files, of the libraries' versions, and of more."""
    states = sorted((file.name, file.parent.name, *_state(file)) for file in files if file.is_file())
    versions = [__version__, *(importlib.metadata.version(library) for library in LIBRARIES)]
    return hashlib.sha256(repr([states, versions, *more]).encode()).hexdigest()


def _state(file: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _prior_of(
    model: str,
    family: Family,
    pipeline: DiffusionPipeline,
    folder: Path | None,
    device: torch.device,
    notices: list[str],
    found: Distilled | None,
) -> Prior:
    """The prior of a pipeline.

    Args:
        model: what a person calls it.
        folder: what may say more of the model, in Diffusers layout.
        notices: what a person is told of it.
        found: that it was distilled.
    """
    prior: Prior = family.prior(pipeline, _hints(folder, family, found), device)
    other = look_alike(model, family)
    prior.notices = (*prior.notices, *([other.notice] if other else []), *notices)
    prior.distilled = found
    return prior


def _quieten() -> None:
    """Without the libraries' progress bars, and what Transformers says of image processors that nobody uses here."""
    import diffusers
    import transformers

    transformers.utils.logging.set_verbosity_error()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def _hints(folder: Path | None, family: Family, found: Distilled | None) -> ModelHints:
    """What a model's folder says of it, if there is one, and for the rest what suits its family."""
    guidance = NATIVE_GUIDANCE if found else family.guidance
    of_family = ModelHints(guidance_scale=guidance, view_vocabulary=family.views)
    file = folder / HINTS_FILE if folder else None
    if file is None or not file.is_file():
        return of_family
    try:
        said = dict(json.loads(file.read_text(encoding="utf-8")))
        knows = vocabulary.sound(said.pop("knows", {}))
        return dataclasses.replace(override(of_family, said), knows=knows)
    except (ValueError, TypeError, BadInputError) as error:
        raise BadInputError(f'The file "{file}" is damaged ({str(error).rstrip(".")}): repair or delete it.') from error


def _explained(model: str, location: ModelLocation, error: Exception, unreachable: str) -> EngineError:
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 200 else f"{detail[:200]}…"
    if _ADVICE_ON_SHAPES in str(error):  # which is for whoever writes Python
        detail = "its weights are of other sizes than its configuration says"
    if location.kind == "file":
        return BadInputError(
            f'The model file "{model}" cannot be loaded ({detail}): it is damaged, or has a non-standard architecture, '
            f'for which its configuration in Diffusers layout must be in a folder "{Path(model).stem}" beside it.'
        )
    if location.kind == "folder":
        return BadInputError(
            f'The model "{model}" cannot be loaded ({detail}): it is damaged or of another kind; download it again, or '
            "choose another one."
        )
    hub_cause = _hub_cause(error)
    network_cause = "" if hub_cause else unreachable or _network_cause(error)
    if network_cause:
        return EnvironmentMissingError(
            f'The model "{model}" is not on this computer and cannot be downloaded, since {network_cause}. '
            f'"{STARTER_MODEL}" needs no network.'
        )
    return EnvironmentMissingError(
        f'The model "{model}" is not on this computer and cannot be downloaded ({hub_cause or detail}): check '
        "its name and the network (in Blender: Preferences, System, Allow Online Access), or use "
        f'"{REAL_MODEL}" (Stable Diffusion 2.1 base, from {" or ".join(REAL_MODEL_MIRRORS)}) or "{STARTER_MODEL}".'
    )


def _hub() -> tuple[str, str]:
    """The hub's address, and what sets it, if anything does."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT), "HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else ""


def _distrust(source: str) -> str:
    """A sentence if the hub's certificate is not trusted, after one attempt; "" if it is, and for any other error.

    The hub's library would try again for half a minute, and no certificate becomes valid by that.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HTTPError

    try:
        get_hf_file_metadata(hf_hub_url(source, INDEX_FILE), timeout=network.CONNECT_SECONDS)
    except (OSError, ValueError, HTTPError) as error:
        said = " ".join(str(each) for each in network.chain(error))
        return network.why(said, *_hub()) if network.is_distrust(said) else ""
    return ""


def _network_cause(error: BaseException) -> str:
    """Cause and cure where it is the network's fault, as far as the exceptions say so; else ""."""
    if network.is_forbidden() or _hub_cause(error):
        return ""
    return network.why(" ".join(str(each) for each in network.chain(error)), *_hub())


def _hub_cause(error: BaseException) -> str | None:
    """In a few words what the hub answered, which Diffusers' long sentences hide."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    for each in network.chain(error):
        if isinstance(each, GatedRepoError):
            return "its page on the hub requires you to accept its terms and to log in with a token"
        if isinstance(each, RepositoryNotFoundError):
            return "the hub has no model of this name, or no longer, or it is private"
    return None
