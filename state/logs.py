"""The extension's log in Blender: warnings go to the console, made printable, unless logging is configured."""

from __future__ import annotations

import logging

from ..sdi_engine.system.untrusted import printable_record


class _Console(logging.Handler):
    """Does what Python does without any handler, and nothing if the root logger has one."""

    def emit(self, record: logging.LogRecord) -> None:
        console = logging.lastResort
        if console is not None and not logging.getLogger().handlers and record.levelno >= console.level:
            console.handle(record)


_PACKAGE = (__package__ or "").rpartition(".")[0]
_handler = _Console()
_handler.addFilter(printable_record)


def attach() -> None:
    """Called when the extension is enabled."""
    logging.getLogger(_PACKAGE).addHandler(_handler)


def detach() -> None:
    """Called when the extension is disabled."""
    logging.getLogger(_PACKAGE).removeHandler(_handler)
