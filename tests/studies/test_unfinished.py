from types import SimpleNamespace

import torch

from sdi_engine.studies import unfinished


def test_noise_on_the_object_stays_with_its_checkpoint(tmp_path, monkeypatch):
    """A process may have been killed after it had written that of the same step, and before its checkpoint."""
    monkeypatch.setattr(unfinished, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(unfinished.checkpoint, "save", lambda run, path: path.touch())
    for step in (5, 7):
        (tmp_path / f"cells-{step}.npz").touch()
    cells = {"cached": SimpleNamespace(values=torch.zeros(2))}
    unfinished.Unfinished(tmp_path, cells).save_in_time(SimpleNamespace(step=7), {})
    assert [file.name for file in tmp_path.glob("cells-*")] == ["cells-7.npz"]
