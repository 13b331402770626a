import dataclasses

import pytest
import torch
from exact_prior import ExactPrior

from sdi_engine.diffusion.perp_neg import condition_views, view_mixture
from sdi_engine.diffusion.prior import Conditioning, mix
from sdi_engine.diffusion.views import view_words


@pytest.mark.parametrize(
    ("azimuth", "one", "other", "share"),
    [
        (0.0, "front view", "side view", 0.0),
        (45.0, "front view", "side view", 0.5),
        (-45.0, "front view", "side view", 0.5),
        (315.0, "front view", "side view", 0.5),
        (90.0, "side view", "back view", 0.0),
        (135.0, "side view", "back view", 0.5),
        (180.0, "side view", "back view", 1.0),
        (225.0, "side view", "back view", 0.5),
    ],
)
def test_prompt_is_interpolated_between_the_two_nearest_views(azimuth, one, other, share):
    view = view_mixture(azimuth, 10.0)
    assert (view.one, view.other, view.share) == (one, other, pytest.approx(share))


def weights(azimuth):
    away = {}
    for words, weight in view_mixture(azimuth, 10.0).away:
        away[words] = weight
    return away


def test_the_wanted_view_is_not_kept_away_from_and_the_others_are():
    assert weights(0.0)["front view"] == pytest.approx(0.0, abs=1e-3)
    assert weights(0.0)["side view"] == pytest.approx(-(4.0 - 2.426))
    assert weights(89.99)["side view"] == pytest.approx(0.0, abs=1e-3)
    assert weights(90.0)["side view"] == pytest.approx(0.0, abs=1e-3)
    assert weights(180.0) == {"side view": pytest.approx(-0.394), "front view": pytest.approx(-1.967)}
    assert all(weight <= 1e-3 for azimuth in range(0, 360, 5) for weight in weights(azimuth).values())


def test_overhead_there_is_nothing_to_keep_away_from():
    view = view_mixture(180.0, 70.0)
    assert (view.one, view.share) == ("overhead view", 0.0)
    assert [weight for _, weight in view.away] == [0.0, 0.0]


@pytest.fixture
def prior():
    random = torch.Generator().manual_seed(3)
    views = ("front view", "side view", "back view", "overhead view")
    return ExactPrior({view: 0.4 + 0.2 * torch.rand(3, 3, 8, 8, generator=random) for view in views})


def test_conditioning_of_several_cameras(prior):
    told = condition_views(prior, "a dog", "", [0.0, 45.0, 180.0, 10.0], [0.0, 0.0, 0.0, 80.0])
    shares = told.prompt["shares"]
    front, side, back, overhead = (prior.text([f"a dog, {view}"])["shares"][0] for view in prior._words)
    torch.testing.assert_close(shares[0], front)
    torch.testing.assert_close(shares[1], 0.5 * front + 0.5 * side)
    torch.testing.assert_close(shares[2], back)
    torch.testing.assert_close(shares[3], overhead)
    assert len(told.away) == 2
    assert told.away[0][1].shape == (4,)


def test_guidance_with_perp_neg_is_the_papers_formula(prior):
    """ε(∅) + γ·(e + Σ w·(e' − ⟨e', e⟩/‖e‖²·e)), where e is the prompt's direction and e' that of the negative view."""
    told = condition_views(prior, "a dog", "", [30.0, 120.0], [0.0, 0.0])
    x = 0.4 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.full((2,), 0.5)

    def ask(text):
        return prior.predict_unguided(x, t, text).noise

    empty = ask(told.negative)
    direction = ask(told.prompt) - empty
    steered = direction.clone()
    for text, weight in told.away:
        other = ask(text) - empty
        for image in range(2):
            along = (other[image] * direction[image]).sum() / direction[image].square().sum()
            steered[image] += weight[image] * (other[image] - along * direction[image])
    found = prior.predict(x, t, told, 7.5)
    torch.testing.assert_close(found.noise, empty + 7.5 * steered, atol=1e-4, rtol=1e-4)
    a, b = prior.scales(t)
    torch.testing.assert_close(a * found.x0 + b * found.noise, x, atol=1e-4, rtol=1e-4)


def test_keeping_away_from_the_prompts_own_direction_changes_nothing(prior):
    told = prior.condition(["a dog, front view"])
    same = Conditioning(told.prompt, told.negative, ((told.prompt, torch.tensor([-2.0])),))
    x, t = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])
    torch.testing.assert_close(
        prior.predict(x, t, same, 3.0).noise, prior.predict(x, t, told, 3.0).noise, atol=1e-4, rtol=1e-4
    )


def test_texts_of_different_lengths_are_mixed_token_by_token():
    short = {"embedding": torch.tensor([[[1.0], [0.0]]]), "mask": torch.tensor([[True, False]])}
    long = {"embedding": torch.tensor([[[3.0], [5.0]]]), "mask": torch.tensor([[True, True]])}
    halfway = mix(short, long, torch.tensor([0.5]))
    assert halfway["embedding"].flatten().tolist() == [2.0, 5.0]
    assert halfway["mask"].tolist() == [[True, True]]
    alone = mix(short, long, torch.tensor([0.0]))
    assert (alone["embedding"][0, 0].item(), alone["mask"].tolist()) == (1.0, [[True, False]])
    assert mix(long, short, torch.tensor([1.0]))["mask"].tolist() == [[True, False]]


def test_views_are_told_in_the_words_of_the_model(prior):
    asked = []
    prior.hints = dataclasses.replace(prior.hints, view_vocabulary="sentences")
    prior.text = lambda prompts: asked.extend(prompts) or {"embedding": torch.zeros(len(prompts), 1, 1)}
    condition_views(prior, "a dog", "ugly", [0.0], [0.0])
    assert asked[0] == f"a dog. {view_words(0.0, 0.0, 'sentences')}"
    assert asked[-1] == "ugly"
