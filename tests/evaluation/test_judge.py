"""The judge: it learns, it is saved, and the shipped one is accurate."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sdi_engine.errors import EnvironmentMissingError
from sdi_engine.evaluation.accuracy import accuracy, random_subject
from sdi_engine.evaluation.judge import NOTHING, WEIGHTS, Judge, Names, kinds_of, load_judge, together
from sdi_engine.evaluation.judge_training import Settings, answers, degraded, mostly_grey, train
from sdi_engine.starter import world
from sdi_engine.starter.dataset import Picture, Window, render_shard
from sdi_engine.starter.paint import COLOURS
from sdi_engine.starter.world import Item, Subject

BIRD_ON_CACTUS = Subject(Item("bird", "blue", "striped"), Item("cactus", "wooden"))


class Drawings(Window):
    """Stands in for renders: discs, squares and crosses for three kinds of thing, in their colours."""

    SHAPES = ("bottle", "car", "table")

    def advance(self, count):
        pass

    def draw(self, count, rng, backgrounds=None):
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        masks = [x**2 + y**2 < 0.4, np.maximum(abs(x), abs(y)) < 0.6, (abs(x) < 0.15) | (abs(y) < 0.15)]
        images, pictures = np.full((count, 64, 64, 3), 0.75), []
        for image in images:
            shape, colour = rng.integers(3), str(rng.choice(["red", "green", "blue"]))
            image[masks[shape]] = COLOURS[colour]
            pictures.append(Picture(Subject(Item(self.SHAPES[shape], colour)), 0.0, 0.0, clay=False))
        return torch.from_numpy(images).float().permute(0, 3, 1, 2), pictures


def test_a_judge_learns_to_name_things_and_colours():
    drawings = Drawings(0)
    judge = train(Settings(steps=40, batch=16, warm_up=5), drawings)
    images, pictures = drawings.draw(48, np.random.default_rng(1))
    right = answers(judge.names, pictures)
    verdict = judge.assess(images)
    assert (verdict.thing.argmax(dim=1) == right["thing"]).float().mean() > 0.8
    assert (verdict.colour.argmax(dim=1) == right["colour"]).float().mean() > 0.8


def test_the_training_shows_things_mostly_on_grey():
    backgrounds = mostly_grey(300, 8, np.random.default_rng(0))
    plain = (backgrounds - backgrounds[:, :1, :1, :1]).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert 0.6 < plain.float().mean() < 0.85
    shards = Window(0, excluded=frozenset())
    shards.shards = {0: render_shard(0, 0, instances=1, views=2, excluded=frozenset())}
    images, _ = shards.draw(1, np.random.default_rng(0), lambda count, size, rng: torch.full((count, 64, 64, 3), 0.25))
    assert (images[0, :, 0, 0] == 0.25).all()


def test_a_run_repeats_from_its_seed():
    first, again = (train(Settings(steps=2, batch=8), Drawings(0)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_correct_answers_are_those_of_the_upper_thing_and_its_base():
    names = Names.of_world()
    correct = names.correct(BIRD_ON_CACTUS)
    assert names.things[correct["thing"]] == "bird"
    assert names.colours[correct["colour"]] == "blue"
    assert names.patterns[correct["pattern"]] == "striped"
    assert names.bases[correct["base"]] == "cactus"
    assert names.base_colours[correct["base_colour"]] == "wooden"
    alone = names.correct(Subject(Item("bird", "wooden")))
    assert names.bases[alone["base"]] == names.base_colours[alone["base_colour"]] == NOTHING
    assert names.patterns[alone["pattern"]] == "plain"
    assert kinds_of(BIRD_ON_CACTUS) == "bird on cactus"


@pytest.mark.parametrize(
    ("azimuth", "shares"),
    [(0.0, {0: 1.0}), (90.0, {2: 1.0}), (337.5, {7: 0.5, 0: 0.5}), (191.25, {4: 0.75, 5: 0.25})],
)
def test_a_view_belongs_to_the_bins_that_it_lies_between(azimuth, shares):
    right = answers(Names.of_world(), [Picture(BIRD_ON_CACTUS, azimuth, 10.0, clay=False)])
    expected = torch.zeros(1, 8)
    for index, share in shares.items():
        expected[0, index] = share
    torch.testing.assert_close(right["view"], expected)


def test_clay_has_no_colour_and_no_pattern():
    right = answers(Names.of_world(), [Picture(BIRD_ON_CACTUS, 0.0, 0.0, clay=True)])
    assert [name for name in right if name != "view" and right[name].item() < 0] == ["colour", "pattern", "base_colour"]


def test_one_view_does_not_outvote_seven():
    views = torch.tensor([[0.6, 0.4]] * 7 + [[0.0, 1.0]])
    assert together(views)[1] > 0.5  # no more than the floor allows, yet more than seven weak ones
    assert together(torch.tensor([[0.9, 0.1]] * 7 + [[0.0, 1.0]]))[0] > 0.99
    assert together(torch.full((8, 5), 0.2)) == pytest.approx([0.2] * 5)


def test_degraded_pictures_stay_in_range_and_repeat():
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, again = (degraded(images, np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(first, again)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first - images).abs().mean() > 0.05


def test_verdicts_are_probabilities_of_the_names_and_can_be_sliced():
    verdict = Judge(Names.of_world()).assess(torch.rand(3, 3, 64, 64))
    for name, size in Names.of_world().sizes().items():
        probabilities = getattr(verdict, name)
        assert probabilities.shape == (3, size)
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    assert len(verdict[1:]) == 2
    torch.testing.assert_close(verdict[1:].features, verdict.features[1:])


def test_a_judge_is_saved_in_a_small_file(tmp_path):
    judge = Judge(Names.of_world(), fronts=("car",))
    judge.save(tmp_path / "judge.safetensors")
    loaded = load_judge(tmp_path / "judge.safetensors")
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded.assess(images).thing, judge.assess(images).thing, atol=1e-3, rtol=0)
    assert loaded.has_front(Subject(Item("car", "red")))
    assert not loaded.has_front(Subject(Item("bottle", "red")))
    assert (tmp_path / "judge.safetensors").stat().st_size < 1.5e6


def test_a_changed_world_is_noticed(tmp_path):
    file = tmp_path / "judge.safetensors"
    names = Names.of_world()
    Judge(Names(("spaceship", *names.things[1:]), names.colours, names.patterns)).save(file)
    with pytest.raises(EnvironmentMissingError, match=r"another starter world.*judge_training"):
        load_judge(file)


@pytest.mark.parametrize("damage", ["missing", "weights", "names", "network"])
def test_a_judge_that_cannot_be_read_is_named_with_the_cure(tmp_path, damage):
    file = tmp_path / "judge.safetensors"
    if damage != "missing":
        Judge(Names.of_world()).save(file)
    if damage == "weights":
        file.write_bytes(file.read_bytes()[:1000])
    if damage == "names":
        file.with_suffix(".json").write_text("[]")
    if damage == "network":
        save_file({"body.weight": torch.zeros(2)}, file)
    with pytest.raises(EnvironmentMissingError, match=r"damaged.*judge_training"):
        load_judge(file)


def test_all_kinds_and_pairs_are_tested_in_turn():
    rng = np.random.default_rng(0)
    shown = {kinds_of(random_subject(index, rng)) for index in range(60)}
    assert shown == {*world.things(), *(" on ".join(pair) for pair in world.PAIRS)}


def test_the_shipped_judge_is_accurate():
    assert WEIGHTS.stat().st_size < 1.5e6
    found = accuracy(load_judge(), seed=1, count=20)["object"]
    assert found["thing"] >= 0.95
    assert found["colour"] >= 0.95
