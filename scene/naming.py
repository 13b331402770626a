"""Names of what we put into the file."""

from __future__ import annotations

MAX_NAME_BYTES = 63


def object_name(prompt: str, suffix: str = "") -> str:
    """The prompt as a name: as much of it as Blender takes before the suffix, cut between characters."""
    room = MAX_NAME_BYTES - len(suffix.encode("utf-8"))
    return prompt.encode("utf-8")[:room].decode("utf-8", errors="ignore").strip() + suffix
