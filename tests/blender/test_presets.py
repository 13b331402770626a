"""Presets, by Blender's own preset system."""

from pathlib import Path

import pytest

CHANGED = {
    "model": "owner/name",
    "vae": "/a/vae.safetensors",
    "text_encoders": "/a/clip_l.safetensors;/a/t5xxl.safetensors",
    "tokenizer": "/a/t5",
    "preset": "paper",
    "noise": "random",
    "perp_neg": "off",
    "steps": 123,
    "guidance": 12.5,
    "resolution": 128,
    "face_budget": 4321,
    "quads": True,
    "lods": 2,
    "texture_size": 256,
    "height": 2.5,
    "device": "cpu",
    "precision": "8-bit",
    "compiled": True,
    "tiny_vae": "/a/taesd_encoder.safetensors",
    "negative_prompt": 'two "handles"',
    "use_inversion_guidance": True,
    "inversion_guidance": -3.5,
    "views_per_step": 4,
    "views": "antithetic",
    "overrides": 't=[0.98,0.2] field.blob="magic3d"',
}


def paths(bpy):
    return {
        Path(file).stem: str(file)
        for folder in bpy.utils.preset_paths("sdi_text_to_3d")
        for file in Path(folder).glob("*.py")
    }


def apply(bpy, name):
    arguments = {"filepath": paths(bpy)[name], "menu_idname": "SDI_PT_presets"}
    assert bpy.ops.script.execute_preset(**arguments) == {"FINISHED"}


def values(settings):
    return {name: getattr(settings, name) for name in CHANGED}


def test_a_preset_brings_its_settings_back(bpy, extension):
    settings = bpy.context.scene.sdi
    before = values(settings)
    assert {*before, "loras"} == set(extension.operators.presets.SAVED)
    settings.prompt, settings.seed = "a mug", 7
    for name, value in CHANGED.items():
        setattr(settings, name, value)
    style = settings.loras.add()
    style.file, style.weight, style.use = "/a/style.safetensors", 0.5, False
    assert bpy.ops.sdi.preset_add(name="My Own") == {"FINISHED"}
    assert "My_Own" in paths(bpy)
    assert extension.__name__ not in Path(paths(bpy)["My_Own"]).read_text()  # it may be installed under another name

    for name in CHANGED:
        settings.property_unset(name)
    settings.loras[0].file = "/another.safetensors"
    settings.loras.add()
    settings.prompt, settings.seed = "a lamp", 8
    assert values(settings) == before
    apply(bpy, "My_Own")
    assert values(settings) == CHANGED
    assert (settings.prompt, settings.seed) == ("a lamp", 8)
    assert [(lora.file, lora.weight, lora.use) for lora in settings.loras] == [("/a/style.safetensors", 0.5, False)]

    assert bpy.ops.sdi.preset_add(name="My Own", remove_name=True) == {"FINISHED"}
    assert "My_Own" not in paths(bpy)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Quick_Look", "owner/name"),
        ("Game_Prop", "owner/name"),
        ("Stable_Diffusion", "stable-diffusion"),
        ("As_in_the_Paper", "stable-diffusion"),
    ],
)
def test_shipped_presets_do_not_change_personal_settings(bpy, extension, name, model):
    settings = bpy.context.scene.sdi
    for prop, value in CHANGED.items():
        setattr(settings, prop, value)
    apply(bpy, name)
    left = {prop for prop, value in values(settings).items() if value == CHANGED[prop]}
    parts = {"vae", "text_encoders", "tokenizer", "tiny_vae"}
    personal = {"height", "device", "precision", "compiled", "negative_prompt", "quads", "lods"}
    assert left - {"model", "preset"} - parts == personal
    assert settings.model == model
    assert left & parts == (parts if model == CHANGED["model"] else set()), "another model's would not fit"
    assert (settings.use_inversion_guidance, settings.views_per_step, settings.overrides) == (False, 0, "")
    settings.prompt = "a mug"
    assert extension.state.properties.request_from(bpy.context.scene).seed == 0
    assert bpy.ops.sdi.preset_add(name=name, remove_name=True) == {"CANCELLED"}
    assert name in paths(bpy)
