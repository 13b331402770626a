"""Drives a real Blender in a window as a person does: mouse, keyboard, and pictures of the screen.

    with Window(Blender("sid", home)) as window:
        window.click_tab("SDI")
        window.type_into("prompt", "a red mug")
        window.press("sdi.generate")
        window.wait_until("'a red mug' in bpy.data.objects")
        window.screenshot(folder / "after.png")

Blender has no list of its buttons, but it tells what lies under the mouse. So the driver moves the mouse over the
sidebar until it finds the button; nothing depends on the layout or on Blender's version. The next time it first tries
where the button was found before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from real_blender import command_in, require, run_in

SIZE = (1280, 800)
LEAST_PATIENCE = 60.0
"""Seconds; long, since a busy machine must not make a test fail."""

STEP = 16
"""The distance in pixels between places where a button is searched: less than a button's height."""

UNFOLD_AT = 0.3
"""Where panels' headers are clicked, as a share of the sidebar's width."""

UNDISTURBED = (
    "preferences.view.show_splash = False",
    "preferences.view.use_save_prompt = False",
    "preferences.view.smooth_view = 0",
    "preferences.system.use_region_overlap = False",  # or a click below the panels would deselect the objects
)
"""Preferences that turn off what would disturb the tests."""

HERE = Path(__file__).resolve().parent


class Timeout(AssertionError):
    """A test has waited in vain."""


class Blender:
    """One of Debian's Blenders with a home folder, and so preferences and extensions, of its own."""

    def __init__(self, suite: str, home: Path, binds: Sequence[Path] = ()) -> None:
        self.root = require(suite)
        self.home = home
        self.undisturbed = False
        self.found: dict[tuple[str, float], list[tuple[int, int]]] = {}
        """The places where each button was found, the latest first; it may have moved since."""
        self.binds = [HERE, home, *binds]
        temporary = home / "tmp"
        self.environment = {
            "HOME": str(home),
            "BLENDER_USER_RESOURCES": str(home / "blender"),
            "NO_AT_BRIDGE": "1",
            "TMPDIR": str(temporary),
        }
        temporary.mkdir(parents=True, exist_ok=True)

    def command_line(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        return command_in(self.root, argv, {**self.environment, **(env or {})}, self.binds)

    def run(self, *argv: str, env: Mapping[str, str] | None = None, timeout: float = 180) -> str:
        """Run a command without a window to its end; returns its output."""
        done = run_in(
            self.root,
            argv,
            {**self.environment, **(env or {})},
            self.binds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        output = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}:\n{output}"
        return output

    def install_extension(self, package: Path) -> str:
        """Validate the zip, then install and enable it as `blender --command` does for anybody."""
        output = self.run("blender", "--command", "extension", "validate", str(package))
        return output + self.run(
            *("blender", "--command", "extension", "install-file", "--repo", "user_default", "--enable", str(package))
        )

    def set_preferences(self, *statements: str) -> None:
        """Run statements in the background with `bpy` and `preferences`, and save the preferences."""
        lines = ["import bpy", "preferences = bpy.context.preferences", *statements, "bpy.ops.wm.save_userpref()"]
        self.run("blender", "--background", "--python-exit-code", "1", "--python-expr", "\n".join(lines))


class Window:
    """A running Blender that fills a screen of its own, of so many pixels."""

    def __init__(self, blender: Blender, arguments: Sequence[str] = (), size: tuple[int, int] = SIZE) -> None:
        self.width, self.height = size
        self.blender = blender
        self.arguments = arguments
        self.talk = blender.home / "talk"
        self._ended = self.talk / "ended"
        self._asked = 0

    def __enter__(self) -> Window:
        if not self.blender.undisturbed:
            self.blender.set_preferences(*UNDISTURBED)
            self.blender.undisturbed = True
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context((self.blender.home / "blender.log").open("wb"))
            self._shell = self._open_shell(stack, self._open_screen(stack))
            self._open_blender()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def begin_anew(self, extension: str, settings: Mapping[str, Any]) -> None:
        """Make Blender as it is after a start, in much less time; what the extension has started lives on.

        Args:
            extension: is switched off and on again.
            settings: its preferences.
        """
        self.ask(f"clear_away({extension!r})")
        self.ask(f"switch_on({extension!r}, {dict(settings)!r})")
        self.wait_until("len(bpy.context.window_manager.windows) == 1")

    def crash_and_start_again(self) -> None:
        """Kill Blender as in a crash, but not the processes that it started; then start it again on the same screen."""
        self._do("kill", "-KILL", str(self.ask("os.getpid()")))
        self._start_again()

    def quit_and_start_again(self) -> None:
        """Quit Blender as a person does, then start it again on the same screen."""
        self.hover_viewport()
        self.key("ctrl+q")
        self._start_again()

    def _start_again(self) -> None:
        until = time.monotonic() + LEAST_PATIENCE
        while not self._ended.exists():
            assert time.monotonic() < until, "Blender does not end"
            time.sleep(0.1)
        self._open_blender()

    def _open_screen(self, stack: contextlib.ExitStack) -> str:
        size = f"{self.width}x{self.height}x24"
        screen = subprocess.Popen(
            self.blender.command_line(["Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", size]),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, screen)
        assert screen.stdout is not None
        number = screen.stdout.readline().decode().strip()
        assert number, "Xvfb did not start"
        return f":{number}"

    def _open_shell(self, stack: contextlib.ExitStack, display: str) -> subprocess.Popen[bytes]:
        """One shell inside for Blender, mouse and keyboard: to enter the chroot again each time would take longer."""
        shell = subprocess.Popen(
            self.blender.command_line(["sh"], {"DISPLAY": display, "SDI_WINDOW_TALK": str(self.talk)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        stack.callback(_end, shell)
        return shell

    def _open_blender(self) -> None:
        self.talk.mkdir(exist_ok=True)
        for file in self.talk.iterdir():
            file.unlink()
        look = ["--gpu-backend", "opengl", "--window-geometry", "0", "0", str(self.width), str(self.height)]
        command = shlex.join(["blender", *look, "--python", str(HERE / "inside.py"), *self.arguments])
        self._tell_shell(f"({command} >&2; echo $? >{shlex.quote(str(self._ended))}) &")
        self.ask("True", timeout=90)

    # Eyes

    def ask(self, expression: str, timeout: float = 30) -> Any:
        """The JSON value of an expression in Blender, which may use `bpy` and the names in `inside.py`.

        Blender has heard of all that mouse and keys did before.
        """
        self._asked += 1
        question, answer = (self.talk / f"{name}-{self._asked}.json" for name in ("question", "answer"))
        draft = question.with_suffix(".draft")
        draft.write_text(json.dumps(expression), encoding="utf-8")
        draft.rename(question)
        for _ in self._patience(timeout, f"an answer to {expression}"):
            if answer.exists():
                break
        said = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        if "error" in said:
            raise AssertionError(f"Blender could not say {expression}:\n{said['error']}")
        return said["value"]

    def wait_until(self, expression: str, timeout: float = 30) -> Any:
        """The expression's value as soon as it is true."""
        for _ in self._patience(timeout, expression):
            value = self.ask(expression)
            if value:
                return value
        raise AssertionError  # `_patience` has raised already

    def screenshot(self, path: Path) -> Path:
        """A picture of the whole screen, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.talk / "screen.png"
        self._do("import", "-silent", "-window", "root", str(draft))
        path.write_bytes(draft.read_bytes())
        return path

    def log(self) -> str:
        """What Blender printed so far."""
        return Path(self._log.name).read_text("utf-8", "replace")

    # Hands; x and y are Blender's: pixels from the window's lower left corner

    def move(self, x: float, y: float) -> None:
        """Move the mouse there: in two steps, since Blender looks at a button when the mouse moves on it."""
        there = (round(x), self.height - 1 - round(y))
        self._mouse("mousemove", str(there[0] - 1), str(there[1]), "mousemove", *map(str, there))

    def settle(self) -> None:
        """Let Blender process mouse and keys: a click only counts once Blender has noticed the mouse."""
        self.ask("True")

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        self.settle()
        self._mouse("click", "1")

    def double_click(self, x: float, y: float) -> None:
        self.move(x, y)
        self.settle()
        self._mouse("click", "--repeat", "2", "--delay", "60", "1")

    def key(self, *names: str) -> None:
        """Press keys, such as "Return" or "ctrl+z"."""
        self._mouse("key", "--delay", "60", *names)

    def type_text(self, text: str) -> None:
        self._mouse("type", "--delay", "30", text)

    # What a person does in the sidebar

    def open_sidebar(self) -> None:
        """Show the 3D viewport's sidebar."""
        self.ask("show_sidebar()")
        self.wait_until("sidebar()['width'] > 1")

    def click_tab(self, category: str) -> None:
        """Show the sidebar with this tab in front."""
        self.open_sidebar()
        region = self.ask("sidebar()")
        strip = region["x"] + region["width"] - 10
        known = [y for _, y in self.blender.found.get((category, 1.0), [])]
        for y in (*known, *range(region["y"] + region["height"] - 30, region["y"] + 10, -25)):
            if self.ask("sidebar()['category']") == category:
                return
            self.click(strip, y)
            if self.ask("sidebar()['category']") == category:
                self.blender.found[category, 1.0] = [(strip, y)]
        assert self.ask("sidebar()['category']") == category, f"the sidebar has no tab {category}"

    def find(self, target: str, at: float = 0.6) -> tuple[int, int]:
        """The middle of the button in the sidebar which sets the property, or runs the operator, `target`.

        Args:
            at: where it is felt for, as a share of the sidebar's width.
        """
        known = self.blender.found.setdefault((target, at), [])
        for place in known:
            if self._is_under_mouse(target, *place):
                return place
        region = self.ask("sidebar()")
        top, bottom = region["y"] + region["height"] - 6, region["y"] + 6
        x = region["x"] + round(region["width"] * at)
        first = next((y for y in range(top, bottom, -STEP) if self._is_under_mouse(target, x, y)), None)
        if first is None:
            raise AssertionError(f"nothing in the sidebar sets or runs {target}")
        last = first
        while last - 6 > bottom and self._is_under_mouse(target, x, last - 6):
            last -= 6
        known.insert(0, (x, (first + last) // 2))
        return known[0]

    def type_into(self, target: str, text: str) -> None:
        """Type a text into the field of the property `target`."""
        self.double_click(*self.find(target))
        self.settle()
        self.key("ctrl+a")
        self.type_text(text)
        self.key("Return")
        self.hover_viewport()  # or Blender keeps reporting this field, whatever lies under the mouse

    def hover_viewport(self) -> None:
        """Move the mouse over the empty floor, where keys go to the 3D viewport."""
        self.move(self.width // 4, self.height // 3)
        self.settle()

    def turn_wheel(self, notches: int) -> None:
        """Turn the wheel over whatever lies under the mouse: forwards, or backwards where `notches` is negative."""
        self._mouse("click", "--repeat", str(abs(notches)), "--delay", "20", "4" if notches > 0 else "5")
        self.settle()

    def press(self, target: str, at: float = 0.6) -> None:
        """Click the button of the operator `target`, such as "sdi.generate"."""
        self.click(*self.find(target, at))

    def unfold(self, panel: str, beside: str) -> None:
        """Open a closed panel, by clicks from the bottom upwards until it is drawn, and scroll to the end.

        Args:
            panel: its `bl_idname`.
            beside: that of a panel in the same tab which is open: it is drawn as often as the tab is.
        """
        region = self.ask("sidebar()")
        before = self.ask(f"times_drawn({panel!r})")
        known = [y for _, y in self.blender.found.get((panel, UNFOLD_AT), [])]
        x = region["x"] + round(region["width"] * UNFOLD_AT)
        self.move(x, region["y"] + region["height"] // 2)
        self.turn_wheel(-20)  # the panels above may be longer than the window
        for y in (*known, *range(region["y"] + 10, region["y"] + region["height"], 14)):
            self.click(x, y)
            drawn = self.ask(f"times_drawn({beside!r})")
            self.ask("viewport()[2].tag_redraw() or True")
            self.wait_until(f"times_drawn({beside!r}) > {drawn}")
            if self.ask(f"times_drawn({panel!r})") > before:
                self.blender.found[panel, UNFOLD_AT] = [(x, y)]
                self.turn_wheel(-20)  # the panel is further down
                return
        raise AssertionError(f"the sidebar has no panel {panel}")

    def _is_under_mouse(self, target: str, x: int, y: int) -> bool:
        self.move(x, y)
        seen = self.ask("under_mouse()")
        return seen is not None and (seen == target or seen.endswith(f".{target}"))

    def _mouse(self, *arguments: str) -> None:
        self._do("xdotool", *arguments)

    def _do(self, *argv: str) -> None:
        code = self._tell_shell(f"{shlex.join(argv)} >&2")
        assert code == "0", f"{' '.join(argv)} ended with {code}:\n{self.log()[-3000:]}"

    def _tell_shell(self, line: str) -> str:
        """Run a line in the shell inside; returns its exit code."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{line}\necho $?\n".encode())
        self._shell.stdin.flush()
        return self._shell.stdout.readline().decode().strip()

    def _patience(self, seconds: float, what: str) -> Iterator[None]:
        seconds = max(seconds, LEAST_PATIENCE)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._ended.exists():
                raise AssertionError(f"Blender ended while the test waited for {what}:\n{self.log()[-3000:]}")
            yield
            time.sleep(0.005)
        raise Timeout(f"waited {seconds:.0f} s for {what}:\n{self.log()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # this also kills everything in the same namespace
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def main() -> None:
    """Take a picture of a real Blender's window, for the README and for inspection."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("suite", help="such as sid, see real_blender.py")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--extension", type=Path, metavar="ZIP", help="install and enable this first")
    parser.add_argument("--tab", help="show this tab of the sidebar")
    parser.add_argument("--do", action="append", default=[], metavar="EXPRESSION", help="evaluate in Blender, with bpy")
    parser.add_argument("--wait", type=float, default=2.0, metavar="SECONDS", help="before the picture")
    parser.add_argument("--open", type=Path, metavar="FILE", help="a .blend file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        files = [file.resolve() for file in (options.extension, options.open) if file]
        blender = Blender(options.suite, Path(home), [file.parent for file in files])
        if options.extension:
            blender.install_extension(options.extension.resolve())
        with Window(blender, [str(options.open.resolve())] if options.open else []) as window:
            if options.tab:
                window.click_tab(options.tab)
            for expression in options.do:
                print(window.ask(expression, timeout=600))
            time.sleep(options.wait)
            window.screenshot(options.picture)


if __name__ == "__main__":
    main()
