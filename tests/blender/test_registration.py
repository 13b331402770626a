import logging
import sys
import tomllib

import pytest

import headless

WATCHED = ("Panel", "Operator", "PropertyGroup", "AddonPreferences")


def ours(bpy):
    """Everything in Blender with our name."""
    types = {name for name in dir(bpy.types) if name.startswith("SDI_")}
    classes = {cls.__name__ for base in WATCHED for cls in getattr(bpy.types, base).__subclasses__()}
    handlers = [f for group in (bpy.app.handlers.load_post, bpy.app.handlers.save_post) for f in group]
    return (
        types | {name for name in classes if name.startswith("SDI_")},
        hasattr(bpy.types.Scene, "sdi"),
        dir(bpy.ops.sdi),
        [f for f in handlers if "sdi" in f.__module__],
        [addon.module for addon in bpy.context.preferences.addons if "sdi" in addon.module],
    )


def test_disabling_leaves_nothing_behind(bpy, fake_python):
    for _ in range(2):
        headless.enable(engine_python=fake_python)
        assert "SDI_PT_generate" in ours(bpy)[0]
        assert bpy.context.scene.sdi.model == "starter"
        headless.disable()
        types, property_exists, operators, handlers, addons = ours(bpy)
        assert not {name for name in types if hasattr(bpy.types, name)}
        assert not property_exists
        assert not operators
        assert not handlers
        assert not addons


def test_enabling_twice_is_enabling_once(extension):
    assert headless.enable() is extension


def test_the_arguments_of_enable_are_in_the_preferences(bpy, extension, fake_python, results):
    preferences = sys.modules[f"{extension.__name__}.state.preferences"]
    assert preferences.engine(bpy.context).python == fake_python
    assert preferences.results_folder(bpy.context) == results


def test_everything_a_person_can_touch_has_a_tooltip(bpy, extension):
    settings = bpy.context.scene.sdi.bl_rna.properties
    for prop in (*settings, *extension.panels.preferences.SDI_AP_preferences.bl_rna.properties):
        if prop.identifier not in ("rna_type", "name", "bl_idname") and not prop.is_hidden:
            assert prop.description, prop.identifier
    for name in dir(bpy.ops.sdi):
        assert getattr(bpy.ops.sdi, name).get_rna_type().description, name


@pytest.fixture(scope="module")
def manifest():
    return tomllib.loads((headless.ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))


def test_the_manifest_keeps_the_rules(manifest):
    assert manifest["id"] == headless.PACKAGE
    assert manifest["blender_version_min"] == "4.2.0"
    assert len(manifest["tagline"]) <= 64
    assert manifest["tagline"][-1].isalnum()
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert "blender" not in manifest["name"].lower()
    for reason in manifest["permissions"].values():
        assert len(reason) <= 64
        assert reason[-1].isalnum()
    assert set(manifest["permissions"]) == {"files", "network"}


def test_what_blender_logs_of_names_from_elsewhere_is_printable(extension, capsys, monkeypatch):
    log = extension.jobs.library.log
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in Blender, without pytest's handlers
    log.warning("%s could not be removed", "mug\x1b]0;owned\x07\nERROR forged")
    log.info("not a warning")
    assert capsys.readouterr().err == "mug\\x1b]0;owned\\x07\\nERROR forged could not be removed\n"


def test_a_sentence_that_blender_prints_is_printable(bpy, extension, capfd):
    bpy.context.scene.sdi.model = "/no\x1b]0;owned\x07such.safetensors"
    bpy.context.scene.sdi.prompt = "a mug"
    with pytest.raises(RuntimeError, match=r"x1b\]0;owned"):
        bpy.ops.sdi.generate()
    printed = capfd.readouterr()
    assert "\x1b]0;" not in printed.out + printed.err
