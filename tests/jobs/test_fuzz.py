"""Everything that is read of what somebody else may have written, damaged by lot: an answer, or one sentence.

`SDI_FUZZ_CASES=10000 python dev.py test tests/jobs/test_fuzz.py` tries that many of each kind, with `SDI_FUZZ_SEED`
others.
"""

import json
import math
import os
import random

import pytest
from fuzzing import NASTY, damaged_bytes, damaged_json
from headers import FILES, write_file
from made_jobs import fake_worker, write_live
from sdi_text_to_3d.jobs import inspection, models
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.library import read_entry
from sdi_text_to_3d.jobs.placement import FATES, Placement
from sdi_text_to_3d.sdi_engine import attendance, events
from sdi_text_to_3d.sdi_engine.errors import EngineError
from sdi_text_to_3d.sdi_engine.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.job_queue import JobQueue
from sdi_text_to_3d.sdi_engine.request import JobRequest, Lora, slug

CASES = int(os.environ.get("SDI_FUZZ_CASES", "60"))

REQUEST = JobRequest("a red mug", model="owner/name", loras=(Lora("/a.safetensors", 0.5),), overrides={"t": [0.9, 0.1]})
EVENTS = (
    events.StateChanged(events.RUNNING),
    events.Progress("Optimising", 3, 10, 1.5, 4.7),
    events.PreviewSaved("preview.png", 3),
    events.LiveMeshSaved(3),
    events.Notice("it said"),
    events.Failed("No.", 4),
)
RESULT = {"seconds": {"load": 1.0}, "settings": {"steps": 4}, "images": [{"seed": 1, "file": "seed-1.png"}]}


@pytest.fixture
def lot(request):
    return random.Random(f"{request.node.name} {os.environ.get('SDI_FUZZ_SEED', '0')}")


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "results" / "job", REQUEST)


@pytest.fixture
def outside(tmp_path):
    """A folder beside the results, which stays as it is."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("mine")
    yield documents
    assert [(file.name, file.read_text()) for file in documents.iterdir()] == [("letter.txt", "mine")]


def tried(look, what):
    """The answer, or the error that explains itself in one sentence."""
    try:
        return look(what)
    except (EngineError, inspection.UnsoundFileError) as error:
        sentence = str(error)
        return error if sentence and "\n" not in sentence else pytest.fail(f"no sentence: {sentence!r}")


def test_requests(lot):
    fields = json.loads(REQUEST.to_json())
    read = 0
    for _ in range(CASES):
        text = damaged_json(fields, lot).decode("utf-8-sig", errors="replace")
        answer = tried(JobRequest.read, text)
        if isinstance(answer, Exception):
            assert len(str(answer)) < 1000
            continue
        asked, unknown = answer
        read += 1
        assert JobRequest.from_json(asked.to_json()) == asked
        assert asked.prompt.isprintable() or "\u200d" in asked.prompt
        assert all(name.isprintable() for name in unknown)
    assert 0 < read < CASES


def test_prompts_as_names(lot, tmp_path):
    alphabet = "aZ0 .-/\\:*ß赤й\u0301हा\U0001f469\u200d\u202e\x00\x1b\udcff\ufe0fǅİ①"
    for _ in range(CASES):
        name = slug("".join(lot.choice(alphabet) for _ in range(lot.randrange(100))))
        assert 0 < len(name.encode()) <= 80
        assert name == name.strip(" .-")
        (tmp_path / name).mkdir(exist_ok=True)


def test_events(lot, folder):
    for _ in range(CASES):
        lines = [damaged_json(json.loads(events.to_line(lot.choice(EVENTS))), lot) + b"\n" for _ in range(3)]
        folder.events_file.write_bytes(b"".join(lines))
        said, offset = events.read_new(folder.events_file, 0)
        assert offset <= folder.events_file.stat().st_size
        for event in said:
            assert events.from_line(events.to_line(event)) == event
            assert all(math.isfinite(value) for value in vars(event).values() if isinstance(value, float))
        job = Job(folder)
        job.look(waits=True)


def test_status_files(lot, folder):
    folder.beat(1.0)
    said = json.loads(folder.status_file.read_text())
    queue = JobQueue(folder.path.parent)
    queue.make_folders()
    queue.beat(1.0, "job", "starter")
    of_engine = json.loads(queue.status_file.read_text())
    for _ in range(CASES):
        folder.status_file.write_bytes(damaged_json(said, lot))
        queue.status_file.write_bytes(damaged_json(of_engine, lot))
        assert attendance.is_attended(folder) in (True, False)
        assert attendance.may_come_back(folder) in (True, False)
        assert not attendance.is_ours_to_end(folder)  # we are no engine
        assert attendance.machine_elsewhere(folder).isprintable()
        queue.status()


def test_tickets(lot, folder, outside):
    queue = JobQueue(folder.path.parent)
    queue.add("job")
    (ticket,) = queue.tickets_folder.iterdir()
    written = ticket.read_bytes()
    for number in range(CASES):
        name = damaged_bytes(ticket.name.encode(), lot).decode("utf-8", errors="surrogateescape")
        content = damaged_json(json.loads(written), lot)
        file = queue.tickets_folder / (name if number % 2 else ticket.name)
        try:
            file.write_bytes(content)
        except (OSError, ValueError):  # no name of a file
            continue
        waiting = JobQueue(queue.results).waiting()
        assert all(each.name == "job" for each in waiting if each.is_ours)
        assert all(queue.job_folder(each).path.parent == queue.results for each in waiting if each.verb != "sample")
        assert all(each.host.isprintable() for each in waiting)
        file.unlink()


def test_placements(lot, folder):
    Placement.at((1.0, 2.0, 3.0), scene="Scene").write(folder)
    file = folder.path / "placement.json"
    fields = json.loads(file.read_text())
    for _ in range(CASES):
        file.write_bytes(damaged_json(fields, lot))
        read = Placement.read(folder)
        if read is not None:
            assert all(map(math.isfinite, read.matrix))
            assert read.fate in FATES
            assert read.is_owned_by_another in (True, False)
            if (read.matrix, read.scene, read.fate) != (tuple(fields["matrix"]), fields["scene"], fields["fate"]):
                assert not read.is_ours(folder)


def test_job_folders(lot, folder, outside):
    Placement.at((1.0, 2.0, 3.0), scene="Scene").write(folder)
    folder.result_file.write_text(json.dumps(RESULT))
    folder.mesh_file.write_bytes(fake_worker.glb(1.0))
    folder.preview_file.write_bytes(fake_worker.png(8, (1, 2, 3)))
    whole = {file.name: file.read_bytes() for file in folder.path.iterdir()}
    for _ in range(CASES):
        for name, content in whole.items():
            is_json = name.endswith(".json")
            other = damaged_json(json.loads(content), lot) if is_json else damaged_bytes(content, lot)
            (folder.path / name).write_bytes(other if lot.random() < 0.3 else content)
        entry = read_entry(folder)
        assert entry.trouble or entry.request.prompt
        assert entry.trouble.isprintable()
        assert entry.state in events.STATES
        assert entry.seconds is None or math.isfinite(entry.seconds)
        assert all(file.parent == folder.path for file in inspection.looks_in(folder.path, folder.result()))
        job = tried(Job, folder)
        assert isinstance(job, Job) == (not entry.trouble)
        if isinstance(job, Job):
            job.look(waits=False)


def test_what_blender_opens(lot, folder):
    write_live(folder)
    live, mesh, picture = folder.live_file.read_bytes(), fake_worker.glb(1.0), fake_worker.png(8, (1, 2, 3))
    for _ in range(CASES):
        folder.live_file.write_bytes(damaged_bytes(live, lot))
        folder.mesh_file.write_bytes(damaged_bytes(mesh, lot, within=1500))
        folder.preview_file.write_bytes(damaged_bytes(picture, lot, within=40))
        inspection.is_picture(folder.preview_file)
        tried(inspection.read_live_mesh, folder.live_file)
        tried(inspection.check_glb, folder.mesh_file)


def test_headers_of_models(lot, tmp_path):
    for _ in range(CASES):
        shapes = dict(lot.choice(list(FILES.values())))
        file = write_file(tmp_path / "model.safetensors", shapes)
        content = file.read_bytes()[: 8 + 100_000]
        length = int.from_bytes(content[:8], "little")
        header = damaged_json(json.loads(content[8 : 8 + length]), lot)
        with file.open("r+b") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
        tried(models.inspect, str(file))
        tried(models.check_lora, file)


def test_the_damage_is_none_of_json_alone(lot):
    """Else all of the above would test the reader of JSON."""
    fields = json.loads(REQUEST.to_json())
    parsed = 0
    for _ in range(100):
        try:
            json.loads(damaged_json(fields, lot))
            parsed += 1
        except ValueError:
            continue
    assert 30 < parsed < 100
    assert len(NASTY) > 30
