"""Imports diffusers without two packages that it imports if it finds them, and that nothing of ours asks it for.

peft, for its adapters, and bitsandbytes, for its quantizers and with torch's compiler behind it, would take a fifth of
the time in which an engine starts. Where they are needed (`packed_on_loading`) they can be imported as ever.
"""

from __future__ import annotations

import sys

_LEFT_OUT = ("peft", "bitsandbytes")


def import_diffusers() -> None:
    """Import diffusers, unless that was done before; it takes the packages that are left out for missing."""
    if "diffusers" in sys.modules:
        return
    hidden = [name for name in _LEFT_OUT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # what is None is not found
    try:
        import diffusers  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
