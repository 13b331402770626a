"""Linked and overridden data of another file cannot be changed; results are imported all the same."""

import pytest
from blender_desk import PROMPT
from made_jobs import make_job, write_live

JOB = "job-1"


@pytest.fixture
def library(bpy, tmp_path):
    """A file with a scene "Theirs" that has the collection "SDI" with a result."""
    bpy.ops.wm.read_factory_settings()
    bpy.context.scene.name = "Theirs"
    collection = bpy.data.collections.new("SDI")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(bpy.data.objects["Cube"])
    bpy.data.objects["Cube"]["sdi_prompt"] = "a cube"
    path = tmp_path / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings()
    return path


@pytest.fixture(params=["linked", "overridden", "in a linked scene"])
def theirs(bpy, library, request):
    """The collection "SDI" of that file, in this file."""
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.collections = ["SDI"]
        wanted.scenes = ["Theirs"] if "scene" in request.param else []
    (linked,) = wanted.collections
    bpy.context.scene.collection.children.link(linked)
    if request.param == "overridden":
        linked = linked.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
        assert linked.override_library is not None
    if wanted.scenes:
        bpy.context.window.scene = wanted.scenes[0]
        assert bpy.context.scene.library is not None
    return linked


@pytest.fixture
def folder(bpy, library, extension, results):
    """The extension's desk; after `library`, which resets Blender."""
    return make_job(extension, results, JOB)


def test_a_result_stands_in_a_collection_of_this_file(bpy, extension, folder, theirs):
    before = list(theirs.all_objects)
    placed = extension.scene.importer.put_into_scene(bpy.context, folder, extension.jobs.placement.Placement())
    (home,) = placed.users_collection
    assert home != theirs
    assert home.name in ("SDI", "SDI.001")
    assert home.library is None
    assert home in bpy.data.scenes["Scene", None].collection.children_recursive
    assert list(theirs.all_objects) == before
    again = extension.scene.importer.put_into_scene(bpy.context, folder, extension.jobs.placement.Placement())
    assert again.users_collection == (home,)


def test_markers_and_live_meshes_too_and_nothing_stays_of_them(bpy, extension, folder, theirs):
    collections = {collection.name_full for collection in bpy.data.collections}
    markers, destination = extension.scene.markers, extension.scene.destination
    markers.add(destination.local_scene(bpy.context), JOB, PROMPT, 1.0, (0.0, 0.0, 0.0))
    write_live(folder)
    assert extension.scene.live_mesh.show(bpy.context, folder)
    helpers = markers.helpers(JOB)
    assert len(helpers) == 3
    assert {collection.library for each in helpers for collection in each.users_collection} == {None}
    bpy.ops.ed.undo_push(message="one")
    bpy.data.objects["Light"].location.x = 3.0
    bpy.ops.ed.undo_push(message="two")
    bpy.ops.ed.undo()
    assert len(markers.helpers(JOB)) == 3
    markers.remove(JOB)
    assert {collection.name_full for collection in bpy.data.collections} == collections


def test_generate_in_a_linked_scene_is_refused_before_anything_is_made(bpy, library, desk, results):
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.scenes = ["Theirs"]
    bpy.context.window.scene = wanted.scenes[0]
    assert bpy.context.scene.library is not None
    bpy.context.scene.sdi.prompt = PROMPT
    said = desk.press("generate")
    assert said == (
        'The scene "Theirs" is linked from another file and cannot be changed: show a scene of this file, or make one.'
    )
    assert not list(results.glob("2*"))


def test_an_overridden_object_is_no_asset_of_this_file(bpy, library, extension):
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.collections = ["SDI"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    mine = wanted.collections[0].override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    bpy.context.view_layer.update()
    for each in bpy.context.view_layer.objects:
        each.select_set(each.name in mine.all_objects)
    assert [each.override_library is not None for each in bpy.context.selected_objects] == [True]
    with pytest.raises(RuntimeError, match=r'"Cube.* make it local first'):
        bpy.ops.sdi.mark_as_asset()


def test_that_looks_are_on_a_linked_object_is_why_they_cannot_be_changed(bpy, tmp_path, extension):
    textured = bpy.data.objects["Cube"]
    textured.sdi_looks.add().name = "Before"
    file = str(tmp_path / "textured.blend")
    bpy.data.libraries.write(file, {textured})
    bpy.data.objects.remove(textured)
    with bpy.data.libraries.load(file, link=True) as (_, wanted):
        wanted.objects = ["Cube"]
    bpy.context.collection.objects.link(wanted.objects[0])
    bpy.context.view_layer.objects.active = wanted.objects[0]
    wanted.objects[0].select_set(True)
    for operator in (bpy.ops.sdi.restore_materials, bpy.ops.sdi.show_look, bpy.ops.sdi.remove_look):
        with pytest.raises(RuntimeError, match=r'"Cube" is linked from "textured\.blend": make it local first'):
            operator()


@pytest.fixture
def overridden_marker(bpy, tmp_path):
    """A marker of another file, which was saved while a job ran, as an override."""
    marker, collection = bpy.data.objects.new("marker", None), bpy.data.collections.new("Set")
    marker["sdi_job"], marker["sdi_part"] = JOB, "marker"
    collection.objects.link(marker)
    bpy.data.libraries.write(str(tmp_path / "set.blend"), {collection})
    bpy.ops.wm.read_factory_settings()
    with bpy.data.libraries.load(str(tmp_path / "set.blend"), link=True) as (_, wanted):
        wanted.collections = ["Set"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    ours = wanted.collections[0].override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    assert ours.all_objects[0].override_library is not None
    return ours.all_objects[0].name


def test_an_overridden_marker_which_nobody_can_take_out_keeps_no_other_from_the_undo(
    bpy, overridden_marker, extension, capfd
):
    markers = extension.scene.markers
    assert not markers.helpers()
    for x in (1.0, 2.0):
        bpy.data.objects["Light"].location.x = x
        bpy.ops.ed.undo_push(message="move")
    markers.add(bpy.context.scene, "job-2", PROMPT, 1.0, (0.0, 0.0, 0.0))
    bpy.ops.ed.undo()
    assert len(markers.helpers("job-2")) == 2
    assert overridden_marker in bpy.data.objects
    assert "Traceback" not in capfd.readouterr().err
