"""The starter prior's training: tokens, resuming, several processes, and the folder that it writes."""

from __future__ import annotations

import errno
import json
import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer

from sdi_engine.diffusion.location import STARTER_FOLDER
from sdi_engine.diffusion.views import all_view_words
from sdi_engine.starter import batches, captions, model, paint, publish, record, train, world
from sdi_engine.starter.dataset import Window
from sdi_engine.starter.world import Item, Subject

TINY = model.Size(channels=(16, 32, 32, 32), text_width=16, resolution=16)
STEADY = replace(TINY, resolution=32)
"""Its gradients are accurate to 1e-5. Those of TINY only to 1e-2: its innermost maps are single pixels, whose
normalisation amplifies rounding."""
SETTINGS = train.Settings(
    steps=4,
    batch=4,
    warm_up=2,
    first_shards=1,
    instances=3,
    views=2,
    log_every=1,
    save_every=100,
    sample_every=100,
    sample_steps=2,
)


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples the pictures in two steps: those of an untrained model are of no use anyway."""
    sample, use = model.StarterModel.sample, publish.caption_use
    monkeypatch.setattr(model.StarterModel, "sample", lambda self, texts, seed, steps=2: sample(self, texts, seed, 2))
    monkeypatch.setattr(publish, "caption_use", lambda shown: use(shown, pictures=4, instances=12, views=2))


def trainer(folder: Path, **changes: Any) -> train.Trainer:
    return train.Trainer(folder, TINY, replace(SETTINGS, **changes))


def test_every_word_is_one_token_and_survives_saving(tmp_path: Path) -> None:
    captions.build_tokenizer().save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    subjects = [Subject(Item(kind, colour)) for kind in world.things() for colour in paint.COLOURS]
    subjects += [Subject(Item("mug", "red", pattern)) for pattern in paint.PATTERNS]
    subjects += [Subject(Item(upper, "red", "dotted"), Item(lower, "wooden")) for upper, lower in world.PAIRS]
    texts = [f"{captions.describe(subject)}, {view}" for subject in subjects for view in all_view_words()]
    for text in texts:
        words = text.replace(",", " ,").split()
        ids = tokenizer(text).input_ids
        assert len(ids) == len(words) + 2
        assert max(ids) < captions.piece_start()
        assert tokenizer.unk_token_id not in ids
        assert len(ids) <= captions.MAX_LENGTH == tokenizer.model_max_length


def test_foreign_words_are_taken_for_the_unknown_word() -> None:
    torch.manual_seed(0)
    tiny = model.StarterModel(TINY)
    ids = captions.token_ids(tiny.tokenizer, ["a red zebra, front view", "a red %§é, front view", ""])
    assert ids.shape == (3, captions.MAX_LENGTH)
    assert ids.max() < captions.piece_start()
    assert (ids[:2] == tiny.tokenizer.unk_token_id).any(dim=1).all()
    assert ids[2, 0] == tiny.tokenizer.bos_token_id
    assert (ids[2, 1:] == tiny.tokenizer.eos_token_id).all()


def test_folding_keeps_every_pixel() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert model.fold(images).shape == (2, 12, 8, 8)
    torch.testing.assert_close(model.unfold(model.fold(images)), images)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    trainer(tmp_path / "parts").run(stop_after=2)
    with (tmp_path / "parts" / "loss.jsonl").open("a") as file:  # a run that was killed after its state was saved
        file.write('{"step": 3, "loss": 9.0}\n{"step": 4, "lo')
    resumed = trainer(tmp_path / "parts")
    resumed.resume()
    assert resumed.step == 2
    resumed.run()
    assert resumed.step == whole.step == 4
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, atol=1e-6, rtol=1e-5, msg=name)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "loss.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_workers_make_the_batches_that_one_process_would_make(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=7, workers=2)
    alone = batches.Batches(settings, TINY.resolution, tmp_path / "alone")
    made = list(batches.Batches(settings, TINY.resolution, tmp_path / "two").follow(2, lambda: 0.0, on_gpu=False))
    assert len(made) == 5
    for step, batch in enumerate(made, 2):
        for mine, theirs in zip(alone[step], batch, strict=True):
            assert torch.equal(torch.as_tensor(mine), torch.as_tensor(theirs))
    assert not torch.equal(made[0].images, made[1].images)
    shards = sorted(file.name.split("-")[0] for file in (tmp_path / "two").iterdir())
    assert shards == ["000000", "000001"]  # each worker's first


def start_from_a_model(folder: Path, processes: int) -> train.Settings:
    """Two steps from the model in `earlier`, into `run`; no step changes much at this rate."""
    torch.manual_seed(1)
    model.StarterModel(STEADY).save(folder / "earlier", half=False)
    settings = replace(SETTINGS, processes=processes, steps=2, learning_rate=1e-9, lesson=(0.0, 0.0))
    train.train(folder / "run", settings, "cpu", resume=False, start_from=folder / "earlier")
    return settings


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, train.Settings]:
    """The run of two real processes, which need not load torch where they can be forks of this one."""
    folder = tmp_path_factory.mktemp("two-processes")
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "fork") and not torch.cuda.is_available():
            patch.setattr(torch.multiprocessing, "spawn", fork)
        return folder, start_from_a_model(folder, processes=2)


def fork(function: Callable[..., None], arguments: tuple[Any, ...], nprocs: int, daemon: bool) -> None:
    """`torch.multiprocessing.spawn`, but for the loading."""
    assert pickle.loads(pickle.dumps((function, arguments))) == (function, arguments)
    torch.multiprocessing.start_processes(function, arguments, nprocs, daemon=daemon, start_method="fork")


def test_two_processes_train_one_model(two_processes: tuple[Path, train.Settings]) -> None:
    """Both follow the mean of their gradients; the first writes the files.

    What optimisers remember of gradients is compared, for the weights would not do: first steps are as long for a
    gradient that is mere rounding as for any other.
    """
    folder, settings = two_processes
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert state["step"] == 2
    shards = sorted(file.name.split("-")[0] for file in (folder / "run" / "shards").iterdir())
    assert shards == ["000000", "000001"]

    # The expected result: steps of one process with the mean gradient of both shares of the batch.
    parts = [train.Trainer(folder / "run", STEADY, settings, rank) for rank in (0, 1)]
    alone = train.Trainer(folder / "run", STEADY, replace(settings, processes=1))
    for trainer in (*parts, alone):
        trainer.start_from(folder / "earlier")
    for step in range(2):
        shares = [part.gradients(*part._loss_inputs(part.batches[step]))[1:] for part in parts]
        for parameter, *gradients in zip(alone.parameters, *shares, strict=True):
            parameter.grad = (gradients[0] + gradients[1]) / 2
        alone._update()
    means = remembered_gradients([optimizer.state_dict() for optimizer in alone.optimizers])
    assert len(means) == sum(parameter.numel() for parameter in alone.parameters)
    assert (remembered_gradients(state["optimizers"]) - means).norm() < 1e-3 * means.norm()


def remembered_gradients(states: list[dict[str, Any]]) -> torch.Tensor:
    """The running means of the gradients in the states of Muon and AdamW, concatenated."""
    kept = [(state, name) for state, name in zip(states, ("momentum", "exp_avg"), strict=True)]
    return torch.cat([entry[name].flatten() for state, name in kept for entry in state["state"].values()])


def test_processes_that_follow_the_same_gradients_keep_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them as threads, each of which orthogonalises its share of the matrices."""
    met, lent = threading.Barrier(2, timeout=60), {}

    def all_reduce(tensor: torch.Tensor) -> None:
        lent[threading.current_thread().name] = tensor.clone()
        met.wait()
        tensor.copy_(lent["0"] + lent["1"])
        met.wait()

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    settings = replace(SETTINGS, processes=2, steps=3, log_every=100)
    both = [train.Trainer(tmp_path, STEADY, settings, rank) for rank in (0, 1)]
    matrices = train.hidden_matrices(both[0].model)
    before = [matrix.detach().clone() for matrix in matrices]
    threads = [threading.Thread(target=part.run, name=str(part.rank)) for part in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [part.step for part in both] == [3, 3]
    # Only process 0 writes the losses, and what is kept for that is numbers, not the gradients beside them.
    assert [[loss.untyped_storage().nbytes() for loss in part.recent_losses] for part in both] == [[4, 4, 4], []]
    for mine, theirs in zip(both[0].parameters, both[1].parameters, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0.01 * settings.learning_rate, rtol=0)
    for first, matrix in zip(before, matrices, strict=True):  # updated, whichever process it was assigned to
        assert (matrix - first).square().mean().sqrt() > 0.02 * settings.learning_rate


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    trainer(tmp_path, steps=30, batch=8, reuse=100).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert len(losses) == 30
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    assert (tmp_path / "loss.png").exists()


def test_in_bfloat16_weights_and_their_gradients_stay_float32(tmp_path: Path) -> None:
    runs = [train.Trainer(tmp_path, STEADY, replace(SETTINGS, bfloat16=bfloat16)) for bfloat16 in (False, True)]
    batch = next(runs[0].batches.follow(0, lambda: 0.0, False))
    (loss, *gradients), (rounded_loss, *rounded) = (run.gradients(*run._loss_inputs(batch)) for run in runs)
    assert {tensor.dtype for tensor in (rounded_loss, *rounded)} == {torch.float32}
    assert not torch.equal(torch.cat([g.flatten() for g in gradients]), torch.cat([g.flatten() for g in rounded]))
    torch.testing.assert_close(rounded_loss, loss, rtol=0.05, atol=0.0)
    length = sum(gradient.square().sum() for gradient in gradients) ** 0.5
    apart = sum((one - other).square().sum() for one, other in zip(gradients, rounded, strict=True)) ** 0.5
    assert apart < 0.3 * length


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_model_that_lacks_weights_is_no_start(part: str, tmp_path: Path) -> None:
    earlier = model.StarterModel(TINY)
    earlier.save(tmp_path)
    file = next((tmp_path / part).glob("*.safetensors"))
    weights = safetensors.torch.load_file(file)
    name = next(name for name in weights if name.endswith("weight"))
    del weights[name]
    safetensors.torch.save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=f"lacks weights: .*{name.rpartition('.')[0]}"):
        model.StarterModel(TINY).load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    {
        "unet/diffusion_pytorch_model.safetensors": None,
        "text_encoder/model.safetensors": b"\x10",
        "unet/config.json": b"[]",
        "text_encoder/config.json": b"{",
    }.items(),
    ids=["gone", "cut", "list", "half"],
)
def test_a_damaged_model_is_no_start(
    damage: tuple[str, bytes | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "earlier"
    model.StarterModel(TINY).save(earlier)
    file, content = earlier / damage[0], damage[1]
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(SystemExit, match="2"):
        train.main(["--output", str(tmp_path / "run"), "--device", "cpu", "--start-from", str(earlier)])
    assert "is no whole starter prior" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_part_of_the_run_is_a_lesson_and_after_it_a_part_of_each_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, lesson=(0.25, 0.75), lesson_share=0.5)
    lesson, loss = Window.lesson, run.model.loss
    lessons: list[tuple[int, int, bool]] = []
    timesteps: dict[int, torch.Tensor] = {}

    def watched_lesson(
        window: Window, count: int, rng: np.random.Generator, only_sides: bool
    ) -> tuple[torch.Tensor, list[str]]:
        lessons.append((run.step, count, only_sides))
        return lesson(window, count, rng, only_sides)

    def watched_loss(images: torch.Tensor, tokens: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        timesteps[run.step] = t
        return loss(images, tokens, t, noise)

    monkeypatch.setattr(Window, "lesson", watched_lesson)
    monkeypatch.setattr(run.model, "loss", watched_loss)
    run.run()
    assert lessons == [(1, 4, True), (2, 4, False), (3, 2, False)]
    assert [len(t) for t in timesteps.values()] == [4, 4, 4, 4]
    lowest, highest = batches.LESSON_TIMESTEPS
    assert all(lowest <= t < highest for step, count, _ in lessons for t in timesteps[step][-count:].tolist())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_can_start_from_a_model(processes: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """At this rate the result is the model that it started from, in the same size."""
    folder = tmp_path
    if processes == 2:
        folder, _ = request.getfixturevalue("two_processes")
    else:
        start_from_a_model(folder, processes)
    earlier = model.StarterModel(STEADY)
    earlier.load(folder / "earlier")
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert model.Size.of(folder / "earlier") == STEADY
    assert [part.steps for part in record.read_record(folder / "run" / train.MODEL_FOLDER)] == [2]
    for part in ("model", "average"):
        for name, value in earlier.state_dict().items():
            torch.testing.assert_close(state[part][name], value, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize(("name", "folder"), [("starter", STARTER_FOLDER), ("FOLDER", None)])
def test_the_shipped_weights_have_a_name(
    name: str, folder: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is trained: two optimisers' steps of a whole prior take longer than all else."""
    asked: list[tuple[Path | None, int, tuple[float, float]]] = []

    def watched(_: Path, settings: train.Settings, *__: object, start_from: Path | None) -> None:
        asked.append((start_from, settings.save_every, settings.lesson))

    monkeypatch.setattr(train, "train", watched)
    if folder is None:
        model.StarterModel(TINY).save(tmp_path)
        folder, name = tmp_path, str(tmp_path)
    train.main(["--output", str(tmp_path / "run"), "--device", "cpu", "--start-from", name, "--save-every", "7"])
    assert asked == [(folder, 7, (0.0, 0.0))]


def test_a_resumed_run_keeps_its_size_and_lesson(tmp_path: Path) -> None:
    """Neither follows from the command line of the resumed run, which no longer has --start-from."""
    without_lesson = replace(SETTINGS, steps=1, lesson=(0.0, 0.0))
    train.train(tmp_path, without_lesson, "cpu", resume=False, size=TINY)
    train.train(tmp_path, replace(without_lesson, steps=2, lesson=(0.25, 0.34)), "cpu", resume=True)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert state["lesson"] == (0.0, 0.0)


def _cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _cut_off(folder / "state.pt"),
        lambda folder: (folder / "state.pt").write_bytes(b"no state"),
        lambda folder: (folder / "state.pt").write_bytes(b""),
        lambda folder: torch.save([1, 2], folder / "state.pt"),
        lambda folder: torch.save({"model": {}, "average": {}}, folder / "state.pt"),
        lambda folder: torch.save(torch.load(folder / "state.pt") | {"model": 3}, folder / "state.pt"),
        lambda folder: (folder / "model/unet/config.json").unlink(),
        lambda folder: (folder / "model" / record.RECORD_FILE).write_text("{"),
        lambda folder: (folder / "model" / record.RECORD_FILE).write_text("[3]"),
    ],
)
def test_a_damaged_training_is_not_resumed(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(tmp_path, replace(SETTINGS, steps=1), "cpu", resume=False, size=TINY)
    damage(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        train.main(["--output", str(tmp_path), "--device", "cpu", "--steps", "2", "--batch", "4", "--resume"])
    assert "no whole training to resume" in capsys.readouterr().err


def test_a_training_that_cannot_be_written_does_not_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        train.main(["--output", str(tmp_path / "file"), "--device", "cpu", "--steps", "1"])
    assert "cannot be written" in capsys.readouterr().err


def test_new_pictures_replace_old_ones(tmp_path: Path) -> None:
    """A shard of four pictures lasts one step of four: by the fifth step five shards have been begun."""
    made = batches.Batches(replace(SETTINGS, instances=2, reuse=1, capacity=2), TINY.resolution, tmp_path)
    for step in range(5):
        made[step]
    assert sorted(made.windows[0].shards) == [3, 4]
    assert sorted(file.name.split("-")[0] for file in tmp_path.iterdir()) == ["000003", "000004"]


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 2e-2)])
def test_the_folder_is_a_pipeline_with_the_same_output(tmp_path: Path, half: bool, tolerance: float) -> None:
    torch.manual_seed(0)
    tiny = model.StarterModel(TINY).eval()
    tiny.save(tmp_path, half=half)
    assert not [f for f in tmp_path.rglob("*") if f.suffix in {".bin", ".pt", ".pkl"}]
    pipeline = DiffusionPipeline.from_pretrained(tmp_path, vae=None)
    assert pipeline.vae is None
    assert pipeline.scheduler.config.prediction_type == "sample"
    assert (pipeline.unet.config.in_channels // 3) ** 0.5 == model.PATCH

    text = "a red zebra, back left view from above"
    tokens = pipeline.tokenizer([text], padding="max_length", truncation=True, return_tensors="pt").input_ids
    x, t = torch.randn(1, 12, 8, 8), torch.tensor([500])
    with torch.no_grad():
        embeddings = pipeline.text_encoder(tokens).last_hidden_state
        # Pieces of "zebra" have embeddings of their own in the file: they must equal the unknown word's.
        torch.testing.assert_close(embeddings, tiny.encode_text([text]), atol=1e-5, rtol=1e-4)
        loaded, own = (unet(x, t, embeddings).sample for unet in (pipeline.unet, tiny.unet))
    torch.testing.assert_close(loaded, own, atol=tolerance, rtol=tolerance)

    hints = json.loads((tmp_path / "sdi_engine.json").read_text())
    assert hints["knows"]["things"] == list(world.things())
    assert hints["view_vocabulary"] == "eight"


def test_samples_are_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    samples = model.StarterModel(TINY).eval().sample(["a red mug, front view", ""], seed=0, steps=2)
    assert samples.shape == (2, 3, 16, 16)
    assert samples.min() >= 0
    assert samples.max() <= 1
    train.save_grid(samples, columns=2, file=tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 100


def test_a_record_begins_with_that_of_the_model_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "caption_use", lambda shown: {})
    monkeypatch.setattr(model.StarterModel, "sample", lambda self, texts, seed, *_: torch.zeros(len(texts), 3, 16, 16))
    trainer(tmp_path / "one").run()
    publish.publish(tmp_path / "one", tmp_path / "weights", "a slow machine")
    second = replace(SETTINGS, steps=3, seed=7, learning_rate=1e-4)
    first_of_two = train.Trainer(tmp_path / "two", TINY, second)
    first_of_two.start_from(tmp_path / "weights")
    first_of_two.run(stop_after=2)
    train.train(tmp_path / "two", second, "cpu", resume=True)
    publish.publish(tmp_path / "two", tmp_path / "weights", "a fast one", "with | care")
    parts = record.read_record(tmp_path / "weights")
    assert [(part.steps, part.images, part.seed) for part in parts] == [(4, 16, 0), (3, 12, 7)]
    assert [(part.hardware, part.note) for part in parts] == [("a slow machine", ""), ("a fast one", "with | care")]
    card = (tmp_path / "weights" / "README.md").read_text(encoding="utf-8")
    assert "7 steps (28 images)" in card
    assert "| 0.0001 | 7 | a fast one | with \\| care |" in card


def test_a_full_disk_leaves_the_published_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fills_the_disk(self: model.StarterModel, folder: Path, half: bool = True) -> None:
        (folder / "tokenizer").mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer(tmp_path / "run").run()
    place = tmp_path / "weights"
    (place / "unet").mkdir(parents=True)
    (place / "unet" / "weights").write_text("of an earlier model")
    monkeypatch.setattr(model.StarterModel, "save", fills_the_disk)
    with pytest.raises(OSError, match="No space"):
        publish.publish(tmp_path / "run", place, "a test's machine")
    assert [str(file.relative_to(place)) for file in sorted(place.rglob("*"))] == ["unet", str(Path("unet/weights"))]


def test_a_trained_model_is_published_with_its_card(tmp_path: Path) -> None:
    trainer(tmp_path / "run").run()
    place = tmp_path / "weights"
    (place / "unet").mkdir(parents=True)
    (place / "unet" / "old.txt").write_text("of an earlier model")
    (place / "mine.txt").write_text("kept")
    publish.publish(tmp_path / "run", place, "a test's machine")
    assert not (place / "unet" / "old.txt").exists()
    assert (place / "mine.txt").read_text() == "kept"
    assert {"model_index.json", "sdi_engine.json", "README.md", "samples.png", "views.png", "loss.png"} <= {
        file.name for file in place.iterdir()
    }
    card = (place / "README.md").read_text(encoding="utf-8")
    assert "4 steps (16 images)" in card
    assert "a test's machine" in card
    loaded = DiffusionPipeline.from_pretrained(place, vae=None)
    trained = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["average"]
    torch.testing.assert_close(
        loaded.unet.conv_in.weight, trained["unet.conv_in.weight"].contiguous(), atol=1e-3, rtol=1e-3
    )


def test_a_folder_without_a_training_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "weights"
    place.mkdir()
    (place / "mine.txt").write_text("kept")
    with pytest.raises(SystemExit, match="2"):
        publish.main([str(tmp_path / "nowhere"), "--to", str(place)])
    assert "no record of a training" in capsys.readouterr().err
    (tmp_path / "run" / train.MODEL_FOLDER).mkdir(parents=True)
    trained = record.TrainingRun(1, 1, 1.0, 0.1, 0)
    record.write_record(tmp_path / "run" / train.MODEL_FOLDER, [trained])
    with pytest.raises(SystemExit, match="2"):
        publish.main([str(tmp_path / "run"), "--to", str(place)])
    assert "holds no published model" in capsys.readouterr().err
    assert [file.name for file in place.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "33", "--processes", "2"], "33 cannot be shared by 2 processes"),
        (["--workers", "-1"], "must be 0 or more"),
        (["--save-every", "0"], "must be 1 or more"),
        (["--steps", "0"], "--steps is 0: it must be 1 or more"),
        (["--batch", "-2"], "--batch is -2: it must be 1 or more"),
        (["--processes", "0"], "--processes is 0: it must be 1 or more"),
        (["--minutes", "0"], "--minutes is 0: it must be more than 0"),
        (["--rate", "nan"], "--rate is nan: it must be more than 0"),
        (["--device", "cuda", "--processes", "2"], "works on a CPU only"),
        (["--resume"], "no state.pt"),
        (["--start-from", "nowhere"], '"nowhere" is no model'),
        (["--start-from", "nowhere", "--resume"], "either --resume or --start-from"),
    ],
)
def test_invalid_options_are_refused_before_the_training(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--output", str(tmp_path), "--device", "cpu", *arguments])
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
