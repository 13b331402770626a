"""Real Blenders, with windows, from Debian: a folder for each suite, made by debootstrap and entered by chroot.

    python tests/blender/window/real_blender.py install trixie sid
    python tests/blender/window/real_blender.py run sid -- blender --version

Needs Debian and root; whoever cannot have both gets a `CannotRun` with the reason. The folders lie in
`$SDI_BLENDER_CACHE`, or else `~/.cache/sdi-blender`, about 2 GB each.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

log = logging.getLogger("real_blender")

SUITES = {"trixie": "4.3.2", "sid": "5.2.2"}  # what Debian had when this was written

PACKAGES = (
    "blender",
    # Blender's extension module imports these; its package does not ask for all of them.
    "python3-cattr",
    "python3-numpy",
    "python3-requests",
    "python3-zstandard",
    "ca-certificates",
    # A virtual screen, mouse and keyboard, screenshots, and OpenGL in software.
    "xvfb",
    "xauth",
    "xdotool",
    "imagemagick",
    "libgl1-mesa-dri",
    "libegl1",
    "libglx-mesa0",
)

# Where the machine's own root directory lies inside the chroot: programs from outside run there (`outside`).
HOST = "/host"

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "MESA_SHADER_CACHE_DIR": "/var/cache/mesa",  # persistent, so that only the first start compiles Blender's shaders
}


class CannotRun(RuntimeError):
    """This machine cannot run a real Blender, or has none yet; the message says why and what helps."""


def root_of(suite: str) -> Path:
    """The root folder of this suite's Blender."""
    cache = os.environ.get("SDI_BLENDER_CACHE")
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdi-blender"
    return Path(cache).absolute() / suite


def require(suite: str) -> Path:
    """The root of an installed suite, or `CannotRun`."""
    _require_linux_root()
    root = root_of(suite)
    if not _is_installed(root):
        raise CannotRun(f"no Blender in {root}: run `python tests/blender/window/real_blender.py install {suite}`")
    return root


def install(suite: str) -> Path:
    """Make the suite's folder if it does not exist; an incomplete one is made anew."""
    _require_linux_root()
    root = root_of(suite)
    root.parent.mkdir(parents=True, exist_ok=True)
    with _lock(root.with_suffix(".lock")):
        if _is_installed(root):
            log.info("%s: already in %s", suite, root)
            return root
        started = time.monotonic()
        _remove(root)
        _install_debootstrap()
        mirror = _mirror()
        log.info("%s: debootstrap from %s into %s", suite, mirror, root)
        _debootstrap(suite, mirror, root)
        _configure_apt(suite, mirror, root)
        log.info("%s: apt-get install, about 1 GB", suite)
        apt = ["apt-get", "-q", "-y", "-o", "Acquire::Check-Valid-Until=false", "-o", "Acquire::Retries=3"]
        apt += ["-o", "Acquire::Languages=none"]
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run_in(root, [*apt, "update"], env=quiet, check=True)
        run_in(root, [*apt, "install", "--no-install-recommends", *PACKAGES], env=quiet, check=True)
        run_in(root, ["apt-get", "clean"], check=True)
        version = run_in(root, ["blender", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
        _stamp(root).write_text(_stamp_text(), encoding="utf-8")
        log.info("%s: %s after %.0f s", suite, version.split("\n")[0], time.monotonic() - started)
    return root


def command_in(
    root: Path, argv: Sequence[str], env: Mapping[str, str] | None = None, binds: Sequence[Path] = ()
) -> list[str]:
    """The command line that runs `argv` with `root` as its `/`.

    /dev, /proc and /tmp are there, the machine's own `/` lies under `HOST`, and every folder in `binds` has the same
    path inside as outside. All of it is mounted in a mount namespace of the command's own, which ends with it, as do
    all processes it started, at the latest with the thread that started it: nothing is left behind.
    """
    inside = {**ENVIRONMENT, **(env or {})}
    start = ["env", "-i", *(f"{name}={value}" for name, value in inside.items()), *argv]
    lines = ["set -e", f"cd {shlex.quote(str(root))}", f"mkdir -p .{HOST}", f"mount --rbind / .{HOST}"]
    lines += [f"mount -t proc proc .{HOST}/proc", "mount -t proc proc ./proc", "mount --rbind /dev ./dev"]
    lines += ["mount --rbind /sys ./sys", "mount --rbind /tmp ./tmp"]
    for folder in binds:
        outside = shlex.quote(str(folder))
        lines += [f"mkdir -p .{outside}", f"mount --rbind {outside} .{outside}"]
    # Not by `exec`: the shell must stay the namespace's first process, since Blender cannot be that.
    lines += ["trap : TERM INT", f"chroot . {shlex.join(start)}", "exit $?"]
    die_together = ["setpriv", "--pdeathsig", "KILL"]
    namespace = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return [*die_together, *namespace, "sh", "-c", "\n".join(lines)]


def run_in(
    root: Path, argv: Sequence[str], env: Mapping[str, str] | None = None, binds: Sequence[Path] = (), **options: object
) -> subprocess.CompletedProcess:
    """`subprocess.run` with `root` as the command's `/`; see `command_in`."""
    return subprocess.run(command_in(root, argv, env, binds), **options)  # type: ignore[call-overload]


def outside(argv: Sequence[str]) -> str:
    """A shell script which, started inside the chroot, runs `argv` and its own arguments in the machine's own root.

    So Blender starts the virtual environment's Python with the libraries that it was made for. The process id and the
    working directory (which must be one that both sides see) stay the same.
    """
    return f'#!/bin/sh\nexec chroot {HOST} env -C "$PWD" {shlex.join(argv)} "$@"\n'


def _require_linux_root() -> None:
    if sys.platform != "linux":
        raise CannotRun(f"real Blenders come from Debian, this is {sys.platform}")
    if os.geteuid() != 0:
        raise CannotRun("chroot and debootstrap need root")
    probe = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        raise CannotRun(f"this machine allows no mounts (a container without --privileged?): {probe.stderr.strip()}")


def _stamp(root: Path) -> Path:
    return root / "sdi-blender.stamp"


def _stamp_text() -> str:
    return "\n".join(PACKAGES) + "\n"


def _is_installed(root: Path) -> bool:
    stamp = _stamp(root)
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp_text()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl  # not on Windows, where this module is imported too

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(root: Path) -> None:
    if root.exists():
        log.info("removing what an interrupted installation left in %s", root)
        subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)


def _install_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        raise CannotRun("debootstrap is missing, and so is apt-get to install it")
    subprocess.run(["apt-get", "-q", "update"], check=True)
    subprocess.run(
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", "debootstrap", "debian-archive-keyring"],
        check=True,
    )


def _mirror() -> str:
    """The Debian archive that this machine itself uses."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    for uri in listed:
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    raise CannotRun("no Debian archive in /etc/apt/sources.list or sources.list.d")


def _debootstrap(suite: str, mirror: str, root: Path) -> None:
    environment = dict(os.environ)
    for scheme in ("http", "https"):
        proxy = _apt_settings().get(f"Acquire::{scheme}::Proxy")
        if proxy and proxy != "DIRECT":
            environment.setdefault(f"{scheme}_proxy", proxy)
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root), mirror]
    subprocess.run(["unshare", "--mount", *command], check=True, env=environment, stdout=subprocess.DEVNULL)


def _apt_settings() -> dict[str, str]:
    """This machine's settings of apt for downloads: proxies, certificates, checks."""
    dump = subprocess.run(["apt-config", "dump"], check=True, stdout=subprocess.PIPE, text=True).stdout
    settings = {}
    for line in dump.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(("Acquire::http", "Acquire::https", "Acquire::Check-")):
            settings[name] = value.rstrip(";").strip('"')
    return settings


def _configure_apt(suite: str, mirror: str, root: Path) -> None:
    """Set up the chroot's apt: it downloads as the machine's own does, and does not sync the disk at every package."""
    apt = root / "etc/apt"
    (apt / "sources.list").write_text(f"deb {mirror} {suite} main\n", encoding="utf-8")
    lines = [f'{name} "{value}";' for name, value in _apt_settings().items() if value]
    (apt / "apt.conf.d/90machine").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if Path("/etc/apt/auth.conf.d").is_dir():
        shutil.copytree("/etc/apt/auth.conf.d", apt / "auth.conf.d", dirs_exist_ok=True)
    if Path("/etc/apt/auth.conf").is_file():
        shutil.copy("/etc/apt/auth.conf", apt / "auth.conf")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        shutil.copy(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    mounted = root / "etc/mtab"
    mounted.unlink(missing_ok=True)
    mounted.symlink_to("/proc/self/mounts")
    (root / "etc/dpkg/dpkg.cfg.d/90fast").write_text("force-unsafe-io\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser("install", help="make the folders, unless they are there already")
    installing.add_argument("suites", nargs="+", choices=SUITES)
    running = commands.add_parser("run", help="run a command inside; the repository has the same path as outside")
    running.add_argument("suite", choices=SUITES)
    running.add_argument("argv", nargs="+", metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.command == "install":
            for suite in options.suites:
                install(suite)
            return 0
        repository = Path(__file__).resolve().parents[3]
        inside = ["env", "-C", str(repository), *options.argv]
        return run_in(require(options.suite), inside, binds=[repository]).returncode
    except CannotRun as error:
        log.error("%s", error)
        return 3


if __name__ == "__main__":
    sys.exit(main())
