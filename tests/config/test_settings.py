import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.config.evaluations import guidance_at
from sdi_engine.config.parameters import PARAMETERS
from sdi_engine.config.settings import PRESETS, Ramp
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.distillation.noise import Context
from sdi_engine.distillation.threestudio import released_noise
from sdi_engine.errors import BadInputError
from sdi_engine.run.guidance import Guidance
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.run.resolve import resolve


def resolved(hints=None, model_resolution=512, **fields):
    return resolve(JobRequest("a mug", **fields).validated(), hints or ModelHints(), model_resolution)


def test_every_preset_of_a_request_has_its_settings():
    assert tuple(PRESETS) == PARAMETERS["preset"].words


def test_ramp():
    ramp = Ramp(2.0, 1.0, start=0.2, end=0.6)
    assert [ramp(progress) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([2.0, 2.0, 1.5, 1.0, 1.0])
    step = Ramp(0.1, 0.0, start=0.4, end=0.4)
    assert [step(progress) for progress in (0.0, 0.39, 0.4, 1.0)] == [0.1, 0.1, 0.0, 0.0]


def test_guidance_has_its_share_at_each_time():
    """γ(t) = 1 + share · (γ − 1): where the share is 0, the prompt's own prediction."""
    some = dataclasses.replace(PRESETS["draft"], guidance_scale=3.0, guidance_share=Ramp(0.0, 1.0, start=0.2, end=0.6))
    assert [guidance_at(t, some) for t in (0.1, 0.4, 0.6, 0.98)] == [1.0, pytest.approx(2.0), 3.0, 3.0]
    none_named = dataclasses.replace(some, guidance_scale=None)
    assert [guidance_at(t, none_named) for t in (0.1, 0.98)] == [1.0, None]
    unconditional = dataclasses.replace(PRESETS["draft"], guidance_scale=0.0)
    assert guidance_at(0.5, unconditional) == 0.0


def test_a_request_overrides_the_preset_and_the_preset_the_model():
    assert resolved().guidance_scale == 7.5
    assert resolved(ModelHints(guidance_scale=3.0)).guidance_scale == 3.0
    settings = resolved(ModelHints(guidance_scale=3.0), guidance_scale=5.0, steps=7, perp_neg="prediction")
    assert (settings.guidance_scale, settings.inversion_guidance_scale) == (5.0, -5.0)
    assert (settings.steps, settings.perp_neg) == (7, "prediction")
    assert resolved(guidance_scale=5.0, inversion_guidance_scale=0.0).inversion_guidance_scale == 0.0


def test_a_model_may_say_how_its_noise_is_inverted_best():
    hints = ModelHints(guidance_scale=3.0, inversion_guidance_scale=1.0)
    assert resolved(hints, guidance_scale=5.0).inversion_guidance_scale == 1.0
    assert resolved(hints, inversion_guidance_scale=-2.0).inversion_guidance_scale == -2.0


def test_resolution_is_the_models_where_that_is_smaller():
    assert resolved(preset="paper", model_resolution=1024).resolution == 512
    assert resolved(preset="paper", model_resolution=64).resolution == 64
    assert resolved(preset="paper", model_resolution=64, resolution=128).resolution == 128


@pytest.mark.parametrize(
    ("perp_neg", "scales"), [("everywhere", (7.5, -7.5)), ("prediction", (7.5, -7.5)), ("off", (8.5, -6.5))]
)
def test_guidance_of_the_released_code_depends_on_perp_neg(perp_neg, scales):
    """Row 8 of the table: text + s·(text − uncond) is eq. (3) with γ = s + 1."""
    settings = resolved(preset="threestudio", perp_neg=perp_neg)
    assert (settings.guidance_scale, settings.inversion_guidance_scale) == scales
    paper = resolved(preset="paper", perp_neg=perp_neg)
    assert (paper.guidance_scale, paper.inversion_guidance_scale) == (7.5, -7.5)


def test_the_released_code_inverts_in_its_own_way_at_whole_timesteps():
    prior = ExactPrior({"ball": ball_images(16)})
    settings = dataclasses.replace(resolved(preset="threestudio"), perp_neg="off")
    guidance = Guidance(prior, settings, seed=0)
    assert guidance.time(0.1234, torch.Generator()) == 0.889  # 0.98 - 0.73 · 0.1234 = 0.88992
    x0, t = prior.encode(ball_images(16)[:1]), torch.tensor([0.889])
    conditioning = prior.condition(["ball"])
    kappa, x = guidance.noise(x0, t, conditioning, torch.Generator().manual_seed(0))
    context = Context(7.5, -7.5, settings, torch.Generator().manual_seed(0), seed=0)
    expected, _ = released_noise(prior, x0, t, conditioning, context)
    assert x is None
    torch.testing.assert_close(kappa, expected)


def test_mv_sdi_is_the_papers_with_pairs_and_half_the_steps():
    """So it evaluates the model as often."""
    paper, pairs = PRESETS["paper"], PRESETS["mv-sdi"]
    assert pairs == dataclasses.replace(paper, steps=paper.steps // 2, views_per_step=2, views="antithetic")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("steps", [20, 50])
def test_schedules_scale_with_the_length_of_the_run(preset, steps):
    """In the middle of the run a schedule has half its course, whatever the number of steps."""
    prior = ExactPrior({"ball": ball_images(16)})
    settings = resolved(preset=preset, steps=steps, resolution=16, overrides={"field.log2_table_size": 8})
    settings = dataclasses.replace(settings, samples_per_ray=8)
    optimisation = Optimisation(prior, "ball", "", settings, seed=0)
    optimisation.step = steps // 2
    optimisation.advance()
    active = optimisation.representation.field.active_levels
    half = resolved(preset=preset)
    assert active == sum(start <= 0.5 for start in half.level_starts)
    middle = (half.t.first + half.t.last) / 2
    assert optimisation.guidance.time(0.5, torch.Generator()) == pytest.approx(middle, abs=1e-3)


def test_overrides_have_the_last_word():
    settings = resolved(
        steps=7,
        overrides={
            "steps": 9,
            "learning_rate": 1,
            "field.hidden": 64,
            "field.grid_resolutions": [8, 16],
            "cameras.elevation": [0, 10],
            "t": [0.9, 0.1, 0.2, 0.8],
            "sparsity": [0.1, 0.0],
            "opaqueness": 0.5,
            "noise": "random",
            "fade": False,
            "field.blob": "magic3d",
            "field.log2_table_size": 19,
        },
    )
    untouched = resolved()
    assert settings.steps == 9
    assert isinstance(settings.learning_rate, float)
    assert settings.field == dataclasses.replace(
        untouched.field, hidden=64, grid_resolutions=(8, 16), blob="magic3d", log2_table_size=19
    )
    assert settings.cameras == dataclasses.replace(untouched.cameras, elevation=(0.0, 10.0))
    assert settings.t == Ramp(0.9, 0.1, 0.2, 0.8)
    assert settings.sparsity == Ramp(0.1, 0.0)
    assert settings.opaqueness == Ramp(0.5, 0.5)
    assert (settings.noise, settings.fade) == ("random", False)


def test_overrides_that_only_go_together():
    """Cameras have a distance or a half frame, never both."""
    settings = resolved(overrides={"cameras.half_frame": None, "cameras.distance": [1.5, 2.0]})
    assert settings.cameras.distance == (1.5, 2.0)
    with pytest.raises(BadInputError, match=r"cameras\.distance"):
        resolved(overrides={"cameras.distance": [1.5, 2.0]})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("learning", 1, '"learning".*learning_rate'),
        ("field", 1, "no setting"),
        ("field.hiden", 1, "field.hidden"),
        ("schedule.t", 1, "no setting"),
        ("t.first", 0.5, "no setting"),
        ("steps", 1.5, "steps.*whole number"),
        ("steps", True, "whole number"),
        ("fade", 1, "true or false"),
        ("smoothness", "much", "a number"),
        ("t", [0.9, 0.5, 0.1], "a number, .first, last."),
        ("t", "late", "a number, .first, last."),
        ("cameras.fov", [40], "list of 2 numbers"),
        ("cameras.fov", 40, "list of 2 numbers"),
        ("cameras.half_frame", 40, "list of 2 numbers or null"),
        ("level_starts", [0, "late"], "list of numbers"),
        ("level_starts", [], "list of numbers"),
        ("noise", "loud", "one of inversion, random"),
        ("field.blob", "square", "one of soft, magic3d"),
        ("perp_neg", None, "one of off"),
        ("mesh_resolution", -1, "between 4 and 1,024"),
        ("steps", 0, "between 1 and 1,000,000"),
        ("t", [1.5, 0.2], "between 0.0 and 1.0"),
        ("field.grid_resolutions", [0, 16], "between 2 and 8,192"),
        ("smoothness", 1e300, "between"),
    ],
)
def test_an_invalid_override_is_one_sentence_that_names_it(name, value, words):
    with pytest.raises(BadInputError, match=words) as caught:
        resolved(overrides={name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
