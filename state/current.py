"""Holds the one session of this Blender, from the enabling of the extension until it is disabled.

Properties, operators and panels reach the jobs through it. It is the only state in the extension's modules: a fresh
start is another `Session`.
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
    """Make `session` return this one from now on."""
    _holder.session = session
