"""The encoded texts of a job on the disk, so that who goes on with it, or varies it, needs no text encoders.

`texts.safetensors` in the job's folder holds the tensors of each text by "NUMBER.NAME", and in its metadata
    texts   the texts by number: JSON pairs (whether it is read as a negative prompt, text)
    key     what they were read for and by (`_key`)
    seal    the proof (`machine.seal`) that this person wrote all of it on this machine
A file without that proof, such as one that came with somebody's job, is as good as none: then the texts are read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..contract.job_folder import JobFolder, storage_errors
from ..diffusion.prior import Prior, ReadText, Text
from ..errors import EngineError
from ..system import files, machine
from ..system.untrusted import parse_json

MOST_BYTES = 2**30
"""Limit of such a file: ten texts of FLUX.1 are 80 MB."""

MOST_OTHERS = 50
"""In how many other jobs of the results folder, the latest first, the same texts are looked for."""

Texts = dict[ReadText, Text]

log = logging.getLogger(__name__)


def recall(prior: Prior, folder: JobFolder, prompt: str, negative_prompt: str) -> None:
    """Let a prior know the texts that were kept of this job, or else of another one beside it with the same prompts.

    It forgets all others, which an engine that does many jobs would pile up.
    """
    if not prior.text_identity:
        return
    key = _key(prior, prompt, negative_prompt)
    kept = (_read(file, key) for file in _candidates(folder))
    prior.texts_read = next((texts for texts in kept if texts), {})


def keep(prior: Prior, folder: JobFolder, prompt: str, negative_prompt: str) -> None:
    """Write all texts that the prior has read, unless the folder has just them.

    Raises:
        StorageError: they cannot be written.
    """
    texts, key = dict(prior.texts_read), _key(prior, prompt, negative_prompt)
    if not prior.text_identity or not texts or _read(folder.texts_file, key).keys() == texts.keys():
        return
    names = json.dumps(list(texts))
    tensors = {
        f"{number}.{name}": tensor.detach().cpu().contiguous()
        for number, text in enumerate(texts.values())
        for name, tensor in text.items()
    }
    try:
        seal = machine.seal(key, names, _digest(tensors))
    except OSError as error:
        log.debug("the texts are not kept: %s", error)
        return
    with storage_errors(folder.path):
        files.write_atomically(folder.texts_file, save(tensors, {"texts": names, "key": key, "seal": seal}))


def _candidates(folder: JobFolder) -> Iterator[Path]:
    """The file of a job, and those of the jobs beside it."""
    yield folder.texts_file
    with suppress(OSError), os.scandir(folder.path.parent) as entries:
        others = [(entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in entries]
        for _, path in sorted(others, reverse=True)[:MOST_OTHERS]:
            if files.is_folder(Path(path)):
                yield JobFolder(path).texts_file


def _read(file: Path, key: str) -> Texts:
    """The texts in a file, if it is ours and has them for this key; else none."""
    try:
        if not files.is_file(file) or file.stat().st_size > MOST_BYTES:
            return {}
        with safe_open(file, framework="pt") as stream:
            said = stream.metadata() or {}
            if said.get("key") != key:
                return {}
            tensors: dict[str, Tensor] = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if not machine.is_sealed(said.get("seal"), key, said["texts"], _digest(tensors)):
            return {}
        texts: Texts = {(is_negative, text): {} for is_negative, text in parse_json(said["texts"])}
        keys = list(texts)
        for name, tensor in tensors.items():
            number, _, kind = name.partition(".")
            texts[keys[int(number)]][kind] = tensor.clone()  # in memory, whatever becomes of the file
    except (OSError, SafetensorError, EngineError, KeyError, ValueError, TypeError, IndexError) as error:
        log.debug('"%s" is not used: %s', file, error)
        return {}
    return texts


def _key(prior: Prior, prompt: str, negative_prompt: str) -> str:
    return hashlib.sha256(json.dumps([prior.text_identity, prompt, negative_prompt]).encode()).hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
