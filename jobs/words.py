"""Numbers in readable form, the same in the panel and in a terminal."""

from __future__ import annotations

from ..sdi_engine.config.parameters import TASKS_OF_A_MESH
from ..sdi_engine.contract import events
from ..sdi_engine.contract.events import Progress


def duration(seconds: float) -> str:
    """For example "1:05" for 65 seconds, or "1:01:05" with hours."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shortened(text: str, longest: int) -> str:
    """A prompt or name of at most so many characters; of a longer one the beginning, and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def about(seconds: float) -> str:
    """For example "About 4 minutes", for what is known roughly."""
    if seconds < 90.0:
        return "About a minute" if seconds > 45.0 else "Less than a minute"
    minutes = round(seconds / 60.0)
    return f"About {minutes} minutes" if minutes < 100 else f"About {seconds / 3600.0:.1f} hours"


def steps(progress: Progress) -> str:
    """For example "135/300 · 4.1 steps/s · 0:41 left", within a long step "2/300 and 41 % · 95 s/step", and in a phase
    without steps "12 % · 0:41 left"; what is not known is left out."""
    is_long = progress.within >= 0.01 and (progress.rate or 0.0) < 0.1
    parts = [f"{progress.step}/{progress.steps}" + (f" and {_percent(progress.within)}" if is_long else "")]
    if progress.steps <= 1:
        parts = [_percent(progress.share)] if progress.share else []
    if progress.rate:
        quick = progress.rate >= 0.1
        parts.append(f"{progress.rate:.1f} steps/s" if quick else f"{1 / progress.rate:.0f} s/step")
    if progress.eta is not None:
        parts.append(f"{duration(progress.eta)} left")
    return " · ".join(parts)


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"


def phase_and_steps(progress: Progress) -> str:
    """The same in one line with what is being done, where that is not plain from the steps."""
    return steps(progress) if progress.steps > 1 else " · ".join(filter(None, (progress.phase, steps(progress))))


def short_model(model: str) -> str:
    """The last part of a model's path or id."""
    return model.replace("\\", "/").rstrip("/").rpartition("/")[2] or model


FRONTS = {"−Y": 0.0, "+X": 90.0, "+Y": 180.0, "−X": -90.0}
"""Where a mesh's front may face, and how many degrees about Z that is from −Y."""


def icon_of(task: str) -> str:
    """The name of Blender's icon for jobs of this task."""
    return {"texture": "TEXTURE", "refine": "SHAPEKEY_DATA"}.get(task, "OBJECT_DATA")


def result_of(task: str) -> str:
    """What a job of this task makes."""
    return {"texture": "texture", "refine": "refined shape"}.get(task, "object")


def made_for(task: str, name: str) -> str:
    """What a job of this task makes for the object of this name."""
    return f"{result_of(task).capitalize()} for “{name}”"


def import_label(task: str, is_imported: bool = False) -> str:
    """What the button says that brings a result into the scene."""
    if task in TASKS_OF_A_MESH:
        return "Put on Object"
    return "Import Again" if is_imported else "Put into Scene"


def before_any_news(state: str, engine_starts: bool) -> str:
    """The status text of a job that has not reported any progress yet."""
    if engine_starts:
        return "Starting the engine"
    return "Waiting for its turn" if state == events.QUEUED else "Starting"
