"""Measures how long Blender is blocked by the import of a result of 100,000 faces with a texture of 2048 pixels.

    python scripts/measure_import.py JOB
    blender --background --factory-startup --python scripts/measure_import.py -- JOB
    python tests/blender/window/real_blender.py run sid -- blender -b -P scripts/measure_import.py -- -- JOB

JOB is a folder: if it does not exist, it is made, which takes a Python with the engine's packages and `bpy`; a Blender
without these packages can measure an existing one. Prints a line for each of several imports, the first one cold.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

ROOT = Path(__file__).resolve().parent.parent
RINGS, SEGMENTS = 200, 250
CHART = 10
"""Rings and segments of one chart of the texture; at the seams the importer must merge vertices."""

TEXTURE_SIZE = 2048
PROMPT = "a ball of a hundred thousand faces"

sys.path.insert(0, str(ROOT))
import headless  # noqa: E402


def main() -> None:
    options = _options()
    package = headless.enable().__name__
    job_folder, importer = (
        sys.modules[f"{package}.{name}"] for name in ("sdi_engine.contract.job_folder", "scene.importer")
    )
    if not options.job.exists():
        _make(options.job)
    folder = job_folder.JobFolder(options.job)
    timed = _Timed(importer._load)
    importer._load = timed
    print(f"Blender {bpy.app.version_string}: seconds of Blender's importer, of our own, of the undo step, in all")
    for _ in range(options.repeats):
        start = time.perf_counter()
        placed = importer.put_into_scene(bpy.context, folder, importer.Placement())
        imported = time.perf_counter()
        bpy.ops.ed.undo_push(message=placed.name)
        pushed = time.perf_counter()
        spans = (timed.seconds, imported - start - timed.seconds, pushed - imported, pushed - start)
        print(" ".join(f"{seconds:8.2f}" for seconds in spans), f"  {_about(placed)}")


class _Timed:
    """A function that records how long its last call took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *arguments: object) -> Any:
        start = time.perf_counter()
        try:
            return self.function(*arguments)
        finally:
            self.seconds = time.perf_counter() - start


def _about(placed: bpy.types.Object) -> str:
    mesh = placed.data
    image = next(node.image for node in mesh.materials[0].node_tree.nodes if node.bl_idname == "ShaderNodeTexImage")
    smooth = all(polygon.use_smooth for polygon in mesh.polygons)
    return (
        f"{len(mesh.polygons):,} faces, {len(mesh.vertices):,} vertices, {'smooth' if smooth else 'flat'}, "
        f"{len(mesh.uv_layers)} UV map, image {tuple(image.size)} {'packed' if image.packed_file else 'not packed'}"
    )


def _make(path: Path) -> None:
    """Makes a finished job: a bumpy ball, cut along its charts' borders as the engine's own meshes are."""
    import numpy as np

    from sdi_engine.contract.job_folder import JobFolder
    from sdi_engine.contract.request import JobRequest
    from sdi_engine.mesh.export import standing_on_ground, write_glb
    from sdi_engine.mesh.unwrap import UnwrappedMesh

    generator = np.random.default_rng(0)
    charts = [
        (ring, segment) for ring in range(0, RINGS, CHART) for segment in range(0, SEGMENTS, CHART)
    ]  # each with vertices of its own
    corner_rings, corner_segments = np.meshgrid(np.arange(CHART + 1), np.arange(CHART + 1), indexing="ij")
    rings = np.concatenate([(corner_rings + ring).ravel() for ring, _ in charts])
    segments = np.concatenate([(corner_segments + segment).ravel() for _, segment in charts])
    polar, around = np.pi * rings / RINGS, 2.0 * np.pi * (segments % SEGMENTS) / SEGMENTS
    radius = 1.0 + 0.1 * np.sin(5.0 * polar) * np.sin(7.0 * around)
    normals = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1)
    normals[(rings == 0) | (rings == RINGS), :2] = 0.0
    first = np.array([i * (CHART + 1) + j for i in range(CHART) for j in range(CHART)])
    quads = np.stack([first, first + CHART + 1, first + CHART + 2, first + 1], axis=1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    faces = np.concatenate([triangles + number * (CHART + 1) ** 2 for number in range(len(charts))])
    unwrapped = UnwrappedMesh(
        vertices=standing_on_ground((normals * radius[:, None]).astype(np.float32), 1.0),
        normals=normals.astype(np.float32),
        faces=faces.astype(np.int64),
        uv=np.stack([segments / SEGMENTS, rings / RINGS], axis=1).astype(np.float32),
    )
    rows, columns = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE] / TEXTURE_SIZE
    waves = np.stack([np.sin(9.0 * rows), np.sin(7.0 * columns), np.sin(5.0 * (rows + columns))], axis=2)
    noise = generator.normal(size=(TEXTURE_SIZE, TEXTURE_SIZE, 3))
    texture = (128.0 + 100.0 * waves + 4.0 * noise).clip(0, 255).astype(np.uint8)
    folder = JobFolder.create(path, JobRequest(PROMPT, face_budget=100_000, texture_size=TEXTURE_SIZE))
    write_glb(folder.mesh_file, unwrapped, texture, PROMPT)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("job", type=Path, help="the job folder")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
