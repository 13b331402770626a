import dataclasses
import json

import pytest

from sdi_engine.errors import BadInputError
from sdi_engine.request import MAX_PROMPT_LENGTH, JobRequest, Lora, parse_override, slug


def test_round_trip():
    request = JobRequest('a "red" mug 🙂 \\ ünïcode', seed=7, steps=12, guidance_scale=3, model="C:\\models\\mine")
    assert JobRequest.from_json(request.to_json()) == request


def test_loras_make_the_round_trip():
    request = JobRequest("a mug", loras=(Lora("C:\\a.safetensors", 0.8), Lora("/b=2.safetensors")))
    assert JobRequest.from_json(request.to_json()) == request


def test_overrides_make_the_round_trip():
    request = JobRequest("a mug", overrides={"t": [0.98, 0.1], "field.hidden": 64, "noise": "sgd", "fade": None})
    assert JobRequest.from_json(request.to_json()) == request


def test_a_request_from_before_there_were_overrides_has_none():
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
    ],
)
def test_overrides_are_parsed(text, name, value):
    assert parse_override(text) == (name, value)


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_overrides_that_are_none(text):
    with pytest.raises(BadInputError, match="equals sign"):
        parse_override(text)


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
        ({"face_budget": 3}, "face budget"),
        ({"texture_size": 10**6}, "texture size"),
        ({"height": 0.0}, "height"),
        ({"height": float("inf")}, "height"),
        ({"overrides": {"t": float("nan")}}, '"t" is nan'),
        ({"overrides": {"t": {"first": 1}}}, '"t"'),
        ({"overrides": [1]}, "overrides"),
    ],
)
def test_bad_settings_are_refused_with_one_sentence_that_names_them(changes, words):
    with pytest.raises(BadInputError, match=words) as caught:
        dataclasses.replace(JobRequest("a red mug"), **changes).validated()
    assert "\n" not in str(caught.value)


def test_longest_prompt_is_accepted():
    assert len(JobRequest("x" * MAX_PROMPT_LENGTH).validated().prompt) == MAX_PROMPT_LENGTH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("[]", "holds no request"),
        ('{"prompt": "x", "schema": 99}', "another version"),
        ('{"prompt": "x", "schema": 1, "loras": [{"path": "a"}]}', "list of LoRAs"),
        ('{"prompt": "x", "schema": 1, "loras": 5}', "list of LoRAs"),
        (json.dumps({"prompt": "x", "schema": 1, "magic": 1}), "magic"),
        (json.dumps({"prompt": "x", "schema": 1, "seed": "one"}), "seed"),
    ],
)
def test_damaged_requests(text, words):
    with pytest.raises(BadInputError, match=words):
        JobRequest.from_json(text)


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
    ],
)
def test_slug_is_a_harmless_file_name(prompt, name):
    assert slug(prompt) == name
