"""A stand-in for the engine: speaks the protocol of the job folder, and does what the prompt's first word says.

    python fake_worker.py -m sdi_engine run|resume JOB
    python fake_worker.py -m sdi_engine doctor --json

It runs on the standard library alone, in a blink. Prompts: "crash…", "kill…" (once: resuming works), "hang…" (deaf to
cancel), "slow…" (until cancelled, or for a minute), "fail N…" (with exit code N), "garbage…" (nonsense for events and
mesh), "quit…" (exit code 0 without a result), "fork…" (leaves a child behind), "linger…" (done, but does not end);
anything else succeeds.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))

from sdi_engine import events  # noqa: E402
from sdi_engine.job_folder import JobFolder, write_atomically  # noqa: E402

STEPS = 4
CHILD_FILE = "child.pid"


def main(arguments: list[str]) -> int:
    assert arguments[:2] == ["-m", "sdi_engine"], arguments
    if arguments[2] == "doctor":
        print(json.dumps(doctor()))
        return 3
    verb, path = arguments[2:]
    folder = JobFolder.open(path)
    print(f"fake worker: {verb} {path}", flush=True)
    if "environment" in folder.request().prompt:
        (folder.path / "environment.json").write_text(json.dumps({**os.environ, "cwd": str(Path.cwd())}))
    return work(folder, verb)


def work(folder: JobFolder, verb: str) -> int:
    word, _, rest = folder.request().prompt.partition(" ")
    started = time.time()
    folder.beat(started)
    folder.append(events.StateChanged(events.RUNNING))
    first = int((folder.checkpoint_folder / "step").read_text()) if verb == "resume" else 0
    for step in range(first, STEPS):
        folder.append(events.Progress("Optimising", step + 1, STEPS, rate=12.5, eta=(STEPS - step) / 12.5))
        folder.checkpoint_folder.mkdir(exist_ok=True)
        (folder.checkpoint_folder / "step").write_text(str(step + 1))
        write_atomically(folder.preview_file, png(64, (50 * step, 20, 30)))
        folder.append(events.PreviewSaved("preview.png", step + 1))
        if step == 1 and verb == "run":
            code = misbehave(folder, word, rest)
            if code is not None:
                return code
        if folder.cancel_flag.exists():
            return cancelled(folder)
    folder.append(events.StateChanged(events.EXPORTING))
    if word == "garbage":
        folder.mesh_file.write_bytes(b"glTF, or so it says")
    else:
        folder.mesh_file.write_bytes(glb(folder.request().height))
    request = json.loads(folder.request_file.read_text(encoding="utf-8"))
    result = {
        "mesh": "mesh.glb",
        "prompt": request["prompt"],
        "seed": request["seed"],
        "model": request["model"],
        "faces": 12,
        "vertices": 24,
        "texture_size": 8,
        "height": request["height"],
        "seconds": {"Optimising": 0.1},
        "peak_memory_mb": 10,
        "settings": {"steps": STEPS},
        "versions": {},
    }
    write_atomically(folder.result_file, json.dumps(result))
    folder.append(events.StateChanged(events.DONE))
    if word == "linger":
        time.sleep(60)
    return 0


def misbehave(folder: JobFolder, word: str, rest: str) -> int | None:
    if word == "crash":
        raise RuntimeError("the fake worker crashes as it was told")
    if word == "kill":
        with folder.events_file.open("a") as file:
            file.write('{"type": "progr')  # half a line, as a killed writer leaves it
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "quit":
        return 0
    if word == "fail":
        code = int(rest.split()[0])
        folder.append(events.Failed("It failed as it was told: tell it otherwise.", code))
        folder.append(events.StateChanged(events.FAILED))
        return code
    if word == "garbage":
        with folder.events_file.open("ab") as file:
            file.write(b'\xff\xfe nonsense\n{"type": "weather"}\n[]\n{"type": "progress"}\n')
    if word == "fork":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder.path / CHILD_FILE).write_text(str(child.pid))
    if word in ("hang", "fork"):
        time.sleep(60)
    if word == "slow":
        for _ in range(1200):
            folder.beat(time.time())
            if folder.cancel_flag.exists():
                return cancelled(folder)
            time.sleep(0.05)
    return None


def cancelled(folder: JobFolder) -> int:
    folder.append(events.StateChanged(events.CANCELLED))
    return 130


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
