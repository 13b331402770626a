import collections
import dataclasses

import pytest

from sdi_engine.contract.request import Lora
from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.equal_time import equal_steps
from sdi_engine.evaluation.plan import (
    DEFAULT_SETTING,
    LISTS,
    Plan,
    Setting,
    parse_seeds,
    parse_setting,
    read_prompts,
)
from sdi_engine.starter import world
from sdi_engine.starter.captions import describe, parse
from sdi_engine.starter.dataset import held_out
from sdi_engine.starter.paint import COLOURS
from sdi_engine.system.untrusted import MAX_LIST_BYTES


@pytest.fixture
def plan():
    settings = (Setting("SDI", {"steps": 3}), Setting("SDS", {"noise": "random"}, {"t": [0.9, 0.1]}))
    return Plan(("a red mug", "a hat"), (0, 1), settings)


def test_the_default_list_has_every_thing_once_and_every_colour_twice():
    subjects = [parse(prompt) for prompt in read_prompts(["default"], [])]
    assert tuple(sorted(subject.thing.kind for subject in subjects)) == world.things()
    assert collections.Counter(subject.thing.colour for subject in subjects) == dict.fromkeys(COLOURS, 2)
    patterns = collections.Counter(subject.thing.pattern for subject in subjects)
    assert 0.6 <= patterns["plain"] / len(subjects) <= 0.7
    assert all(patterns[pattern] >= 2 for pattern in ("dotted", "striped", "checkered"))
    assert not held_out() & {(subject.thing.kind, subject.thing.colour) for subject in subjects}


def test_the_held_out_list_is_what_is_held_out():
    subjects = [parse(prompt) for prompt in read_prompts(["held-out"], [])]
    assert {(subject.thing.kind, subject.thing.colour) for subject in subjects} == held_out()
    assert len(subjects) == len(held_out())


def test_the_pairs_are_all_pairs_in_colours_that_are_known():
    subjects = [parse(prompt) for prompt in read_prompts(["pairs"], [])]
    assert [(subject.thing.kind, subject.base.kind) for subject in subjects] == list(world.PAIRS)
    assert not held_out() & {(item.kind, item.colour) for subject in subjects for item in subject.items}


@pytest.mark.parametrize("name", ["default", "held-out", "pairs"])
def test_prompts_are_worded_as_captions_are(name):
    prompts = read_prompts([name], [])
    assert [describe(parse(prompt)) for prompt in prompts] == list(prompts)


def test_prompts_come_from_lists_files_and_one_by_one(tmp_path):
    (tmp_path / "mine.txt").write_text("# mine\na ball\n\n  a  hat \n", encoding="utf-8")
    assert read_prompts([str(tmp_path / "mine.txt")], ["a cup", "a ball"]) == ("a ball", "a hat", "a cup")
    assert read_prompts([], ["a cup"]) == ("a cup",)
    assert read_prompts([], []) == read_prompts(["default"], [])
    assert "an iguana holding a balloon" in read_prompts(["paper"], [])


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("café".encode("latin-1"), "not UTF-8 text")])
def test_a_list_that_cannot_be_read(tmp_path, content, why):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(BadInputError, match="cannot be read") as caught:
        read_prompts([str(tmp_path / "list.txt")], [])
    assert all(name in str(caught.value) for name in (why, *LISTS))


def test_a_list_without_end_is_not_read_whole(tmp_path):
    with (tmp_path / "list.txt").open("wb") as file:
        file.truncate(MAX_LIST_BYTES + 1)
    with pytest.raises(BadInputError, match="too large for a list"):
        read_prompts([str(tmp_path / "list.txt")], [])


def test_lists_without_a_prompt_are_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"# none yet\r\n\r\n")
    with pytest.raises(BadInputError, match=r"no prompt in .*list\.txt.*: write one per line"):
        read_prompts([str(tmp_path / "list.txt")], [])
    assert read_prompts([str(tmp_path / "list.txt")], ["a cup"]) == ("a cup",)


def test_seeds():
    assert parse_seeds(" 0, 7,3 ") == (0, 7, 3)
    for text in ("", ",", "a", "1.5", "-1", "9" * 5000):
        with pytest.raises(BadInputError, match="seeds"):
            parse_seeds(text)


def test_settings_are_parsed():
    assert parse_setting(DEFAULT_SETTING) == Setting("standard", {"preset": "standard"})
    text = "SDS, long: preset=draft noise=random steps=12 negative_prompt='bad 3' set.t=[0.98,0.1] equal_time=SDI"
    assert parse_setting(text) == Setting(
        "SDS, long",
        {"preset": "draft", "noise": "random", "steps": 12, "negative_prompt": "bad 3"},
        {"t": [0.98, 0.1]},
        "SDI",
    )
    assert parse_setting("plain:") == Setting("plain")


@pytest.mark.parametrize(
    "setting",
    [
        Setting("plain"),
        Setting("SDS, long", {"preset": "draft", "noise": "random", "steps": 12}, equal_time="a b"),
        Setting("it's", {"negative_prompt": "bad '3"}, {"t": [0.98, 0.1], "field.hidden": 8}),
    ],
)
def test_a_setting_says_how_it_is_asked_for(setting):
    assert parse_setting(setting.text) == setting


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("preset=standard", "has no name"),
        (": preset=standard", "has no name"),
        ("SDS: noise", "write option=value"),
        ("SDS: seed=3", '"seed".*preset'),
        ("SDS: model=other", '"model"'),
        ("SDS: negative_prompt='bad", "quotation mark"),
    ],
)
def test_invalid_settings(text, words):
    with pytest.raises(BadInputError, match=words):
        parse_setting(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": ()}, "no prompt"),
        ({"seeds": ()}, "no seed"),
        ({"settings": ()}, "no setting"),
        ({"seeds": (1, 1)}, "seed is given twice"),
        ({"settings": (Setting("a"), Setting("a"))}, "setting is given twice"),
        ({"settings": (Setting("a", {"preset": "best"}),)}, "draft, standard"),
        ({"settings": (Setting("a", {"steps": "many"}),)}, "steps"),
        ({"settings": (Setting("a", overrides={"speed": 1}),)}, '"speed"'),
        ({"settings": (Setting("a", equal_time="b"),)}, "equal_time=b: name another setting"),
        ({"settings": (Setting("a", equal_time="a"),)}, "equal_time=a: name another setting"),
        ({"seeds": (2**31,)}, "seed"),
        ({"samples": -1}, "samples"),
    ],
)
def test_invalid_plans(plan, changes, words):
    with pytest.raises(BadInputError, match=words) as caught:
        dataclasses.replace(plan, **changes)
    assert "\n" not in str(caught.value)


def test_a_plan_says_how_it_is_asked_for(plan):
    words = ["--prompt", "a red mug", "--prompt", "a hat", "--seeds", "0,1", "--samples", "4"]
    words += ["--setting", "SDI: steps=3", "--setting", "SDS: noise=random 'set.t=[0.9,0.1]'"]
    assert plan.arguments() == words
    listed = dataclasses.replace(plan, prompts=read_prompts(["held-out"], []), loras=(Lora("a.safetensors", 0.5),))
    assert listed.arguments()[:2] == ["--prompts", "held-out"]
    assert listed.arguments()[-2:] == ["--lora", "a.safetensors=0.5"]


def test_jobs_are_all_combinations_with_settings_in_turn(plan):
    jobs = plan.jobs({"SDS": 77})
    assert [(job.seed, job.prompt, job.setting) for job in jobs[:4]] == [
        (0, "a red mug", "SDI"),
        (0, "a red mug", "SDS"),
        (0, "a hat", "SDI"),
        (0, "a hat", "SDS"),
    ]
    assert len(jobs) == len({job.key for job in jobs}) == 8
    sds = jobs[1].request
    assert (sds.steps, sds.noise, sds.overrides) == (77, "random", {"t": [0.9, 0.1]})
    assert (jobs[0].request.steps, jobs[0].request.noise) == (3, None)


def test_a_key_depends_on_the_whole_request(plan):
    other = dataclasses.replace(plan, device="cpu")
    assert plan.jobs({})[0].key == plan.jobs({})[0].key != other.jobs({})[0].key
    assert plan.jobs({})[1].key != plan.jobs({"SDS": 9})[1].key


def test_a_folder_keeps_its_plan(plan, tmp_path):
    plan.save(tmp_path)
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan
    for changes in ({"prompts": ("a cup",)}, {"seeds": (1, 0)}, {"weights": "new"}, {"samples": 3}):
        with pytest.raises(BadInputError, match=f"another evaluation.*{next(iter(changes))}"):
            dataclasses.replace(plan, **changes).save(tmp_path)


def test_a_plan_may_be_added_to(plan, tmp_path):
    plan.save(tmp_path)
    more = dataclasses.replace(
        plan,
        prompts=(*plan.prompts, "a cup"),
        seeds=(0, 1, 2),
        settings=(*plan.settings, Setting("none", {"steps": 2})),
    )
    more.save(tmp_path)
    assert Plan.load(tmp_path) == more
    assert {job.key for job in plan.jobs({})} < {job.key for job in more.jobs({})}
    with pytest.raises(BadInputError, match="other prompts, seeds, settings"):
        plan.save(tmp_path)


def test_a_folder_without_a_plan(tmp_path):
    with pytest.raises(BadInputError, match=r"plan\.json"):
        Plan.load(tmp_path)
    (tmp_path / "plan.json").write_text('{"prompts": []}')
    with pytest.raises(BadInputError, match="damaged"):
        Plan.load(tmp_path)


@pytest.mark.parametrize(
    ("steps", "seconds", "wanted", "result"),
    [(200, 10.0, 30.0, 600), (120, 30.0, 10.0, 40), (100, 3.0, 2.0, 67), (10, 100.0, 1.0, 1)],
)
def test_steps_for_equal_time(steps, seconds, wanted, result):
    assert equal_steps(steps, seconds, wanted) == result
