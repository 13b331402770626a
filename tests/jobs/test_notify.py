"""Notifications of the operating system."""

import pytest
from sdi_text_to_3d.jobs import notify

MESSAGE = '“a café\'s "mug"” is ready (1:05)'


@pytest.mark.parametrize("system", ["darwin", "linux"])
def test_the_message_arrives_as_it_is_and_is_no_code(system, monkeypatch):
    """On macOS as an argument: from the environment AppleScript reads “ as ‚Äú."""
    started = []
    monkeypatch.setattr(notify.sys, "platform", system)
    monkeypatch.setattr(notify.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(notify.subprocess, "Popen", lambda command, **_: started.append(command))
    notify.notify(MESSAGE)
    (command,) = started
    assert command[-2:] == [notify.TITLE, MESSAGE]
    assert not any(MESSAGE in part or "system attribute" in part for part in command[:-1])
