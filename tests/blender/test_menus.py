"""The ways to the extension: Blender's search, the Add menu, the right-click menu, a shortcut."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FROM_TEXT = "sdi.from_text"


class Layout:
    """A layout that records what a menu draws."""

    def __init__(self):
        self.drawn = []

    def operator(self, name, **arguments):
        self.drawn.append((name, arguments.get("text")))
        return self

    def menu(self, name, **arguments):
        self.drawn.append((name, arguments.get("text")))

    def separator(self):
        pass


def drawn_by(bpy, function, **context):
    menu = type("Menu", (), {"layout": Layout()})()
    function(menu, type("Context", (), {"active_object": None, **context})())
    return menu.layout.drawn


def test_each_menu_has_our_entry(bpy, extension):
    menus = extension.panels.menus
    assert drawn_by(bpy, menus._draw_in_add_menu) == [(FROM_TEXT, "From Text…")]
    assert drawn_by(bpy, menus._draw_in_object_menu) == [("SDI_MT_object", None)]
    assert drawn_by(bpy, menus._draw_in_context_menu) == []
    bpy.data.objects["Cube"]["sdi_prompt"] = "a cube"
    ours = drawn_by(bpy, menus._draw_in_context_menu, active_object=bpy.data.objects["Cube"])
    assert ours == [("SDI_MT_object", None)]
    for menu, draw in (
        (bpy.types.VIEW3D_MT_mesh_add, menus._draw_in_add_menu),
        (bpy.types.VIEW3D_MT_object, menus._draw_in_object_menu),
        (bpy.types.VIEW3D_MT_object_context_menu, menus._draw_in_context_menu),
    ):
        assert draw in menu.draw._draw_funcs


def test_the_search_finds_it_by_generate_and_by_sdi(bpy, extension):
    """Blender's search matches the names of the entry and of all menus above it."""
    menu = extension.panels.menus.SDI_MT_object
    entries = drawn_by(bpy, menu.draw)
    label = bpy.ops.sdi.from_text.get_rna_type().name
    assert "SDI" in menu.bl_label
    assert "Generate" in label
    assert {name for name, _ in entries} >= {FROM_TEXT, "sdi.regenerate", "sdi.variations", "sdi.mark_as_asset"}


def test_from_text_generates_as_the_panel_does(bpy, extension):
    bpy.context.scene.sdi.prompt = "a red mug"
    assert bpy.ops.sdi.from_text() == {"FINISHED"}
    assert "a red mug" in bpy.data.objects
    bpy.context.scene.sdi.prompt = ""
    with pytest.raises(RuntimeError, match="The prompt is empty"):
        bpy.ops.sdi.from_text()


def test_the_shortcut_can_be_edited_and_takes_nobody_elses_keys(bpy, extension):
    shortcut = extension.operators.shortcut
    (item,) = [
        item
        for keymap in bpy.context.window_manager.keyconfigs.addon.keymaps
        for item in keymap.keymap_items
        if item.idname == FROM_TEXT
    ]
    assert (item.type, item.shift, item.alt, item.ctrl) == ("T", True, True, False)
    assert shortcut.OPERATOR == FROM_TEXT
    wanted = {"ctrl": False, "oskey": False, **shortcut.KEY}
    assert not [each for each in shortcuts_of_blender(bpy) if clashes(each, wanted)]


def clashes(item, wanted):
    if item["type"] != wanted["type"] or item["value"] not in ("PRESS", "ANY", "CLICK"):
        return False
    return all(item.get(key, False) in (wanted[key], -1) for key in ("ctrl", "shift", "alt", "oskey"))


def shortcuts_of_blender(bpy):
    """All entries of Blender's two keymaps that apply in the 3D viewport, in any mode."""
    folder = Path(bpy.utils.system_resource("SCRIPTS")) / "presets" / "keyconfig"
    sys.path.insert(0, str(folder))
    try:
        for name in ("blender_default", "industry_compatible_data"):
            module = importlib.import_module(f"keymap_data.{name}")
            for _, where, content in module.generate_keymaps(module.Params()):
                if where["space_type"] in ("EMPTY", "VIEW_3D") and not where.get("modal"):
                    yield from (item[1] for item in content["items"])
    finally:
        sys.path.remove(str(folder))


def test_disabling_takes_menus_and_shortcut_away(bpy, extension):
    import headless

    headless.disable()
    menus = (bpy.types.VIEW3D_MT_mesh_add, bpy.types.VIEW3D_MT_object, bpy.types.VIEW3D_MT_object_context_menu)
    functions = [function for menu in menus for function in menu.draw._draw_funcs]
    assert not [function for function in functions if "sdi" in function.__module__]
    keymaps = bpy.context.window_manager.keyconfigs.addon.keymaps
    assert not [item for keymap in keymaps for item in keymap.keymap_items if item.idname.startswith("sdi.")]
    headless.enable()


class Words:
    """A layout that records the labels in it and in all its rows and columns, and which Blender would not translate."""

    def __init__(self):
        self.labels, self.untranslated = [], []

    def __getattr__(self, name):
        return self._drawn

    def _drawn(self, *_, text=None, translate=True, **arguments):
        self.labels += filter(None, [text])
        self.untranslated += filter(None, [None if translate else text])
        return self


def test_sentences_in_the_dialog_are_as_wide_as_the_dialog(bpy, extension, monkeypatch):
    """Its region is the viewport's, which is wider: a line of that width would be cut in the middle."""
    sentence = "This model does not know " + ", ".join(['"vase"'] * 12) + "."
    monkeypatch.setattr(extension.state.current.session().models, "about", lambda model: "Built in")
    monkeypatch.setattr(extension.state.current.session().models, "unknown_words", lambda model, prompt: sentence)
    styles = bpy.context.preferences.ui_styles
    screen = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0), ui_styles=styles)
    context = SimpleNamespace(scene=bpy.context.scene, preferences=screen, region=SimpleNamespace(width=1600))
    words = Words()
    extension.panels.dialog.SDI_OT_from_text.draw(SimpleNamespace(layout=words), context)
    assert " ".join(words.labels).count('"vase"') == 12
    import blf

    blf.size(0, styles[0].widget.points)
    assert max(blf.dimensions(0, label)[0] for label in words.labels) < extension.panels.dialog.WIDTH


def test_the_list_of_jobs_is_filtered_and_sorted_by_prompts(bpy, extension):
    manager = bpy.context.window_manager
    for name, prompt in (("3", "a red mug"), ("2", "a blue chair"), ("1", "a red car")):
        manager.sdi_jobs.add().name = name
        manager.sdi_jobs[-1].prompt = prompt

    def listed(wanted, in_order):
        shown_as = SimpleNamespace(filter_name=wanted, bitflag_filter_item=1, use_filter_sort_alpha=in_order)
        return extension.panels.jobs.SDI_UL_jobs.filter_items(shown_as, bpy.context, manager, "sdi_jobs")

    assert listed("", False) == ([], [])
    assert listed("red", False) == ([1, 0, 1], [])
    assert listed("red", True) == ([1, 0, 1], [2, 0, 1])


def test_what_a_person_has_named_is_not_translated(bpy, extension, put):
    """Blender shows a "Cube" in the language of its interface; that is not the prompt any more."""
    put("Cube")
    panels, layout = extension.panels, Words()
    item = SimpleNamespace(name="job-1", prompt="Cube")
    panels.jobs.SDI_UL_jobs.draw_item(None, bpy.context, layout, None, item, 0, None, "")
    panels.object.SDI_PT_object.draw(SimpleNamespace(layout=layout), bpy.context)
    lora = SimpleNamespace(file="/models/Glass.safetensors", use=True)
    panels.settings.SDI_UL_loras.draw_item(None, bpy.context, layout, None, lora, 0, None, "", 0)
    preview = SimpleNamespace(request=SimpleNamespace(prompt="Cube"), failure=None, is_over=True, state="", notices=())
    panels.main._draw_preview_2d(layout, bpy.context, preview)
    assert layout.untranslated.count("Cube") == 3
    assert {"starter", "Glass"} <= set(layout.untranslated)
