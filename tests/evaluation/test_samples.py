import numpy as np
import torch

from sdi_engine.evaluation.examiner import Examiner
from sdi_engine.evaluation.pictures import on_grey, render_around
from sdi_engine.evaluation.plan import Plan, Setting
from sdi_engine.evaluation.samples import sample_view
from sdi_engine.starter.captions import parse
from sdi_engine.starter.render import sample_surface
from sdi_engine.starter.world import make_instance

MUG = "a red mug"
"""The judge knows it from every side."""


def test_samples_are_prompted_from_all_sides_in_turn():
    plan = Plan(("a red car", "a blue mug", "a green tree"), seeds=(0,), settings=(Setting("one"),), samples=3)
    asked = [sample_view(plan, prompt, number) for prompt in plan.prompts for number in range(3)]
    assert asked == [0, 1, 2, 3, 4, 5, 6, 7, 0]


def test_a_sample_counts_for_its_view_only_if_it_shows_that_view():
    examiner = Examiner((MUG,))
    mugs = [make_instance(parse(MUG), np.random.default_rng(seed)) for seed in range(3)]
    pictures = torch.cat([on_grey(render_around(sample_surface(mug))) for mug in mugs])
    around = torch.arange(8).repeat(3)
    as_asked = examiner.examine_samples(pictures, around.tolist(), MUG)
    turned = examiner.examine_samples(pictures, ((around + 4) % 8).tolist(), MUG)
    assert as_asked["thing"] == turned["thing"] == 1.0
    assert as_asked["view"] > 0.7
    assert turned["view"] < 0.2


def test_samples_of_prompts_outside_the_starter_world_are_not_judged():
    assert Examiner(("an iguana",)).examine_samples(torch.zeros(1, 3, 64, 64), [0], "an iguana") is None
