"""The measure of how much a prior relies on its captions, and that the shipped prior does."""

from __future__ import annotations

import pytest
import torch

from sdi_engine.diffusion.location import STARTER_FOLDER
from sdi_engine.starter import model
from sdi_engine.starter.caption_use import TRUE, caption_use

TINY = model.Size(channels=(16, 32, 32, 32), text_width=16, resolution=16)


def test_a_model_without_text_has_the_same_error_with_all_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    deaf = model.StarterModel(TINY)
    monkeypatch.setattr(deaf, "encode_text", lambda texts: torch.ones(len(texts), 32, 16))
    errors = caption_use(deaf, pictures=4, instances=12, views=2)
    assert len(errors) == 6
    assert next(iter(errors)) == TRUE
    assert min(errors.values()) == max(errors.values()) > 0.0


def test_the_shipped_prior_knows_things_colours_and_views() -> None:
    shipped = model.StarterModel(model.Size.of(STARTER_FOLDER))
    shipped.load(STARTER_FOLDER)
    errors = caption_use(shipped, pictures=24, instances=14, views=4)
    true = errors.pop(TRUE)
    assert all(true < 0.97 * wrong for wrong in errors.values()), (true, errors)
