"""The engine's set-up: the diagnosis of its Python, other Pythons, and the engine's own environment.

One timer, which runs only while something is under way, polls processes and threads, and redraws when something has
changed. All that panels draw is kept here, so that drawing does not access the disk.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bpy

from ..jobs import pythons
from ..jobs.doctor import Diagnosis, Examination, Glance, shortened
from ..jobs.engine import find_python
from ..jobs.installation import Cleanup, Installation, Removal
from ..jobs.pythons import Survey
from ..sdi_engine import doctor, install
from ..sdi_engine.errors import EngineError
from . import preferences
from .desks import Desks
from .redraw import redraw
from .timer import Timer

TICK_SECONDS = 0.2
GLANCE_AFTER_SECONDS = 1.0
TIDY_AFTER_SECONDS = 30.0

NOT_SET_UP = "The engine is not set up yet"

log = logging.getLogger(__name__)


class EngineSetup:
    """Attributes:
    python: the Python in use, as of the last examination.
    diagnosis: that Python's diagnosis; None while it is being examined.
    environment_state: the state of the extension's own environment (`sdi_engine.install.state_of`) at that time.
    uses_environment: whether the Python in use is that environment's.
    survey: the current or last search for Pythons.
    installation: the running installation, or None.
    complaint: why the last installation or removal failed; empty if it did not.
    installation_log: pip's log of the last installation if that failed, else None.
    """

    def __init__(self, desks: Desks, on_ready: Callable[[], None]) -> None:
        """`on_ready` is called when an examination finds the engine's Python complete."""
        self.python: Path | None = None
        self.diagnosis: Diagnosis | None = None
        self.environment_state = install.MISSING
        self.uses_environment = False
        self.survey: Survey | None = None
        self.installation: Installation | None = None
        self.complaint = ""
        self.installation_log: Path | None = None
        self._desks = desks
        self._on_ready = on_ready
        self._examination: Examination | None = None
        """The running or last examination."""
        self._removal: Removal | None = None
        self._wants_installation = False
        """Whether an installation starts as soon as the survey is over."""
        self._wants_removal = False
        self._first = Timer(self.glance)
        self._timer = Timer(self.tick)
        self._tidier = Timer(self.tidy)

    def begin(self) -> None:
        """Called when the extension is enabled: with a window, examine the engine's Python soon."""
        if not bpy.app.background:
            self._first.start(GLANCE_AFTER_SECONDS)
            self._tidy_later()

    def end(self) -> None:
        """Called when the extension is disabled: stop everything that is running."""
        for timer in (self._first, self._timer, self._tidier):
            timer.stop()
        for process in (self._examination, self.survey, self.installation):
            if process is not None:
                process.stop()

    def hint(self) -> str:
        """What is missing before objects can be made, as one sentence for the panel.

        Empty if nothing is missing, or if that is not known yet.
        """
        is_ready = self.diagnosis is not None and self.diagnosis.ok
        if self.is_installing() and not is_ready:
            return "The engine is being installed: " + self.progress()[0]
        if self.uses_environment and self.environment_state == install.OUTDATED:
            return "The engine's environment was made for another version of the extension: install it again."
        if self.diagnosis is None or is_ready:
            return ""
        if self.diagnosis.refusal:
            return f"{NOT_SET_UP}: its Python {self.diagnosis.version} {self.diagnosis.refusal}."
        missing = [check.name for check in self.diagnosis.missing]
        if self.python is None or "torch" in missing:
            return f"{NOT_SET_UP}: it needs a Python with torch."
        return f"{NOT_SET_UP}: its Python lacks {shortened(missing)}." if missing else self.diagnosis.sentence

    def device_of(self, chosen: str) -> tuple[str, int]:
        """The device that a job runs on by its setting, and the bytes it has; ("", 0) where that is unknown."""
        found = self.diagnosis
        if found is None or chosen not in ("auto", found.device):
            return "", 0
        return found.device, found.memory

    def glance(self) -> None:
        """Examine the Python in use quickly, without importing its packages; the result comes into `diagnosis`."""
        self._ask(Glance)

    def examine(self) -> None:
        """Examine the Python in use thoroughly; the result comes into `diagnosis`."""
        self._ask(Examination)

    def is_examining(self) -> bool:
        """Whether an examination of the engine's Python is running."""
        return self._examination is not None and self._examination.diagnosis is None

    def find_pythons(self) -> None:
        """Start a search for Pythons on this machine; they come into `survey`."""
        if self.survey is not None:
            self.survey.stop()
        engine = preferences.engine(bpy.context)
        environment = preferences.private_environment()
        also = [engine.python] if engine.python is not None else []
        also += [install.python_of(environment)] if environment is not None else []
        self.survey = Survey(engine, lambda: pythons.programs(also))
        self._watch()

    def is_looking_for_pythons(self) -> bool:
        """Whether a search for Pythons is running."""
        return self.survey is not None and not self.survey.is_over

    def is_installing(self) -> bool:
        """Whether an installation is running, or starts after the search for Pythons."""
        return self._wants_installation or (self.installation is not None and not self.installation.is_over)

    def is_removing(self) -> bool:
        """Whether a removal is running, or starts once the engine has ended."""
        return self._wants_removal or self._removal is not None

    def progress(self) -> tuple[str, float]:
        """The phase of the installation, and the share of it that is done, 0…1."""
        if self.installation is not None and not self.installation.is_over:
            return self.installation.phase, self.installation.fraction
        return "Searching for a suitable Python", 0.0

    def start_installation(self) -> None:
        """Make an environment for the engine with this machine's best Python; an earlier one is used until then."""
        self.complaint, self.installation_log = "", None
        self._wants_installation = True
        if self.survey is None:
            self.find_pythons()
        self._watch()

    def cancel_installation(self) -> None:
        """Stop the installation, and remove what it has installed."""
        self._wants_installation = False
        if self.installation is not None:
            self.installation.cancel()
        redraw()

    def tidy(self) -> None:
        """Remove environments that have been replaced and in which no engine runs any more."""
        environment = preferences.private_environment()
        if environment is not None and not self.is_installing() and not self.is_removing():
            Cleanup(environment)

    def remove_environment(self) -> None:
        """Remove the engine's own environment."""
        self.complaint, self.installation_log = "", None
        self._wants_removal = True
        self._let_engine_leave()
        self._watch()

    def tick(self) -> float | None:
        """Poll all that is running; returns seconds until the next call, None if nothing runs."""
        news = [self._follow_examination(), self._follow_survey(), self._follow_installation(), self._follow_removal()]
        if any(news):
            redraw()
        busy = self.is_examining() or self.is_looking_for_pythons() or self.is_installing() or self.is_removing()
        return TICK_SECONDS if busy else None

    def wait(self) -> None:
        """Poll until nothing runs any more, for the background, where timers do not fire."""
        while self.tick() is not None:
            time.sleep(TICK_SECONDS / 2)

    def _ask(self, kind: type[Examination]) -> None:
        if self._examination is not None:
            self._examination.stop()
        self.diagnosis = None
        engine = preferences.engine(bpy.context)
        self._note(engine.python)
        self._examination = kind(engine)
        self._watch()

    def _note(self, python_in_use: Path | None) -> None:
        environment = preferences.private_environment()
        self.python = python_in_use
        self.environment_state = install.MISSING if environment is None else install.state_of(environment)
        self.uses_environment = environment is not None and self.python == install.python_of(environment)

    def _tidy_later(self) -> None:
        if not bpy.app.background:
            self._tidier.start(TIDY_AFTER_SECONDS)

    def _watch(self) -> None:
        self._timer.start(TICK_SECONDS)
        redraw()

    def _follow_examination(self) -> bool:
        if self._examination is None or self.diagnosis is not None or not self._examination.poll():
            return False
        self.diagnosis = self._examination.diagnosis
        if self.diagnosis is not None and self.diagnosis.ok:
            self._on_ready()
        return True

    def _follow_survey(self) -> bool:
        return self.survey is not None and self.survey.poll()

    def _let_engine_leave(self) -> None:
        """Ask an engine that runs in the environment to end as soon as no job is running."""
        if self._engine_has_left():
            return
        assert self._desks.runner is not None
        try:
            self._desks.runner.free_memory()
        except EngineError as error:
            log.warning("The engine could not be asked to end: %s", error)

    def _engine_has_left(self) -> bool:
        return not self.uses_environment or self._desks.runner is None or self._desks.runner.queue.status() is None

    def _install(self, finished: Survey) -> None:
        environment = preferences.private_environment()
        assert environment is not None
        base = pythons.base_for_environment(finished.found, environment, _lender(), tuple(sys.version_info[:3]))
        if base is None:
            self.complaint = "There is no Python to make the environment with: install Python 3.12 and press Search."
            return
        index = preferences.of(bpy.context).torch_index.strip()
        self.installation = Installation(base, environment, preferences.EXTENSION_FOLDER, index)

    def _follow_installation(self) -> bool:
        if self._wants_installation and self.survey is not None and self.survey.is_over:
            self._wants_installation = False
            self._install(self.survey)
            return True
        if self.installation is None or (not self.installation.poll() and not self.installation.is_over):
            return False
        if self.installation.is_over:
            finished, self.installation = self.installation, None
            if finished.succeeded:
                self._let_engine_leave()  # it still runs in another Python
                self._use_environment()
                self.find_pythons()
                self._tidy_later()
            else:
                self.complaint = finished.sentence
                self.installation_log = None if finished.is_cancelling else finished.log_file
                self.glance()
        return True

    def _use_environment(self) -> None:
        """Make the engine run in the environment that was just made, whatever was chosen before."""
        environment = preferences.private_environment()
        settings = preferences.of(bpy.context)
        found_anyway = find_python("", environment) == install.python_of(environment) if environment else False
        settings.engine_python = "" if found_anyway else str(environment)
        bpy.context.preferences.is_dirty = True
        self.examine()

    def _follow_removal(self) -> bool:
        if self._wants_removal and self._engine_has_left():
            environment = preferences.private_environment()
            assert environment is not None
            self._wants_removal, self._removal = False, Removal(environment)
        if self._removal is None or not self._removal.poll():
            return False
        self.complaint = self._removal.sentence
        self._removal = None
        self.glance()
        self.find_pythons()
        return True


def lasting_name(program: Path) -> str:
    """The path to set as the engine's Python for a program: in the engine's own environment the folder, since its
    content is replaced by later installations."""
    environment = preferences.private_environment()
    is_ours = environment is not None and environment in program.parents
    return str(environment) if is_ours else str(program)


def _lender() -> Path | None:
    """Blender's own Python if it can make environments for the engine, or None."""
    able = doctor.python_check().ok and all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    return Path(sys.executable) if able and sys.executable else None
