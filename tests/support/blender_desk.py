"""A stand-in for a Blender with a window and timers, for tests on PyPI's bpy: the test ticks the timers itself."""

import contextlib
import dataclasses
import io
import time

PROMPT = "a red mug"
NOBODY = 2**22 + 1  # more than any process id of Linux


class Desk:
    """Presses buttons and ticks the timer."""

    def __init__(self, bpy, extension, monkeypatch):
        self.bpy, self.extension, self.monkeypatch = bpy, extension, monkeypatch

    @property
    def session(self):
        return self.extension.state.current.session()

    @property
    def arrivals(self):
        return self.session.arrivals

    @property
    def job(self):
        return self.session.display.job

    @property
    def settings(self):
        return self.bpy.context.scene.sdi

    def press(self, name, **arguments):
        """Run an operator; returns its error report, or None if it finished."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                assert getattr(self.bpy.ops.sdi, name)(**arguments) == {"FINISHED"}
        except RuntimeError as error:
            return str(error).removeprefix("Error: ").strip()
        return None

    def can_press(self, name):
        return getattr(self.bpy.ops.sdi, name).poll()

    def generate(self, prompt=PROMPT, **settings):
        self.settings.prompt = prompt
        for name, value in settings.items():
            setattr(self.settings, name, value)
        said = self.press("generate")
        assert said is None, said

    def tick(self):
        return self.session.watcher.tick()

    def until(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.session.display.complaint or (self.job and self.job.log_tail())
            self.tick()
            time.sleep(0.02)

    def to_the_end(self):
        """Tick until no job is running and the list is up to date."""
        session = self.session
        self.until(lambda: not (session.watcher.is_busy() or session.desks.library.is_refreshing))

    def start_anew(self):
        """Become a Blender that was started after a crash of this one."""
        for file in self.session.desks.runner.results.glob("*/placement.json"):
            folder = self.extension.sdi_engine.contract.job_folder.JobFolder(file.parent)
            placement = self.extension.jobs.placement.Placement.read(folder)
            dataclasses.replace(placement, owner={**placement.owner, "pid": NOBODY}).write(folder)
        self.renew_session()
        self.session.watcher.find_again()
        self.until(lambda: not self.session.desks.library.is_refreshing)

    def renew_session(self):
        """Disable the extension's session, and enable a new one."""
        self.session.end()
        self.extension.state.current.hold(self.extension.state.session.Session())
        self.session.begin()

    def helpers(self):
        return [thing.name for thing in self.bpy.data.objects if "sdi_job" in thing]

    def markers(self):
        """All markers, sorted by X."""
        found = [each for each in self.bpy.data.objects if each.get("sdi_part") == "marker"]
        return sorted(found, key=lambda marker: marker.location.x)

    def list(self):
        return [item.prompt for item in self.bpy.context.window_manager.sdi_jobs]


class App:
    """`bpy.app` of a Blender with a window."""

    background = False

    def __init__(self, app):
        self._app = app

    def __getattr__(self, name):
        return getattr(self._app, name)
