"""A pipeline's text encoders, which are in memory only while they read: they can be larger than the denoiser."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

ReadEncoders = Callable[[], Mapping[str, nn.Module]]
"""Reads the text encoders from their files, by their names in the pipeline."""


class TextEncoders:
    """The text encoders of a pipeline, read when there is something for them to read, and freed on request.

    In a pipeline whose encoders have no weights (`without_weights`) they stand for their configuration alone.

    Attributes:
        read: how they are read; None for those of a pipeline that came with them, which are never freed.
    """

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        """
        Args:
            pipeline: a `DiffusionPipeline`.
            device: where they work. On a graphics card they are only while they read.
        """
        self._pipeline = pipeline
        self._device = device
        self._rests = device.type == "cuda"
        self.read: ReadEncoders | None = None
        for encoder in self._loaded():
            encoder.requires_grad_(False).eval()
        if not self._rests:
            self._move(device)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """They are there, and on the device, during a block."""
        self._ensure_loaded()
        if self._rests:
            self._move(self._device)
        try:
            yield
        finally:
            if self._rests:
                self._move(torch.device("cpu"))

    def free(self) -> None:
        """Give their memory back; `at_work` reads them from their files again."""
        if self.read is not None:
            for encoder in self._loaded():
                encoder.to("meta")

    @property
    def are_loaded(self) -> bool:
        """Whether they are in memory."""
        return bool(self._loaded())

    def _ensure_loaded(self) -> None:
        if self.read is None or self.are_loaded:
            return
        for name, encoder in self.read().items():
            setattr(self._pipeline, name, encoder.requires_grad_(False).eval())
        if not self._rests:
            self._move(self._device)

    def _move(self, device: torch.device) -> None:
        for encoder in self._loaded():
            encoder.to(device)

    def _loaded(self) -> list[nn.Module]:
        encoders = (getattr(self._pipeline, name, None) for name in TEXT_ENCODERS)
        return [encoder for encoder in encoders if encoder is not None and has_weights(encoder)]


def has_weights(module: nn.Module) -> bool:
    """Whether a part of a pipeline is more than its configuration."""
    return not any(parameter.is_meta for parameter in module.parameters())


def without_weights(folder: Path, part: str, kind: Sequence[str]) -> nn.Module:
    """A part of a model in Diffusers layout as its configuration says, without weights.

    Args:
        kind: the library and the class, as the model's index has them.
    """
    from accelerate import init_empty_weights

    library, name = kind
    module = getattr(importlib.import_module(library), name)
    config = module.config_class.from_pretrained(str(folder), subfolder=part, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        empty: nn.Module = module(config)
    return empty.requires_grad_(False).eval()
