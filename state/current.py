"""The one session of this Blender, from the moment when the extension is enabled until it is disabled.

What a property's change, a button or a panel has to do with jobs goes through it. Nothing else in the extension's
modules changes: who wants a fresh start makes another `Session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session


class _Holder:
    session: Session | None = None


_holder = _Holder()


def session() -> Session:
    """The session; there is one while the extension is enabled."""
    assert _holder.session is not None, "the extension is not enabled"
    return _holder.session


def hold(session: Session | None) -> None:
    """From now on `session` answers with this one."""
    _holder.session = session
