"""Renders several results in one picture: imported by the extension into Blender, in rows on the ground.

    python scripts/gallery.py JOB_FOLDER… --output gallery.png

Runs in the `bpy` module, and in Blender (`blender --background --python scripts/gallery.py -- …`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import bpy
from mathutils import Vector

ROOT = Path(__file__).resolve().parent.parent
ACROSS = 6
SPACING = 0.45
SIZE = (1440, 720)
RENDER_SAMPLES = 16
AZIMUTH_DEG, ELEVATION_DEG = 25.0, 32.0
GREY = 0.35

Bounds = Callable[[bpy.types.Object], tuple[Vector, Vector]]


def main() -> int:
    options = _options()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    sys.path.insert(0, str(ROOT))
    import headless

    package = headless.enable().__name__
    importer = import_module(f"{package}.scene.importer")
    job_folder = import_module(f"{package}.sdi_engine.contract.job_folder")
    placement = import_module(f"{package}.jobs.placement")
    here = placement.Placement.at(Vector(), scene=bpy.context.scene.name)
    try:
        jobs = [job_folder.JobFolder(job.absolute()) for job in options.jobs]
        made = [importer.put_into_scene(bpy.context, job, here) for job in jobs]
    except importer.ImportFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _stand_in_rows(made, importer.bounds)
    _light_and_ground()
    _aim_camera(made)
    _render(options.output)
    print(options.output)
    return 0


def _stand_in_rows(made: Sequence[bpy.types.Object], bounds: Bounds) -> None:
    """Place `ACROSS` objects side by side as seen from the camera, the first row at the back."""
    boxes = [bounds(each) for each in made]
    azimuth = math.radians(AZIMUTH_DEG)
    right, nearer = (Vector((math.cos(azimuth), math.sin(azimuth))), Vector((math.sin(azimuth), -math.cos(azimuth))))
    step = SPACING + max(max(high.x - low.x, high.y - low.y) for low, high in boxes)
    for number, (each, (low, high)) in enumerate(zip(made, boxes, strict=True)):
        row, column = divmod(number, ACROSS)
        place = step * (column * right + row * nearer) - (low + high).xy / 2.0
        each.location.x, each.location.y = place


def _light_and_ground() -> None:
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.8, 0.85, 0.9, 1.0)
    scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.7
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle = 2.5, math.radians(12.0)
    sun.rotation_euler = (math.radians(40.0), 0.0, math.radians(-30.0))
    mesh = bpy.data.meshes.new("Ground")
    mesh.from_pydata([(-99, -99, 0), (99, -99, 0), (99, 99, 0), (-99, 99, 0)], [], [(0, 1, 2, 3)])
    material = bpy.data.materials.new("Ground")
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (GREY, GREY, GREY, 1.0)
    shader.inputs["Roughness"].default_value = 0.9
    mesh.materials.append(material)
    for each in (sun, bpy.data.objects.new("Ground", mesh)):
        scene.collection.objects.link(each)


def _aim_camera(made: Sequence[bpy.types.Object]) -> None:
    """Add a camera with a long lens that has all objects in view."""
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 85.0
    azimuth, elevation = math.radians(AZIMUTH_DEG), math.radians(ELEVATION_DEG)
    towards = Vector(
        (math.sin(azimuth) * math.cos(elevation), -math.cos(azimuth) * math.cos(elevation), math.sin(elevation))
    )
    camera.rotation_euler = (-towards).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.context.view_layer.update()
    corners = [each.matrix_world @ Vector(corner) for each in made for corner in each.bound_box]
    flat = [coordinate for corner in corners for coordinate in corner]
    place, _ = camera.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), flat)
    camera.location = place + 0.5 * towards


def _render(file: Path) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = RENDER_SAMPLES
    scene.cycles.use_denoising = True
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(file.absolute())
    bpy.ops.render.render(write_still=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gallery", description="One picture of several results in Blender.")
    parser.add_argument("jobs", type=Path, nargs="+", help="job folders")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the PNG to write")
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
