import dataclasses
import json
import random

import pytest

from sdi_engine.config.overrides import parse_override
from sdi_engine.config.parameters import SCHEMA_VERSION
from sdi_engine.contract.request import MAX_PROMPT_LENGTH, JobRequest, Lora, slug
from sdi_engine.errors import BadInputError


def test_round_trip():
    request = JobRequest('a "red" mug 🙂 \\ ünïcode', seed=7, steps=12, guidance_scale=3, model="C:\\models\\mine")
    assert JobRequest.from_json(request.to_json()) == request


def test_loras_make_the_round_trip():
    request = JobRequest("a mug", loras=(Lora("C:\\a.safetensors", 0.8), Lora("/b=2.safetensors")))
    assert JobRequest.from_json(request.to_json()) == request


def test_overrides_make_the_round_trip():
    request = JobRequest("a mug", overrides={"t": [0.98, 0.1], "field.hidden": 64, "noise": "sgd", "fade": None})
    assert JobRequest.from_json(request.to_json()) == request


def test_a_request_without_overrides_has_none():
    fields = json.loads(JobRequest("a mug").to_json())
    del fields["overrides"]
    assert JobRequest.from_json(json.dumps(fields)).overrides == {}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("steps=300", "steps", 300),
        (" t = [0.98, 0.1] ", "t", [0.98, 0.1]),
        ("fade=true", "fade", True),
        ("cameras.half_frame=null", "cameras.half_frame", None),
        ("noise=random", "noise", "random"),
        ("model=a=b", "model", "a=b"),
        ("t=" + "[" * 9000, "t", "[" * 9000),  # nested too deeply for a list
    ],
)
def test_overrides_are_parsed(text, name, value):
    assert parse_override(text) == (name, value)


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_invalid_overrides(text):
    with pytest.raises(BadInputError, match="equals sign"):
        parse_override(text)


def test_a_byte_order_mark_is_no_part_of_a_pasted_prompt():
    pasted = JobRequest(prompt="\ufeffa red mug", negative_prompt="blurred\ufeff").validated()
    assert (pasted.prompt, pasted.negative_prompt) == ("a red mug", "blurred")


def test_marks_that_change_the_writing_direction_are_removed_and_joiners_stay():
    asked = JobRequest(
        "a \u202egum der\u202c\u2028mug \U0001f469\u200d\U0001f680 \u0646\u0645\u06cc\u200c\u0634"
    ).validated()
    assert asked.prompt == "a gum der mug \U0001f469\u200d\U0001f680 \u0646\u0645\u06cc\u200c\u0634"


def test_white_space_is_folded():
    assert JobRequest("  a\tred\n\nmug\x00 ").validated().prompt == "a red mug"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n\t"}, "prompt is empty"),
        ({"prompt": "x" * 10_000}, "10000 characters"),
        ({"prompt": 5}, "prompt"),
        ({"negative_prompt": "x" * 10_000}, "negative prompt"),
        ({"model": " "}, "No model"),
        ({"preset": "best"}, "draft, standard, paper"),
        ({"noise": "loud"}, "inversion, random"),
        ({"device": "gpu"}, "auto, cpu"),
        ({"precision": "2-bit"}, "auto, full, 8-bit, 4-bit"),
        ({"perp_neg": "maybe"}, "off, prediction, everywhere"),
        ({"loras": (Lora(" "),)}, "LoRA has no file"),
        ({"loras": (Lora("a.safetensors", 99.0),)}, "weight of the LoRA"),
        ({"loras": (Lora("a.safetensors", float("nan")),)}, "weight of the LoRA"),
        ({"loras": ("a.safetensors",)}, "LoRA"),
        ({"loras": (Lora(5),)}, "file"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"steps": 0}, '"steps" is 0'),
        ({"steps": 1.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"guidance_scale": float("nan")}, "guidance scale"),
        ({"resolution": 8}, "resolution"),
        ({"views_per_step": 0}, "views per step"),
        ({"views": "opposite"}, "spread, antithetic"),
        ({"views": "antithetic", "views_per_step": 3}, "come in pairs, but 3"),
        ({"views": "antithetic", "preset": "paper"}, "come in pairs, but 1"),
        ({"preset": "mv-sdi", "overrides": {"views_per_step": 5}}, "come in pairs, but 5"),
        ({"face_budget": 3}, "face budget"),
        ({"texture_size": 10**6}, "texture size"),
        ({"height": 0.0}, "height"),
        ({"height": float("inf")}, "height"),
        ({"overrides": {"t": float("nan")}}, '"t" is nan'),
        ({"overrides": {"t": {"first": 1}}}, '"t"'),
        ({"overrides": [1]}, "overrides"),
        ({"overrides": {5: 1}}, 'The setting "5"'),
        ({"text_encoders": (5,)}, "5 is not a text encoder"),
        ({"text_encoders": (" ",)}, "is not a text encoder: give a file or folder"),
        ({"text_encoders": ("a\x1b.safetensors",)}, "file .* has control characters"),
        ({"vae": "a\x1b.safetensors"}, "file .* has control characters"),
        ({"schema": SCHEMA_VERSION + 1}, "later version"),
    ],
)
def test_bad_settings_are_refused_with_one_sentence_that_names_them(changes, words):
    with pytest.raises(BadInputError, match=words) as caught:
        dataclasses.replace(JobRequest("a red mug"), **changes).validated()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"views": "antithetic", "views_per_step": 6},
        {"preset": "mv-sdi", "views_per_step": 3, "views": "spread"},
        {"preset": "mv-sdi", "views_per_step": 3, "overrides": {"views_per_step": 4}},
    ],
)
def test_pairs_of_views_may_be_as_many_as_one_likes(changes):
    asked = dataclasses.replace(JobRequest("a red mug"), **changes)
    assert asked.validated() == asked


def test_longest_prompt_is_accepted():
    assert len(JobRequest("x" * MAX_PROMPT_LENGTH).validated().prompt) == MAX_PROMPT_LENGTH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{", "damaged .*not JSON from line 1, column 2 on.: start the job again"),
        ("[]", "is not a request"),
        ('["prompt"]', "is not a request"),
        ('{"steps": 3}', "is not a request"),
        ('{"prompt": "x", "overrides": {"t": {"first": 1}}}', '"t" is .* it must be a number, a word or a list'),
        ('{"prompt": "x", "loras": ["ab"]}', "list of LoRAs"),
        ('{"prompt": "x", "schema": 99}', "later version .* update the extension"),
        ('{"prompt": "x", "schema": 99, "magic": 1, "seed": "one"}', "later version .* update the extension"),
        ('{"prompt": "x", "schema": true}', "schema"),
        ('{"prompt": "x", "schema": "1"}', "schema"),
        ('{"prompt": "x", "schema": 1, "seed": 1e400}', "damaged .*too large"),
        ('{"prompt": "x", "schema": 1, "height": NaN}', "damaged .*not a number"),
        (f'{{"prompt": "x", "schema": 1, "seed": {10**400}}}', "damaged .*too large"),
        ('{"prompt": "x", "schema": 1, "guidance_scale": -Infinity}', "damaged .*not a number"),
        ('{"prompt": "\\ud800", "schema": 1}', "damaged"),
        ('{"prompt": "x", "overrides": {"t": ' + "[" * 500 + "]" * 500 + "}}", "damaged .*too deep"),
        ("[" * 100_000, "damaged .*too deep"),
        (json.dumps({"prompt": ["x"] * 10_000}), '"prompt" is .{,100}…: it must be'),
        (json.dumps({"prompt": "x", "preset": "y" * 10_000}), "The preset .{,100}… does not exist"),
        (json.dumps({"prompt": "x", "model": "a\x1b]0;b"}), r"control characters"),
        (json.dumps({"prompt": "x", "loras": [{"file": "a\nb"}]}), r"control characters"),
        ('{"prompt": "x", "schema": 1, "loras": [{"path": "a"}]}', "list of LoRAs"),
        ('{"prompt": "x", "schema": 1, "loras": 5}', "list of LoRAs"),
        ('{"prompt": "x", "schema": 1, "text_encoders": "clip.safetensors"}', "list of LoRAs or text encoders"),
        (json.dumps({"prompt": "x", "schema": 1, "seed": "one"}), "seed"),
        (json.dumps({"prompt": "x", "steps": "abc"}), 'steps" is "abc": it must be a whole number or nothing'),
    ],
)
def test_damaged_requests(text, words):
    with pytest.raises(BadInputError, match=words) as caught:
        JobRequest.from_json(text)
    assert str(caught.value).isprintable()


def test_an_older_request_is_read_with_defaults():
    for schema in ({}, {"schema": 0}):
        asked, unknown = JobRequest.read(json.dumps({"prompt": "a mug", **schema}))
        assert (asked, unknown) == (JobRequest("a mug"), [])


def test_settings_of_a_later_version_are_ignored_and_named():
    fields = json.loads(JobRequest("a mug", loras=(Lora("a.safetensors"),)).to_json())
    fields |= {"magic": 1, "an\nother": None}
    fields["loras"][0]["layers"] = [1]
    asked, unknown = JobRequest.read(json.dumps(fields))
    assert asked == JobRequest("a mug", loras=(Lora("a.safetensors"),))
    assert unknown == ["an\\nother", "magic", "layers"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red mug", "a-red-mug"),
        ("../../etc/passwd", "etc-passwd"),
        ("Ein Häuschen; rm -rf ~", "ein-hauschen-rm-rf"),
        ("🙂", "object"),
        ("CON", "object-con"),
        ("x" * 300, "x" * 40),
        ('"; $(reboot) `', "reboot"),
        ("\u8d64\u3044\u30de\u30b0", "\u8d64\u3044\u30de\u30b0"),
        ("\u9752 mug", "\u9752-mug"),
        ("\u041a\u0440\u0430\u0441\u043d\u044b\u0439", "\u043a\u0440\u0430\u0441\u043d\u044b\u0439"),
        ("\u0932\u093e\u0932 \u0939\u093e\u0925\u0940", "\u0932\u093e\u0932-\u0939\u093e\u0925\u0940"),
        ("\u8d64" * 300, "\u8d64" * 26),
        ("\U00020000" * 300, "\U00020000" * 20),
        ("\u2764\ufe0f", "object"),
        ("con\u0301", "object-con"),
    ],
)
def test_slug_is_a_harmless_file_name(prompt, name):
    assert slug(prompt) == name


def test_any_prompt_is_a_name_that_every_file_system_takes(tmp_path):
    lot = random.Random(4)
    alphabet = "aZ0 .-/\\:*ß赤й\u0301हा\U0001f469\u200d\u202e\x00\x1b\udcff\ufe0fǅİ①"
    for _ in range(300):
        name = slug("".join(lot.choice(alphabet) for _ in range(lot.randrange(100))))
        assert 0 < len(name.encode()) <= 80
        assert name == name.strip(" .-")
        (tmp_path / name).mkdir(exist_ok=True)
