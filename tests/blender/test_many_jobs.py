"""Long lists of prompts, disk errors in the middle, and another results folder in the preferences."""

import errno

import pytest
from blender_desk import PROMPT


@pytest.fixture
def prompts(tmp_path):
    """Write `count` prompts into a file; returns its path."""

    def write(count, first="slow mug"):
        lines = [first, *(f"mug {number}" for number in range(1, count))]
        (tmp_path / "prompts.txt").write_text("\n".join(lines))
        return str(tmp_path / "prompts.txt")

    return write


@pytest.fixture
def submissions(desk):
    return desk.session.submissions


def waiting(desk):
    return [ticket.name for ticket in desk.session.desks.runner.queue.waiting()]


def markers(desk):
    return [name for name in desk.helpers() if name.endswith("(place)")]


class TestAListOfPrompts:
    @pytest.fixture(autouse=True)
    def one_at_a_time(self, desk, monkeypatch):
        monkeypatch.setattr(desk.extension.state.submissions, "SECONDS_AT_ONCE", 0.0)

    def test_all_are_queued_without_blocking_blender(self, desk, submissions, prompts):
        assert desk.press("generate_from_file", filepath=prompts(6)) is None
        assert submissions.progress == (1, 6)  # Blender is not blocked for longer
        assert desk.tick() == desk.extension.state.watcher.CATCH_UP_TICK_SECONDS
        desk.until(lambda: not submissions.has_more)
        assert len(desk.session.desks.runner.jobs) == 6
        assert [desk.session.desks.runner.jobs[name].request.prompt for name in waiting(desk)][-2:] == [
            "mug 4",
            "mug 5",
        ]
        desk.until(lambda: len(desk.list()) == 6)

    def test_only_some_are_marked_and_the_others_when_they_begin(self, desk, submissions, prompts, monkeypatch):
        monkeypatch.setattr(desk.extension.state.arrivals, "MAX_MARKERS", 2)
        assert desk.press("generate_from_file", filepath=prompts(4)) is None
        desk.until(lambda: not submissions.has_more and desk.job.state == "running")
        assert markers(desk) == ["mug 1 (place)", "slow mug (place)"]
        desk.press("finish_job")
        desk.to_the_end()
        xs = [desk.bpy.data.objects[name].location.x for name in ("slow mug", "mug 1", "mug 2", "mug 3")]
        assert xs == sorted(xs)
        assert len(set(xs)) == 4
        assert not desk.helpers()

    def test_the_queue_is_emptied_with_one_click(self, desk, submissions, prompts):
        assert not desk.can_press("cancel_waiting")
        desk.generate("slow mug")
        desk.until(lambda: desk.job is not None and desk.job.state == "running")
        assert desk.press("generate_from_file", filepath=prompts(4, first="mug 0")) is None
        desk.tick()
        assert submissions.progress == (2, 4)
        assert desk.press("cancel_waiting") is None
        assert not submissions.has_more
        assert not waiting(desk)
        desk.until(lambda: len(desk.session.desks.runner.jobs) == 1 and len(desk.helpers()) == 3)
        assert markers(desk) == ["slow mug (place)"]
        assert [job.request.prompt for job in desk.session.desks.runner.jobs.values()] == ["slow mug"]
        desk.press("finish_job")
        desk.to_the_end()
        states = {entry.request.prompt: entry.state for entry in desk.session.desks.library.entries}
        assert states == {"slow mug": "done", "mug 0": "cancelled", "mug 1": "cancelled"}

    @pytest.mark.parametrize("where", ["create", "ticket"])
    def test_a_disk_error_midway_loses_nothing(self, desk, submissions, prompts, monkeypatch, where):
        disk = FullDisk(desk, monkeypatch, where)
        assert desk.press("generate_from_file", filepath=prompts(4)) is None
        desk.until(lambda: submissions.complaint)
        assert submissions.complaint.startswith("2 of 4 objects are in the queue, the other 2 are not: The disk")
        assert {job.request.prompt for job in desk.session.desks.runner.jobs.values()} == {"slow mug", "mug 1"}
        desk.until(lambda: desk.job.state == "running")  # which is watched
        disk.is_full = False
        assert desk.press("add_the_rest") is None
        desk.until(lambda: not submissions.has_more)
        assert len(desk.session.desks.runner.jobs) == 4
        desk.press("finish_job")
        desk.until(lambda: len(desk.session.desks.library.entries) == 4)  # and none twice

    def test_the_rest_can_be_dropped(self, desk, submissions, prompts, monkeypatch, results):
        FullDisk(desk, monkeypatch, "ticket")
        desk.press("generate_from_file", filepath=prompts(4))
        desk.until(lambda: submissions.complaint)
        assert desk.press("drop_the_rest") is None
        assert not submissions.has_more
        assert submissions.complaint == ""
        assert len(list(results.glob("2*"))) == 2
        assert markers(desk) == ["mug 1 (place)", "slow mug (place)"]

    def test_a_disk_error_at_the_start_is_reported_at_once(self, desk, submissions, prompts, results):
        results.write_text("a file in its place")
        assert "choose a results folder" in desk.press("generate_from_file", filepath=prompts(4))
        assert not submissions.has_more
        assert not desk.helpers()


class FullDisk:
    """Raises after two jobs, while the third is created or queued."""

    def __init__(self, desk, monkeypatch, where):
        self.calls, self.is_full = 0, True
        runner = type(desk.session.desks.desk(desk.bpy.context))
        name = {"create": "create", "ticket": "submit_all"}[where]
        original = getattr(runner, name)
        error = desk.extension.sdi_engine.errors.StorageError

        def refuse(runner, *arguments):
            self.calls += 1
            if self.is_full and self.calls > 2:
                raise error("The disk is full: free some space, then resume the job.")
            return original(runner, *arguments)

        monkeypatch.setattr(runner, name, refuse)


class TestAnotherResultsFolder:
    @pytest.fixture
    def preferences(self, desk, bpy, monkeypatch):
        return bpy.context.preferences.addons[desk.extension.__name__].preferences

    def test_a_job_of_the_former_one_is_watched_to_its_end(self, bpy, desk, preferences, tmp_path, results):
        desk.generate("slow mug")
        desk.until(lambda: desk.job is not None and desk.job.state == "running")
        job = desk.job
        preferences.results_folder = str(tmp_path / "others")
        assert desk.session.watcher.is_busy()
        assert desk.session.desks.is_elsewhere(job)
        desk.tick()
        assert desk.job is job
        assert job.state == "running"
        assert markers(desk) == ["slow mug (place)"]
        assert desk.press("finish_job") is None
        desk.to_the_end()
        assert job.state == "done"
        assert "slow mug" in bpy.data.objects
        assert not desk.helpers()
        assert [desk.results for desk in desk.session.desks.all()] == [tmp_path / "others"]

    def test_a_job_of_the_former_one_can_be_cancelled_and_resumed_there(
        self, bpy, desk, preferences, tmp_path, results
    ):
        desk.generate("slow mug")
        desk.until(lambda: desk.job is not None and desk.job.state == "running")
        preferences.results_folder = str(tmp_path / "others")
        assert desk.press("cancel_job") is None
        desk.until(lambda: desk.job.is_over)
        assert desk.job.state == "cancelled"
        assert not desk.helpers()
        desk.tick()
        assert desk.press("resume_job") is None
        desk.to_the_end()
        assert "slow mug" in desk.bpy.data.objects
        assert not (tmp_path / "others" / ".engine" / "queue").exists()
        assert desk.press("delete_job") is None
        desk.until(lambda: not list(results.glob("2*")))

    def test_the_list_follows_there_and_back(self, desk, preferences, tmp_path, results):
        desk.generate()
        desk.to_the_end()
        preferences.results_folder = str(tmp_path / "others")
        assert desk.list() == []
        desk.generate("a blue mug")
        desk.to_the_end()
        assert desk.list() == ["a blue mug"]
        preferences.results_folder = str(results)
        desk.until(lambda: desk.list() == [PROMPT])

    @pytest.mark.filterwarnings("ignore:.*blend relative")  # since 4.5 Blender says that it does not support this
    def test_the_list_follows_the_file_that_it_is_beside(self, bpy, desk, preferences, tmp_path, results):
        desk.generate()
        desk.to_the_end()
        first, second = tmp_path / "first.blend", results.parent / "beside" / "second.blend"
        second.parent.mkdir()
        bpy.ops.wm.save_as_mainfile(filepath=str(first))
        preferences.results_folder = f"//{results.name}"
        desk.until(lambda: desk.list() == [PROMPT])
        bpy.ops.wm.save_as_mainfile(filepath=str(second))
        desk.until(lambda: desk.list() == [])
        assert desk.session.desks.runner.results == second.parent / results.name
        bpy.ops.wm.open_mainfile(filepath=str(first))
        desk.until(lambda: desk.list() == [PROMPT])
        bpy.ops.wm.open_mainfile(filepath=str(second))
        desk.until(lambda: desk.list() == [])


def test_those_that_left_the_queue_before_an_error_are_cancelled_and_the_others_wait(desk, monkeypatch):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    for number in range(3):
        desk.generate(f"mug {number}")
    runner = desk.session.desks.runner
    jobs = {job.request.prompt: job for job in runner.jobs.values()}
    tear_up = type(runner.queue).tear_up

    def fail_at_the_second(queue, ticket):
        if ticket.name == jobs["mug 1"].name:
            raise OSError(errno.EIO, "Input/output error")
        return tear_up(queue, ticket)

    with monkeypatch.context() as patch:
        patch.setattr(type(runner.queue), "tear_up", fail_at_the_second)
        assert "Input/output error" in desk.press("cancel_waiting")
    for _ in range(3):
        desk.tick()
    states = [jobs[f"mug {number}"].state for number in range(3)]
    assert states == ["cancelled", "queued", "queued"]
    assert desk.press("cancel_waiting") is None
    desk.press("finish_job")
    desk.to_the_end()
    assert [jobs[f"mug {number}"].state for number in range(3)] == ["cancelled"] * 3


def test_those_left_behind_are_taken_up_some_at_a_time(desk, submissions, prompts, monkeypatch):
    assert desk.press("generate_from_file", filepath=prompts(5)) is None
    desk.until(lambda: desk.job.state == "running")
    monkeypatch.setattr(desk.extension.state.submissions, "SECONDS_AT_ONCE", 0.0)
    desk.start_anew()
    desk.until(lambda: len(desk.session.desks.runner.jobs) == 5)
    assert desk.press("cancel_waiting") is None
    desk.press("finish_job")
    desk.to_the_end()


class TestResultsAsPasted:
    @pytest.fixture
    def preferences(self, desk, bpy):
        return bpy.context.preferences.addons[desk.extension.__name__].preferences

    def test_quotes_around_a_pasted_path_are_left_out(self, bpy, desk, preferences, tmp_path, fake_python):
        preferences.results_folder = f' "{tmp_path / "mine"}" '
        preferences.engine_python = f"'{fake_python}'"
        assert desk.extension.state.preferences.results_folder(bpy.context) == tmp_path / "mine"
        assert desk.extension.state.preferences.engine(bpy.context).python == fake_python
        desk.generate()
        desk.to_the_end()
        assert PROMPT in bpy.data.objects
        assert list((tmp_path / "mine").glob("2*"))

    @pytest.mark.parametrize("name", ["x" * 300, "x/" * 2500])
    def test_a_name_that_is_too_long_is_one_sentence(self, desk, preferences, tmp_path, name):
        preferences.results_folder = str(tmp_path / name)
        desk.settings.prompt = PROMPT
        said = desk.press("generate")
        assert "too long for its disk: choose a results folder with a short name" in said
        desk.tick()
        assert "choose one with a short name" in desk.session.display.complaint  # and not: is its drive connected?
        assert not desk.helpers()


def test_a_job_whose_folder_is_deleted_while_it_runs_is_over_and_so_is_its_marker(desk, results):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    desk.job.folder.path.rename(results.parent / "elsewhere")
    desk.until(lambda: desk.job.is_over)
    assert "folder was deleted" in desk.job.failure.message
    assert not desk.helpers()
    assert not desk.session.watcher.is_busy()
    assert not desk.job.is_resumable
    assert "folder was deleted" in desk.press("resume_job")


@pytest.mark.filterwarnings("ignore:.*blend relative")  # since 4.5 Blender says that it does not support this
def test_beside_a_file_that_is_not_saved_yet_is_the_default_folder(bpy, extension, monkeypatch, tmp_path):
    module = extension.state.preferences
    monkeypatch.setattr(module, "_default_results_folder", lambda: str(tmp_path / "default"))
    module.of(bpy.context).results_folder = "//objects"
    assert module.results_folder(bpy.context) == tmp_path / "default", "not where Blender was started"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert module.results_folder(bpy.context) == tmp_path / "objects"
