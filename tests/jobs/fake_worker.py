"""A stand-in for the engine: takes jobs from the queue as the engine does, and does what the prompt's first word says.

    python fake_worker.py -m sdi_engine serve RESULTS --idle-minutes N [--processes N] [--cluster ADDRESS]
    python fake_worker.py -m sdi_engine doctor --json
    python fake_worker.py -m sdi_engine.doctor --quick

It only needs the standard library (except for live meshes), and is done at once. Prompts: "crash…" (an unexpected
error), "kill…" (killed once; resuming works), "hang…" (ignores all flags), "slow…" (until told to stop or to finish, or
for ten minutes), "fail N…" (with exit code N), "garbage…" (invalid events and mesh), "quit…" (the process ends without
reporting it), "fork…" (leaves a child process behind), "linger…" (done, but does not end); all others succeed.
A texture is of one colour, on a new UV map if its mesh has none.
"""

from __future__ import annotations

import functools
import json
import os
import runpy
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from threading import Event

sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
sys.path.append(str(Path(__file__).parents[1] / "support"))

from fake_cluster import FakeCluster  # noqa: E402

from sdi_engine.cli import commands  # noqa: E402
from sdi_engine.contract import events  # noqa: E402
from sdi_engine.contract.job_folder import JobFolder  # noqa: E402
from sdi_engine.contract.job_queue import RESUME, RUN, SAMPLE  # noqa: E402
from sdi_engine.contract.request import JobRequest  # noqa: E402
from sdi_engine.errors import EngineError, JobCancelledError, JobPausedError  # noqa: E402
from sdi_engine.service import cluster, pools, serve, worker  # noqa: E402
from sdi_engine.service.local_pool import LocalPool, follow_orders  # noqa: E402
from sdi_engine.service.own_process import SAMPLES, OwnProcess  # noqa: E402
from sdi_engine.service.pool import Listener, Outcome, ignore  # noqa: E402
from sdi_engine.system.files import write_atomically  # noqa: E402

STEPS = 4
CHILD_FILE = "child.pid"


class ToldToFail(EngineError):
    pass


def main(arguments: list[str]) -> int:
    if arguments[:2] == ["-m", "sdi_engine.doctor"]:  # the real one examines the tests' own Python
        sys.argv = arguments[1:]
        runpy.run_module("sdi_engine.doctor", run_name="__main__", alter_sys=True)
        return 0
    if arguments[:2] == ["-m", "sdi_engine.service.local_pool"]:
        return follow_orders(Fake(taken_by=json.loads(arguments[2])))
    assert arguments[:2] == ["-m", "sdi_engine"], arguments
    if arguments[2] == "doctor":
        print(json.dumps(doctor()))
        return 3
    assert arguments[2] == "serve", arguments
    serve.OwnProcess = Fake  # type: ignore[misc]
    serve.step_back = lambda: None  # beside other tests it would hardly come to do anything
    command = (sys.executable, __file__, "-m", "sdi_engine.service.local_pool")
    pools.LocalPool = functools.partial(LocalPool, command=command)  # type: ignore[assignment, misc]
    cluster.ClusterPool = Nodes  # type: ignore[assignment, misc]
    return commands.main(arguments[2:])


class Fake(OwnProcess):
    def do(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Outcome:
        print(f"fake worker: {verb} {job}", flush=True)
        work = look if verb == SAMPLE else make_mesh
        return Outcome(worker.run(job, resume=verb == RESUME, listener=listener, work=work, taken_by=self._taken_by))


class Nodes(FakeCluster):
    """The cluster's nodes: they do the same, and say that it was done there."""

    @staticmethod
    def do(job: Path, verb: str, listener: Listener, pausing: Event) -> Outcome:
        def work(folder: JobFolder, request: JobRequest, resume: bool, report: worker.Listener) -> None:
            report(events.Notice("This is done on the cluster."))
            make_mesh(folder, request, resume, report)

        return Outcome(worker.run(job, resume=verb == RESUME, listener=listener, work=work))


def look(folder: JobFolder, request: JobRequest, resume: bool, report: worker.Listener) -> None:
    images = []
    for seed in range(request.seed, request.seed + SAMPLES):
        report(events.Progress("DDIM", seed - request.seed, SAMPLES))
        (folder.path / f"seed-{seed}.png").write_bytes(png(64, (60 * (seed - request.seed), 90, 30)))
        images.append({"seed": seed, "file": f"seed-{seed}.png"})
    write_atomically(folder.result_file, json.dumps({"prompt": request.prompt, "images": images}))


def make_mesh(folder: JobFolder, request: JobRequest, resume: bool, report: worker.Listener) -> None:
    word, _, rest = request.prompt.partition(" ")
    report(events.StateChanged(events.RUNNING))
    if "environment" in request.prompt:
        environment = {**os.environ, "cwd": str(Path.cwd()), "pid": os.getpid()}
        (folder.path / "environment.json").write_text(json.dumps(environment))
    checkpoint = folder.checkpoint_file
    first = int(checkpoint.read_text()) if resume and checkpoint.exists() else 0
    for step in range(first, STEPS):
        report(events.Progress("Optimising", step + 1, STEPS, rate=12.5, eta=(STEPS - step) / 12.5))
        folder.checkpoint_folder.mkdir(exist_ok=True)
        write_atomically(checkpoint, str(step + 1))
        show(folder, request, step + 1, report)
        if step == 1 and not resume:
            misbehave(folder, word, rest)
        stop_if_told(folder)
    report(events.StateChanged(events.EXPORTING))
    if request.is_of_a_mesh:
        save_texture(folder, b"a PNG, or so it says" if word == "garbage" else png(16, (200, 30, 30)))
    if request.task == "refine":
        save_moved(folder, request)
    folder.mesh_file.write_bytes(b"glTF, or so it says" if word == "garbage" else glb(request.height))
    result = {
        "task": request.task,
        "mesh": "mesh.glb",
        "prompt": request.prompt,
        "seed": request.seed,
        "model": request.model,
        "faces": 12,
        "vertices": 24,
        "texture_size": 8,
        "height": request.height,
        "seconds": {"optimise": 61.0},
        "peak_memory_mb": 10,
        "settings": {"steps": STEPS},
        "versions": {"sdi_engine": "0.0", "torch": "2.0"},
    }
    write_atomically(folder.result_file, json.dumps(result))
    if word == "linger":
        report(events.StateChanged(events.DONE))
        time.sleep(60)


def show(folder: JobFolder, request: JobRequest, step: int, report: worker.Listener) -> None:
    folder.turntable_folder.mkdir(exist_ok=True)
    for side in range(6):
        write_atomically(folder.turntable_folder / f"side-{side}.png", png(16, (50 * step, 40 * side, 30)))
    write_atomically(folder.preview_file, png(64, (50 * step, 20, 30)))
    report(events.PreviewSaved("preview.png", step))
    if folder.live_flag.exists():
        save_live_mesh(folder, request)
        report(events.LiveMeshSaved(step))


def misbehave(folder: JobFolder, word: str, rest: str) -> None:
    if word == "crash":
        raise RuntimeError("the fake worker crashes as it was told")
    if word == "kill":
        with folder.events_file.open("a") as file:
            file.write('{"type": "progr')  # half a line, as a killed writer leaves it
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "quit":
        os._exit(0)
    if word == "fail":
        error = ToldToFail("It failed as it was told: tell it otherwise.")
        error.exit_code = int(rest.split()[0])
        raise error
    if word == "garbage":
        with folder.events_file.open("ab") as file:
            file.write(b'\xff\xfe nonsense\n{"type": "weather"}\n[]\n{"type": "progress"}\n')
    if word == "fork":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder.path / CHILD_FILE).write_text(str(child.pid))
    if word in ("hang", "fork"):
        time.sleep(60)
    if word == "slow":
        for _ in range(12000):
            stop_if_told(folder)
            if folder.finish_flag.exists():
                return
            time.sleep(0.05)


def stop_if_told(folder: JobFolder) -> None:
    if folder.cancel_flag.exists():
        raise JobCancelledError("cancelled")
    if folder.pause_flag.exists():
        raise JobPausedError("paused")


def save_texture(folder: JobFolder, picture: bytes) -> None:
    import numpy as np

    folder.texture_file.write_bytes(picture)
    with np.load(folder.source_file) as source:
        if "uv" not in source:
            np.savez(folder.uv_file, uv=np.zeros((len(source["faces"]), 3, 2), np.float32))


def save_moved(folder: JobFolder, request: JobRequest) -> None:
    """All up, as far as may be."""
    import numpy as np

    with np.load(folder.source_file) as source:
        vertices = source["vertices"]
    far = np.float32(request.max_move * np.ptp(vertices, axis=0).max())
    np.savez(folder.moved_file, vertices=vertices + far * np.float32([0, 0, 1]))


def save_live_mesh(folder: JobFolder, request: JobRequest) -> None:
    """A tetrahedron, or the mesh that a texture is for, all green."""
    import numpy as np

    height = request.height
    draft = folder.path / "draft.npz"
    if request.is_of_a_mesh:
        with np.load(folder.source_file) as source:
            vertices, faces = source["vertices"], source["faces"]
        np.savez(draft, vertices=vertices, faces=faces, colours=np.full(vertices.shape, (0, 200, 0), np.uint8))
        draft.replace(folder.live_file)
        return
    np.savez(
        draft,
        vertices=height * np.float32([[-0.3, -0.3, 0], [0.3, -0.3, 0], [0, 0.3, 0], [0, 0, 1]]),
        faces=np.int32([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]]),
        colours=np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]),
    )
    draft.replace(folder.live_file)


def doctor() -> dict[str, object]:
    print("a warning that torch might print")
    return {
        "ok": False,
        "python": "3.11.7",
        "executable": sys.executable,
        "device": "cpu",
        "checks": [
            {"name": "torch", "ok": False, "detail": "not installed", "fix": "pip install torch==2.13.0"},
            {"name": "numpy", "ok": True, "detail": "1.26.4", "fix": ""},
        ],
    }


def png(size: int, colour: tuple[int, int, int]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(colour) * size for _ in range(size))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def glb(height: float) -> bytes:
    """A textured box, below two nodes that do nothing: 0.4 wide, 1 tall, 0.4 towards the front and 0.2 to the back,
    times `height`. In glTF that is y upwards and z to the front."""
    low, high = (-0.2, 0.0, -0.2), (0.2, 1.0, 0.4)
    positions: list[tuple[float, ...]] = []
    indices: list[int] = []
    for axis in range(3):
        for side in (low, high):
            first = len(positions)
            for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = [0.0, 0.0, 0.0]
                corner[axis] = side[axis]
                corner[(axis + 1) % 3] = (low, high)[u][(axis + 1) % 3]
                corner[(axis + 2) % 3] = (low, high)[v][(axis + 2) % 3]
                positions.append(tuple(height * value for value in corner))
            quad = (0, 1, 2, 0, 2, 3) if side is high else (0, 2, 1, 0, 3, 2)
            indices += [first + offset for offset in quad]
    uvs = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] * 6
    parts = [
        struct.pack(f"<{len(indices)}H", *indices),
        b"".join(struct.pack("<3f", *position) for position in positions),
        b"".join(struct.pack("<2f", *uv) for uv in uvs),
        png(8, (200, 30, 30)),
    ]
    views, data = [], b""
    for part in parts:
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(part)})
        data += part + b"\0" * (-len(part) % 4)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "world", "children": [1]}, {"name": "geometry_0", "mesh": 0}],
        "meshes": [
            {"primitives": [{"indices": 0, "attributes": {"POSITION": 1, "TEXCOORD_0": 2}, "material": 0, "mode": 4}]}
        ],
        "materials": [
            {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 0.8}}
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5123, "count": len(indices), "type": "SCALAR"},
            {
                "bufferView": 1,
                "componentType": 5126,
                "count": len(positions),
                "type": "VEC3",
                "min": [min(values) for values in zip(*positions, strict=True)],
                "max": [max(values) for values in zip(*positions, strict=True)],
            },
            {"bufferView": 2, "componentType": 5126, "count": len(uvs), "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
