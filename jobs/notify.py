"""Notifications of the operating system, for when Blender's window is out of sight."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys

TITLE = "SDI Text to 3D"

log = logging.getLogger(__name__)

_POWERSHELL = """
[Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime] | Out-Null
$kind = [Windows.UI.Notifications.ToastTemplateType]::ToastText02
$xml = [Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent($kind)
$text = $xml.GetElementsByTagName("text")
$text.Item(0).AppendChild($xml.CreateTextNode($env:SDI_TITLE)) | Out-Null
$text.Item(1).AppendChild($xml.CreateTextNode($env:SDI_MESSAGE)) | Out-Null
$toast = [Windows.UI.Notifications.ToastNotification]::new($xml)
[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier("Blender").Show($toast)
"""

_APPLESCRIPT = """
on run argv
    display notification (item 2 of argv) with title (item 1 of argv)
end run
"""
"""Not from the environment as on Windows: AppleScript reads that as Mac Roman, and takes our quotation marks apart."""


def notify(message: str) -> None:
    """Show a message; if this computer has no program for that, it is only logged.

    The message is passed in the environment or as one argument, never as code.
    """
    command = _command(message)
    if command is None:
        log.info("No notification program here for: %s", message)
        return
    environment = {**os.environ, "SDI_TITLE": TITLE, "SDI_MESSAGE": message}
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    nowhere = subprocess.DEVNULL
    try:
        subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere, creationflags=flags)
    except OSError as error:
        log.info("The notification could not be shown: %s", error)


def _command(message: str) -> list[str] | None:
    if sys.platform == "win32":
        program = shutil.which("powershell")
        return [program, "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL] if program else None
    if sys.platform == "darwin":
        return ["osascript", "-e", _APPLESCRIPT, TITLE, message]
    program = shutil.which("notify-send")
    return [program, "--app-name=Blender", "--icon=blender", TITLE, message] if program else None
