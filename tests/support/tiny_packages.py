"""Tiny packages and package indexes, for pip without a network."""

import base64
import contextlib
import hashlib
import os
import socket
import sys
import zipfile
from pathlib import Path

QUICK_INSTALL = Path(__file__).with_name("quick_install.py")


def install_quickly(monkeypatch, engine):
    """Let the class `Engine` start the installer by `quick_install.py`."""
    command = engine.module_command

    def module_command(self, module, *arguments):
        if module == "sdi_engine.install":
            return [sys.executable, str(QUICK_INSTALL), *arguments]
        return command(self, module, *arguments)

    monkeypatch.setattr(engine, "module_command", module_command)


def write_wheel(folder, name, version="1.0"):
    """A wheel with one module that contains its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def write_index(folder, *wheels):
    """Write a package index of these wheels as files; returns its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        page = folder / wheel.name.split("-")[0].replace("_", "-")
        page.mkdir()
        (page / "index.html").write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    return folder.as_uri()


def pip_environment(**settings):
    """This process's environment without any settings of pip but these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**ours, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", **settings}


@contextlib.contextmanager
def deaf_server():
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
