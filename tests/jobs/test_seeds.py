"""The choice of the next seed."""

import dataclasses

from sdi_text_to_3d.jobs.seeds import UnusedSeeds
from sdi_text_to_3d.sdi_engine.config.parameters import MAX_SEED
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest

MUG = JobRequest("a red mug", seed=5)


def test_the_same_again_takes_the_next_seed_and_another_prompt_keeps_it():
    seeds = UnusedSeeds()
    blue = JobRequest("a blue mug", seed=5)
    assert [seeds.give(request).seed for request in (MUG, MUG, blue, MUG, blue)] == [5, 6, 5, 7, 6]
    assert seeds.give(dataclasses.replace(MUG, steps=10)) == dataclasses.replace(MUG, steps=10)


def test_seeds_that_were_made_are_skipped():
    made = {5, 6, 8}
    seeds = UnusedSeeds(lambda request: request.seed in made)
    assert [seeds.give(MUG).seed for _ in range(3)] == [7, 9, 10]


def test_after_the_last_seed_comes_the_first():
    last = dataclasses.replace(MUG, seed=MAX_SEED)
    assert UnusedSeeds(lambda request: request.seed == MAX_SEED).give(last).seed == 0


def test_many_equal_requests_check_each_seed_once():
    asked = []
    seeds = UnusedSeeds(lambda request: asked.append(request.seed))
    assert len({seeds.give(MUG).seed for _ in range(500)}) == 500
    assert len(asked) == 500
