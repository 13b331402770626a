"""Markers in the scene, which show where an object will stand, and their safety with Blender's undo."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from made_jobs import PROMPT, counts, make_job, write_live

JOB = "job-1"


@pytest.fixture
def markers(extension):
    return extension.scene.markers


def add(bpy, markers, job=JOB, height=1.0, location=(1.0, 2.0, 3.0)):
    return markers.add(bpy.context.scene, job, PROMPT, height, location)


def exclude(bpy, markers, job=JOB):
    """Put a job's helpers into a collection of their own that the shown view layer excludes."""
    collection = bpy.data.collections.new("Away")
    bpy.context.scene.collection.children.link(collection)
    for each in markers.helpers(job):
        bpy.context.scene.collection.objects.unlink(each)
        collection.objects.link(each)
    bpy.context.view_layer.layer_collection.children["Away"].exclude = True


def test_the_marker_shows_where_and_how_big(bpy, markers):
    before = [each.name for each in bpy.context.selected_objects]
    bpy.context.scene.unit_settings.scale_length = 0.01
    marker = add(bpy, markers, height=0.5)
    bpy.context.view_layer.update()
    assert tuple(marker.matrix_world.translation) == (1.0, 2.0, 3.0)
    box = markers.find(JOB, markers.BOX)
    low = [middle - box.empty_display_size for middle in box.matrix_world.translation]
    high = [middle + box.empty_display_size for middle in box.matrix_world.translation]
    assert low == pytest.approx([1.0 - 25.0, 2.0 - 25.0, 3.0])
    assert high == pytest.approx([1.0 + 25.0, 2.0 + 25.0, 3.0 + 50.0])
    assert (marker.type, box.type, box.empty_display_type) == ("EMPTY", "EMPTY", "CUBE")
    assert box.hide_select
    assert not marker.hide_select
    assert set(bpy.context.scene.collection.objects) == {marker, box}
    assert "SDI" not in bpy.data.collections  # it comes with the first result, which has an undo step
    assert marker["sdi_job"] == box["sdi_job"] == JOB
    assert [each.name for each in bpy.context.selected_objects] == before
    assert bpy.context.view_layer.objects.active.name == "Cube"
    assert PROMPT not in bpy.data.objects  # the name is for the result


@pytest.mark.parametrize(("unit", "height"), [(0.001, 3.0), (0.001, 1000.0), (1.0, 0.001)])
def test_it_shows_how_big_it_will_be_whatever_the_unit(bpy, markers, unit, height):
    bpy.context.scene.unit_settings.scale_length = unit
    marker = add(bpy, markers, height=height)
    box = markers.find(JOB, markers.BOX)
    bpy.context.view_layer.update()
    middle, to_side = box.matrix_world.translation.z - 3.0, box.matrix_world.to_scale() * box.empty_display_size
    assert tuple(to_side) == pytest.approx([height / unit / 2.0] * 3)
    assert middle == pytest.approx(height / unit / 2.0, rel=1e-3)
    assert markers.edge_of(marker) == pytest.approx(height / unit)


def test_one_marker_per_job(bpy, markers):
    marker = add(bpy, markers)
    marker.location.x = 9.0
    assert add(bpy, markers) == marker
    assert marker.location.x == 9.0
    add(bpy, markers, "job-2")
    assert len(markers.helpers()) == 4


def test_the_matrix_is_where_it_really_stands(bpy, markers):
    marker = add(bpy, markers, location=(0.0, 0.0, 0.0))
    assert markers.matrix_of("another") is None
    marker.parent = bpy.data.objects["Cube"]
    bpy.data.objects["Cube"].location = (0.0, 0.0, 7.0)
    marker.rotation_euler.z = math.pi / 2
    marker.constraints.new("COPY_SCALE").target = bpy.data.objects["Light"]
    bpy.data.objects["Light"].scale = (2.0, 2.0, 2.0)
    expected = [(0.0, -2.0, 0.0, 0.0), (2.0, 0.0, 0.0, 0.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0)]
    for row, wanted in zip(markers.matrix_of(JOB), expected, strict=True):
        assert tuple(row) == pytest.approx(wanted, abs=1e-5)


def test_it_survives_saving_and_opening(bpy, markers, tmp_path):
    add(bpy, markers).location.x = 4.0
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert markers.find(JOB) is None
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    assert markers.matrix_of(JOB).translation.x == pytest.approx(4.0)


def test_an_excluded_collection_does_no_harm(bpy, markers):
    add(bpy, markers)
    exclude(bpy, markers)
    assert tuple(markers.matrix_of(JOB).translation) == (1.0, 2.0, 3.0)
    markers.remove(JOB)
    assert markers.find(JOB) is None


@pytest.mark.parametrize("is_hung_on_the_cube", [False, True])
def test_a_hidden_marker_keeps_its_place_when_the_file_is_opened(bpy, markers, tmp_path, is_hung_on_the_cube):
    marker = add(bpy, markers)
    if is_hung_on_the_cube:
        marker.parent = bpy.data.objects["Cube"]
        marker.matrix_parent_inverse.translation.x = 3.0
        marker.parent.location.y = 7.0
    bpy.context.view_layer.update()
    matrix = markers.matrix_of(JOB)
    exclude(bpy, markers)
    if is_hung_on_the_cube:
        bpy.context.view_layer.layer_collection.children["Collection"].exclude = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    assert markers.matrix_of(JOB) == matrix


def test_hidden_view_layers_are_not_evaluated(bpy, markers):
    """Blender 4.3 would crash if it evaluated one after an undo."""
    marker = add(bpy, markers)
    bpy.context.scene.view_layers.new("Another")
    exclude(bpy, markers)
    marker.location.x = 9.0  # only an evaluation of the other view layer would update its matrix
    assert tuple(markers.matrix_of(JOB).translation) == (1.0, 2.0, 3.0)


def test_nothing_is_left_when_it_goes(bpy, extension, markers, results):
    before = counts(bpy)
    folder = make_job(extension, results, JOB)
    add(bpy, markers)
    write_live(folder)
    assert extension.scene.live_mesh.show(bpy.context, folder)
    assert counts(bpy) != before
    markers.remove(JOB)
    assert counts(bpy) == before
    markers.remove(JOB)
    assert counts(bpy) == before


def test_what_the_person_hung_on_it_stays_where_it_is(bpy, markers):
    cube = bpy.data.objects["Cube"]
    cube.parent = add(bpy, markers)
    bpy.context.view_layer.update()
    stood = cube.matrix_world.translation.copy()
    assert stood.z == 3.0
    markers.remove(JOB)
    bpy.context.view_layer.update()
    assert cube.parent is None
    assert cube.matrix_world.translation == stood


def test_markers_of_jobs_that_are_over_are_removed(bpy, markers):
    for name in ("job-1", "job-2", "job-3"):
        add(bpy, markers, name)
    over = {"job-1", "job-3", "job-4"}
    markers.remove_stale(over.__contains__)
    assert {each["sdi_job"] for each in markers.helpers()} == {"job-2"}


def test_the_box_of_a_deleted_marker_goes(bpy, markers):
    bpy.data.objects.remove(add(bpy, markers))
    assert markers.find(JOB, markers.BOX) is not None
    markers.tidy()
    assert not markers.helpers()
    bpy.data.objects.remove(add(bpy, markers))
    add(bpy, markers)
    assert len(markers.helpers(JOB)) == 2


def test_a_job_whose_name_was_made_a_number_is_still_its_own(bpy, markers):
    """As by the type of a custom property, which a person can change in the Properties editor."""
    marker = add(bpy, markers, "5")
    marker["sdi_job"] = 5
    assert markers.find("5") == marker
    assert len(markers.helpers("5")) == 2


class TestUndo:
    """Markers come and go without undo steps."""

    @pytest.fixture(autouse=True)
    def steps(self, bpy, extension):
        bpy.ops.ed.undo_push(message="before")

    def test_a_move_of_the_marker_is_undone(self, bpy, markers):
        add(bpy, markers)
        bpy.ops.ed.undo_push(message="something")
        markers.find(JOB).location.x = 5.0
        bpy.ops.ed.undo_push(message="move")
        bpy.ops.ed.undo()
        assert markers.matrix_of(JOB).translation.x == pytest.approx(1.0)
        bpy.ops.ed.redo()
        assert markers.matrix_of(JOB).translation.x == pytest.approx(5.0)

    def test_an_undo_to_before_its_time_keeps_it(self, bpy, markers):
        bpy.data.objects["Cube"].location.x = 1.0
        bpy.ops.ed.undo_push(message="move")
        marker = add(bpy, markers, height=2.0)
        marker.location.y = 8.0
        bpy.context.view_layer.update()
        bpy.ops.ed.undo()
        assert bpy.data.objects["Cube"].location.x == 0.0
        assert markers.matrix_of(JOB).translation.y == pytest.approx(8.0)
        assert markers.edge_of(markers.find(JOB)) == pytest.approx(2.0)
        assert markers.find(JOB, markers.BOX).empty_display_size == pytest.approx(1.0)
        assert [each.name for each in bpy.context.selected_objects] == ["Cube"]
        assert set(bpy.context.scene.keys()) <= {"sdi"}

    @pytest.mark.parametrize("is_new", [False, True])
    def test_it_stays_hidden_and_where_the_person_has_put_it(self, bpy, markers, is_new):
        mine = bpy.data.collections.new("Mine")
        bpy.context.scene.collection.children.link(mine)

        def hide():
            marker = add(bpy, markers)
            mine.objects.link(marker)
            bpy.context.scene.collection.objects.unlink(marker)
            bpy.context.view_layer.update()
            marker.hide_set(True)

        if not is_new:
            hide()
        for x in (1.0, 2.0, 3.0):
            bpy.context.view_layer.update()
            bpy.data.objects["Cube"].location.x = x
            bpy.ops.ed.undo_push(message="move")
        if is_new:
            hide()
        bpy.ops.ed.undo()
        assert bpy.data.objects["Cube"].location.x == 2.0
        mine = bpy.data.collections["Mine"]
        marker, box = markers.find(JOB), markers.find(JOB, markers.BOX)
        assert marker.users_collection == (mine,)
        assert marker.hide_get()
        assert box.users_collection == (bpy.context.scene.collection,)
        assert not box.hide_get()

    def test_it_stays_out_of_a_local_view(self, bpy, markers):
        window = bpy.context.window_manager.windows[0]
        area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
        region = next(each for each in area.regions if each.type == "WINDOW")
        add(bpy, markers)
        for x in (1.0, 2.0, 3.0):
            bpy.context.view_layer.update()
            bpy.data.objects["Cube"].location.x = x
            bpy.ops.ed.undo_push(message="move")
        with bpy.context.temp_override(window=window, area=area, region=region):
            bpy.ops.view3d.localview()

        def shown():
            visible = {"view_layer": bpy.context.view_layer, "viewport": area.spaces.active}
            return {each.name for each in bpy.data.objects if each.visible_get(**visible)}

        assert shown() == {"Cube"}
        bpy.ops.ed.undo()
        assert bpy.data.objects["Cube"].location.x == 2.0
        assert shown() == {"Cube"}

    def test_selecting_it_is_undone_and_redone(self, bpy, markers):
        add(bpy, markers)
        bpy.ops.ed.undo_push(message="something")
        for name in (markers.find(JOB).name, "Cube"):
            bpy.ops.object.select_all(action="DESELECT")
            bpy.data.objects[name].select_set(True)
            bpy.context.view_layer.objects.active = bpy.data.objects[name]
            bpy.ops.ed.undo_push(message="select")
        bpy.ops.ed.undo()
        assert bpy.context.selected_objects == [markers.find(JOB)]
        assert bpy.context.view_layer.objects.active == markers.find(JOB)
        bpy.ops.ed.undo()
        assert [each.name for each in bpy.context.selected_objects] == ["Cube"]
        bpy.ops.ed.redo()
        assert bpy.context.selected_objects == [markers.find(JOB)]
        bpy.ops.ed.redo()
        assert [each.name for each in bpy.context.selected_objects] == ["Cube"]

    def test_every_view_layer_knows_before_the_undo_that_the_marker_left(self, bpy, markers):
        """Otherwise Blender 4.2 reads its collections in the middle of the undo, and crashes."""
        add(bpy, markers)
        bpy.context.scene.view_layers.new("Another")
        bpy.ops.scene.new(type="LINK_COPY")
        bpy.ops.ed.undo_push(message="scene")
        name, seen = markers.find(JOB).name, []
        handlers = bpy.app.handlers.undo_pre
        view_layers = [view_layer for scene in bpy.data.scenes for view_layer in scene.view_layers]
        assert len(view_layers) == 4
        assert all(name in view_layer.objects for view_layer in view_layers)
        handlers.append(lambda *_: seen.extend(name in each.objects.keys() for each in view_layers))  # noqa: SIM118
        try:
            bpy.ops.ed.undo()
        finally:
            handlers.pop()
        assert seen == [False] * 4

    def test_it_comes_back_into_its_own_scene(self, bpy, markers, extension):
        from mathutils import Matrix

        other = bpy.data.scenes.new("Other")
        bpy.ops.ed.undo_push(message="scene")
        result = bpy.data.objects.new("result", None)
        extension.scene.collection.collection_in(bpy.context.scene).objects.link(result)
        bpy.ops.ed.undo_push(message="result")
        marker = markers.make(other, JOB, "a mug", 1.0, Matrix())
        assert marker.users_collection == (other.collection,)
        for turn in (bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.undo):
            turn()
            assert [scene.name for scene in markers.find(JOB).users_scene] == ["Other"]

    def test_what_is_gone_for_good_does_not_come_back_from_before(self, bpy, markers):
        add(bpy, markers)
        markers.remove(JOB)
        bpy.ops.ed.undo_push(message="something")
        bpy.ops.ed.undo()
        assert not markers.helpers()

    @pytest.mark.parametrize("mode", ["OBJECT", "EDIT", "SCULPT"])
    def test_it_is_in_an_undo_step_once_the_extension_is_disabled(self, bpy, extension, markers, mode):
        """Otherwise the next undo crashes Blender, since nobody keeps it from the marker any more."""
        bpy.ops.object.mode_set(mode=mode)
        bpy.ops.ed.undo_push(message="mode")
        add(bpy, markers)
        extension.scene.undo.UndoGuard().end()
        markers.remove(JOB)
        bpy.ops.ed.undo_push(message="remove")
        bpy.ops.ed.undo()
        assert markers.find(JOB) is not None

    def test_a_deletion_can_be_undone_and_redone(self, bpy, markers):
        add(bpy, markers)
        bpy.ops.ed.undo_push(message="something")
        bpy.data.objects.remove(markers.find(JOB))
        bpy.ops.ed.undo_push(message="delete")
        bpy.ops.ed.undo()
        assert markers.find(JOB) is not None
        bpy.ops.ed.redo()
        assert markers.find(JOB) is None

    def test_what_was_deleted_stays_deleted_though_a_node_points_to_it(self, bpy, markers):
        add(bpy, markers)
        tree = bpy.data.node_groups.new("Tree", "GeometryNodeTree")
        tree.use_fake_user = True
        node = tree.nodes.new("GeometryNodeObjectInfo")
        node_name = node.name
        node.inputs["Object"].default_value = markers.find(JOB)
        bpy.ops.ed.undo_push(message="point")
        bpy.ops.object.select_all(action="DESELECT")
        markers.find(JOB).select_set(True)
        bpy.ops.object.delete()
        bpy.ops.ed.undo_push(message="delete")
        deleted = node.inputs["Object"].default_value
        assert deleted is not None, "Blender keeps it for the node"
        assert markers.find(JOB) is None
        for x in (1.0, 2.0):
            bpy.data.objects["Cube"].location.x = x
            bpy.ops.ed.undo_push(message="move")
        bpy.ops.ed.undo()
        assert bpy.data.objects["Cube"].location.x == 1.0
        assert markers.find(JOB) is None
        pointed_to = bpy.data.node_groups["Tree"].nodes[node_name].inputs["Object"].default_value
        assert not pointed_to.users_collection
        markers.tidy()
        assert markers.find(JOB, markers.BOX) is None
        add(bpy, markers)  # as when the job is resumed
        assert markers.find(JOB).users_collection
        markers.remove(JOB)
        assert not markers.helpers()

    def test_a_deletion_can_be_undone_though_a_node_points_to_it(self, bpy, markers):
        add(bpy, markers)
        bpy.context.scene["mine"] = markers.find(JOB)
        bpy.ops.ed.undo_push(message="point")
        bpy.ops.object.select_all(action="DESELECT")
        markers.find(JOB).select_set(True)
        bpy.ops.object.delete()
        bpy.ops.ed.undo_push(message="delete")
        assert markers.find(JOB) is None
        bpy.ops.ed.undo()
        assert markers.find(JOB) is not None

    def test_a_live_mesh_comes_back_beside_its_marker(self, bpy, extension, markers, results):
        add(bpy, markers)
        for x in (1.0, 2.0):
            bpy.data.objects["Cube"].location.x = x
            bpy.ops.ed.undo_push(message="move")
        folder = make_job(extension, results, JOB)
        write_live(folder)
        assert extension.scene.live_mesh.show(bpy.context, folder)
        bpy.ops.ed.undo()
        for part in (markers.MARKER, markers.LIVE):
            assert markers.find(JOB, part).users_collection == (bpy.context.scene.collection,)

    @pytest.mark.parametrize(
        "how",
        [
            *("parent", "constraint", "bone", "modifier", "nodes", "own", "camera"),
            *("focus", "driver", "driven node", "material", "group", "bone's shape", "timeline", "field"),
        ],
    )
    def test_what_points_to_the_marker_is_kept_from_a_pointer_to_nothing(self, bpy, extension, markers, how):
        """In Edit Mode Blender makes no undo step of what changes outside the mesh: the pointer is in no step here."""
        references = extension.scene.references
        kind, owner, path, name = self.pointer(bpy, how)

        def holder():
            found = getattr(bpy.data, kind)[owner]
            return found.path_resolve(path) if path else found

        def target():
            return getattr(holder(), name) if name in holder().bl_rna.properties else holder()[name]

        for x in (1.0, 2.0):
            bpy.data.objects["Light"].location.x = x
            bpy.ops.ed.undo_push(message="move")
        references._point(holder(), name, add(bpy, markers))
        cleared = references.clear(markers.helpers())
        assert (path, name) in [(each.path, each.name) for each in cleared]  # a scene's camera follows the timeline's
        assert target() is None
        references.restore(cleared)
        assert target() == markers.find(JOB)
        bpy.ops.ed.undo()
        assert bpy.data.objects["Light"].location.x == 1.0
        # Blender keeps an owner that is the same in both steps, and its pointer with it; others are as in the step.
        assert target() in ([markers.find(JOB)] if how in ("parent", "own", "camera") else [markers.find(JOB), None])
        bpy.context.view_layer.update()
        assert not [key for key in getattr(bpy.data, kind)[owner].keys() if key.startswith("sdi_undo")]  # noqa: SIM118

    def pointer(self, bpy, how):
        """What can point to an object: its owner's kind and name, the path from there, and the pointer's name."""
        cube, name = bpy.data.objects["Cube"], "target"
        if how == "parent":
            return "objects", "Cube", "", "parent"
        if how == "own":
            return "objects", "Cube", "", "own"
        if how == "camera":
            return "scenes", bpy.context.scene.name, "", "camera"
        if how == "focus":
            return "cameras", "Camera", "dof", "focus_object"
        if how == "timeline":
            bpy.context.scene.timeline_markers.new("here")
            return "scenes", bpy.context.scene.name, "timeline_markers[0]", "camera"
        if how == "driver":
            cube.driver_add("location", 0).driver.variables.new()
            return "objects", "Cube", "animation_data.drivers[0].driver.variables[0].targets[0]", "id"
        if how in ("material", "driven node"):
            material = bpy.data.materials["Material"]
            if bpy.app.version < (5, 0, 0):
                material.use_nodes = True
            node = material.node_tree.nodes.new("ShaderNodeTexCoord")
            if how == "material":
                return "materials", "Material", f"node_tree.{node.path_from_id()}", "object"
            material.node_tree.driver_add(f"{node.path_from_id()}.location", 0).driver.variables.new()
            return "materials", "Material", "node_tree.animation_data.drivers[0].driver.variables[0].targets[0]", "id"
        if how == "group":
            group = bpy.data.node_groups.new("group", "GeometryNodeTree")
            cube.modifiers.new("Nodes", "NODES").node_group = group
            node = group.nodes.new("GeometryNodeObjectInfo")
            return "node_groups", "group", node.inputs["Object"].path_from_id(), "default_value"
        if how == "field":
            bpy.context.view_layer.objects.active = cube
            bpy.ops.object.forcefield_toggle()
            return "objects", "Cube", "field", "source_object"
        if how == "constraint":
            holder = cube.constraints.new("TRACK_TO")
        elif how.startswith("bone"):
            rig = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
            bpy.context.scene.collection.objects.link(rig)
            bpy.context.view_layer.objects.active = rig
            bpy.ops.object.mode_set(mode="EDIT")
            rig.data.edit_bones.new("bone").tail.z = 1.0
            bpy.ops.object.mode_set(mode="OBJECT")
            if how == "bone's shape":
                return "objects", "Armature", rig.pose.bones["bone"].path_from_id(), "custom_shape"
            holder = rig.pose.bones["bone"].constraints.new("COPY_LOCATION")
        elif how == "modifier":
            holder, name = cube.modifiers.new("Mirror", "MIRROR"), "mirror_object"
        else:
            group = bpy.data.node_groups.new("nodes", "GeometryNodeTree")
            name = group.interface.new_socket("Object", in_out="INPUT", socket_type="NodeSocketObject").identifier
            holder = cube.modifiers.new("Nodes", "NODES")
            holder.node_group = group
        return "objects", holder.id_data.name, holder.path_from_id(), name

    @pytest.mark.parametrize("seed", range(3))
    def test_blender_survives_any_order_of_events(self, seed, tmp_path):
        """A crash may be tried again: Blender 4 itself confuses what is freed with what takes its place (`undo`)."""
        walk = Path(__file__).with_name("undo_walk.py")
        for turn in range(3):
            done = subprocess.run(  # a process of its own, since a crash would end this one too
                [sys.executable, "-X", "faulthandler", walk, "--", str(seed), str(tmp_path / f"jobs-{turn}")],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if done.returncode >= 0:  # not a crash
                break
        assert done.returncode == 0, done.stdout[-6000:]
        assert "Traceback" not in done.stdout  # Blender goes on where one of our handlers fails
