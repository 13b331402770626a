"""What is done to make a run fit, and that the numbers are the same with it."""

import dataclasses

import pytest
import torch
from tiny_models import write_stable_diffusion

from sdi_engine.config.parameters import Parts
from sdi_engine.config.settings import PRESETS
from sdi_engine.diffusion import device_memory
from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.needs import MEASURES, Weights, Work
from sdi_engine.errors import EXIT_OUT_OF_MEMORY, BadInputError, OutOfMemoryError
from sdi_engine.run import fitting
from sdi_engine.run.watched_prior import WatchedPrior

CPU = torch.device("cpu")
GIB = 2**30
LARGE = dataclasses.replace(PRESETS["paper"], resolution=1024)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def prior(model):
    return CountedPrior(load_prior(model, CPU))


@pytest.fixture
def sdxl(monkeypatch):
    """Every model weighs as much as SDXL."""
    everywhere = {
        part: dict.fromkeys(("cpu", "cuda", "mps"), size)
        for part, size in (("unet", 10_269_852_000), ("vae", 334_612_000))
    }
    packed = {
        packing: dict.fromkeys(("cpu", "cuda", "mps"), size)
        for packing, size in (("8-bit", 2_700_000_000), ("4-bit", 1_400_000_000))
    }
    weights = Weights("SDXL", everywhere, packed, "unet", 1024, 8, 128)
    monkeypatch.setattr(fitting, "weigh", lambda *_: weights)
    monkeypatch.setattr(device_memory, "weigh", lambda *_: weights)


def free(monkeypatch, gib):
    for module in (fitting, device_memory):
        monkeypatch.setattr(module, "free_bytes", lambda device: int(gib * GIB))


def test_a_run_that_fits_is_left_as_it_is(prior, model, sdxl, monkeypatch):
    free(monkeypatch, 200)
    said = []
    fitting.fit(prior, model, LARGE, said.append)
    assert said == []
    assert prior.images_at_once is None


def test_where_memory_is_short_a_person_is_told_what_is_done_and_it_is_done(prior, model, sdxl, monkeypatch):
    free(monkeypatch, 10)
    said = []
    fitting.fit(prior, model, LARGE, said.append)
    assert "the model is asked about one picture at a time" in said[0].message
    assert prior.images_at_once == 1
    free(monkeypatch, 200)
    fitting.fit(prior, model, LARGE, said.append)  # another job of the same engine
    assert prior.images_at_once is None


def test_parts_in_files_of_their_own_are_weighed(prior, model, monkeypatch):
    asked = []
    monkeypatch.setattr(fitting, "weigh", lambda *of: asked.append(of))
    fitting.fit(prior, model, LARGE, lambda event: None, Parts(vae="vae.safetensors"))
    assert asked == [(model, Parts(vae="vae.safetensors"))]


def test_a_loaded_model_whose_file_is_gone_runs_without_the_measures_of_the_job_before(prior, model, monkeypatch):
    def gone(*_):
        raise BadInputError("It is gone.")

    monkeypatch.setattr(fitting, "weigh", gone)
    prior.save_memory(("one by one",))
    fitting.fit(prior, model, LARGE, lambda event: None)
    assert prior.images_at_once is None


def test_measures_reach_what_the_loop_asks(prior):
    """A run asks by way of what counts and watches it."""
    watched = WatchedPrior(prior)
    prior.save_memory(("one by one",))
    assert watched.images_at_once == 1
    watched.save_memory(())
    assert prior.images_at_once is None


def test_pictures_take_the_measures_that_help_without_a_gradient(prior, model, sdxl, monkeypatch):
    free(monkeypatch, 3)
    said = []
    work = Work(1024, 4, is_3d=False)
    fitting.fit(prior, model, LARGE, said.append, work=work)
    assert "free: the model is asked about one picture at a time." in said[0].message
    assert prior.images_at_once == 1
    free(monkeypatch, -1)
    with pytest.raises(OutOfMemoryError, match=r"choose a resolution of 384\."):
        fitting.fit(prior, model, LARGE, said.append, work=work)


def test_what_cannot_fit_ends_before_its_first_step(prior, model, sdxl, monkeypatch):
    free(monkeypatch, 1)
    with pytest.raises(OutOfMemoryError, match="choose a resolution of") as caught:
        fitting.fit(prior, model, LARGE, lambda event: None)
    assert caught.value.exit_code == EXIT_OUT_OF_MEMORY


def test_a_model_that_was_packed_while_it_was_loaded_need_not_pass_through_memory_again(
    prior, model, sdxl, monkeypatch
):
    monkeypatch.setattr(prior, "packed", "4-bit")
    free(monkeypatch, 6)
    fit = fitting.fit(prior, model, dataclasses.replace(LARGE, resolution=512), lambda event: None)
    assert fit.taken == ("4-bit",)


def test_of_a_model_without_a_vae_nothing_is_foretold(prior, model, monkeypatch):
    weights = Weights("starter", {"unet": {"cpu": GIB}}, {}, "unet", 1024, 8, 0)
    monkeypatch.setattr(fitting, "weigh", lambda *_: weights)
    free(monkeypatch, -1)
    assert fitting.fit(prior, model, LARGE, lambda event: None).taken == ()


def test_where_memory_runs_out_one_measure_more_is_taken_until_none_is_left(prior, model, sdxl, monkeypatch):
    free(monkeypatch, 200)
    fit = fitting.fit(prior, model, LARGE, lambda event: None)
    error, told, taken = MemoryError(), [], []
    monkeypatch.setattr(prior, "save_memory", lambda measures: taken.append(measures))
    for _ in range(4):
        told.append(fit.take_another(error))
    measures = ("graphs again", "one by one", "graphs in parts", "16 bits")
    assert told == [f"Memory ran out: from now on {MEASURES[each]}" for each in measures]
    assert taken == [measures[: count + 1] for count in range(4)]
    with pytest.raises(OutOfMemoryError, match="or start anew with a resolution of ") as caught:
        fit.take_another(error)
    assert caught.value.__cause__ is error
    assert fit.taken == measures


def test_weights_that_cannot_fit_are_not_read(model, sdxl, monkeypatch):
    free(monkeypatch, 4)
    with pytest.raises(OutOfMemoryError, match=r"take 9\.9 GiB, and 4\.0 GiB of the memory are free"):
        load_prior(model, CPU)


def test_predictions_are_the_same_one_by_one(prior, monkeypatch):
    conditioning = prior.condition(["a mug", "a car"], "ugly")
    x = torch.randn(2, *prior.latent_shape(16), generator=torch.Generator().manual_seed(0))
    t = torch.full((2,), 0.5)
    with torch.no_grad():
        together = prior.predict(x, t, conditioning, 7.5)
        prior.save_memory(("graphs again", "one by one"))
        asked = []
        predict = prior._prior.predict_unguided
        monkeypatch.setattr(
            prior._prior, "predict_unguided", lambda x, t, text: asked.append(len(x)) or predict(x, t, text)
        )
        one_by_one = prior.predict(x, t, conditioning, 7.5)
    assert asked == [1, 1, 1, 1]
    torch.testing.assert_close(one_by_one.x0, together.x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one_by_one.noise, together.noise, rtol=1e-5, atol=1e-5)


def test_in_turns_only_one_of_vae_and_denoiser_is_on_the_card(prior, monkeypatch):
    inner = prior._prior
    where = {}
    for name, network in (("vae", inner._vae), ("denoiser", inner._denoiser)):
        monkeypatch.setattr(network, "to", lambda device, name=name: where.update({name: str(device)}))
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    conditioning = prior.condition(["a mug"])
    seen = []
    for call in ("_encode", "decode"):
        vae_call = getattr(inner._vae, call)
        monkeypatch.setattr(inner._vae, call, lambda *a, c=vae_call, **k: seen.append(dict(where)) or c(*a, **k))
    prior.save_memory(("graphs again", "one by one", "turns"))
    monkeypatch.setattr(inner, "device", torch.device("cuda"))
    x0 = prior.encode(images)
    monkeypatch.setattr(inner, "device", CPU)
    assert (where["vae"], where["denoiser"]) == ("cuda", "cpu")
    with torch.no_grad():
        prior.predict(x0.detach(), torch.full((1,), 0.5), conditioning, 1.0)
    assert (where["vae"], where["denoiser"]) == ("cpu", "cpu")  # the latter is the device by now
    prior.save_memory(())
    assert (where["vae"], where["denoiser"]) == ("cpu", "cpu")
