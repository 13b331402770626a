"""A random walk through what a person and jobs do to a file, with many undos: does Blender survive it?

    python undo_walk.py -- SEED FOLDER
    blender --background --factory-startup --python-exit-code 1 --python undo_walk.py -- SEED FOLDER

Jobs' markers and live meshes have no undo steps; without `scene.undo` Blender crashes within a few dozen events.
"""

import logging
import os
import random
import sys
import traceback
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
from made_jobs import make_job, write_live  # noqa: E402

import headless  # noqa: E402

EVENTS = 300
JOBS_AT_ONCE = 3
CHECKS = 0.5
"""The share of events after which a check follows; it updates the view layer, which Blender itself may put off."""


class Walk:
    def __init__(self, seed, results):
        self.random = random.Random(seed)
        self.results = results
        self.extension = headless.enable()
        self.markers = self.extension.scene.markers
        self.jobs, self.over = {}, set()
        self.doings = [self.begin, self.show, self.show, self.end, self.arrive, self.arrive, self.arrive_again]
        self.doings += [self.move, self.move, self.delete, self.select, self.hang, self.exclude, self.change_mode]
        self.doings += [self.put_away]
        self.doings += [self.undo, self.undo, self.undo, self.redo, self.redo, self.jump]

    def go(self):
        self.open_file()
        bpy.ops.ed.undo_push(message="start")
        for number in range(EVENTS):
            doing = self.random.choice(self.doings)
            print(number, doing.__name__, bpy.context.mode, flush=True)
            doing()
            if self.random.random() < CHECKS:
                self.check()
        self.markers.remove_stale(lambda _: True)
        assert not [
            each
            for kind in (bpy.data.objects, bpy.data.meshes, bpy.data.materials)
            for each in kind
            if "sdi_job" in each
        ]

    def open_file(self):
        """A file with view layers that are not shown, and so not kept up to date.

        It is opened so that they are in the first step of the undo too: Blender 4.3 crashes by itself when a new scene
        is undone.
        """
        cube = bpy.data.objects["Cube"]
        cube.modifiers.new("Nodes", "NODES").node_group = bpy.data.node_groups.new("Nodes", "GeometryNodeTree")
        cube.driver_add("rotation_euler", 0).driver.variables.new().type = "TRANSFORMS"
        cube.constraints.new("TRACK_TO").name = "Track To"
        seen = bpy.context.scene
        seen.view_layers.new("Another")
        bpy.ops.scene.new(type="LINK_COPY")
        bpy.context.window.scene = seen
        self.results.mkdir(parents=True, exist_ok=True)
        file = str(self.results / "walk.blend")
        bpy.ops.wm.save_as_mainfile(filepath=file)
        bpy.ops.wm.open_mainfile(filepath=file)
        assert len([view_layer for scene in bpy.data.scenes for view_layer in scene.view_layers]) == 4

    # Jobs

    def begin(self):
        if len(self.going_on()) < JOBS_AT_ONCE:
            name = f"job-{len(self.jobs)}"
            self.jobs[name] = make_job(self.extension, self.results, name, name)
        self.markers.add(bpy.context.scene, self.a_job(), self.a_job(), 1.0, (self.random.random(), 0.0, 0.0))

    def show(self):
        if self.going_on():
            folder = self.jobs[self.a_job()]
            write_live(folder, [[self.random.random() for _ in range(3)] for _ in range(4)])
            assert self.extension.scene.live_mesh.show(bpy.context, folder)

    def end(self):
        if self.going_on():
            name = self.a_job()
            self.over.add(name)
            self.markers.remove(name)

    def arrive(self):
        if self.going_on() and bpy.context.mode == "OBJECT":
            name = self.a_job()
            self.over.add(name)
            self.put(name)

    def arrive_again(self):
        if self.over and bpy.context.mode == "OBJECT":
            self.put(self.random.choice(sorted(self.over)))

    def put(self, name):
        placement = self.extension.jobs.placement.Placement()
        placed = self.extension.scene.importer.put_into_scene(bpy.context, self.jobs[name], placement)
        bpy.ops.ed.undo_push(message=placed.name)

    def going_on(self):
        return sorted(set(self.jobs) - self.over)

    def a_job(self):
        return self.random.choice(self.going_on())

    # The person

    def move(self):
        thing = self.random.choice([each for each in bpy.data.objects if not each.hide_select])
        thing.location.x += self.random.random()
        bpy.ops.ed.undo_push(message="move")

    def delete(self):
        things = [each for each in bpy.context.view_layer.objects if not each.hide_select and each.name != "Cube"]
        if things and bpy.context.mode == "OBJECT":
            bpy.ops.object.select_all(action="DESELECT")
            self.random.choice(things).select_set(True)
            bpy.ops.object.delete()
            bpy.ops.ed.undo_push(message="delete")

    def select(self):
        things = [each for each in bpy.context.view_layer.objects if not each.hide_select]
        if things and bpy.context.mode == "OBJECT":
            thing = self.random.choice(things)
            thing.select_set(not thing.select_get())
            bpy.context.view_layer.objects.active = thing
            bpy.ops.ed.undo_push(message="select")

    def hang(self):
        markers = [each for each in self.markers.helpers() if each["sdi_part"] == self.markers.MARKER]
        if markers:
            cube, marker = bpy.data.objects["Cube"], self.random.choice(markers)
            how = self.random.randrange(4)
            if how == 0:
                cube.parent = marker
            elif how == 1:
                cube.constraints["Track To"].target = marker
            elif how == 2:
                for camera in bpy.data.cameras:  # none where the person has deleted it
                    camera.dof.focus_object = marker
            else:
                cube.animation_data.drivers[0].driver.variables[0].targets[0].id = marker
            bpy.ops.ed.undo_push(message="hang")

    def put_away(self):
        """Move a marker into a collection of the person's, or out of it again, and hide it."""
        markers = [each for each in self.markers.helpers() if each["sdi_part"] == self.markers.MARKER]
        if markers and bpy.context.mode == "OBJECT":
            marker, collection = self.random.choice(markers), bpy.data.collections["Collection"]
            into, out_of = collection, bpy.context.scene.collection
            if collection in marker.users_collection:
                into, out_of = out_of, into
            into.objects.link(marker)
            out_of.objects.unlink(marker)
            bpy.context.view_layer.update()
            marker.hide_set(True)
            bpy.ops.ed.undo_push(message="put away")

    def exclude(self):
        layer = bpy.context.view_layer.layer_collection.children.get("SDI")
        if layer is not None:
            layer.exclude = not layer.exclude
            bpy.ops.ed.undo_push(message="exclude")

    def change_mode(self):
        cube = bpy.data.objects["Cube"]
        bpy.context.view_layer.objects.active = cube
        bpy.ops.object.mode_set(mode="EDIT" if cube.mode == "OBJECT" else "OBJECT")
        bpy.ops.ed.undo_push(message="mode")

    def undo(self):
        if bpy.ops.ed.undo.poll():
            bpy.ops.ed.undo()
        self.markers.remove_stale(self.over.__contains__)

    def redo(self):
        if bpy.ops.ed.redo.poll():
            bpy.ops.ed.redo()
        self.markers.remove_stale(self.over.__contains__)

    def jump(self):
        if bpy.ops.ed.undo_history.poll():
            bpy.ops.ed.undo_history(item=self.random.randrange(10))
        self.markers.remove_stale(self.over.__contains__)

    # Whether all is well

    def check(self):
        bpy.context.view_layer.update()
        for instance in bpy.context.evaluated_depsgraph_get().object_instances:
            assert instance.object.name
        parts = []
        for each in bpy.data.objects:
            assert each.parent is None or each.parent.name in bpy.data.objects
            if "sdi_prompt" in each:
                assert [collection.name for collection in each.users_collection] == ["SDI"], each.name
            if "sdi_job" in each:
                homes = {bpy.context.scene.collection, bpy.data.collections["Collection"]}
                assert len(each.users_collection) == 1, each.name
                assert each.users_collection[0] in homes, each.name
                assert each["sdi_job"] not in self.over
                parts.append((each["sdi_job"], each["sdi_part"]))
        assert len(parts) == len(set(parts)), parts
        collection = bpy.data.collections.get("SDI")
        assert collection is None or any(collection in each.collection.children_recursive for each in bpy.data.scenes)


def main():
    seed, results = sys.argv[sys.argv.index("--") + 1 :]
    logging.disable(logging.INFO)
    bpy.ops.wm.read_factory_settings()
    try:
        Walk(int(seed), Path(results)).go()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # without clean-up, which is not tested here


if __name__ == "__main__":
    main()
