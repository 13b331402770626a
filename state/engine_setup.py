"""Whether the engine is set up: what its Python was found to have, the other Pythons, and the engine's own environment.

One timer, alive only while something is under way: it asks processes and threads whether they are ready, and redraws
where something is new. What is drawn is all in here, so that drawing need not look at the disk.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
import re
import sys
import time
from pathlib import Path

import bpy

from ..jobs import pythons
from ..jobs.doctor import Diagnosis, Examination, Glance, shortened
from ..jobs.engine import find_python
from ..jobs.installation import Installation, Removal, Tidying
from ..jobs.pythons import Survey
from ..scene.origin import extension_version
from ..sdi_engine import doctor, install
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.redaction import redacted
from . import preferences, session
from .redraw import redraw

TICK_SECONDS = 0.2
LOOK_AFTER_SECONDS = 1.0
TIDY_AFTER_SECONDS = 30.0
LOG_LINES = 30

NOT_SET_UP = "The engine is not set up yet"

log = logging.getLogger(__name__)

python: Path | None = None
"""The Python in use, as of the last look."""
diagnosis: Diagnosis | None = None
"""What is known of that Python; None while it is being asked."""
environment_state = install.MISSING
"""Of the extension's own environment (`sdi_engine.install.state_of`), as of the last look."""
uses_environment = False
"""Whether the Python in use is that environment's."""

examination: Examination | None = None
"""The question that is under way, or was answered last."""
survey: Survey | None = None
installation: Installation | None = None
complaint = ""
"""Why the last installation or removal came to nothing."""
installation_log: Path | None = None
"""What pip said in the last installation, where that has failed."""

_removal: Removal | None = None
_wants_installation = False
"""Whether one is to begin as soon as the Pythons are known."""
_wants_removal = False


def begin() -> None:
    """Called when the extension is enabled: a glance at the engine's Python a moment later, where there is a window."""
    if not bpy.app.background:
        bpy.app.timers.register(look, first_interval=LOOK_AFTER_SECONDS, persistent=True)
        _tidy_later()


def end() -> None:
    """Called when the extension is disabled: whatever is under way is stopped."""
    global python, diagnosis, environment_state, uses_environment, complaint, installation_log
    global examination, survey, installation, _removal, _wants_installation, _wants_removal
    for timer in (look, tick, tidy):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for process in (examination, survey, installation):
        if process is not None:
            process.stop()
    python, diagnosis, environment_state, uses_environment = None, None, install.MISSING, False
    complaint, installation_log = "", None
    examination, survey, installation, _removal = None, None, None, None
    _wants_installation, _wants_removal = False, False


def hint() -> str:
    """What the panel should say before anything can be made: one sentence, empty where all is well or not yet known."""
    is_ready = diagnosis is not None and diagnosis.ok
    if is_installing() and not is_ready:
        return "The engine is being installed: " + progress()[0]
    if uses_environment and environment_state == install.OUTDATED:
        return "The engine's environment was made for another version of the extension: install it again."
    if diagnosis is None or is_ready:
        return ""
    if diagnosis.refusal:
        return f"{NOT_SET_UP}: its Python {diagnosis.version} {diagnosis.refusal}."
    missing = [check.name for check in diagnosis.missing]
    if python is None or "torch" in missing:
        return f"{NOT_SET_UP}: it needs a Python with torch."
    return f"{NOT_SET_UP}: its Python lacks {shortened(missing)}." if missing else diagnosis.sentence


def look() -> None:
    """Glance at the Python in use; the answer comes into `diagnosis`."""
    _ask(Glance)


def examine() -> None:
    """Examine the Python in use thoroughly; the answer comes into `diagnosis`."""
    _ask(Examination)


def is_examining() -> bool:
    return examination is not None and examination.diagnosis is None


def find_pythons() -> None:
    """Look for Pythons on this machine; they come into `survey`."""
    global survey
    if survey is not None:
        survey.stop()
    engine = preferences.engine(bpy.context)
    environment = preferences.private_environment()
    also = [engine.python] if engine.python is not None else []
    also += [install.python_of(environment)] if environment is not None else []
    survey = Survey(engine, lambda: pythons.programs(also))
    _watch()


def is_looking_for_pythons() -> bool:
    return survey is not None and not survey.is_over


def is_installing() -> bool:
    return _wants_installation or (installation is not None and not installation.is_over)


def is_removing() -> bool:
    return _wants_removal or _removal is not None


def progress() -> tuple[str, float]:
    """What the installation is at, and how much of it is done, 0 to 1."""
    if installation is not None and not installation.is_over:
        return installation.phase, installation.fraction
    return "Looking for a Python to make it with", 0.0


def start_installation() -> None:
    """Make the engine an environment, with the best Python of this machine; one that is there is used until then."""
    global _wants_installation, complaint, installation_log
    complaint, installation_log = "", None
    _wants_installation = True
    if survey is None:
        find_pythons()
    _watch()


def cancel_installation() -> None:
    """Stop it; what was installed so far is removed."""
    global _wants_installation
    _wants_installation = False
    if installation is not None:
        installation.cancel()
    redraw()


def tidy() -> None:
    """Remove environments that another has taken the place of, where no engine runs in them any more."""
    environment = preferences.private_environment()
    if environment is not None and not is_installing() and not is_removing():
        Tidying(environment)


def remove_environment() -> None:
    """Remove the engine's own environment."""
    global _wants_removal, complaint, installation_log
    complaint, installation_log = "", None
    _wants_removal = True
    _let_engine_leave()
    _watch()


def tick() -> float | None:
    """Look once at all that is under way; seconds until the next look, None where nothing is."""
    news = [_follow_examination(), _follow_survey(), _follow_installation(), _follow_removal()]
    if any(news):
        redraw()
    busy = is_examining() or is_looking_for_pythons() or is_installing() or is_removing()
    return TICK_SECONDS if busy else None


def wait() -> None:
    """Until nothing is under way: for the background, where timers do not fire."""
    while tick() is not None:
        time.sleep(TICK_SECONDS / 2)


def report() -> str:
    """All that a report of a defect needs, with the home folder as "~", and without passwords."""
    lines = [
        f"SDI Text to 3D {extension_version()}",
        f"Blender {bpy.app.version_string}",
        f"System: {platform.platform()}",
        f"GPU: {_gpu()}",
        f"Online access: {'yes' if bpy.app.online_access else 'no'}",
        f"The engine's own environment: {environment_state}{', in use' if uses_environment else ''}",
    ]
    if diagnosis is None:
        lines.append(f"Engine: {python or 'no Python'}, not asked yet")
    else:
        lines.append(diagnosis.sentence)
        for check in diagnosis.checks:
            lines.append(f"  {'ok     ' if check.ok else 'MISSING'} {check.name}: {check.detail}")
            lines += [f"          {check.fix}"] if check.fix else []
    if complaint:
        lines.append(complaint)
    if session.job is not None:
        lines += ["", f"The newest job is {session.job.state}; the end of its log:"]
        lines.append(session.job.log_tail(LOG_LINES))
    return redacted(_without_home("\n".join(lines))) + "\n"


def _ask(kind: type[Examination]) -> None:
    global examination, diagnosis
    if examination is not None:
        examination.stop()
    diagnosis = None
    engine = preferences.engine(bpy.context)
    _note(engine.python)
    examination = kind(engine)
    _watch()


def _note(python_in_use: Path | None) -> None:
    global python, environment_state, uses_environment
    environment = preferences.private_environment()
    python = python_in_use
    environment_state = install.MISSING if environment is None else install.state_of(environment)
    uses_environment = environment is not None and python == install.python_of(environment)


def _tidy_later() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(tidy):
        bpy.app.timers.register(tidy, first_interval=TIDY_AFTER_SECONDS, persistent=True)


def _watch() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=TICK_SECONDS, persistent=True)
    redraw()


def _follow_examination() -> bool:
    global diagnosis
    if examination is None or diagnosis is not None or not examination.poll():
        return False
    diagnosis = examination.diagnosis
    if diagnosis is not None and diagnosis.ok:
        session.try_again()
    return True


def _follow_survey() -> bool:
    return survey is not None and survey.poll()


def _let_engine_leave() -> None:
    """Ask an engine that runs in the environment to end as soon as it has nothing to do."""
    if _engine_has_left():
        return
    assert session.runner is not None
    try:
        session.runner.free_memory()
    except EngineError as error:
        log.warning("The engine could not be told to leave: %s", error)


def _engine_has_left() -> bool:
    return not uses_environment or session.runner is None or session.runner.queue.status() is None


def _install(finished: Survey) -> None:
    global installation, complaint
    environment = preferences.private_environment()
    assert environment is not None
    base = pythons.base_for_environment(finished.found, environment, _lender(), tuple(sys.version_info[:3]))
    if base is None:
        complaint = "There is no Python to make the environment with: install Python 3.12 and press Search."
        return
    index = preferences.of(bpy.context).torch_index.strip()
    installation = Installation(base, environment, preferences.EXTENSION_FOLDER, index)


def _lender() -> Path | None:
    """Blender's own Python, where it can make environments for the engine."""
    able = doctor.python_check().ok and all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    return Path(sys.executable) if able and sys.executable else None


def _follow_installation() -> bool:
    global installation, complaint, installation_log, _wants_installation
    if _wants_installation and survey is not None and survey.is_over:
        _wants_installation = False
        _install(survey)
        return True
    if installation is None or (not installation.poll() and not installation.is_over):
        return False
    if installation.is_over:
        finished, installation = installation, None
        if finished.succeeded:
            _let_engine_leave()  # which runs in another Python still
            _use_environment()
            find_pythons()
            _tidy_later()
        else:
            complaint = finished.sentence
            installation_log = None if finished.is_cancelling else finished.log_file
            look()
    return True


def lasting_name(program: Path) -> str:
    """What to set as the engine's Python for this program: the folder, where it is in one whose content is renewed."""
    environment = preferences.private_environment()
    is_ours = environment is not None and environment in program.parents
    return str(environment) if is_ours else str(program)


def _use_environment() -> None:
    """Let the engine run in the environment that was just made, whatever was chosen before."""
    environment = preferences.private_environment()
    settings = preferences.of(bpy.context)
    found_anyway = find_python("", environment) == install.python_of(environment) if environment else False
    settings.engine_python = "" if found_anyway else str(environment)
    bpy.context.preferences.is_dirty = True
    examine()


def _follow_removal() -> bool:
    global _removal, complaint, _wants_removal
    if _wants_removal and _engine_has_left():
        environment = preferences.private_environment()
        assert environment is not None
        _wants_removal, _removal = False, Removal(environment)
    if _removal is None or not _removal.poll():
        return False
    complaint = _removal.sentence
    _removal = None
    look()
    find_pythons()
    return True


def _gpu() -> str:
    if bpy.app.background:
        return "not asked in the background"
    import gpu

    return f"{gpu.platform.renderer_get()} ({gpu.platform.version_get()})"


def _without_home(text: str) -> str:
    home = str(Path.home())
    flags = re.IGNORECASE if sys.platform == "win32" else 0
    for written in {home.replace("\\", "\\\\"), home, home.replace("\\", "/")}:
        text = re.sub(re.escape(written) + r"(?=[\\/\s\"':,;)]|$)", "~", text, flags=flags)
    return text
