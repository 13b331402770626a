"""The cluster whose address the preferences hold, and several jobs at work at once."""

import pytest
from blender_desk import PROMPT
from fake_cluster import ADDRESS, NO_ANSWER, NOBODY


@pytest.fixture
def preferences(desk, bpy):
    found = desk.extension.state.preferences.of(bpy.context)
    found.cluster = ADDRESS
    return found


def choose(desk, prompt):
    """Click on a job in the list, which is drawn before it may be."""
    desk.until(lambda: prompt in desk.list())
    desk.bpy.context.window_manager.sdi_job_index = desk.list().index(prompt)


def test_the_one_at_the_address_makes_the_object(bpy, desk, preferences):
    desk.generate()
    desk.to_the_end()
    assert desk.job.notices == ["This is done on the cluster."]
    assert PROMPT in bpy.data.objects


def test_where_nobody_answers_it_is_said_and_the_job_goes_on_once_the_address_was_mended(bpy, desk, preferences):
    preferences.cluster = NOBODY
    desk.generate()
    runner = desk.session.desks.runner
    desk.until(lambda: runner.trouble)
    assert runner.trouble == NO_ANSWER  # which the panel shows above the job
    assert [ticket.name for ticket in runner.queue.waiting()] == [desk.job.name]
    preferences.cluster = f" {ADDRESS} "
    desk.to_the_end()
    assert PROMPT in bpy.data.objects


def test_what_is_no_address_is_refused_at_the_click(desk, preferences, results):
    preferences.cluster = "machines in the cellar"
    desk.settings.prompt = PROMPT
    assert "is no address of a Ray cluster: give auto, HOST:PORT or ray://HOST:PORT." in desk.press("generate")
    assert not list(results.glob("2*"))
    assert not desk.helpers()


def test_pause_stops_one_of_several_and_the_next_takes_its_place(bpy, desk, preferences):
    desk.generate("slow one")
    desk.generate("slow two")
    runner = desk.session.desks.runner
    jobs = {job.request.prompt: job for job in runner.jobs.values()}
    desk.until(lambda: {job.state for job in jobs.values()} == {"running"})
    desk.generate("a red mug")
    assert desk.press("pause_job", job=jobs["slow one"].name) is None
    desk.until(lambda: "a red mug" in bpy.data.objects)
    assert [jobs[prompt].state for prompt in ("slow one", "slow two")] == ["paused", "running"]
    assert not runner.is_held
    choose(desk, "slow one")
    desk.until(lambda: desk.can_press("resume_job"))
    assert desk.press("resume_job", job=jobs["slow one"].name) is None
    desk.until(lambda: "slow one" in bpy.data.objects)
    assert jobs["slow two"].state == "running"
    choose(desk, "slow two")
    desk.until(lambda: desk.can_press("finish_job"))
    assert desk.press("finish_job", job=jobs["slow two"].name) is None
    desk.to_the_end()
    assert "slow two" in bpy.data.objects
    assert not desk.helpers()


def test_pause_of_a_job_that_waits_takes_it_from_the_queue(desk, preferences):
    for prompt in ("slow one", "slow two", "a red mug"):
        desk.generate(prompt)
    runner = desk.session.desks.runner
    waiting = next(job for job in runner.jobs.values() if job.request.prompt == PROMPT)
    desk.until(lambda: [ticket.name for ticket in runner.queue.waiting()] == [waiting.name])
    assert desk.press("pause_job", job=waiting.name) is None
    assert waiting.state == "paused"
    assert not runner.queue.waiting()
    choose(desk, PROMPT)
    desk.until(lambda: desk.can_press("resume_job"))
    assert desk.press("resume_job", job=waiting.name) is None
    assert [ticket.name for ticket in runner.queue.waiting()] == [waiting.name]
    for job in list(runner.jobs.values()):
        desk.press("cancel_job", job=job.name)
    desk.to_the_end()
