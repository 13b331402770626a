"""Jobs in every state, driven by a worker that does what its prompt says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sdi_text_to_3d.jobs import job as job_module
from sdi_text_to_3d.jobs.engine import Engine
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.waiting import wait
from sdi_text_to_3d.sdi_engine import events, processes
from sdi_text_to_3d.sdi_engine.errors import EXIT_ENVIRONMENT, BadInputError
from sdi_text_to_3d.sdi_engine.request import JobRequest

import headless


def poll_until(job, condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{job.state}: {job.log_tail()}"
        job.poll()
        time.sleep(0.02)


def run(job, engine):
    job.start(engine)
    wait(job, lambda _: None)
    return job


@pytest.fixture
def make(tmp_path):
    return lambda prompt: Job.create(tmp_path / "results", JobRequest(prompt=prompt))


def test_a_job_is_done_when_its_result_is_there(make, engine):
    job = make("a red mug")
    seen = []
    job.start(engine)
    assert job.state == events.STARTING
    wait(job, lambda changed: seen.append(changed.state))
    assert job.state == events.DONE
    assert job.failure is None
    assert job.progress.step == job.progress.steps == 4
    assert job.preview.file == "preview.png"
    assert events.DONE in seen
    assert "fake worker: run" in job.log_tail()


@pytest.mark.parametrize(
    ("prompt", "exit_code", "words"),
    [
        ("crash now", 1, "RuntimeError: the fake worker crashes as it was told"),
        ("kill it", 1, "killed (SIGKILL)"),
        ("quit early", 1, "exit code 0 and no result"),
        ("fail 4 of them", 4, "It failed as it was told"),
        ("fail 5 of them", 5, "It failed as it was told"),
    ],
)
def test_a_worker_that_ends_without_a_result_has_failed(make, engine, prompt, exit_code, words):
    job = run(make(prompt), engine)
    assert job.state == events.FAILED
    assert job.failure.exit_code == exit_code
    assert words in job.failure.message
    assert "\n" not in job.failure.message
    again = Job(job.folder)  # as Blender sees it after a restart
    again.look()
    assert (again.state, again.failure.message) == (events.FAILED, job.failure.message)


def test_a_killed_job_can_be_resumed(make, engine):
    job = run(make("kill it"), engine)
    assert job.state == events.FAILED
    job.resume(engine)
    assert job.state == events.STARTING
    assert job.failure is None
    wait(job, lambda _: None)
    assert job.state == events.DONE
    assert "resume" in job.log_tail()
    again = Job(job.folder)
    again.look()
    assert again.state == events.DONE
    assert again.failure is None


def test_cancel_asks_first(make, engine):
    job = make("slow and steady")
    job.start(engine)
    poll_until(job, lambda: job.state == events.RUNNING)
    job.cancel()
    assert job.is_cancelling
    poll_until(job, lambda: job.is_over, seconds=4)
    assert job.state == events.CANCELLED
    job.resume(engine)
    wait(job, lambda _: None)
    assert job.state == events.DONE


def test_cancel_kills_a_worker_that_does_not_listen_and_all_it_started(make, engine, monkeypatch):
    monkeypatch.setattr(job_module, "CANCEL_GRACE_SECONDS", 0.3)
    job = make("fork a child")
    job.start(engine)
    child_file = job.folder.path / "child.pid"
    poll_until(job, lambda: child_file.exists() and child_file.read_text())
    child = int(child_file.read_text())
    assert processes.is_alive(child)
    job.cancel()
    poll_until(job, lambda: job.is_over)
    assert job.state == events.CANCELLED
    assert job.failure is None
    poll_until(job, lambda: not _runs(child))


def test_a_worker_that_does_not_end_after_its_last_word_is_ended(make, engine, monkeypatch):
    monkeypatch.setattr(job_module, "EXIT_GRACE_SECONDS", 0.5)
    job = run(make("linger on"), engine)
    assert job.state == events.DONE


def test_garbage_between_the_events_is_skipped(make, engine):
    job = run(make("garbage everywhere"), engine)
    assert job.state == events.DONE


def test_the_worker_gets_nothing_of_blenders_python(make, engine, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/blender/modules")
    monkeypatch.setenv("HF_TOKEN", "kept")
    job = run(make("show the environment"), engine)
    environment = json.loads((job.folder.path / "environment.json").read_text())
    assert "PYTHONHOME" not in environment
    assert environment["PYTHONPATH"] == str(headless.ROOT)
    assert environment["PYTHONNOUSERSITE"] == environment["PYTHONUTF8"] == environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HF_TOKEN"] == "kept"
    assert Path(environment["cwd"]) == job.folder.path
    assert "HF_HUB_OFFLINE" not in Engine(engine.python, engine.package_parent, online=True).environment({})


def test_a_prompt_never_reaches_a_shell_or_a_path(make, engine, tmp_path):
    prompt = "../../$(touch hacked); `touch hacked` \"a\" 'b' 🫖"
    job = run(make(prompt), engine)
    assert job.state == events.DONE
    assert job.folder.path.parent == tmp_path / "results"
    assert not list(tmp_path.rglob("hacked"))


def test_two_jobs_in_one_second_get_two_folders(make):
    folders = {make("a red mug").folder.path for _ in range(3)}
    assert len(folders) == 3


def no_python(tmp_path):
    return None


def missing_python(tmp_path):
    return tmp_path / "no" / "python"


def not_executable(tmp_path):
    program = tmp_path / "python.txt"
    program.write_text("not a program")
    return program


def a_folder(tmp_path):
    return tmp_path


def no_program(tmp_path):
    program = tmp_path / "python"
    program.write_bytes(b"\x00\x01\x02")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (no_python, "No Python for the engine was found"),
        (missing_python, "does not exist"),
        (not_executable, "is no program that may be run"),
        (a_folder, "is no program that may be run"),
        (no_program, "is no program that this computer can run"),
    ],
)
def test_a_python_that_cannot_start_fails_the_job_with_the_cure(make, tmp_path, python, words):
    job = make("a red mug")
    job.start(Engine(python(tmp_path), headless.ROOT))
    assert job.state == events.FAILED
    assert words in job.failure.message
    assert "preferences" in job.failure.message
    assert job.failure.exit_code == EXIT_ENVIRONMENT
    again = Job(job.folder)
    again.look()
    assert again.failure.message == job.failure.message


def test_a_program_that_is_no_python_fails_the_job_with_the_cure(make):
    job = run(make("a red mug"), Engine(Path("/bin/false"), headless.ROOT))
    assert job.state == events.FAILED
    assert "could not start with the Python" in job.failure.message


def test_results_that_cannot_be_written_are_bad_input(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(BadInputError, match="choose a results folder"):
        Job.create(tmp_path / "results", JobRequest(prompt="a red mug"))


def test_a_running_job_is_found_again_watched_and_cancelled(make, engine):
    starter = make("slow and steady")
    starter.start(engine)
    poll_until(starter, lambda: starter.state == events.RUNNING)
    found = Job(starter.folder)
    found.look()
    assert found.state == events.RUNNING
    found.cancel()
    poll_until(starter, lambda: starter.is_over)  # whoever started it collects the process
    poll_until(found, lambda: found.is_over)
    assert found.state == events.CANCELLED


def test_a_python_without_torch_says_what_to_install(make, tmp_path):
    """The real engine, in a Python that has nothing."""
    program = tmp_path / "bare python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    program.chmod(0o755)
    job = run(make("a red mug"), Engine(program, headless.ROOT))
    assert job.state == events.FAILED
    assert job.failure.exit_code == EXIT_ENVIRONMENT
    assert "pip install" in job.failure.message


def test_a_job_folder_that_vanishes_does_no_harm(make, engine, tmp_path):
    job = make("slow and steady")
    job.start(engine)
    poll_until(job, lambda: job.state == events.RUNNING)
    job.folder.path.rename(tmp_path / "elsewhere")
    wait(job, lambda _: None)
    assert job.state == events.FAILED


def test_a_found_job_whose_worker_is_gone_has_failed(make, engine):
    starter = make("slow and steady")
    starter.start(engine)
    poll_until(starter, lambda: starter.state == events.RUNNING)
    starter.kill()
    found = Job(starter.folder)
    found.look()
    assert found.state == events.FAILED
    assert "resume" in found.failure.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_and_waits(tmp_path, fake_python, number):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import headless; headless.load()\n"
        "from pathlib import Path\n"
        "from sdi_text_to_3d.jobs.engine import Engine\n"
        "from sdi_text_to_3d.jobs.job import Job\n"
        "from sdi_text_to_3d.jobs.waiting import wait\n"
        "from sdi_text_to_3d.sdi_engine.request import JobRequest\n"
        "job = Job.create(Path(sys.argv[2]), JobRequest(prompt='slow'))\n"
        "job.start(Engine(Path(sys.argv[3]), headless.ROOT))\n"
        "wait(job, lambda job: print(job.state, flush=True))\n"
        "print('ended', job.state)\n"
    )
    command = [sys.executable, "-c", script, str(headless.ROOT), str(tmp_path / "results"), str(fake_python)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while "running" not in (line := child.stdout.readline()):
            assert line, "it ended before it ran"
        child.send_signal(number)
        output = child.stdout.read()
    assert "ended cancelled" in output


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc").exists() is False and processes.is_alive(pid)


def test_is_alive():
    assert processes.is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not processes.is_alive(child.pid)
