"""The whole engine on a tiny model: run, kill, resume, cancel, finish early, fail."""

import errno
import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from headers import write_file
from tiny_models import write_stable_diffusion

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder, storage_errors
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import (
    EXIT_BAD_INPUT,
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_ENVIRONMENT,
    EXIT_NO_OBJECT,
    EXIT_OUT_OF_MEMORY,
    EXIT_STORAGE,
    BadInputError,
    NoObjectError,
    StorageError,
)
from sdi_engine.run import checkpoint, text_to_mesh
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.service import worker
from sdi_engine.system import files, liveness, processes

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


def request(model, **changes):
    defaults = {"model": model, "preset": "draft", "steps": 6, "texture_size": 64, "face_budget": 500, "device": "cpu"}
    defaults["overrides"] = {"mesh_resolution": 32, "samples_per_ray": 24}  # as coarse as the mesh test allows
    return JobRequest("a red mug", **(defaults | changes))


def seen(folder):
    return events.read_new(folder.events_file, 0)[0]


def states(folder):
    return [event.state for event in seen(folder) if isinstance(event, events.StateChanged)]


def vertices(folder):
    (mesh,) = trimesh.load(folder.mesh_file).geometry.values()
    return np.asarray(mesh.vertices)


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    folder = JobFolder.create(tmp_path_factory.mktemp("jobs") / "finished", request(model))
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    return folder


def test_a_job_leaves_a_mesh_of_the_asked_size_and_says_how(finished):
    assert states(finished) == ["queued", "starting", "running", "exporting", "done"]
    result = finished.result()
    assert result["prompt"] == "a red mug"
    assert result["faces"] <= 500
    assert result["steps"] == 6
    assert result["settings"]["guidance_scale"] == 7.5
    points = vertices(finished)
    assert points[:, 1].min() == pytest.approx(0.0, abs=1e-6)
    assert points[:, 1].max() == pytest.approx(1.0, abs=1e-6)
    assert finished.preview_file.read_bytes().startswith(b"\x89PNG")
    assert not finished.status_file.exists()


def test_progress_tells_phases_steps_rate_and_eta(finished):
    progress = [event for event in seen(finished) if isinstance(event, events.Progress)]
    assert list(dict.fromkeys(event.phase for event in progress if event.step == 0)) == [
        "Loading the model",
        "Reading the prompt",
        "Optimising",
        "Extracting the surface",
        "Unwrapping",
        "Baking the texture",
        "Saving",
    ]
    last = next(event for event in reversed(progress) if event.phase == "Optimising")
    assert (last.step, last.steps) == (6, 6)
    assert last.rate > 0.0
    assert last.eta == pytest.approx(0.0)
    read = [event.share for event in progress if event.phase == "Reading the prompt"]
    assert read == sorted(read)
    assert (read[0], read[-1]) == (0.0, 1.0)
    assert len(read) > 4, "each text takes long on a processor"


def test_a_checkpoint_holds_everything(model, tmp_path):
    """Saved after any step and loaded into a fresh run, the object ends exactly where the uninterrupted run ended."""
    first = _generation(model)
    while not first.done:
        first.advance()
        checkpoint.save(first, tmp_path / f"{first.step}.safetensors")
    for saved_at in (1, 4, 6):
        second = _generation(model)
        checkpoint.load(second, tmp_path / f"{saved_at}.safetensors")
        while not second.done:
            second.advance()
        ends = second.representation.state_dict()
        for name, tensor in first.representation.state_dict().items():
            np.testing.assert_allclose(ends[name].numpy(), tensor.numpy(), atol=1e-6, err_msg=f"{saved_at}: {name}")


def _generation(model):
    import torch

    from sdi_engine.diffusion.loading import load_prior
    from sdi_engine.run.resolve import resolve

    prior = load_prior(model, torch.device("cpu"))
    job = request(model).validated()
    return Optimisation(prior, job.prompt, "", resolve(job, prior.hints, prior.resolution), job.seed)


def test_resuming_a_finished_job_leaves_it_alone(finished):
    before = finished.result_file.stat().st_mtime_ns
    assert worker.run(finished.path, resume=True) == EXIT_DONE
    assert finished.result_file.stat().st_mtime_ns == before


def test_cancel_keeps_a_checkpoint_and_resume_goes_on(model, tmp_path):
    folder = JobFolder.create(tmp_path / "job", request(model))

    def cancel_at_step_two(event):
        if isinstance(event, events.PreviewSaved) and event.step == 2:
            folder.cancel_flag.touch()

    assert worker.run(folder.path, resume=False, listener=cancel_at_step_two) == EXIT_CANCELLED
    assert states(folder)[-1] == "cancelled"
    assert worker.run(folder.path, resume=True) == EXIT_DONE
    first_step_again = [event.step for event in seen(folder) if isinstance(event, events.PreviewSaved)]
    assert first_step_again == [1, 2, 3, 4, 5, 6]


def test_finish_takes_the_current_state(model, tmp_path):
    folder = JobFolder.create(tmp_path / "job", request(model, steps=1000))

    def finish_at_step_83(event):
        if isinstance(event, events.Progress) and event.phase == "Optimising" and event.step >= 3:
            folder.finish_flag.touch()

    assert worker.run(folder.path, resume=False, listener=finish_at_step_83) == EXIT_DONE
    assert folder.result()["steps"] < 1000


def test_a_running_job_is_not_run_twice(model, tmp_path, caplog):
    folder = JobFolder.create(tmp_path / "job", request(model))
    parent = {"pid": os.getppid(), "process_start": processes.start_time(os.getppid())}
    status = processes.ourselves() | parent | {"heartbeat": 1.0}  # long ago, as after this machine slept
    folder.status_file.write_text(json.dumps(status))
    assert worker.run(folder.path, resume=False) == EXIT_BAD_INPUT
    assert "Another engine" in caplog.text
    assert folder.status() == status
    folder.status_file.write_text(json.dumps(status | {"process_start": "another had this id", "heartbeat": 9e12}))
    assert worker.run(folder.path, resume=False) == EXIT_DONE


def test_of_two_that_resume_a_job_at_the_same_moment_one_does(tmp_path, caplog):
    """The other one's status file may be missing, as before its first heartbeat, or where Resume has removed it."""
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    codes = []

    def work(folder, request, resume, report):
        folder.status_file.unlink()
        program = (
            "import sys; from sdi_engine.service import worker; "
            "sys.exit(worker.run(sys.argv[1], resume=True, work=lambda *_: None))"
        )
        codes.append(subprocess.run([sys.executable, "-c", program, str(folder.path)]).returncode)
        codes.append(worker.run(folder.path, resume=True, work=lambda *_: None))

    assert worker.run(folder.path, resume=True, work=work) == EXIT_DONE
    assert codes == [EXIT_BAD_INPUT] * 2
    assert states(folder).count(events.DONE) == 1
    assert "Another engine works on the job" in caplog.text
    assert worker.run(folder.path, resume=True, work=lambda *_: None) == EXIT_DONE, "the job is free again"


@pytest.mark.parametrize("host", [{"machine": "another"}, {"namespace": "another container"}])
def test_an_engine_elsewhere_is_judged_by_whether_its_heartbeat_changes(tmp_path, host):
    """Not by its clock, which may be wrong."""
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    status = processes.ourselves() | host | {"host": "nas", "heartbeat": 1.0}
    folder.status_file.write_text(json.dumps(status))
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    def sleep_while_it_beats(seconds):
        sleep(seconds)
        folder.status_file.write_text(json.dumps(status | {"heartbeat": now[0]}))

    worker._refuse_running(folder, lambda: now[0], sleep)
    assert now[0] >= 30.0
    with pytest.raises(BadInputError, match="An engine on nas"):
        worker._refuse_running(folder, lambda: now[0], sleep_while_it_beats)


@pytest.mark.parametrize(
    ("resume", "left"),
    [
        (False, {"cancel", "finish", "pause"}),  # meant for the run that begins
        (True, {"checkpoint/state.safetensors"}),
    ],
)
def test_a_run_begins_without_what_the_last_one_left(tmp_path, resume, left):
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    of_a_killed_engine = ".mesh.glb.4000000000.part", "checkpoint/.state.safetensors.4000000000.part"
    for name in ("cancel", "finish", "pause", "checkpoint/state.safetensors", *of_a_killed_engine):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("of the last run")
    at_work = []
    worker.run(folder.path, resume=resume, work=lambda *_: at_work.extend(folder.path.rglob("*")))
    names = {str(file.relative_to(folder.path).as_posix()) for file in at_work if file.is_file()}
    assert names - {"request.json", "status.json", "events.jsonl", "worker.log"} == left


def test_a_job_with_a_link_among_its_files_is_not_run(tmp_path, caplog):
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    (tmp_path / "elsewhere").mkdir()
    folder.checkpoint_folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    told, began = folder.events_file.read_bytes(), []
    assert worker.run(folder.path, resume=False, work=lambda *_: began.append(1)) == EXIT_STORAGE
    assert not began
    assert str(folder.checkpoint_folder) in caplog.text
    assert folder.events_file.read_bytes() == told


def test_who_listens_hears_why_a_job_failed_that_cannot_be_written(tmp_path, monkeypatch):
    def on_a_full_disk(folder, event):
        if isinstance(event, events.Failed):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder.path))

    def work(*_):
        raise StorageError("The disk is full.")

    folder = JobFolder.create(tmp_path / "job", request("starter"))
    monkeypatch.setattr(JobFolder, "append", on_a_full_disk)
    heard = []
    assert worker.run(folder.path, resume=False, work=work, listener=heard.append) == EXIT_STORAGE
    assert [event.message for event in heard if isinstance(event, events.Failed)] == ["The disk is full."]


def test_the_heartbeat_beats_while_the_job_runs(model, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.02)
    folder = JobFolder.create(tmp_path / "job", request(model, steps=2))
    beats = set()
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            beats.add((folder.status() or {}).get("heartbeat"))
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    stop.set()
    thread.join()
    assert len(beats - {None}) > 3


def test_a_prompt_of_which_the_model_knows_no_word_is_refused_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(text_to_mesh, "make", lambda *arguments: pytest.fail("the work was begun"))
    folder = JobFolder.create(tmp_path / "job", JobRequest("a dragon"))
    assert worker.run(folder.path, resume=False) == EXIT_BAD_INPUT
    assert "does not know any word" in next(event for event in seen(folder) if isinstance(event, events.Failed)).message


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), EXIT_OUT_OF_MEMORY, "lower resolution"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), EXIT_OUT_OF_MEMORY, "or a smaller model."),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), EXIT_OUT_OF_MEMORY, "or the device cpu."),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when …"), EXIT_OUT_OF_MEMORY, "lower resolution"),
        (RuntimeError("MPS backend out of memory"), EXIT_OUT_OF_MEMORY, "lower resolution"),
        (RuntimeError("shapes do not match"), 1, "shapes do not match"),
        (NoObjectError("No object."), EXIT_NO_OBJECT, "No object."),
        (StorageError("The disk is full."), EXIT_STORAGE, "disk is full"),
        (ZeroDivisionError("oh"), 1, "ZeroDivisionError: oh"),
        (RuntimeError("CUDA error\nfor debugging"), 1, "RuntimeError: CUDA error for debugging"),
        (OSError(errno.ENOSPC, "No space left", "/cache"), EXIT_STORAGE, 'disk of "/cache" is full: free some space'),
        (OSError(errno.ENOSPC, "No space left"), EXIT_STORAGE, "A disk is full: free some space"),
        (ImportError("No module", name="nerfacc.volrend"), EXIT_ENVIRONMENT, 'lacks the package "nerfacc.volrend"'),
        (ImportError("No module", name="sdi_engine.run.lost"), 1, "please report it"),
    ],
)
def test_every_end_has_its_code_and_one_sentence(model, tmp_path, monkeypatch, error, code, words):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(text_to_mesh, "make", fail)
    folder = JobFolder.create(tmp_path / "job", request(model))
    assert worker.run(folder.path, resume=False) == code
    failed = next(event for event in seen(folder) if isinstance(event, events.Failed))
    assert failed.exit_code == code
    assert words in failed.message
    assert "\n" not in failed.message
    assert states(folder)[-1] == "failed"


def test_a_missing_model_fails_with_the_cure(tmp_path):
    folder = JobFolder.create(tmp_path / "job", request(str(tmp_path / "nothing")))
    assert worker.run(folder.path, resume=False) == EXIT_ENVIRONMENT
    failed = next(event for event in seen(folder) if isinstance(event, events.Failed))
    assert "does not exist" in failed.message


def test_a_damaged_request_is_bad_input(tmp_path):
    (tmp_path / "request.json").write_text("{")
    assert worker.run(tmp_path, resume=False) == EXIT_BAD_INPUT
    assert worker.run(tmp_path / "nothing", resume=False) == EXIT_BAD_INPUT


def test_settings_of_a_later_version_are_ignored_and_reported(tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a mug"))
    fields = json.loads(folder.request_file.read_text())
    later = {f"later {number}": number for number in range(7)}
    folder.request_file.write_text(json.dumps(fields | later))
    asked = []
    code = worker.run(folder.path, resume=False, work=lambda _folder, request, _resume, _report: asked.append(request))
    assert code == EXIT_DONE
    assert asked == [JobRequest("a mug")]
    (notice,) = [event.message for event in seen(folder) if isinstance(event, events.Notice)]
    assert "(later 0, later 1, later 2, later 3, later 4, …): update the extension" in notice


def test_a_damaged_checkpoint_is_bad_input(model, tmp_path):
    folder = JobFolder.create(tmp_path / "job", request(model))
    folder.checkpoint_folder.mkdir()
    (folder.checkpoint_folder / "state.safetensors").write_bytes(b"garbage")
    assert worker.run(folder.path, resume=True) == EXIT_BAD_INPUT


@pytest.mark.skipif(sys.platform != "linux", reason="mounting a small file system needs Linux")
def test_a_full_disk_midway_ends_with_the_storage_code(model, tmp_path):
    """On a file system of 200 KiB the first preview or checkpoint fails; the request and the events stay."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        folder = JobFolder.create(disk / "job", request(model))
        assert worker.run(folder.path, resume=False) == EXIT_STORAGE
        assert folder.request().prompt == "a red mug"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_outlasts_programs_that_keep_its_pictures_and_checkpoints_open_on_windows(model, tmp_path, monkeypatch):
    replace, kept = Path.replace, {"preview.png", "side-0.png", "state.safetensors"}

    def replace_unless_open(source, target):
        if target.name in kept and target.exists():
            error = PermissionError(errno.EACCES, "Access is denied")
            error.winerror = 5
            raise error
        return replace(source, target)

    folder = JobFolder.create(tmp_path / "job", request(model))
    for name in ("preview.png", "turntable/side-0.png", "checkpoint/state.safetensors"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("open in a viewer")
    monkeypatch.setattr(worker, "_forget_last_run", lambda *_: None)
    monkeypatch.setattr(Path, "replace", replace_unless_open)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    assert folder.preview_file.read_text() == "open in a viewer"

    def pause(event):
        if isinstance(event, events.Progress) and event.phase == "Optimising":
            folder.pause_flag.touch()

    folder.result_file.unlink()
    assert worker.run(folder.path, resume=False, listener=pause) == EXIT_CANCELLED
    assert text_to_mesh.NOT_KEPT in [event.message for event in seen(folder) if isinstance(event, events.Notice)]
    folder.pause_flag.unlink()
    kept.add("mesh.glb")
    assert worker.run(folder.path, resume=False) == EXIT_STORAGE
    assert (
        "open in another program" in [event for event in seen(folder) if isinstance(event, events.Failed)][-1].message
    )


def test_a_job_outlasts_a_program_that_has_its_events_open_on_windows(tmp_path, monkeypatch):
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    append, heard = JobFolder.append, []

    def append_unless_open(self, event):
        if isinstance(event, kept):
            raise files.InUseError(errno.EACCES, "Permission denied")
        append(self, event)

    def work(folder, request, resume, report):
        report(events.Progress("Optimising", 1, 6))
        report(events.PreviewSaved("preview.png", 1))
        report(events.Notice("hello"))

    monkeypatch.setattr(JobFolder, "append", append_unless_open)
    kept = (events.Progress, events.PreviewSaved)
    assert worker.run(folder.path, resume=False, work=work, listener=heard.append) == EXIT_DONE
    assert any(isinstance(event, events.Progress) for event in heard)
    assert states(folder)[-1] == events.DONE
    kept = events.Notice
    assert worker.run(folder.path, resume=False, work=work) == EXIT_STORAGE


def test_a_job_goes_on_from_its_checkpoint_when_the_drive_is_back(tmp_path, monkeypatch):
    folder = JobFolder.create(tmp_path / "results" / "job", request("starter"))
    results, away = folder.path.parent, tmp_path / "away"
    monkeypatch.setattr(
        worker.files, "device_of", lambda path: -1
    )  # what is left on the way to it is on another device
    calls, naps = [], []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            away.rename(results)

    def work(folder, request, resume, report):
        calls.append(resume)
        if len(calls) == 1:
            results.rename(away)
        report(events.Progress("Optimising", len(calls), 2))

    monkeypatch.setattr(worker.time, "sleep", nap)
    assert worker.run(folder.path, resume=False, work=work) == EXIT_DONE
    assert calls == [False, True]
    assert states(folder)[-1] == events.DONE
    assert len(naps) == 3


def test_a_drive_that_answers_with_errors_is_waited_for_as_one_that_is_gone(tmp_path, monkeypatch):
    """As network drives do: even the question whether a file is there is an error then."""
    folder = JobFolder.create(tmp_path / "results" / "job", request("starter"))
    calls, naps, broken = [], [], []

    def breakable(call):
        def answer(path, *rest, **named):
            if broken and str(path).startswith(str(folder.path.parent)):
                raise OSError(errno.EIO, "Input/output error", str(path))
            return call(path, *rest, **named)

        return answer

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            broken.clear()

    def work(folder, request, resume, report):
        calls.append(resume)
        if len(calls) == 1:
            broken.append(True)
        folder.stop_if_told()
        report(events.Progress("Optimising", len(calls), 2))

    for name in ("stat", "lstat", "open", "unlink", "listdir", "scandir"):
        monkeypatch.setattr(os, name, breakable(getattr(os, name)))
    monkeypatch.setattr(worker.time, "sleep", nap)
    assert worker.run(folder.path, resume=False, work=work) == EXIT_DONE
    assert calls == [False, True]
    assert states(folder)[-1] == events.DONE


def test_a_results_folder_that_is_deleted_is_not_waited_for(tmp_path, monkeypatch, caplog):
    folder = JobFolder.create(tmp_path / "results" / "job", request("starter"))
    now = [0.0]
    monkeypatch.setattr(liveness, "Stopwatch", functools.partial(liveness.Stopwatch, lambda: now[0]))
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def work(folder, request, resume, report):
        folder.path.parent.rename(tmp_path / "bin")
        report(events.Progress("Optimising", 1, 2))

    assert worker.run(folder.path, resume=False, work=work) == EXIT_STORAGE
    assert now[0] <= 3.0
    assert "start the job again where it was deleted" in caplog.text


def test_a_drive_that_stays_away_ends_the_job_with_a_sentence(tmp_path, monkeypatch, caplog):
    folder = JobFolder.create(tmp_path / "results" / "job", request("starter"))
    monkeypatch.setattr(worker, "ABSENCE_SECONDS", -1.0)

    def work(folder, request, resume, report):
        folder.path.parent.rename(tmp_path / "away")
        report(events.Progress("Optimising", 1, 2))

    assert worker.run(folder.path, resume=False, work=work) == EXIT_STORAGE
    assert "is gone: connect its drive" in caplog.text


NETWORK_NAME_DELETED = 64
"""Of Windows, which Python calls an invalid argument."""

NAME_TOO_LONG = 206
"""Of Windows, which Python calls a file that is missing."""


@pytest.mark.parametrize(
    ("number", "of_windows", "attempts"),
    [
        (errno.EIO, None, 1 + worker.MOST_ABSENCES),
        (errno.ETIMEDOUT, None, 1 + worker.MOST_ABSENCES),
        (errno.EINVAL, NETWORK_NAME_DELETED, 1 + worker.MOST_ABSENCES),
        (errno.EINVAL, None, 1),
        (errno.ENOENT, NAME_TOO_LONG, 1),
        (errno.ENOSPC, None, 1),
        (errno.EACCES, None, 1),
    ],
)
def test_only_what_a_drive_says_that_was_away_is_tried_again_and_not_for_ever(tmp_path, number, of_windows, attempts):
    folder = JobFolder.create(tmp_path / "job", request("starter"))
    resumed = []

    def work(folder, request, resume, report):
        resumed.append(resume)
        error = OSError(number, "no")
        error.winerror = of_windows
        with storage_errors(folder.path):
            raise error

    assert worker.run(folder.path, resume=False, work=work) == EXIT_STORAGE
    assert resumed == [False] + [True] * (attempts - 1)
    assert states(folder)[-1] == events.FAILED


def test_that_a_model_is_distilled_is_said_before_what_it_lacks(tmp_path):
    file = write_file(tmp_path / "dream-turbo.safetensors", {"double_blocks.0.img_mod.lin.weight": (18432, 3072)})
    with pytest.raises(BadInputError, match="was distilled to a few steps"):
        worker.make_mesh(JobFolder(tmp_path), request(str(file)), False, seen)


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_what_torch_cannot_do_on_an_apple_gpu_yet_the_cpu_does(monkeypatch, before, after):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", before or "")
    if before is None:
        monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    with worker.torch_work():
        assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == after
