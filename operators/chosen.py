"""What the file browser gives, or a script: which may be nothing, and no path is nothing's."""

from __future__ import annotations

from ..sdi_engine.errors import BadInputError
from ..sdi_engine.system.pasted import as_meant
from ..state import properties


def path_chosen(text: str, what: str = "file") -> str:
    """The path that an operator is given; one relative to the .blend file becomes absolute.

    Raises:
        BadInputError: it is empty, and would be the folder that Blender was started in.
    """
    if not as_meant(text):
        raise BadInputError(f"No {what} is chosen: choose one.")
    return properties.as_engine_finds(text)
