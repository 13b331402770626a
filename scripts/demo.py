"""The part of `dev.py demo` in headless Blender: one object through the panel's operator, a .blend, a GLB, pictures.

Runs in the `bpy` module (`python scripts/demo.py …`) and in Blender (`blender --background --python … -- …`).
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

ROOT = Path(__file__).resolve().parent.parent
SIDES = 8
SIDE_PIXELS = 320
RENDER_SAMPLES = 16
CAMERA_ELEVATION_DEG = 15.0
PHASES = {
    "load": "load the model",
    "optimise": "optimise",
    "mesh": "surface",
    "unwrap": "UV",
    "bake": "bake",
    "save": "save",
}


def main() -> int:
    options = _options()
    start = time.perf_counter()
    jobs, pictures = options.output / "jobs", options.output / "sides"
    try:
        for folder in (jobs, pictures):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f'The folder "{options.output}" cannot be used ({error.strerror}): choose another.', file=sys.stderr)
        return 2
    bpy.ops.wm.read_factory_settings(use_empty=True)
    sys.path.insert(0, str(ROOT))
    import headless

    headless.enable(engine_python=options.engine_python, results_folder=jobs)
    settings = bpy.context.scene.sdi
    settings.prompt, settings.seed = options.prompt, options.seed
    try:
        settings.preset = options.preset
    except TypeError:
        print(f'There is no preset "{options.preset}": choose one of those in the panel.', file=sys.stderr)
        return 2
    try:
        bpy.ops.sdi.generate()
    except RuntimeError:  # Blender raises an operator's error report as this, and has printed it
        return 1
    made = bpy.context.view_layer.objects.active
    job = Path(made["sdi_job_folder"])

    before_pictures = time.perf_counter()
    names = _render_sides(made, pictures)
    sheet = options.output / "contact_sheet.png"
    _join(names, sheet)
    picture_seconds = time.perf_counter() - before_pictures
    blend, glb, preview = (options.output / name for name in ("demo.blend", "demo.glb", "preview.png"))
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    shutil.copyfile(job / "mesh.glb", glb)
    shutil.copyfile(job / "preview.png", preview)

    result = json.loads((job / "result.json").read_text(encoding="utf-8"))
    seconds = result["seconds"]
    total = time.perf_counter() - start
    print(f'\n"{result["prompt"]}": {result["faces"]} faces, {result["texture_size"]} px texture, {total:.0f} s')
    for key, label in PHASES.items():
        if key in seconds:  # an object that was finished as a mesh has no surface to extract
            print(f"  {label:15} {seconds[key]:6.1f} s")
    print(f"  {'8 pictures':15} {picture_seconds:6.1f} s")
    for label, file in (("scene", blend), ("mesh", glb), ("preview", preview), ("from 8 sides", sheet), ("job", job)):
        print(f"{label:13} {file}")
    return 0


def _render_sides(made: bpy.types.Object, folder: Path) -> list[Path]:
    """Pictures from all sides, by Cycles (which needs no display), the front last, so that the camera stays there."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = RENDER_SAMPLES
    scene.cycles.use_denoising = False
    scene.render.resolution_x = scene.render.resolution_y = SIDE_PIXELS
    scene.view_settings.view_transform = "Standard"
    scene.world = scene.world or bpy.data.worlds.new("World")
    scene.world.color = (0.6, 0.6, 0.6)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy = 2.0
    sun.parent = camera
    sun.rotation_euler = (math.radians(-30.0), math.radians(20.0), 0.0)
    for thing in (camera, sun):
        scene.collection.objects.link(thing)
    scene.camera = camera
    camera.data.angle = math.radians(40.0)

    corners = [made.matrix_world @ Vector(corner) for corner in made.bound_box]
    centre = sum(corners, Vector()) / len(corners)
    radius = max((corner - centre).length for corner in corners)
    distance = radius / math.sin(camera.data.angle / 2.0)
    elevation = math.radians(CAMERA_ELEVATION_DEG)
    files = []
    for side in reversed(range(SIDES)):
        azimuth = 2.0 * math.pi * side / SIDES
        towards = Vector(
            (math.sin(azimuth) * math.cos(elevation), -math.cos(azimuth) * math.cos(elevation), math.sin(elevation))
        )
        camera.location = centre + distance * towards
        camera.rotation_euler = (-towards).to_track_quat("-Z", "Y").to_euler()
        file = folder / f"side-{side * 360 // SIDES:03d}.png"
        scene.render.filepath = str(file)
        bpy.ops.render.render(write_still=True)
        files.insert(0, file)
    return files


def _join(files: list[Path], target: Path) -> None:
    """Joins the pictures into one, four in a row, the front at the top left."""
    pixels = []
    for file in files:
        image = bpy.data.images.load(str(file))
        values = np.empty(SIDE_PIXELS * SIDE_PIXELS * 4, dtype=np.float32)
        image.pixels.foreach_get(values)
        pixels.append(values.reshape(SIDE_PIXELS, SIDE_PIXELS, 4))
        bpy.data.images.remove(image)
    half = SIDES // 2
    rows = [np.concatenate(pixels[half:], axis=1), np.concatenate(pixels[:half], axis=1)]  # Blender's row 0 is below
    sheet = np.concatenate(rows, axis=0)
    image = bpy.data.images.new("contact sheet", sheet.shape[1], sheet.shape[0])
    image.pixels.foreach_set(sheet.ravel())
    image.filepath_raw, image.file_format = str(target), "PNG"
    image.save()
    bpy.data.images.remove(image)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--engine-python", type=Path, required=True)
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
