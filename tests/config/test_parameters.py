"""The table of parameters: the fields of a request, and the options of every command line."""

import argparse
import dataclasses
import inspect
import json
from pathlib import Path

import pytest

from sdi_engine.cli.options import add_options, request_of
from sdi_engine.config import parameters
from sdi_engine.config.overrides import parse_overrides, written
from sdi_engine.config.parameters import PARAMETERS, SCHEMA_VERSION, SCOPES, Choice, Lora, Parameter
from sdi_engine.config.settings import Settings
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.plan import parse_setting
from sdi_engine.run.resolve import resolve

TYPED = {
    str: lambda parameter: (parameter.words or ("some words",))[-1],
    int: lambda parameter: int(parameter.limits.high),
    float: lambda parameter: parameter.limits.high / 2,
}
"""A value as typed by a person, by the kind of the parameter."""


def other_value(parameter):
    """A value that is not the default."""
    if parameter.kind is Lora:
        return (Lora("/a/style.safetensors", 0.5),)
    if parameter.kind is dict:
        return {"t": [0.9, 0.2], "field.blob": "magic3d"}
    if parameter.kind is bool:
        return not parameter.default
    if parameter.is_list:
        return ("some words", "others")
    return TYPED[parameter.kind](parameter)


def as_typed(parameter, value):
    """A parameter's option with its values, as on a command line."""
    if parameter.kind is Lora:
        return [f"{parameter.flag}={lora.file}={lora.weight}" for lora in value]
    if parameter.kind is dict:
        return [f"{parameter.flag}={name}={json.dumps(each)}" for name, each in value.items()]
    if parameter.kind is bool:
        return [parameter.flag if value else parameter.flag.replace("--", "--no-", 1)]
    return [f"{parameter.flag}={each}" for each in (value if parameter.is_list else [value])]


@pytest.fixture
def command():
    """The command line of an object, which returns its request."""

    def request(task, *arguments):
        parser = argparse.ArgumentParser()
        add_options(parser, "object", task=task or "object")
        return request_of(parser.parse_args(arguments), "a mug")

    return request


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_is_fully_described(parameter):
    assert parameter.label
    assert parameter.help[0].isupper()
    assert not parameter.help.endswith(".")
    assert parameter.kind in (str, int, float, bool, dict, Lora)
    assert (parameter.limits is not None) == (parameter.kind in (int, float))
    if parameter.usual is not None:
        assert parameter.usual.high <= parameter.limits.high
    if parameter.choices and not parameter.is_optional:
        assert parameter.default in parameter.words


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_a_request_keeps_it_and_refuses_invalid_values(parameter):
    asked = dataclasses.replace(JobRequest("a mug"), **{parameter.name: other_value(parameter)})
    assert JobRequest.from_json(asked.validated().to_json()) == asked
    wrong = [object()]
    if parameter.choices:
        wrong.append("no such choice")
    if parameter.limits is not None:
        wrong += [parameter.limits.high + 1, parameter.limits.low - 1]
    for value in wrong:
        with pytest.raises(BadInputError):
            dataclasses.replace(asked, **{parameter.name: value}).validated()


@pytest.mark.parametrize("parameter", [each for each in PARAMETERS.values() if each.scope], ids=lambda each: each.name)
def test_a_command_line_has_it_and_asks_for_it(parameter, command):
    value = other_value(parameter)
    task = (*parameter.tasks, "object")[0]
    assert getattr(command(task), parameter.name) == getattr(JobRequest("a mug"), parameter.name)
    elsewhere = "--model=somebody/something"  # whose parts are not there to be checked
    assert getattr(command(task, elsewhere, *as_typed(parameter, value)), parameter.name) == value


@pytest.mark.parametrize("parameter", [each for each in PARAMETERS.values() if each.scope], ids=lambda each: each.name)
def test_commands_have_the_options_of_their_scope_and_of_those_before(parameter):
    for scope in SCOPES:
        parser = argparse.ArgumentParser()
        add_options(parser, scope, task=(*parameter.tasks, "object")[0])
        is_there = SCOPES.index(parameter.scope) <= SCOPES.index(scope)
        assert (f"{parameter.flag} " in parser.format_help().replace("\n", " ")) == is_there


@pytest.mark.parametrize(
    ("task", "others"),
    [
        ("object", {"strength", "front", "max_move"}),
        ("texture", {"face_budget", "quads", "lods", "height", "max_move"}),
        ("refine", {"face_budget", "quads", "lods", "height"}),
    ],
)
def test_commands_have_no_option_that_their_jobs_do_not_use(task, others):
    parser = argparse.ArgumentParser()
    add_options(parser, "object", task=task)
    options = set(vars(parser.parse_args([]))) - {"models_folder"}
    assert options == {name for name, each in PARAMETERS.items() if each.scope} - others


def test_nothing_that_a_person_can_set_is_without_an_option_but_prompt_and_task():
    assert [name for name, parameter in PARAMETERS.items() if parameter.scope is None] == ["prompt", "task"]


def test_a_request_is_the_table_and_a_version():
    assert [field.name for field in dataclasses.fields(JobRequest)] == [*PARAMETERS, "schema"]
    assert JobRequest("a mug").schema == SCHEMA_VERSION


def test_a_request_of_before_means_what_it_always_meant():
    request = JobRequest.from_json('{"prompt": "a mug", "schema": 2}')
    assert (request.preset, request.task) == ("standard", "object")


@pytest.mark.parametrize("name", sorted(PARAMETERS.keys() & {field.name for field in dataclasses.fields(Settings)}))
def test_a_parameter_named_like_a_setting_of_the_run_sets_it(name):
    value = other_value(PARAMETERS[name])
    asked = dataclasses.replace(JobRequest("a mug"), **{name: value}).validated()
    assert getattr(resolve(asked, ModelHints(), 64), name) == value


@pytest.mark.parametrize("name", [name for name, each in PARAMETERS.items() if each.is_compared])
def test_an_evaluation_compares_it(name):
    value = other_value(PARAMETERS[name])
    assert parse_setting(f"mine: {name}={json.dumps(value)}").options == {name: value}


def test_a_request_with_an_invalid_override_is_refused_but_can_be_read():
    """A later version may have settings that this one does not have."""
    for overrides, words in (({"t.first": 0.5}, 'no setting "t.first"'), ({"t": [2, 0]}, "between")):
        asked = JobRequest("a mug", overrides=overrides)
        with pytest.raises(BadInputError, match=words):
            asked.validated()
        assert JobRequest.from_json(asked.to_json()) == asked


@pytest.mark.parametrize(
    "text",
    [
        "t=[0.98, 0.2] field.hidden=64 noise=sgd cameras.half_frame=null fade=true",
        " t = [0.98,0.2],field.hidden=64 ,noise=sgd; cameras.half_frame=null\nfade=true; ",
    ],
)
def test_a_line_of_overrides(text):
    values = {"t": [0.98, 0.2], "field.hidden": 64, "noise": "sgd", "cameras.half_frame": None, "fade": True}
    assert parse_overrides(text) == values
    assert parse_overrides(written(values)) == values
    assert parse_overrides("") == parse_overrides(" ; ") == {}


@pytest.mark.parametrize("text", ["t", "0.5", "t=1 =2", "9=t"])
def test_an_invalid_line_of_overrides(text):
    with pytest.raises(BadInputError):
        JobRequest("a mug", overrides=parse_overrides(text)).validated()


def test_a_new_entry_of_the_table_is_a_setting_everywhere():
    """A new setting needs two files: its entry here, and the code that uses it."""

    @dataclasses.dataclass(frozen=True)
    class Longer(parameters.Parameters):
        gloss: bool = parameters.parameter(False, "Gloss", "Whether it shines")
        grain: str = parameters.parameter("fine", "Grain", "How it feels", choices=(Choice("fine", "Fine", "Smooth"),))

    table = parameters.read_off(Longer)
    assert list(table) == [*PARAMETERS, "gloss", "grain"]
    gloss: Parameter = table["gloss"]
    assert (gloss.kind, gloss.default, gloss.flag, gloss.prop) == (bool, False, "--gloss", "gloss")
    assert table["grain"].words == ("fine",)


def test_no_other_file_of_the_engine_repeats_the_table():
    """A setting's name appears only in the table and where the setting is used."""
    root = Path(inspect.getfile(parameters)).parent.parent
    lists = [
        file.relative_to(root).as_posix()
        for room in ("contract", "cli")
        for file in (root / room).glob("*.py")
        if "face_budget" in file.read_text(encoding="utf-8")
    ]
    assert lists == []
