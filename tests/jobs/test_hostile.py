"""Damaged and malicious requests, events, status files, tickets, job folders and model headers.

None of them may cause a traceback, hide another job, pass for this person's own, or lead out of its folder. The cases
are the same in every run; `SDI_FUZZ_CASES=2000` tries ten thousand.
"""

import json
import os
import struct
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_jobs import fake_worker, write_live
from sdi_text_to_3d.jobs import inspection, models
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.library import Library
from sdi_text_to_3d.jobs.placement import Placement
from sdi_text_to_3d.sdi_engine.contract import events
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.contract.job_queue import JobQueue
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest
from sdi_text_to_3d.sdi_engine.errors import BadInputError, EngineError

NASTY_NUMBERS = [float("nan"), float("inf"), -1, 0, 10**400, -(10**400), 1e308, 2**63, 0.5, True, False]
NASTY_TEXTS = [
    "",
    "\x1b]0;owned\x07\x1b[2J",
    "..",
    "../../outside/kept.txt",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\x",
    "a\u202eb\u2028c\x00d",
    "nan",
    "1e400",
    "é" * 300,
]

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(max_size=20))
scalars = st.one_of(st.none(), st.sampled_from(NASTY_NUMBERS), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


cases = settings(
    max_examples=int(os.environ.get("SDI_FUZZ_CASES", "150")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def damaged(draw, documents):
    """Bytes: one of these objects as JSON with fields changed, removed or added, or cut off; or arbitrary bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    document = dict(draw(st.sampled_from(documents)))
    for name in draw(st.lists(st.sampled_from(sorted(document)), max_size=3)):
        if draw(st.booleans()):
            document[name] = draw(values)
        else:
            document.pop(name, None)
    if draw(st.integers(0, 4)) == 0:
        document[draw(texts)] = draw(values)
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", errors="surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    if draw(st.integers(0, 99)) == 0:
        data = b"[" * 20_000 + data
    return data


REQUESTS = [
    json.loads(JobRequest("a red mug").to_json()),
    json.loads(JobRequest("a mug", steps=3, guidance_scale=2.0, overrides={"sparsity": 0.1}).to_json())
    | {"loras": [{"file": "style.safetensors", "weight": 0.5}]},
]
EVENTS = [
    json.loads(events.to_line(event))
    for event in (
        events.StateChanged(events.RUNNING),
        events.StateChanged(events.DONE),
        events.Progress("Optimising", 3, 200, 1.5, 90.0),
        events.PreviewSaved("preview.png", 3),
        events.LiveMeshSaved(3),
        events.Notice("The word is unknown."),
        events.Failed("The disk is full.", 6),
    )
]
STATUS = [
    {"pid": 1, "started": 1.0, "heartbeat": 2.0, "host": "elsewhere", "boot": "x", "job": "job", "model": "starter"}
]
RESULTS = [
    {
        "mesh": "mesh.glb",
        "prompt": "a mug",
        "seconds": {"load": 1.0, "optimise": 2.0},
        "images": [{"file": "seed-0.png"}],
    }
]
PLACEMENTS = [
    json.loads(json.dumps({"matrix": [1.0] * 16, "scene": "Scene", "blend_file": "", "owner": 1, "fate": "pending"}))
]
TICKET_NAMES = ["run job-a", "resume job-a", "sample job-a", "run ..", "run ../outside", "run a/b", "erase job-a", ""]
HEADERS = [
    {
        "model.diffusion_model.input_blocks.0.0.weight": {
            "dtype": "F16",
            "shape": [320, 4, 3, 3],
            "data_offsets": [0, 4],
        },
        "cond_stage_model.transformer.text_model.x": {"dtype": "F16", "shape": [768], "data_offsets": [4, 8]},
        "__metadata__": {"format": "pt"},
    },
    {"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}},
]


def check_sentence(error):
    """The error is one sentence that is safe in a terminal."""
    assert str(error)
    assert is_harmless(str(error)), repr(str(error))


def is_harmless(text):
    """Whether a text has no characters that control a terminal, break the line or change the writing direction."""
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in turning for each in text)


@given(damaged(REQUESTS))
@cases
def test_requests(data):
    try:
        request = JobRequest.from_json(data.decode("utf-8", errors="replace"))
    except BadInputError as error:
        check_sentence(error)
    else:
        assert JobRequest.from_json(request.to_json()) == request
        assert is_harmless(request.prompt)


@given(st.lists(damaged(EVENTS), max_size=4))
@cases
def test_event_lines(tmp_path_factory, lines):
    file = tmp_path_factory.getbasetemp() / "lines.jsonl"
    whole = events.to_line(events.Notice("The last line is whole.")).encode()
    file.write_bytes(b"\n".join([*lines, whole]))
    found, _ = events.read_new(file, 0)
    assert found[-1] == events.from_line(whole.decode())
    for event in found:
        if isinstance(event, events.Progress):
            assert 0 <= event.step < 2**53
            assert 0 <= event.steps < 2**53
        if isinstance(event, events.PreviewSaved):
            assert not {"..", "", "C:", "etc"} & set(event.file.replace("\\", "/").split("/")[:-1])


@given(st.data())
@cases
def test_job_folders(tmp_path_factory, data):
    """A results folder with a good job and a bad one: both are listed, nothing is written, and no link is followed."""
    results, outside = _fresh(tmp_path_factory)
    JobFolder.create(results / "good", JobRequest("a green tree"))
    bad = JobFolder(results / "bad")
    bad.path.mkdir()
    bad.request_file.write_bytes(data.draw(damaged(REQUESTS)))
    for file, documents in (
        (bad.events_file, EVENTS),
        (bad.status_file, STATUS),
        (bad.result_file, RESULTS),
        (bad.path / "placement.json", PLACEMENTS),
    ):
        kind = data.draw(st.sampled_from(["none", "file", "file", "link", "folder"]))
        if kind == "file":
            file.write_bytes(data.draw(damaged(documents)) + b"\n")
        elif kind == "link":
            file.symlink_to(outside / "kept.txt")
        elif kind == "folder":
            file.mkdir()
    before = _contents(results), _contents(outside)
    library = Library(results)
    library.refresh()
    library._thread.join()
    assert library.poll()
    assert sorted(entry.name for entry in library.entries) == ["bad", "good"]
    Placement.read(bad)
    try:
        job = Job(bad)
    except EngineError as error:
        check_sentence(error)
    else:
        job.refresh(waits=False)
        job.poll(waits=False)
        assert job.state in events.STATES
    assert (_contents(results), _contents(outside)) == before


@given(st.lists(st.tuples(st.integers(0, 10**17), st.sampled_from(TICKET_NAMES), st.binary(max_size=40)), max_size=4))
@cases
def test_tickets(tmp_path_factory, tickets):
    """Tickets that we did not write: no engine takes them."""
    results, outside = _fresh(tmp_path_factory)
    queue = JobQueue(results)
    queue.make_folders()
    for turn, name, content in tickets:
        file = queue.tickets_folder / f"{turn:016d} {name}".replace("/", "\u2215")
        file.write_bytes(content)
    JobFolder.create(results / "job-a", JobRequest("a red mug"))
    before = _contents(results), _contents(outside)
    queue.waiting()
    assert queue.take() is None
    assert (_contents(results), _contents(outside)) == before


@st.composite
def headers(draw):
    text = draw(damaged(HEADERS))
    length = draw(st.sampled_from([len(text), len(text), len(text), 0, 2**63, len(text) + 5, 2**64 - 1]))
    return struct.pack("<Q", length) + text + draw(st.binary(max_size=80))


@given(headers())
@cases
def test_model_headers(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "hostile.safetensors"
    file.write_bytes(data)
    for look in (models.inspect, lambda path: models.check_lora(file)):
        try:
            look(str(file))
        except EngineError as error:
            check_sentence(error)


@st.composite
def altered(draw, whole):
    """One of these files with some of its bytes changed, or cut off."""
    data = bytearray(draw(st.sampled_from(whole)))
    for at in draw(st.lists(st.integers(0, min(len(data), 1500) - 1), max_size=5)):
        data[at] = draw(st.one_of(st.sampled_from(b'"[]{}:,019-e.'), st.integers(0, 255)))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data)


@given(st.data())
@cases
def test_what_blender_opens(whole_job, data):
    folder, live, mesh, picture = whole_job
    folder.live_file.write_bytes(data.draw(altered([live])))
    folder.mesh_file.write_bytes(data.draw(altered([mesh])))
    folder.preview_file.write_bytes(data.draw(altered([picture])))
    inspection.is_picture(folder.preview_file)
    for look, file in ((inspection.read_live_mesh, folder.live_file), (inspection.check_glb, folder.mesh_file)):
        try:
            look(file)
        except inspection.UnsoundFileError as error:
            check_sentence(error)


@pytest.fixture(scope="module")
def whole_job(tmp_path_factory):
    """A job folder, and the undamaged contents of its live mesh, its mesh and its picture."""
    folder = JobFolder.create(tmp_path_factory.mktemp("opened") / "job", JobRequest("a red mug"))
    write_live(folder)
    return folder, folder.live_file.read_bytes(), fake_worker.glb(1.0), fake_worker.png(8, (1, 2, 3))


def _fresh(tmp_path_factory):
    """An empty results folder, and a folder of somebody's documents beside it."""
    parent = tmp_path_factory.mktemp("hostile")
    results, outside = parent / "results", parent / "outside"
    results.mkdir()
    outside.mkdir()
    (outside / "kept.txt").write_text("a letter")
    return results, outside


def _contents(folder):
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


pytestmark = pytest.mark.filterwarnings("ignore")
