"""The text of a bug report, to paste."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import bpy

from ..jobs.job import Job
from ..scene.origin import extension_version
from ..sdi_engine.system.redaction import redacted
from .engine_setup import EngineSetup

LOG_LINES = 30


def report(setup: EngineSetup, job: Job | None) -> str:
    """Versions, the engine's diagnosis and the end of a job's log, without passwords and the home folder's name."""
    in_use = ", in use" if setup.uses_environment else ""
    lines = [
        f"SDI Text to 3D {extension_version()}",
        f"Blender {bpy.app.version_string}",
        f"System: {platform.platform()}",
        f"GPU: {_gpu()}",
        f"Online access: {'yes' if bpy.app.online_access else 'no'}",
        f"The engine's own environment: {setup.environment_state}{in_use}",
    ]
    if setup.diagnosis is None:
        lines.append(f"Engine: {setup.python or 'no Python'}, not examined yet")
    else:
        lines.append(setup.diagnosis.sentence)
        for check in setup.diagnosis.checks:
            lines.append(f"  {'ok     ' if check.ok else 'MISSING'} {check.name}: {check.detail}")
            lines += [f"          {check.fix}"] if check.fix else []
    if setup.complaint:
        lines.append(setup.complaint)
    if job is not None:
        lines += ["", f"The newest job is {job.state}; the end of its log:", job.log_tail(LOG_LINES)]
    return redacted(_without_home("\n".join(lines))) + "\n"


def _gpu() -> str:
    if bpy.app.background:
        return "unknown in the background"
    import gpu

    return f"{gpu.platform.renderer_get()} ({gpu.platform.version_get()})"


def _without_home(text: str) -> str:
    home = str(Path.home())
    flags = re.IGNORECASE if sys.platform == "win32" else 0
    for written in {home.replace("\\", "\\\\"), home, home.replace("\\", "/")}:
        text = re.sub(re.escape(written) + r"(?=[\\/\s\"':,;)]|$)", "~", text, flags=flags)
    return text
