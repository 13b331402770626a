import json
from concurrent.futures import Future

import pytest

from sdi_engine import errors
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import RESUME, RUN
from sdi_engine.errors import BadInputError, EnvironmentMissingError, NoObjectError
from sdi_engine.evaluation import equal_time, runs
from sdi_engine.evaluation.plan import Plan, Setting
from sdi_engine.evaluation.runs import JOBS_FOLDER, Record, keep_record, run_jobs
from sdi_engine.service.pool import CRASHED, Outcome

SMALL = {"preset": "draft", "steps": 3, "texture_size": 64, "face_budget": 100}
DRAFT = (Setting("draft", SMALL, {"mesh_resolution": 16, "samples_per_ray": 16}),)

MADE = Outcome(0, seconds=4.0, optimise_seconds=3.0)
OUTCOMES = {
    "two": Outcome(errors.EXIT_NO_OBJECT, "The volume is empty."),
    "crash": Outcome(CRASHED, "The process of this job ended unexpectedly."),
    "nowhere": Outcome(errors.EXIT_ENVIRONMENT, "There is no model."),
}


class FakePool:
    """Does what the prompt's first word says at once; "long" lasts until the pool is closed, and later jobs wait."""

    capacity = 1
    is_local = True

    def __init__(self):
        self.did = []
        self._pending = []

    def submit(self, job, verb=RUN, listener=None):
        future = Future()
        word = job.name.partition("-")[0]
        if self._pending or word == "long":
            self._pending.append(future)
            if len(self._pending) == 1:
                future.set_running_or_notify_cancel()
            return future
        self.did.append((word, verb))
        (job / "result.json").write_text('{"attempts": 1}')
        future.set_result(OUTCOMES.get(word, MADE))
        return future

    def pause(self):
        self._pending[0].set_result(Outcome(errors.EXIT_CANCELLED, seconds=1.0))
        assert all(future.cancelled() for future in self._pending[1:])
        self._pending = []


@pytest.fixture
def pool():
    return FakePool()


@pytest.fixture
def heard():
    return []


def plan_of(*prompts, settings=DRAFT, **fields):
    return Plan(prompts, settings=settings, device="cpu", **fields)


def records(folder, jobs):
    return [Record.of(folder / JOBS_FOLDER / job.key) for job in jobs]


def begun(folder, plan):
    (job,) = plan.jobs({})
    path = folder / JOBS_FOLDER / job.key
    JobFolder.create(path, job.request)
    return path


def test_a_job_without_a_record_is_made_anew_but_no_other_folder(tmp_path):
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


def test_costs_of_a_resumed_job_add_up_and_a_finished_one_leaves_little(tmp_path):
    path = begun(tmp_path, plan_of("ball"))
    (path / "checkpoint").mkdir()
    paused = Outcome(
        errors.EXIT_CANCELLED, "", seconds=3.0, optimise_seconds=2.5, load_seconds=1.0, model_evaluations=8
    )
    assert not keep_record(path, paused).is_final
    assert (path / "checkpoint").exists()
    record = keep_record(path, Outcome(0, "", 2.0, 1.0, 0.5, model_evaluations=4))
    assert record == Record.of(path) == Record(0, "", 5.0, 3.5, 1.5, 12)
    assert not (path / "checkpoint").exists()


def test_jobs_are_done_once_and_failures_are_counted(tmp_path, pool, heard):
    jobs = plan_of("one", "two", "three", "crash", "four").jobs({})
    run_jobs(tmp_path, jobs, pool, heard.append)
    assert [record.exit_code for record in records(tmp_path, jobs)] == [0, errors.EXIT_NO_OBJECT, 0, CRASHED, 0]
    notices = [event.message for event in heard if isinstance(event, events.Notice)]
    assert sorted(notice.partition(" failed: ")[2] for notice in notices) == [
        "The process of this job ended unexpectedly.",
        "The volume is empty.",
    ]
    progress = [event.step for event in heard if isinstance(event, events.Progress)]
    assert progress == [0, 1, 2, 3, 4, 5]
    run_jobs(tmp_path, jobs, pool, heard.append)
    assert len(pool.did) == 5, "there was nothing left to do"
    run_jobs(tmp_path, [*jobs, *plan_of("five").jobs({})], pool, heard.append)
    assert heard[-1].step == 6


def test_ctrl_c_keeps_paused_jobs_and_starts_no_others(tmp_path, pool):
    jobs = plan_of("one", "long", "later").jobs({})

    def interrupt(event):
        if isinstance(event, events.Progress) and event.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(tmp_path, jobs, pool, interrupt)
    pool.pause()
    assert [record and record.exit_code for record in records(tmp_path, jobs)] == [0, errors.EXIT_CANCELLED, None]
    assert records(tmp_path, jobs)[1].seconds == 1.0


def test_a_paused_job_is_resumed(tmp_path, pool, heard):
    jobs = plan_of("one", "other").jobs({})
    runs._prepare(tmp_path / JOBS_FOLDER / jobs[0].key, jobs[0])
    keep_record(tmp_path / JOBS_FOLDER / jobs[0].key, Outcome(errors.EXIT_CANCELLED, seconds=2.0))
    run_jobs(tmp_path, jobs, pool, heard.append)
    assert pool.did == [("one", RESUME), ("other", RUN)]
    assert records(tmp_path, jobs)[0].seconds == 6.0


def test_a_fault_of_the_machine_is_no_failure_of_a_job(tmp_path, pool):
    jobs = plan_of("nowhere", "one").jobs({})
    for _ in range(2):
        with pytest.raises(EnvironmentMissingError, match="There is no model"):
            run_jobs(tmp_path, jobs, pool, lambda event: None)
    assert not records(tmp_path, jobs)[0].is_final, "it is tried again"


def test_equal_time_is_measured_once_and_kept(tmp_path, pool):
    """The first prompt, "two", gives no object, so the second one is tried."""
    settings = (Setting("SDI", SMALL), Setting("SDS", {**SMALL, "steps": 60, "noise": "random"}, equal_time="SDI"))
    plan = plan_of("two", "one", settings=settings)
    assert equal_time.steps_for_equal_time(plan, tmp_path, pool, lambda event: None) == {"SDS": 60}
    found = json.loads((tmp_path / "equal_time.json").read_text())["SDS"]
    assert (found["prompt"], found["seconds_to_take"], found["normal_steps"]) == ("one", 3.0, 60)

    found["steps"] = 17
    (tmp_path / "equal_time.json").write_text(json.dumps({"SDS": found}))
    assert equal_time.steps_for_equal_time(plan, tmp_path, pool, lambda event: None) == {"SDS": 17}
    assert {job.request.steps for job in plan.jobs({"SDS": 17}) if job.setting == "SDS"} == {17}


def test_equal_time_that_cannot_be_measured_says_so(tmp_path, pool):
    settings = (Setting("SDI", SMALL), Setting("SDS", SMALL, equal_time="SDI"))
    with pytest.raises(NoObjectError, match=r'steps of "SDS".*instead of equal_time'):
        equal_time.steps_for_equal_time(plan_of("two", settings=settings), tmp_path, pool, lambda event: None)
