import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from exact_prior import ExactPrior, ball_images
from tiny_models import write_stable_diffusion

from sdi_engine import errors
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.errors import BadInputError, EnvironmentMissingError, NoObjectError
from sdi_engine.evaluation import equal_time, runs
from sdi_engine.evaluation.plan import Plan, Setting
from sdi_engine.evaluation.runs import JOBS_FOLDER, Outcome, do_job, run_jobs
from sdi_engine.run.optimisation import Optimisation

SMALL = {"preset": "draft", "steps": 3, "texture_size": 64, "face_budget": 100}
DRAFT = (Setting("draft", SMALL, {"mesh_resolution": 16, "samples_per_ray": 16}),)

FAKE = """
    import json, sys
    from pathlib import Path
    for line in sys.stdin:
        folder = Path(sys.argv[1], line.strip())
        outcome = {"exit_code": 0, "seconds": 4.0, "optimise_seconds": 3.0}
        if "two" in folder.name:
            outcome = {"exit_code": 4, "error": "The volume is empty."}
        if "crash" in folder.name:
            sys.exit(9)
        if "nowhere" in folder.name:
            outcome = {"exit_code": 3, "error": "There is no model."}
        if "long" in folder.name:
            (folder / "begun").touch()
            sys.stdin.read()
            outcome = {"exit_code": 130}
        (folder / "run.json").write_text(json.dumps(outcome))
        (folder / "result.json").write_text('{"attempts": 1}')
        print("done", flush=True)
"""


@pytest.fixture
def fake_processes(monkeypatch, tmp_path):
    """Processes that do nothing but say so; what they are to say is in the prompts."""
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE))
    started = []

    def start(folder, threads):
        started.append(threads)
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, script, folder / JOBS_FOLDER], stdin=pipe, stdout=pipe)

    monkeypatch.setattr(runs, "_started", start)
    return started


@pytest.fixture
def heard():
    return []


def plan_of(*prompts, settings=DRAFT, **fields):
    return Plan(prompts, settings=settings, device="cpu", **fields)


def outcomes(folder, jobs):
    return [Outcome.of(folder / JOBS_FOLDER / job.key) for job in jobs]


def exact_load(model, device, loras):
    time.sleep(0.3)
    return ExactPrior({"ball": ball_images(16)})


def begun(folder, plan):
    (job,) = plan.jobs({})
    path = folder / JOBS_FOLDER / job.key
    JobFolder.create(path, job.request)
    return path


def test_a_job_hardly_begun_is_made_anew_and_no_other_folder(tmp_path):
    plan = plan_of("ball")
    (job,) = plan.jobs({})
    path = begun(tmp_path, plan)
    (path / "checkpoint").mkdir()
    runs._prepare(path, job)
    assert not (path / "checkpoint").exists()
    (path / "request.json").unlink()
    (path / "novel.txt").touch()
    with pytest.raises(BadInputError, match="is not empty"):
        runs._prepare(path, job)
    assert (path / "novel.txt").is_file()


def test_a_job_that_is_done_says_what_it_cost_and_leaves_little(tmp_path):
    path = begun(tmp_path, plan_of("ball"))
    start = time.perf_counter()
    outcome = do_job(path, exact_load)
    passed = time.perf_counter() - start
    result = json.loads((path / "result.json").read_text())
    assert outcome == Outcome.of(path)
    assert (outcome.exit_code, outcome.error) == (0, "")
    assert outcome.model_evaluations == result["model_evaluations"] > 0
    assert outcome.load_seconds >= 0.3
    assert 0.0 < outcome.optimise_seconds < outcome.seconds <= passed - outcome.load_seconds + 0.01
    assert {file.name for file in path.iterdir()} >= {"mesh.glb", "result.json", "run.json", "request.json"}
    assert not any((path / heavy).exists() for heavy in ("checkpoint", "previews"))


def test_a_job_without_an_object_is_a_failure_with_its_sentence(tmp_path, monkeypatch):
    path = begun(tmp_path, plan_of("ball"))

    def fail(optimisation):
        raise NoObjectError("The volume has become empty: try another seed.")

    monkeypatch.setattr(Optimisation, "advance", fail)
    outcome = do_job(path, exact_load)
    assert outcome.exit_code == errors.EXIT_NO_OBJECT
    assert outcome.error == "The volume has become empty: try another seed."
    assert outcome.is_final


def test_a_job_that_was_stopped_goes_on_and_its_costs_add_up(tmp_path, monkeypatch):
    whole = do_job(begun(tmp_path / "whole", plan_of("ball")), exact_load)
    path = begun(tmp_path / "stopped", plan_of("ball"))
    advance, steps = Optimisation.advance, []

    def watched(optimisation):
        steps.append(optimisation.step)
        if len(steps) == 2:
            (path / "pause").touch()
        return advance(optimisation)

    monkeypatch.setattr(Optimisation, "advance", watched)
    stopped = do_job(path, exact_load)
    assert not stopped.is_final
    (path / "pause").unlink()
    done = do_job(path, exact_load)
    assert done.exit_code == 0
    assert steps == [0, 1, 2]
    assert done.model_evaluations == whole.model_evaluations > stopped.model_evaluations > 0
    assert done.seconds > stopped.seconds
    assert done.load_seconds > stopped.load_seconds


def test_jobs_are_done_once_and_failures_are_counted(tmp_path, fake_processes, heard):
    jobs = plan_of("one", "two", "three", "crash", "four").jobs({})
    run_jobs(tmp_path, jobs, 1, heard.append)
    assert [outcome.exit_code for outcome in outcomes(tmp_path, jobs)] == [0, 4, 0, 1, 0]
    assert "ended unexpectedly (code 9)" in outcomes(tmp_path, jobs)[3].error
    notices = [event.message for event in heard if isinstance(event, events.Notice)]
    assert len(notices) == 2
    assert "The volume is empty." in notices[0]
    progress = [event.step for event in heard if isinstance(event, events.Progress)]
    assert progress == [0, 1, 2, 3, 4, 5]
    assert fake_processes == [runs.core_count()] * 2, "another one takes the place of one that crashed"

    run_jobs(tmp_path, jobs, 1, heard.append)
    assert len(fake_processes) == 2, "there was nothing left to do"
    run_jobs(tmp_path, [*jobs, *plan_of("five").jobs({})], 1, heard.append)
    assert heard[-1].step == 6


def test_processes_share_the_cores(tmp_path, fake_processes, monkeypatch):
    monkeypatch.setattr(runs, "core_count", lambda: 5)
    run_jobs(tmp_path, plan_of("a", "b", "c").jobs({}), 2, lambda event: None)
    assert fake_processes == [2, 2]


def test_ctrl_c_lets_processes_save_what_they_are_at(tmp_path, fake_processes):
    jobs = plan_of("one", "long", "later").jobs({})

    def interrupt(event):
        if isinstance(event, events.Progress) and event.step == 1:
            while not list(tmp_path.glob("jobs/long*/begun")):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(tmp_path, jobs, 1, interrupt)
    assert [outcome and outcome.exit_code for outcome in outcomes(tmp_path, jobs)] == [0, 130, None]
    assert (tmp_path / JOBS_FOLDER / jobs[1].key / "begun").exists()


def test_what_ails_the_machine_is_no_failure_of_a_job(tmp_path, fake_processes):
    jobs = plan_of("nowhere", "one").jobs({})
    for _ in range(2):
        with pytest.raises(EnvironmentMissingError, match="There is no model"):
            run_jobs(tmp_path, jobs, 1, lambda event: None)
    assert not outcomes(tmp_path, jobs)[0].is_final, "it is tried again"


def test_equal_time_is_measured_once_and_kept(tmp_path, fake_processes, monkeypatch):
    """The first prompt, "two", comes to nothing, so the second one is asked."""
    settings = (Setting("SDI", SMALL), Setting("SDS", {**SMALL, "steps": 60, "noise": "random"}, equal_time="SDI"))
    plan = plan_of("two", "one", settings=settings)
    assert equal_time.steps_for_equal_time(plan, tmp_path, 1, lambda event: None) == {"SDS": 60}
    found = json.loads((tmp_path / "equal_time.json").read_text())["SDS"]
    assert (found["prompt"], found["seconds_to_take"], found["normal_steps"]) == ("one", 3.0, 60)

    found["steps"] = 17
    (tmp_path / "equal_time.json").write_text(json.dumps({"SDS": found}))
    assert equal_time.steps_for_equal_time(plan, tmp_path, 1, lambda event: None) == {"SDS": 17}
    assert {job.request.steps for job in plan.jobs({"SDS": 17}) if job.setting == "SDS"} == {17}


def test_equal_time_of_nothing_says_so(tmp_path, fake_processes):
    settings = (Setting("SDI", SMALL), Setting("SDS", SMALL, equal_time="SDI"))
    with pytest.raises(NoObjectError, match=r'steps of "SDS".*instead of equal_time'):
        equal_time.steps_for_equal_time(plan_of("two", settings=settings), tmp_path, 1, lambda event: None)


def test_orders_that_end_pause_the_job_at_hand(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "pause").touch()  # left by a process that was killed
    reader, writer = os.pipe()
    orders = iter(runs._Orders(tmp_path, os.fdopen(reader, "rb", buffering=0)))
    os.write(writer, b"one\n")
    assert next(orders) == tmp_path / "one"
    assert not (tmp_path / "one" / "pause").exists()
    threading.Timer(0.05, os.close, [writer]).start()
    while not (tmp_path / "one" / "pause").exists():
        time.sleep(0.01)
    assert list(orders) == []
    assert not (tmp_path / "one" / "pause").exists()


def test_a_real_process_makes_real_objects_and_keeps_its_model(tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny", vae=False)
    quick = (Setting("quick", {**SMALL, "steps": 1, "noise": "random"}, {"mesh_resolution": 12, "samples_per_ray": 8}),)
    jobs = plan_of("a mug", "a hat", settings=quick, model=str(model)).jobs({})

    def lose_the_weights(event):
        if isinstance(event, events.Progress) and event.step == 1:
            (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()

    run_jobs(tmp_path / "out", jobs, 1, lose_the_weights)
    first, second = outcomes(tmp_path / "out", jobs)
    assert (first.exit_code, second.exit_code) == (0, 0), (tmp_path / "out" / "log.txt").read_text()
    assert (tmp_path / "out" / JOBS_FOLDER / jobs[1].key / "mesh.glb").read_bytes().startswith(b"glTF")
