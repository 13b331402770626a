import dataclasses
import threading
from types import SimpleNamespace

import pytest
import torch
from coloured_ball import ColouredBall
from exact_prior import ExactPrior, ball_images

from sdi_engine.config.settings import PRESETS
from sdi_engine.run import checkpoint, checkpoint_writer
from sdi_engine.run.checkpoint_writer import CheckpointWriter, seconds_apart
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.system.files import InUseError


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "seconds_apart", lambda size, seconds: 0.0)
    prior = ExactPrior({"ball": ball_images(16)})
    settings = dataclasses.replace(
        PRESETS["draft"], steps=4, resolution=16, guidance_scale=3.0, inversion_guidance_scale=-3.0, perp_neg="off"
    )
    return Optimisation(prior, "ball", "", settings, seed=0, represent=ColouredBall)


def test_the_loop_goes_on_while_a_checkpoint_is_written_and_it_is_of_its_own_moment(run, tmp_path, monkeypatch):
    may_write, write = threading.Event(), checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *arguments: may_write.wait(60) and write(*arguments))
    run.advance()
    before = checkpoint.snapshot(run)
    with CheckpointWriter(tmp_path / "checkpoint" / "state.safetensors") as writer:
        writer.save_if_due(run)
        run.advance()
        writer.save_if_due(run)  # not while the first one is being written
        assert not (tmp_path / "checkpoint").exists()
        may_write.set()
    checkpoint.write(before, tmp_path / "before.safetensors")
    written = (tmp_path / "checkpoint" / "state.safetensors").read_bytes()
    assert written == (tmp_path / "before.safetensors").read_bytes()


def test_who_saves_has_the_latest_state_on_the_disk(run, tmp_path):
    file = tmp_path / "state.safetensors"
    with CheckpointWriter(file) as writer:
        run.advance()
        writer.save_if_due(run)
        run.advance()
        writer.save(run)
        assert file.read_bytes() == _bytes(checkpoint.snapshot(run), tmp_path)


def test_no_thread_is_left_when_the_run_is_over(run, tmp_path):
    before = set(threading.enumerate())
    with CheckpointWriter(tmp_path / "state.safetensors") as writer:
        writer.save(run)
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before


def test_what_could_not_be_written_is_told_by_the_next_call(run, tmp_path):
    (tmp_path / "taken").write_text("")
    with CheckpointWriter(tmp_path / "taken" / "state.safetensors") as writer:
        writer.save_if_due(run)
        while writer.is_writing:
            pass
        (tmp_path / "taken").unlink()  # the next one could be written
        with pytest.raises(OSError, match="taken"):
            writer.save(run)


def test_one_that_windows_does_not_let_be_replaced_is_left_out_until_the_next(run, tmp_path, monkeypatch):
    file, write = tmp_path / "state.safetensors", checkpoint.write

    def refuse(snapshot, path):
        raise InUseError(13, "Permission denied", str(path))

    with CheckpointWriter(file) as writer:
        monkeypatch.setattr(checkpoint, "write", refuse)
        writer.save(run)
        assert writer.was_left_out
        assert not file.exists()
        monkeypatch.setattr(checkpoint, "write", write)
        writer.save(run)
        assert not writer.was_left_out
        assert file.exists()


def test_the_next_checkpoint_is_due_when_the_last_one_was_begun_long_enough_ago(run, tmp_path, monkeypatch):
    """By a clock of ours: 15 s after the beginning, and then a hundred seconds, since writing takes two of them."""
    now, written = [100.0], []

    def slow_write(snapshot, path):
        written.append(now[0])
        now[0] += 2.0

    monkeypatch.setattr(checkpoint_writer, "seconds_apart", seconds_apart)
    monkeypatch.setattr(checkpoint_writer, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(checkpoint, "write", slow_write)
    with CheckpointWriter(tmp_path / "state.safetensors") as writer:
        for at in (100.0, 114.0, 115.0, 120.0, 214.0, 215.0):
            now[0] = at
            writer.save_if_due(run)
            while writer.is_writing:
                pass
    assert written == [115.0, 215.0]


def test_checkpoints_are_further_apart_where_they_are_large_or_slow_to_write():
    assert seconds_apart(10**6, 0.1) == checkpoint_writer.SECONDS_APART
    assert seconds_apart(150 * 10**6, 0.1) == 60.0
    assert seconds_apart(10**6, 2.0) == 100.0


def _bytes(snapshot, folder):
    checkpoint.write(snapshot, folder / "other.safetensors")
    return (folder / "other.safetensors").read_bytes()


def test_a_snapshot_shares_no_memory_with_the_run(run):
    run.advance()
    snapshot = checkpoint.snapshot(run)
    kept = {name: tensor.clone() for name, tensor in snapshot.items()}
    run.advance()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in snapshot.items())
