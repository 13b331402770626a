"""Every parameter of the table in Blender: its property, its row, presets, the command, and back from a request."""

import dataclasses
import re
from unittest.mock import MagicMock

import pytest

from sdi_engine.config.parameters import PARAMETERS

IN_BLENDER = [parameter for parameter in PARAMETERS.values() if parameter.section is not None]


@pytest.fixture
def other(extension):
    """A request that differs from the default in one setting."""
    from sdi_text_to_3d.sdi_engine.config.parameters import PARAMETERS, Lora
    from sdi_text_to_3d.sdi_engine.contract.request import JobRequest

    def request(name):
        parameter = PARAMETERS[name]
        if parameter.kind is Lora:
            value = (Lora("/a/style.safetensors", 0.5),)
        elif parameter.kind is dict:
            value = {"t": [0.9, 0.2], "field.blob": "magic3d"}
        elif parameter.is_list:
            value = ("/a/clip.safetensors", "/a/t5.safetensors")
        elif parameter.kind is str:
            value = (parameter.words or ("some words",))[-1]
        elif parameter.kind is bool:
            value = not parameter.default
        else:
            value = parameter.kind(parameter.limits.high)
        task = (*parameter.tasks, "object")[0]
        return dataclasses.replace(JobRequest("a mug", task=task), **{name: value}).validated()

    return request


class Drawn:
    """A layout that records which properties it shows."""

    def __init__(self, names=None):
        self.names = [] if names is None else names

    def prop(self, _data, name, **_how):
        self.names.append(name)

    textbox = prop

    def template_list(self, _kind, _id, _data, name, *_more, **_how):
        self.names.append(name)

    def __getattr__(self, name):
        return lambda *_arguments, **_how: Drawn(self.names)


def test_each_is_a_property(bpy, extension):
    known = bpy.context.scene.sdi.bl_rna.properties
    assert "task" not in known  # which button was pressed says it
    for parameter in IN_BLENDER:
        shown = known[parameter.prop]
        assert (shown.name, shown.description.startswith(parameter.help)) == (parameter.label, True)
        if parameter.choices:
            items = [item.identifier for item in shown.enum_items]
            assert items[-len(parameter.words) :] == list(parameter.words)
        if parameter.switch:
            assert known[parameter.switch].type == "BOOLEAN"


def test_a_request_comes_back_from_the_scene_as_it_was(bpy, extension, other):
    properties = extension.state.properties
    for name in PARAMETERS:
        asked = other(name)
        properties.apply_request(bpy.context.scene, asked)
        assert properties.request_from(bpy.context.scene, task=asked.task) == asked, name


def test_settings_for_another_task_stay_as_they_are(bpy, extension, other):
    properties = extension.state.properties
    properties.apply_request(bpy.context.scene, other("strength"))
    properties.apply_request(bpy.context.scene, other("height"))
    assert properties.request_from(bpy.context.scene) == other("height")
    assert bpy.context.scene.sdi.strength == other("strength").strength


def test_a_share_shows_in_percent(bpy, extension, other):
    extension.state.properties.apply_request(bpy.context.scene, other("max_move"))
    settings = bpy.context.scene.sdi
    assert settings.max_move == pytest.approx(20.0)
    settings.max_move = 30.0  # more than there may be
    assert extension.state.properties.request_from(bpy.context.scene, "a mug", "refine").max_move == 0.2


def test_a_guidance_of_exactly_zero_is_not_taken_for_the_recommended_one(bpy, extension, tmp_path):
    from sdi_text_to_3d.sdi_engine.contract.request import JobRequest

    properties, settings = extension.state.properties, bpy.context.scene.sdi
    asked = JobRequest("a mug", guidance_scale=0.0)
    properties.apply_request(bpy.context.scene, asked)
    assert properties.request_from(bpy.context.scene).guidance_scale == 0.0
    exec(f"settings.guidance = {settings.guidance!r}")  # as a preset of a person's has it
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "zero.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "zero.blend"))
    assert properties.request_from(bpy.context.scene) == asked
    bpy.context.scene.sdi.guidance = 0.0
    assert properties.request_from(bpy.context.scene).guidance_scale is None
    properties.apply_request(bpy.context.scene, JobRequest("a mug"))
    assert properties.request_from(bpy.context.scene).guidance_scale is None


def test_it_starts_as_a_request_does(bpy, extension):
    from sdi_text_to_3d.sdi_engine.contract.request import JobRequest

    assert extension.state.properties.request_from(bpy.context.scene, "a mug") == JobRequest("a mug")


def test_it_shows_once_in_the_panel(bpy, extension):
    class Advanced:
        layout = Drawn()

    basic = Drawn()
    settings = extension.panels.settings
    settings.draw_settings(basic, bpy.context)
    settings.SDI_PT_advanced.draw(Advanced, bpy.context)
    for parameter in IN_BLENDER:
        if parameter.section == "texture":
            continue
        here, elsewhere = basic.names, Advanced.layout.names
        if parameter.section not in ("prompt", "basic"):
            here, elsewhere = elsewhere, here
        for name in filter(None, (parameter.prop, parameter.switch)):
            assert here.count(name) == 1, name
            assert name not in elsewhere


def test_presets_keep_how_objects_are_made_and_not_which(extension):
    kept = set(extension.operators.presets.SAVED)
    for parameter in IN_BLENDER:
        assert kept.issuperset(filter(None, (parameter.prop, parameter.switch))) == parameter.is_saved
    assert kept.isdisjoint({"prompt", "seed"})


def test_files_and_presets_from_before_find_their_properties(bpy, extension):
    """The names in people's .blend files and presets."""
    settings = bpy.context.scene.sdi
    before = ("prompt", "negative_prompt", "model", "loras", "lora_index", "preset", "seed", "height", "noise")
    before += ("perp_neg", "steps", "guidance", "resolution", "face_budget", "texture_size", "device", "live")
    assert set(before) <= set(settings.bl_rna.properties.keys())
    settings.perp_neg = "preset"
    settings.steps, settings.guidance, settings.resolution = 0, 0.0, 0
    request = extension.state.properties.request_from(bpy.context.scene, "a mug")
    assert (request.perp_neg, request.steps, request.guidance_scale, request.resolution) == (None, None, None, None)


def test_the_command_has_all_of_them(extension, capsys):
    assert extension.console.commands.main(["--help"]) == 0
    helped = capsys.readouterr().out
    for parameter in PARAMETERS.values():
        is_there = re.search(rf"^  {parameter.flag}\b", helped, re.MULTILINE) is not None
        assert is_there == (parameter.scope is not None and parameter.is_used_by("object")), parameter.name


@pytest.mark.parametrize(
    ("line", "words"), [("learning=1", "learning_rate"), ("t=[2,0]", "between 0.0 and 1.0"), ("steps", "equals sign")]
)
def test_a_wrong_number_is_refused_at_the_click(bpy, extension, results, line, words):
    settings = bpy.context.scene.sdi
    settings.prompt, settings.overrides = "a mug", line
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.sdi.generate()
    assert not list(results.glob("*/request.json"))


def test_a_wrong_number_in_a_batch_is_refused_before_anything_is_made(extension, results, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red mug\na blue mug\n")
    required = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(tmp_path / "out" / "objects.blend")]
    assert extension.console.commands.main([*required, "--set", "learning=1"]) == 2
    said = capsys.readouterr().out
    assert said.startswith('error: There is no setting "learning"')
    assert said.count("\n") == 1
    assert not results.exists()
    assert not (tmp_path / "out").exists()


def test_the_names_of_choices_are_in_no_language_but_ours(bpy, extension):
    """In German Blender would offer a sheet of "Papier", and views that squirt: "Spritzen"."""
    known = bpy.context.scene.sdi.bl_rna.properties
    contexts = set(bpy.app.translations.contexts)
    chosen = [known[parameter.prop] for parameter in IN_BLENDER if parameter.choices]
    assert {"preset", "views", "noise"} <= {prop.identifier for prop in chosen}
    assert [prop.identifier for prop in chosen if prop.translation_context in contexts] == []


def test_a_part_that_is_not_given_is_found_but_for_the_tiny_vae(bpy, extension):
    shown = {}
    layout = MagicMock()
    layout.row.return_value = layout.column.return_value = layout
    layout.prop = lambda _data, name, placeholder: shown.update({name: placeholder})
    extension.panels.settings._draw_parts(layout, bpy.context.scene.sdi)
    assert shown == dict.fromkeys(("vae", "text_encoders", "tokenizer"), "Automatic") | {"tiny_vae": "None"}
