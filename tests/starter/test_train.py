"""The starter prior's training: captions and tokens, resuming, and the folder that comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer

from sdi_engine.diffusion.views import all_view_words
from sdi_engine.starter import captions, dataset, model, train, world

TINY = model.Size(channels=(32, 32, 32), text_width=16, resolution=16)
SETTINGS = train.Settings(steps=4, batch=4, parts=2, warm_up=2, log_every=1, save_every=100, sample_every=100)


@pytest.fixture(scope="module")
def pictures() -> dataset.Pictures:
    return dataset.render_pictures(variants=1, views=2, seed=0, size=16, threads=2)


def trainer(folder: Path, pictures: dataset.Pictures, **changes: int) -> train.Trainer:
    return train.Trainer(folder, pictures, TINY, replace(SETTINGS, **changes))


def test_pictures_show_every_thing_in_its_colour(pictures: dataset.Pictures) -> None:
    assert pictures.rgba.shape == (12 * 8 * 2, 16, 16, 4)
    assert np.bincount(pictures.thing).tolist() == [16] * 12
    assert np.bincount(pictures.colour).tolist() == [24] * 8
    covered = (pictures.rgba[..., 3] > 127).mean(axis=(1, 2))
    assert covered.min() > 0.05
    assert covered.max() < 0.9
    assert (pictures.rgba[..., :3] <= pictures.rgba[..., 3:]).all()  # premultiplied
    red, blue = tuple(world.COLOURS).index("red"), tuple(world.COLOURS).index("blue")
    mean = [pictures.rgba[pictures.colour == colour].mean(axis=(0, 1, 2)) for colour in (red, blue)]
    assert mean[0][0] > mean[0][2]
    assert mean[1][2] > mean[1][0]


def test_pictures_are_kept_and_do_not_depend_on_threads(tmp_path: Path, pictures: dataset.Pictures) -> None:
    file = tmp_path / "pictures.npz"
    first = dataset.cached_pictures(file, variants=1, views=2, seed=0, threads=1, size=16)
    np.testing.assert_array_equal(first.rgba, pictures.rgba)
    stamp = file.stat().st_mtime_ns
    second = dataset.cached_pictures(file, variants=1, views=2, seed=0, threads=1, size=16)
    assert file.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.rgba, second.rgba)


def test_batches_repeat_from_their_seed(pictures: dataset.Pictures) -> None:
    images, texts = pictures.batch(8, np.random.default_rng(3))
    same_images, same_texts = pictures.batch(8, np.random.default_rng(3))
    assert images.shape == (8, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    assert texts == same_texts
    torch.testing.assert_close(images, same_images)


def test_captions_have_the_intended_shares() -> None:
    rng = np.random.default_rng(0)
    texts = [captions.training_caption("mug", "orange", 90.0, 10.0, rng) for _ in range(4000)]
    shares = {
        "": texts.count("") / 4000,
        "side": sum(", side view" in t for t in texts) / 4000,
        "left": sum(", left side view" in t for t in texts) / 4000,
        "article": sum(t.startswith("an orange mug") for t in texts) / 4000,
    }
    assert shares[""] == pytest.approx(0.10, abs=0.02)
    assert shares["side"] == pytest.approx(0.405, abs=0.03)
    assert shares["left"] == pytest.approx(0.405, abs=0.03)
    assert shares["article"] == pytest.approx(0.9 * 0.8 * 0.94, abs=0.05)


def test_every_word_is_one_token_and_survives_saving(tmp_path: Path) -> None:
    captions.build_tokenizer().save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    texts = [
        f"{captions.describe(thing, colour)}, {view}"
        for thing in world.things()
        for colour in world.COLOURS
        for view in all_view_words()
    ]
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
    ids = tiny.token_ids(["a red zebra, front view", "a red %§é, front view", ""])
    assert ids.shape == (3, captions.MAX_LENGTH)
    assert ids.max() < captions.piece_start()
    assert (ids[:2] == tiny.tokenizer.unk_token_id).any(dim=1).all()
    assert ids[2, 0] == tiny.tokenizer.bos_token_id
    assert (ids[2, 1:] == tiny.tokenizer.eos_token_id).all()


def test_folding_keeps_every_pixel() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert model.fold(images).shape == (2, 48, 4, 4)
    torch.testing.assert_close(model.unfold(model.fold(images)), images)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, pictures: dataset.Pictures) -> None:
    whole = trainer(tmp_path / "whole", pictures)
    whole.run()
    trainer(tmp_path / "parts", pictures).run(stop_after=2)
    resumed = trainer(tmp_path / "parts", pictures)
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


def test_parts_of_a_batch_add_up_to_the_whole(tmp_path: Path, pictures: dataset.Pictures) -> None:
    one, three = (trainer(tmp_path / str(parts), pictures, parts=parts, steps=1) for parts in (1, 3))
    one.run()
    three.run()
    whole, sum_of_parts = (torch.cat([p.grad.flatten() for p in run.parameters]) for run in (one, three))
    # Norms over the tiny network's few values amplify rounding; a lost part would be a third.
    assert (whole - sum_of_parts).norm() < 1e-2 * whole.norm()


def test_training_lowers_the_loss(tmp_path: Path, pictures: dataset.Pictures) -> None:
    run = trainer(tmp_path, pictures, steps=30, batch=8)
    run.run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert len(losses) == 30
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    assert (tmp_path / "loss.png").exists()


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
    x, t = torch.randn(1, 48, 4, 4), torch.tensor([500])
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
