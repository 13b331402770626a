"""The operator, from the panel's settings to the object in the scene."""

import contextlib
import io
import json

import pytest

PROMPT = "a red mug"


@pytest.fixture
def generate(bpy, extension):
    """Press Generate in the background; returns the operator's error report, or None if it finished."""

    def press(prompt=PROMPT, **settings):
        bpy.context.scene.sdi.prompt = prompt
        for name, value in settings.items():
            setattr(bpy.context.scene.sdi, name, value)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            try:
                assert bpy.ops.sdi.generate() == {"FINISHED"}
            except RuntimeError as error:
                return str(error).removeprefix("Error: ").strip()
        assert "Optimising" in output.getvalue()
        return None

    return press


def corners(placed):
    return [placed.matrix_world @ vertex.co for vertex in placed.data.vertices]


def test_the_object_stands_at_the_cursor_as_an_artist_expects_it(bpy, generate, results):
    bpy.context.scene.cursor.location = (1.0, 2.0, 3.0)
    assert generate(height=2.0, seed=7) is None
    placed = bpy.data.objects[PROMPT]
    bpy.context.view_layer.update()

    assert tuple(placed.location) == (1.0, 2.0, 3.0)
    assert tuple(placed.rotation_euler) == (0.0, 0.0, 0.0)
    assert tuple(placed.scale) == (1.0, 1.0, 1.0)
    assert placed.rotation_mode == "XYZ"
    assert placed.parent is None
    x, y, z = zip(*corners(placed), strict=True)
    assert (min(z), max(z)) == pytest.approx((3.0, 5.0))  # upright, on the ground of the cursor
    assert (min(y), max(y)) == pytest.approx((2.0 - 0.8, 2.0 + 0.4))  # its protruding front faces -Y
    assert (min(x), max(x)) == pytest.approx((1.0 - 0.4, 1.0 + 0.4))

    assert [collection.name for collection in placed.users_collection] == ["SDI"]
    assert bpy.context.view_layer.objects.active == placed
    assert bpy.context.selected_objects == [placed]
    assert placed.data.name == PROMPT
    assert len(placed.data.vertices) == 8  # welded, though the file splits them for the texture
    assert all(polygon.use_smooth for polygon in placed.data.polygons)

    (material,) = placed.data.materials
    assert material.name == PROMPT
    shader = next(node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    (link,) = shader.inputs["Base Color"].links
    assert link.from_node.image.packed_file is not None
    assert link.from_node.image.name == PROMPT
    assert tuple(link.from_node.image.size) == (8, 8)

    (folder,) = results.glob("2*")
    assert placed["sdi_prompt"] == PROMPT
    assert placed["sdi_seed"] == 7
    assert placed["sdi_model"] == "starter"
    assert placed["sdi_job_folder"] == str(folder)
    assert json.loads(placed["sdi_settings"])["steps"] == 4
    assert json.loads((folder / "placement.json").read_text())["fate"] == "imported"


def test_nothing_else_is_left_in_the_file(bpy, generate):
    kinds = ("objects", "meshes", "materials", "images", "collections", "scenes", "texts", "node_groups")
    before = {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    assert generate() is None
    after = {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    more = {kind: after[kind] - before[kind] for kind in kinds if after[kind] != before[kind]}
    assert more == {"objects": 1, "meshes": 1, "materials": 1, "images": 1, "collections": 1}


def test_the_collection_is_found_again_by_its_name(bpy, generate):
    assert generate() is None
    assert generate() is None
    assert [collection.name for collection in bpy.data.collections if "SDI" in collection.name] == ["SDI"]
    assert {placed.name for placed in bpy.data.collections["SDI"].objects} == {PROMPT, f"{PROMPT}.001"}


def test_a_collection_that_the_person_took_out_of_the_scene_stays_out(bpy, generate):
    assert generate() is None
    taken = bpy.data.collections["SDI"]
    bpy.context.scene.collection.children.unlink(taken)
    assert generate() is None
    assert [each.name for each in bpy.context.scene.collection.children] == ["Collection", "SDI.001"]
    assert len(taken.objects) == len(bpy.data.collections["SDI.001"].objects) == 1


def test_the_size_is_in_metres_whatever_the_scenes_unit(bpy, generate, results):
    bpy.context.scene.unit_settings.scale_length = 0.01
    assert generate(height=50.0) is None  # the panel shows this as 0.5 m
    placed = bpy.data.objects[PROMPT]
    assert placed.dimensions.z == pytest.approx(50.0)
    assert json.loads(next(results.glob("*/request.json")).read_text())["height"] == pytest.approx(0.5)


def test_without_units_the_scale_of_units_is_not_used(bpy, generate, results):
    """Blender keeps the scale, but shows it greyed out and reckons without it."""
    bpy.context.scene.unit_settings.system = "NONE"
    bpy.context.scene.unit_settings.scale_length = 0.0001
    assert generate(height=2.0) is None
    assert bpy.data.objects[PROMPT].dimensions.z == pytest.approx(2.0)
    assert json.loads(next(results.glob("*/request.json")).read_text())["height"] == pytest.approx(2.0)


def test_a_size_that_cannot_be_is_told_in_metres(bpy, generate):
    bpy.context.scene.unit_settings.scale_length = 0.0001
    assert '"height" is 0.0005 metres: it must be between 0.001 and' in generate(height=5.0)


def test_edit_mode_is_not_left(bpy, generate):
    bpy.ops.object.mode_set(mode="EDIT")
    assert generate() is None
    assert bpy.context.mode == "EDIT_MESH"
    assert [each.name for each in bpy.context.selected_objects] == ["Cube"]
    assert bpy.context.view_layer.objects.active.name == "Cube"
    assert PROMPT in bpy.data.objects


def test_an_excluded_collection_does_not_stop_the_import(bpy, generate):
    assert generate() is None
    bpy.context.view_layer.layer_collection.children["SDI"].exclude = True
    assert generate("a blue chair") is None
    assert "a blue chair" in bpy.data.objects


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("🫖 a “teapot” with 'quotes'\nand\tlines", "🫖 a “teapot” with 'quotes' and lines"),
        ("../../etc/passwd; rm -rf $HOME", "../../etc/passwd; rm -rf $HOME"),
        ("🫖" * 40, "🫖" * 15),
        ("con", "con"),
    ],
)
def test_any_prompt_becomes_a_name(bpy, generate, prompt, name, results):
    assert generate(prompt) is None
    assert bpy.data.objects[name]["sdi_prompt"]
    (folder,) = results.glob("2*")
    assert folder.name.isascii()


@pytest.mark.parametrize("prompt", ["", "   \n\t "])
def test_an_empty_prompt_is_refused(bpy, generate, prompt, extension, results):
    said = generate(prompt)
    assert said.startswith("The prompt is empty")
    assert extension.state.current.session().display.complaint == said
    assert not results.exists()


def test_a_prompt_of_which_the_model_knows_no_word_is_refused_at_the_click(
    bpy, generate, extension, results, monkeypatch
):
    monkeypatch.setattr(extension.sdi_engine.diffusion.model_index, "words_of", lambda folder: {"things": ["mug"]})
    said = generate("a dragon")
    assert said.startswith('This model does not know any word of "a dragon"')
    assert extension.state.current.session().display.complaint == said
    assert not results.exists()


def test_a_prompt_of_ten_thousand_characters_is_refused(generate):
    assert "10000 characters" in generate("a mug " * 1666 + "abcd")


def test_a_results_folder_that_cannot_be_written_is_refused(generate, results, extension):
    results.write_text("a file in its place")
    said = generate()
    assert "choose a results folder" in said
    assert extension.state.current.session().display.complaint == said


def test_an_engine_that_cannot_start_is_reported(bpy, generate, extension, tmp_path):
    bpy.context.preferences.addons[extension.__name__].preferences.engine_python = str(tmp_path / "nothing")
    assert "does not exist: choose another" in generate()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("fail 3 times", "It failed as it was told"), ("kill it", "killed"), ("crash", "the fake worker crashes")],
)
def test_a_failed_job_is_reported_and_leaves_nothing_in_the_scene(bpy, generate, prompt, words):
    before = len(bpy.data.objects)
    assert words in generate(prompt)
    assert len(bpy.data.objects) == before


def test_a_mesh_that_cannot_be_read_is_reported(bpy, generate):
    kinds = ("objects", "meshes", "scenes", "collections")
    before = {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    assert "cannot be read" in generate("garbage")
    assert {kind: len(getattr(bpy.data, kind)) for kind in kinds} == before


def test_settings_of_an_object_that_a_person_has_edited_are_refused_in_a_sentence(bpy, put):
    put()["sdi_request"] = 5  # the type of a custom property can be changed in the Properties editor
    with pytest.raises(RuntimeError, match="not a request"):
        bpy.ops.sdi.copy_settings()
