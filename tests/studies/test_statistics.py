import numpy as np
import pytest

from sdi_engine.studies.statistics import Interval, paired_bootstrap


def drawn(rng, prompts=24, seeds=2, mean=0.5, between=1.0, within=0.5):
    """Differences that vary between prompts, and between the seeds of a prompt."""
    return {prompt: mean + rng.normal(0, between) + rng.normal(0, within, seeds) for prompt in range(prompts)}


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [paired_bootstrap(drawn(rng), resamples=300, seed=trial) for trial in range(600)]
    coverage = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.90 <= coverage <= 0.98, coverage


def test_seeds_of_one_prompt_are_not_independent():
    """Eight seeds of six prompts each: taken for 48 independent objects, they would give far too narrow an interval."""
    rng = np.random.default_rng(1)
    differences = drawn(rng, prompts=6, seeds=8, within=0.01)
    grouped = paired_bootstrap(differences, resamples=2000)
    single = paired_bootstrap(dict(enumerate(np.concatenate(list(differences.values()))[:, None])), resamples=2000)
    assert grouped.high - grouped.low > 2.0 * (single.high - single.low)


def test_the_mean_counts_every_prompt_once():
    assert paired_bootstrap({"a": [1.0], "b": [0.0, 0.0, 0.0]}, resamples=10).mean == 0.5


def test_prompts_may_have_different_numbers_of_seeds():
    """Padding of shorter rows must never be drawn."""
    interval = paired_bootstrap({"a": [3.0], "b": [3.0, 3.0, 3.0], "c": [3.0, 3.0]}, resamples=200)
    assert interval == Interval(3.0, 3.0, 3.0, 3)


def test_it_is_the_same_every_time():
    differences = drawn(np.random.default_rng(2))
    assert paired_bootstrap(differences, resamples=100) == paired_bootstrap(differences, resamples=100)
    assert paired_bootstrap(differences, resamples=100) != paired_bootstrap(differences, resamples=100, seed=1)


@pytest.mark.parametrize(
    ("low", "high", "prompts", "higher_is_better", "verdict"),
    [
        (0.1, 0.3, 24, True, "better"),
        (0.1, 0.3, 24, False, "worse"),
        (-0.3, -0.1, 24, True, "worse"),
        (-0.3, -0.1, 24, False, "better"),
        (-0.1, 0.3, 24, True, "cannot be told"),
        (0.0, 0.0, 24, True, "cannot be told"),
        (0.1, 0.3, 4, True, "cannot be told"),
    ],
)
def test_verdicts(low, high, prompts, higher_is_better, verdict):
    assert Interval((low + high) / 2, low, high, prompts).verdict(higher_is_better=higher_is_better) == verdict


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="nothing"):
        paired_bootstrap({})
    with pytest.raises(ValueError, match="nothing"):
        paired_bootstrap({"a": []})
