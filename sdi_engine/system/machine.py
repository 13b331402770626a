"""The person and the machine: a folder of the person's own, the machine and its boot, and a seal for what we write.

Standard library only. A results folder may be a colleague's, a download or a network drive that several machines share:
what runs by itself must be told from what merely lies there.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import hmac
import os
import secrets
import socket
import stat
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER_VARIABLE = "SDI_ENGINE_STATE"
"""The environment variable that names the person's own folder where the system's place for it will not do."""

MACHINE_VARIABLE = "SDI_ENGINE_MACHINE"
"""The environment variable by which a process tells those that it starts which machine this is: they may see another
file system, in which it has another name."""

_FOLDER_NAME = "sdi-engine"
_SECRET_BYTES = 32


class NoOwnFolderError(OSError):
    """This person has no folder that nobody else can write; `str(error)` says why, and what to do."""


def own_folder() -> Path:
    """A folder that only this person can read and write, on this machine; made where it is missing.

    Raises:
        NoOwnFolderError: it cannot be made, or belongs to somebody else.
    """
    reasons = []
    for place in (_named_folder,) if os.environ.get(FOLDER_VARIABLE, "").strip() else (_folder_for_state, _temporary):
        try:
            return _made_ours_alone(place())
        except (OSError, RuntimeError) as error:  # the latter where there is no home
            reasons.append(getattr(error, "strerror", None) or str(error))
    raise NoOwnFolderError(
        f"No folder can be made that only you may write to ({'; '.join(reasons)}): let the environment variable "
        f"{FOLDER_VARIABLE} name a folder of your own."
    )


def temporary_folder() -> Path:
    """A folder for temporary files, which only this person can read and write; made where it is missing.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    return _made_ours_alone(_temporary())


def neutral_folder() -> Path:
    """An empty folder to run programs in, where no name can be taken for a file's; raises OSError."""
    folder = own_folder() / "empty"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def seal(*parts: str) -> str:
    """A proof that this person wrote `parts`, on this machine; raises OSError where there is no folder for the secret.

    It holds after a restart, and nobody else can make it.
    """
    text = "\0".join((here().machine, *parts))
    return hmac.new(_secret(own_folder()), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_sealed(found: object, *parts: str) -> bool:
    """Whether `found` is our `seal` of `parts`; False too where there is no secret to check it with."""
    try:
        return isinstance(found, str) and found.isascii() and hmac.compare_digest(found, seal(*parts))
    except OSError:
        return False


@dataclass(frozen=True)
class Place:
    """Where a process runs. Two processes can ask the system about each other only where `scope` is the same.

    Attributes:
        host: the machine's name, for people.
        machine: tells machines apart, also after one got another name.
        boot: changes whenever the machine is started; empty where it is unknown.
        namespace: tells containers on one machine apart; empty where there are none.
        person: whose process it is.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    person: str

    @property
    def scope(self) -> tuple[str, str, str]:
        return self.machine, self.boot, self.namespace

    @property
    def key(self) -> str:
        """A file name for what belongs to this person in this place, also after a restart."""
        return key_of(self.machine, self.namespace, self.person)


def key_of(machine: str, namespace: str, person: str) -> str:
    """`Place.key`."""
    return hashlib.sha256("\0".join((machine, namespace, person)).encode("utf-8", "replace")).hexdigest()[:16]


@lru_cache(maxsize=1)
def here() -> Place:
    """Where this process runs."""
    host = socket.gethostname()
    machine = (
        os.environ.get(MACHINE_VARIABLE)
        or hashlib.sha256((_machine_id() or host).encode("utf-8", "replace")).hexdigest()[:16]
    )
    return Place(host, machine, _boot_id(), _namespace(), _person())


def _made_ours_alone(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(errno.EPERM, f'"{folder}" is a link')
    if hasattr(os, "getuid"):
        if found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, f'"{folder}" belongs to somebody else')
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


def _named_folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE].strip()).expanduser().resolve()


def _temporary() -> Path:
    """For machines on which the person has no writable home; lost at a restart."""
    return Path(tempfile.gettempdir(), f"{_FOLDER_NAME}-{_person()}")


def _folder_for_state() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / _FOLDER_NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _FOLDER_NAME
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / _FOLDER_NAME


@lru_cache(maxsize=4)
def _secret(folder: Path) -> bytes:
    file = folder / "secret"
    for attempt in range(100):
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
                new.write(secrets.token_bytes(_SECRET_BYTES))
        except FileExistsError:
            pass
        found = file.read_bytes()
        if len(found) == _SECRET_BYTES:
            return found
        if attempt == 50:  # its writer was killed half-way
            file.unlink()
        time.sleep(0.01)
    raise OSError(f'"{file}" is damaged: delete it')


def _machine_id() -> str:
    """What the system calls the machine; empty where it has no name but its network name.

    Containers made from one image have one id, and names of their own.
    """
    try:
        if sys.platform == "win32":
            import winreg

            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        if sys.platform == "darwin":  # whose network name changes with the network
            uuid, patience = ctypes.create_string_buffer(16), (ctypes.c_long * 2)(1, 0)
            return uuid.raw.hex() if ctypes.CDLL(None).gethostuuid(uuid, patience) == 0 else ""
        return f"{Path('/etc/machine-id').read_text().strip()} {socket.gethostname()}"
    except (OSError, AttributeError):
        return ""


def _boot_id() -> str:
    try:
        if sys.platform == "linux":
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        if sys.platform == "darwin":
            text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
            failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0)
            return "" if failed else text.value.decode("ascii", "replace")
    except (OSError, AttributeError):
        return ""
    return ""  # on Windows a process's start is told in a time that no two boots share


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid") if sys.platform == "linux" else ""  # noqa: PTH115 (its target is no path)
    except OSError:
        return ""


def _person() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
