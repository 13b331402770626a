"""Job folders written directly, without an engine."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np

_worker = importlib.util.spec_from_file_location(
    "fake_worker", Path(__file__).resolve().parent.parent / "jobs" / "fake_worker.py"
)
fake_worker = importlib.util.module_from_spec(_worker)
_worker.loader.exec_module(fake_worker)

PROMPT = "a red mug"


def make_job(extension, results, name="job-1", prompt=PROMPT, height=1.0, at=(0.0, 0.0, 0.0), **settings):
    """A finished job with a mesh, a picture and a result, to be placed with the centre of its base at `at`."""
    engine = extension.sdi_engine
    request = engine.contract.request.JobRequest(prompt, height=height, **settings)
    folder = engine.contract.job_folder.JobFolder.create(results / name, request)
    folder.mesh_file.write_bytes(fake_worker.glb(height))
    folder.preview_file.write_bytes(fake_worker.png(64, (200, 20, 30)))
    result = {"settings": {"steps": 4}, "versions": {"sdi_engine": "9.9", "torch": "2.13.0"}}
    folder.result_file.write_text(json.dumps(result))
    extension.jobs.placement.Placement.at(at, scene="Scene").write(folder)
    return folder


def make_texture_job(
    extension, bpy, results, thing, name="job-1", prompt=PROMPT, new_uv=None, seed=0, offsets=None, **chosen
):
    """A finished texture job for an object of the scene; `chosen` says which faces, as for `source_mesh.capture`.

    With `offsets`, (V, 3), it has moved the vertices, too.
    """
    engine, scene = extension.sdi_engine, extension.scene
    source = scene.source_mesh.capture(bpy.context, thing, **chosen)
    task = "texture" if offsets is None else "refine"
    request = engine.contract.request.JobRequest(prompt, task=task, seed=seed, max_move=0.1)
    folder = engine.contract.job_folder.JobFolder.create(results / name, request)
    scene.target.placement_on(thing, source.uv_name, "Scene").write(folder)
    source.write(folder.source_file)
    folder.texture_file.write_bytes(fake_worker.png(64, (200, 20, 30)))
    folder.preview_file.write_bytes(fake_worker.png(64, (200, 20, 30)))
    if new_uv is not None:
        np.savez(folder.uv_file, uv=np.asarray(new_uv, np.float32))
    if offsets is not None:
        np.savez(folder.moved_file, vertices=(source.vertices + offsets).astype(np.float32))
    folder.result_file.write_text(json.dumps({"task": task, "settings": {"steps": 4}}))
    return folder


def write_live(folder, vertices=((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), faces=None, colours=None, **more):
    """Write a live mesh: by default a red tetrahedron."""
    faces = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)) if faces is None else faces
    colours = [(255, 0, 0)] * len(vertices) if colours is None else colours
    buffer = io.BytesIO()
    np.savez(
        buffer,
        vertices=np.array(vertices, dtype=np.float32),
        faces=np.array(faces, dtype=np.int32),
        colours=np.array(colours, dtype=np.uint8),
        **more,
    )
    folder.live_file.write_bytes(buffer.getvalue())


def counts(bpy):
    """The number of datablocks of each kind in the file."""
    kinds = [kind.identifier for kind in bpy.data.bl_rna.properties if kind.type == "COLLECTION"]
    return {kind: len(getattr(bpy.data, kind)) for kind in kinds}
