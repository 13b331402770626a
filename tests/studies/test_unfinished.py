"""What interrupted runs of studies continue from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sdi_engine.distillation.surface_noise import ENTRIES, NoiseCells
from sdi_engine.studies import unfinished


def test_noise_on_the_object_stays_with_its_checkpoint(tmp_path, monkeypatch):
    """A process may have been killed after it had written that of the same step, and before its checkpoint."""
    monkeypatch.setattr(unfinished, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(unfinished.checkpoint, "save", lambda run, path: path.touch())
    for step in (5, 7):
        (tmp_path / f"cells-{step}.npz").touch()
    cells = {"cached": SimpleNamespace(values=torch.zeros(2), kept=torch.zeros(1))}
    unfinished.Unfinished(tmp_path, cells).save_in_time(SimpleNamespace(step=7), {})
    assert [file.name for file in tmp_path.glob("cells-*")] == ["cells-7.npz"]


@pytest.mark.parametrize("is_older", [False, True])
def test_noise_on_the_object_goes_on_as_it_was_also_from_a_file_that_does_not_say_what_was_forgotten(
    is_older, tmp_path, monkeypatch
):
    """All cells forgot in every step, when such files were written."""
    monkeypatch.setattr(unfinished, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(unfinished.checkpoint, "save", lambda run, path: path.touch())
    monkeypatch.setattr(unfinished.checkpoint, "load", lambda run, path: None)
    run = SimpleNamespace(step=7)
    one, other = (NoiseCells(3, torch.Generator().manual_seed(seed), torch.device("cpu")) for seed in range(2))
    one.refresh(0.5)
    unfinished.Unfinished(tmp_path, {"cached": one}).save_in_time(run, {})
    if is_older:
        np.savez(tmp_path / "cells-7.npz", cached=one.values.numpy())
    unfinished.Unfinished(tmp_path, {"cached": other}).load(run)
    assert torch.equal(other.values, one.values)
    assert torch.equal(other.kept, torch.zeros(ENTRIES) if is_older else one.kept)
