"""An imported result: its place, its mesh and material, its custom properties, and undo."""

import json
import math

import pytest
from made_jobs import PROMPT, counts, make_job, write_live

import headless

JOB = "job-1"
TURN = math.pi / 2


@pytest.fixture
def folder(extension, results):
    return make_job(extension, results, JOB, at=(4.0, 5.0, 6.0), seed=7)


@pytest.fixture
def put(bpy, extension, folder):
    """Import the job's result into the scene."""

    def put_into_scene(**fields):
        placement = extension.jobs.placement.Placement.read(folder) if not fields else None
        placement = placement or extension.jobs.placement.Placement(**fields)
        placed = extension.scene.importer.put_into_scene(bpy.context, folder, placement)
        bpy.context.view_layer.update()
        return placed

    return put_into_scene


@pytest.fixture
def marker(bpy, extension):
    return extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 2.0, 3.0))


def spans(placed):
    """The lowest and highest world coordinate of the vertices, for each axis."""
    points = [placed.matrix_world @ vertex.co for vertex in placed.data.vertices]
    return [(min(values), max(values)) for values in zip(*points, strict=True)]


def is_near(spans, *expected):
    return all(span == pytest.approx(wanted, abs=1e-5) for span, wanted in zip(spans, expected, strict=True))


def looks_outside(placed):
    return all((polygon.center - centre(placed)).dot(polygon.normal) > 0.0 for polygon in placed.data.polygons)


def centre(placed):
    points = [vertex.co for vertex in placed.data.vertices]
    return sum(points[1:], points[0].copy()) / len(points)


def rewrite(glb, change):
    """Change the description of a GLB file's contents."""
    data = glb.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + data[20 + length :]
    glb.write_bytes(data[:8] + (12 + len(chunks)).to_bytes(4, "little") + chunks)


def test_it_stands_where_it_was_asked_for(put):
    placed = put()
    assert tuple(placed.location) == (4.0, 5.0, 6.0)
    assert is_near(spans(placed), (3.8, 4.2), (4.6, 5.2), (6.0, 7.0))
    assert tuple(placed.rotation_euler) == (0.0, 0.0, 0.0)
    assert tuple(placed.scale) == (1.0, 1.0, 1.0)


def test_it_stands_where_its_marker_stands_by_then(bpy, put, marker):
    marker.location = (10.0, 0.0, 0.0)
    marker.rotation_euler.z = TURN
    marker.scale = (1.0, 1.0, 2.0)
    placed = put()
    assert is_near(spans(placed), (9.8, 10.4), (-0.2, 0.2), (0.0, 2.0))  # its front, towards -Y, now towards +X
    assert tuple(placed.location) == (10.0, 0.0, 0.0)
    assert tuple(placed.rotation_euler) == pytest.approx((0.0, 0.0, TURN))
    assert tuple(placed.scale) == (1.0, 1.0, 1.0)
    assert placed.dimensions.z == pytest.approx(2.0)
    assert looks_outside(placed)


def test_a_mirrored_marker_gives_a_mirrored_object_that_is_not_inside_out(put, marker):
    marker.scale.y = -1.0
    placed = put()
    assert is_near(spans(placed), (0.8, 1.2), (1.8, 2.4), (3.0, 4.0))
    assert tuple(placed.scale) == (1.0, 1.0, 1.0)
    assert looks_outside(placed)


def test_of_a_marker_scaled_to_zero_only_the_location_counts(put, marker):
    marker.scale = (0.0, 1.0, 1.0)
    assert is_near(spans(put()), (0.8, 1.2), (1.6, 2.2), (3.0, 4.0))


def test_a_placement_may_be_turned_and_scaled_too(put):
    matrix = (0.0, -2.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    placed = put(matrix=matrix)
    assert is_near(spans(placed), (0.6, 1.8), (-0.4, 0.4), (0.0, 2.0))
    assert placed.rotation_euler.z == pytest.approx(TURN)


def test_the_scenes_units_and_the_marker_agree(bpy, extension, put):
    bpy.context.scene.unit_settings.scale_length = 0.01
    marker = extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (0.0, 0.0, 0.0))
    edge = extension.scene.markers.edge_of(marker)
    placed = put()
    assert placed.dimensions.z == pytest.approx(edge)
    assert placed.dimensions.z == pytest.approx(100.0)


def test_marker_and_live_mesh_are_removed(bpy, extension, put, folder, marker):
    write_live(folder)
    assert extension.scene.live_mesh.show(bpy.context, folder)
    placed = put()
    assert placed.name == PROMPT
    assert not extension.scene.markers.helpers()
    assert [each.name for each in bpy.data.collections["SDI"].objects] == [PROMPT]
    assert bpy.context.selected_objects == [placed]
    assert not any("(live)" in each.name for each in (*bpy.data.meshes, *bpy.data.materials))


def test_the_same_result_again_is_another_object(bpy, put):
    first, second = put(), put()
    assert (first.name, second.name) == (PROMPT, f"{PROMPT}.001")
    assert first.data != second.data
    assert second.location == first.location


def test_it_records_how_it_was_made(bpy, put, folder):
    placed = put()
    assert (placed["sdi_prompt"], placed["sdi_seed"], placed["sdi_model"]) == (PROMPT, 7, "starter")
    assert placed["sdi_job_folder"] == str(folder.path)
    assert placed["sdi_request"] == folder.request().to_json()
    assert json.loads(placed["sdi_settings"])["steps"] == 4
    versions = json.loads(placed["sdi_versions"])
    assert versions["torch"] == "2.13.0"
    assert versions["blender"] == bpy.app.version_string
    assert f'version = "{versions["extension"]}"' in (headless.ROOT / "blender_manifest.toml").read_text()


@pytest.mark.parametrize(("quads", "corners"), [(False, {3}), (True, {4})])
def test_triangles_are_joined_to_quads_where_that_is_asked_for(bpy, extension, results, quads, corners):
    folder = make_job(extension, results, "job-2", quads=quads)
    placed = extension.scene.importer.put_into_scene(bpy.context, folder, extension.jobs.placement.Placement())
    assert {len(polygon.vertices) for polygon in placed.data.polygons} == corners
    assert sum(polygon.area for polygon in placed.data.polygons) == pytest.approx(2.48)
    uvs = {tuple(each.vector) for each in placed.data.uv_layers.active.uv}
    assert uvs == {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)}


def test_colour_textures_are_srgb_and_others_are_data(bpy, extension, put):
    placed = put()
    nodes = placed.data.materials[0].node_tree.nodes
    base = next(node for node in nodes if node.bl_idname == "ShaderNodeTexImage")
    assert base.image.colorspace_settings.name == "sRGB"
    rough = nodes.new("ShaderNodeTexImage")
    rough.image = bpy.data.images.new("roughness", 8, 8)
    split = nodes.new("ShaderNodeSeparateColor")
    shader = next(node for node in nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    links = placed.data.materials[0].node_tree.links
    links.new(rough.outputs["Color"], split.inputs["Color"])
    links.new(split.outputs["Green"], shader.inputs["Roughness"])
    extension.scene.importer._clean(placed.data)
    assert rough.image.colorspace_settings.name == "Non-Color"
    assert base.image.colorspace_settings.name == "sRGB"


def test_without_blenders_importer_it_is_one_sentence(bpy, extension, put, monkeypatch):
    monkeypatch.setattr(extension.scene.importer.addon_utils, "check", lambda name: (True, False))
    monkeypatch.setattr(extension.scene.importer.addon_utils, "enable", lambda name: None)
    with pytest.raises(extension.scene.importer.ImportFailedError, match="io_scene_gltf2"):
        put()


def test_blenders_importer_stays_as_it_is(extension, put, monkeypatch):
    """Where it is enabled again, Blender closes its dialogs, such as that of an export, under the person's hands."""
    addon_utils = extension.scene.importer.addon_utils
    addon_utils.enable("io_scene_gltf2")
    enabled = []
    monkeypatch.setattr(addon_utils, "enable", enabled.append)
    put()
    assert not enabled


def test_a_damaged_request_is_one_sentence(extension, put, folder):
    folder.request_file.write_text("{")
    with pytest.raises(extension.scene.importer.ImportFailedError, match="start the job again"):
        put(scene="Scene")


def test_a_job_without_a_mesh_is_one_sentence(extension, put, folder):
    folder.mesh_file.unlink()
    with pytest.raises(extension.scene.importer.ImportFailedError, match=r"has no mesh\.glb: run it again"):
        put()


def test_a_file_of_two_objects_is_no_result(extension, put, folder):
    def add_another(document):
        document["nodes"].append({"mesh": 0})
        document["scenes"][0]["nodes"].append(len(document["nodes"]) - 1)

    rewrite(folder.mesh_file, add_another)
    with pytest.raises(extension.scene.importer.ImportFailedError, match="it has 2 meshes, not one"):
        put()


def test_what_only_blenders_importer_refuses_is_one_sentence(bpy, extension, put, folder, monkeypatch):
    monkeypatch.setattr(extension.scene.importer, "check_glb", lambda file: None)
    needs = ["SDI_of_tomorrow"]
    rewrite(folder.mesh_file, lambda document: document.update(extensionsUsed=needs, extensionsRequired=needs))
    before = counts(bpy)
    with pytest.raises(extension.scene.importer.ImportFailedError, match=r"SDI_of_tomorrow.*run the job again") as told:
        put()
    assert "\n" not in str(told.value)
    assert counts(bpy) == before


def test_its_pictures_are_in_the_blend_file_and_everything_has_its_name(bpy, put):
    placed = put()
    material = placed.data.materials[0]
    pictures = [node.image for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeTexImage"]
    assert pictures
    assert all(picture.packed_file is not None for picture in pictures)
    assert {placed.name, placed.data.name, material.name} == {PROMPT}
    assert not material.use_backface_culling


class TestUndo:
    """The import is one undo step, and undoing it leaves no trace."""

    @pytest.fixture(autouse=True)
    def before(self, bpy, extension):
        bpy.data.orphans_purge(do_recursive=True)  # Blender's own startup file has some
        bpy.data.objects["Light"].select_set(True)
        bpy.ops.ed.undo_push(message="before")
        return counts(bpy)

    @pytest.mark.parametrize("step_between", [False, True])
    def test_undo_and_purge_leave_the_file_as_it_was(self, bpy, extension, put, folder, before, step_between):
        extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 2.0, 3.0))
        write_live(folder)
        extension.scene.live_mesh.show(bpy.context, folder)
        if step_between:
            bpy.ops.ed.undo_push(message="with marker")
        put()
        bpy.ops.ed.undo_push(message=PROMPT)
        bpy.ops.ed.undo()
        extension.scene.markers.remove_stale(lambda name: name == JOB)
        assert PROMPT not in bpy.data.objects
        bpy.data.orphans_purge(do_recursive=True)
        assert counts(bpy) == before
        assert {each.name for each in bpy.context.selected_objects} == {"Cube", "Light"}
        assert bpy.context.view_layer.objects.active.name == "Cube"

    def test_redo_brings_it_back(self, bpy, extension, put):
        extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 2.0, 3.0))
        put()
        bpy.ops.ed.undo_push(message=PROMPT)
        for _ in range(2):
            bpy.ops.ed.undo()
            extension.scene.markers.remove_stale(lambda name: name == JOB)
            bpy.ops.ed.redo()
            extension.scene.markers.remove_stale(lambda name: name == JOB)
        placed = bpy.data.objects[PROMPT]
        assert tuple(placed.location) == (1.0, 2.0, 3.0)
        image = next(
            node for node in placed.data.materials[0].node_tree.nodes if node.bl_idname == "ShaderNodeTexImage"
        )
        assert tuple(image.image.size) == (8, 8)
        assert bpy.context.selected_objects == [placed]
        assert not extension.scene.markers.helpers()
