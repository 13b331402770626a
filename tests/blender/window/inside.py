"""Runs in the tested Blender: answers the driver's questions, and measures how long the interface is blocked.

The driver asks through files, and a timer answers. It does nothing that a person would do with mouse or keyboard.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import addon_utils
import bpy

TALK = Path(os.environ["SDI_WINDOW_TALK"])
INTERVAL = 0.01
BEATS = 3
"""Timer calls until a question is answered: one may come before Blender reads the mouse's events, and timers run before
events are handled; so the third is the first that knows all that was done before the question."""


class Pulse:
    """The longest time that Blender's interface was blocked since `reset`, by whatever."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> bool:
        self.longest = 0.0
        self.rest()
        return True

    def beat(self) -> None:
        self.longest = max(self.longest, time.monotonic() - self.last)

    def rest(self) -> None:
        self.last = time.monotonic()


class Grip:
    """The longest time that one package's Python blocked Blender's interface at once, since `watch`.

    In seconds of processor time, which do not grow on a busy machine.
    """

    def watch(self, package: str) -> bool:
        self.package = package
        self.longest = 0.0
        self.where = ""
        self.outermost: FrameType | None = None
        sys.setprofile(self._notice)
        return True

    def _notice(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and self.outermost is None:
            if str(frame.f_globals.get("__name__")).startswith(self.package):
                self.outermost = frame
                self.since = time.thread_time()
        elif event == "return" and frame is self.outermost:
            self.outermost = None
            held = time.thread_time() - self.since
            if held > self.longest:
                self.longest, self.where = held, frame.f_code.co_qualname


pulse = Pulse()
grip = Grip()


def clear_away(extension: str) -> bool:
    """Disable the extension and open a new file; Blender has a window again only in its next cycle."""
    addon_utils.disable(extension)
    bpy.ops.wm.read_homefile()
    return True


def switch_on(extension: str, settings: dict[str, Any]) -> bool:
    """Enable the extension and change its preferences, which are saved: they hold after a real start too."""
    addon_utils.enable(extension)
    preferences = bpy.context.preferences.addons[extension].preferences
    for name, value in settings.items():
        setattr(preferences, name, value)
    bpy.ops.wm.save_userpref()
    return True


def viewport() -> tuple[bpy.types.Window, bpy.types.Area, bpy.types.Region]:
    """The window, its 3D viewport, and that viewport's sidebar."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area, next(region for region in area.regions if region.type == "UI")


def show_sidebar() -> bool:
    _, area, _ = viewport()
    area.spaces.active.show_region_ui = True
    return True


def sidebar() -> dict[str, Any]:
    _, _, region = viewport()
    rectangle = {name: getattr(region, name) for name in ("x", "y", "width", "height")}
    return {**rectangle, "category": getattr(region, "active_panel_category", "")}


_drawn: dict[str, int] = {}


def times_drawn(panel: str) -> int:
    """The number of times that the panel was drawn since the first call."""
    if panel not in _drawn:
        _drawn[panel] = 0
        cls = getattr(bpy.types, panel)
        draw = cls.draw

        def draw_and_count(self: bpy.types.Panel, context: bpy.types.Context) -> None:
            _drawn[panel] += 1
            draw(self, context)

        cls.draw = draw_and_count
    return _drawn[panel]


def close_others() -> None:
    """All windows but the first."""
    for window in bpy.context.window_manager.windows[1:]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()


def add_monkey() -> bool:
    """Add Blender's monkey as a person does: it is selected and active, and an undo step."""
    window, area, _ = viewport()
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        bpy.ops.mesh.primitive_monkey_add()
        bpy.ops.ed.undo_push(message="Add Monkey")
    return True


def sculpt_monkey(source_mesh: ModuleType) -> list[float]:
    """Inflate the monkey in Sculpt Mode; its height as `capture` has it there, and in Object Mode afterwards."""
    window, area, _ = viewport()
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        monkey, heights = bpy.context.object, []
        bpy.ops.object.mode_set(mode="SCULPT")
        bpy.ops.sculpt.mesh_filter(type="INFLATE", strength=1.0)
        for mode in ("SCULPT", "OBJECT"):
            bpy.ops.object.mode_set(mode=mode)
            heights.append(float(source_mesh.capture(bpy.context, monkey).vertices[:, 2].max()))
    return heights


def bake_simulation() -> bool:
    """Begin to bake a simulation of a grid's geometry nodes; it has so many frames that it does not end by itself."""
    window, area, _ = viewport()
    region = next(region for region in area.regions if region.type == "WINDOW")
    tree = bpy.data.node_groups.new("Simulation", "GeometryNodeTree")
    for in_out in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
    kinds = ("NodeGroupInput", "GeometryNodeSimulationInput", "GeometryNodeSimulationOutput", "NodeGroupOutput")
    first, before, after, last = map(tree.nodes.new, kinds)
    before.pair_with_output(after)
    for one, other in ((first, before), (before, after), (after, last)):
        tree.links.new(one.outputs["Geometry"], other.inputs["Geometry"])
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        bpy.ops.mesh.primitive_grid_add(x_subdivisions=200, y_subdivisions=200)
        bpy.context.object.modifiers.new("Simulation", "NODES").node_group = tree
        bpy.context.scene.frame_end = 100_000
        bpy.ops.object.simulation_nodes_cache_bake("INVOKE_DEFAULT", selected=True)
    return True


def show_object() -> bool:
    """Turn the view to the active object and show its texture, in Solid mode: software OpenGL takes long for EEVEE."""
    window, area, _ = viewport()
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        for slot in bpy.context.object.material_slots:
            nodes = slot.material.node_tree.nodes
            nodes.active = next(node for node in nodes if node.bl_idname == "ShaderNodeTexImage")
        bpy.ops.view3d.view_selected()
    space = area.spaces.active
    space.shading.color_type = "TEXTURE"
    space.region_3d.view_distance *= 2.0
    return True


def under_mouse() -> str | None:
    """The sidebar's button under the mouse: its property's data path, or its operator's name such as "sdi.generate"."""
    window, area, region = viewport()
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        if bpy.context.property is not None:
            return bpy.context.property[1]
        if not bpy.ops.ui.copy_python_command_button.poll():
            return None
        bpy.ops.ui.copy_python_command_button()
        return window.id_data.clipboard.removeprefix("bpy.ops.").split("(")[0]


def objects() -> dict[str, dict[str, Any]]:
    """Every object of the scene: its place, its mesh and its material."""
    bpy.context.view_layer.update()
    return {thing.name: _about(thing) for thing in bpy.context.scene.objects}


def lasting_objects() -> dict[str, dict[str, Any]]:
    """`objects` without those that only exist while a job runs."""
    return {name: about for name, about in objects().items() if "sdi_job" not in bpy.data.objects[name]}


def _about(thing: bpy.types.Object) -> dict[str, Any]:
    corners = [thing.matrix_world @ type(thing.location)(corner) for corner in thing.bound_box]
    return {
        "type": thing.type,
        "collections": [collection.name for collection in thing.users_collection],
        "low": [min(corner[axis] for corner in corners) for axis in range(3)],
        "high": [max(corner[axis] for corner in corners) for axis in range(3)],
        "faces": len(thing.data.polygons) if thing.type == "MESH" else 0,
        "uv": bool(thing.data.uv_layers) if thing.type == "MESH" else False,
        "selected": thing.select_get(),
        "textured": [_textured(slot.material) for slot in thing.material_slots],
    }


def _textured(material: bpy.types.Material | None) -> bool:
    """Whether an image with pixels feeds the base colour of a Principled BSDF."""
    if material is None or material.node_tree is None:
        return False
    for node in material.node_tree.nodes:
        if node.bl_idname == "ShaderNodeBsdfPrincipled":
            links = node.inputs["Base Color"].links
            if any(_has_pixels(link.from_node) for link in links):
                return True
    return False


def _has_pixels(node: bpy.types.Node) -> bool:
    if node.bl_idname == "ShaderNodeTexImage":
        return node.image is not None and node.image.size[0] > 0
    return any(_has_pixels(link.from_node) for socket in node.inputs for link in socket.links)


_heard: Counter[str] = Counter()


def _answer() -> float:
    pulse.beat()
    for question in sorted(TALK.glob("question-*.json")):
        _heard[question.name] += 1
        if _heard[question.name] < BEATS:
            continue
        expression = json.loads(question.read_text(encoding="utf-8"))
        try:
            said = json.dumps({"value": eval(expression, globals())})
        except Exception:
            said = json.dumps({"error": traceback.format_exc()})
        draft = question.with_suffix(".reply")
        draft.write_text(said, encoding="utf-8")
        question.unlink()
        draft.rename(TALK / question.name.replace("question", "answer"))
    pulse.rest()
    return INTERVAL


bpy.app.timers.register(_answer, first_interval=0.5, persistent=True)
