"""The installer, with a package index of local files: no network, and no Python environment but its own."""

import ast
import json
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_packages
import untrusted_server

from sdi_engine import doctor, errors, install

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def requirements(tmp_path):
    file = tmp_path / "requirements of ours.txt"
    file.write_text("# two\ntorch==0.0.1\nsdi-tiny==1.0\n")
    return file


@pytest.fixture
def torch_index(tmp_path):
    return tiny_packages.write_index(
        tmp_path / "torch index", tiny_packages.write_wheel(tmp_path / "wheels", "torch", "0.0.1")
    )


@pytest.fixture
def other_index(tmp_path):
    return tiny_packages.write_index(
        tmp_path / "other index", tiny_packages.write_wheel(tmp_path / "wheels", "sdi-tiny")
    )


INSTALL = (sys.executable, "-m", "sdi_engine.install")
QUICK = (sys.executable, str(tiny_packages.QUICK_INSTALL))


def start(folder, requirements, *options, program=QUICK, **pip):
    return subprocess.Popen(
        [*program, str(folder), "--requirements", str(requirements), *options],
        cwd=ROOT,
        env=tiny_packages.pip_environment(**pip),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def events_in(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"type"')]


def wait_for(process, words):
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def earlier_environment(folder, requirements=None):
    """An environment of an earlier version, in the folder itself; complete if it has the file of requirements."""
    program = install._program(folder)
    program.parent.mkdir(parents=True)
    program.touch()
    (folder / "lib" / "python3.11").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    if requirements is None:
        (folder / "downloads").mkdir()
    else:
        (folder / install.STAMP).write_text(install._hash(requirements))
    return folder


def contents(folder):
    """All that is in a folder, links not followed."""
    return {
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    }


def test_an_environment_with_what_is_pinned_takes_the_place_of_an_earlier_one(
    tmp_path, requirements, torch_index, other_index
):
    folder = earlier_environment(tmp_path / "an engine", requirements)
    (folder / "of the person").touch()
    assert install.state_of(folder, requirements) == install.READY
    process = start(
        *(folder, requirements, f"--torch-index={torch_index}"),
        program=INSTALL,
        **{"PIP_INDEX_URL": other_index, "PIP_USER": "1", "PIP_TARGET": str(tmp_path / "elsewhere")},
    )
    output, _ = process.communicate()
    assert process.returncode == 0, output

    said = events_in(output)
    assert [(event["phase"], event["step"], event["steps"]) for event in said if event["type"] == "progress"] == [
        ("Making the environment", 0, 4),
        ("Installing torch (1 of 2)", 1, 4),
        ("Installing sdi-tiny (2 of 2)", 2, 4),
        ("Checking it", 3, 4),
    ]
    assert said[-1]["state"] == "done"
    code = "import sdi_tiny, sys, torch; print(sdi_tiny.VERSION, torch.VERSION, sys.prefix)"
    answer = subprocess.run([install.python_of(folder), "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split(maxsplit=2) == ["1.0", "0.0.1", f"{folder / '1'}\n"]
    assert {each.name for each in folder.iterdir()} == {"sdi-environments", "1", "current", "of the person"}
    assert not (tmp_path / "elsewhere").exists()

    assert install.state_of(folder, requirements) == install.READY
    requirements.write_text("torch==0.0.2\n")
    assert install.state_of(folder, requirements) == install.OUTDATED
    install.python_of(folder).unlink()  # the Python that it was made with is gone
    assert install.state_of(folder, requirements) == install.UNFINISHED


def test_a_missing_package_is_one_sentence_and_the_old_environment_stays(tmp_path, requirements, torch_index):
    folder = earlier_environment(tmp_path / "engine", requirements)
    before = contents(folder)
    process = start(folder, requirements, PIP_INDEX_URL=torch_index)
    output, _ = process.communicate()
    assert process.returncode == errors.EXIT_ENVIRONMENT
    failed = events_in(output)[-1]
    assert (failed["type"], failed["exit_code"]) == ("failed", errors.EXIT_ENVIRONMENT)
    assert failed["message"].startswith("There is no sdi-tiny 1.0 for Python 3.")
    assert "Traceback" not in output
    assert install.state_of(folder, requirements) == install.READY
    assert contents(folder) - before == {("sdi-environments", b"made")}
    assert before <= contents(folder)


def test_it_can_be_stopped_at_any_time_and_only_one_runs(tmp_path, requirements):
    with tiny_packages.deaf_server() as server:
        process = start(tmp_path / "engine", requirements, PIP_INDEX_URL=server)
        wait_for(process, "Installing torch (1 of 2)")
        before = contents(tmp_path / "engine")

        second = start(tmp_path / "engine", requirements, PIP_INDEX_URL=server)
        output, _ = second.communicate()
        assert second.returncode == errors.EXIT_BAD_INPUT
        assert "wait until it ends" in events_in(output)[-1]["message"]
        assert before <= contents(tmp_path / "engine")

        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)  # ends only when pip has closed its end of the pipe, too
    assert process.returncode == errors.EXIT_CANCELLED
    assert events_in(output)[-1]["state"] == "cancelled"
    assert not (tmp_path / "engine").exists()


def whole(environment, requirements):
    """An environment as `install._fill` makes it, without the work."""
    program = install._program(environment)
    program.parent.mkdir(parents=True)
    program.touch()
    (environment / "lib").mkdir()
    (environment / "lib" / "module.py").touch()


@pytest.fixture
def quick(monkeypatch):
    """The installer without venv, pip and fsync, in this process."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(install, "_fill", lambda environment, requirements, index: whole(environment, requirements))


def locked_install(folder, requirements):
    with install.lock_of(folder) as lock:
        assert lock.acquire()
        install.install(folder, requirements)


def test_each_installation_takes_the_place_of_the_last(tmp_path, requirements, quick):
    folder = tmp_path / "engine"
    for name in ("1", "2", "1"):
        locked_install(folder, requirements)
        assert install.in_charge(folder) == folder / name
        assert {each.name for each in folder.iterdir()} == {"sdi-environments", "current", name}
        assert install.state_of(folder, requirements) == install.READY


@pytest.mark.parametrize("fault", [errors.StorageError("The disk is full."), OSError(28, "full"), KeyboardInterrupt()])
def test_one_that_fails_midway_leaves_the_last_in_charge(tmp_path, requirements, quick, monkeypatch, fault):
    folder = tmp_path / "engine"
    locked_install(folder, requirements)
    before = contents(folder)

    def fill(environment, *_):
        whole(environment, None)
        raise fault

    monkeypatch.setattr(install, "_fill", fill)
    with pytest.raises((errors.StorageError, KeyboardInterrupt)):
        locked_install(folder, requirements)
    assert contents(folder) == before


def test_one_that_does_not_pass_its_check_is_never_in_charge(tmp_path, requirements, monkeypatch):
    folder = tmp_path / "engine"
    monkeypatch.setattr(install, "_make", lambda environment: None)
    monkeypatch.setattr(install, "_program", lambda environment: Path(sys.executable))
    monkeypatch.setattr(install, "_pip", lambda environment: [sys.executable, "-c", ""])
    monkeypatch.setattr(install, "_is_used", lambda environment: False)  # the tests' own Python is in use
    with pytest.raises(errors.EnvironmentMissingError, match=r"does not work \(sdi-tiny not installed\)"):
        locked_install(folder, requirements)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["a file", "a folder", "an environment", "a link"])
def test_a_folder_with_somebody_elses_things_is_refused_and_stays(tmp_path, requirements, name, capsys):
    folder, elsewhere = tmp_path / "documents", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "letter.txt").write_text("Dear")
    folder.mkdir()
    if name == "a file":
        (folder / "novel.txt").write_text("Once upon a time")
    elif name == "a folder":
        (folder / "1" / "lib").mkdir(parents=True)
    elif name == "an environment":
        whole(folder, None)
        (folder / "pyvenv.cfg").touch()
    else:
        (folder / "1").symlink_to(elsewhere)
    before = contents(tmp_path)
    assert install.main([str(folder), "--requirements", str(requirements)]) == errors.EXIT_BAD_INPUT
    assert "choose a new folder" in capsys.readouterr().out
    with pytest.raises(errors.BadInputError, match="not made by the installer"):
        install.remove(folder)
    install.tidy(folder)
    assert contents(tmp_path) == before


def test_what_others_put_beside_the_environments_stays(tmp_path, requirements, quick):
    folder, elsewhere = tmp_path / "engine", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "letter.txt").write_text("Dear")
    (elsewhere / install._MARK).touch()
    folder.mkdir()
    locked_install(folder, requirements)
    (folder / "2").symlink_to(elsewhere)
    (folder / "3").mkdir()
    (folder / "3" / "novel.txt").write_text("Once upon a time")
    (folder / "1" / "lib" / "linked").symlink_to(elsewhere)
    locked_install(folder, requirements)
    assert install.in_charge(folder) == folder / "4"
    install.remove(folder)
    assert {each.name for each in folder.iterdir()} == {"2", "3"}
    assert {each.name for each in elsewhere.iterdir()} == {"letter.txt", install._MARK}
    assert (folder / "3" / "novel.txt").is_file()


def test_a_folder_that_the_person_made_stays_when_it_is_empty_again(tmp_path, requirements, quick):
    (tmp_path / "of the person").mkdir()
    for folder in (tmp_path / "of the person", tmp_path / "parent" / "of ours"):
        locked_install(folder, requirements)
        install.remove(folder)
        assert install.state_of(folder, requirements) == install.MISSING
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] in (
        ["of the person", "parent"],
        ["parent", "of the person"],
    )
    assert not list((tmp_path / "of the person").iterdir())
    assert not list((tmp_path / "parent").iterdir())


def test_an_environment_in_which_a_process_runs_stays_until_it_ends(tmp_path, requirements, monkeypatch):
    def fill(environment, *_):
        program = install._program(environment)
        program.parent.mkdir(parents=True)
        program.symlink_to(sys.executable)

    monkeypatch.setattr(install, "_fill", fill)
    folder = tmp_path / "engine"
    locked_install(folder, requirements)
    command = [str(install.python_of(folder)), "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        engine.stdout.readline()
        with pytest.raises(errors.StorageError, match="is in use"):
            install.remove(folder)
        assert install.in_charge(folder) == folder / "1"
        locked_install(folder, requirements)
        assert install.in_charge(folder) == folder / "2"
        assert (folder / "1" / install.STAMP).is_file()
        engine.communicate(b"\n")
    install.tidy(folder)
    assert not (folder / "1").exists()
    assert install.in_charge(folder) == folder / "2"


@pytest.mark.parametrize(("number", "is_used"), [(1, True), (2, False)])
def test_an_environment_is_in_use_though_macos_runs_its_python_under_the_name_of_the_framework(
    tmp_path, monkeypatch, number, is_used
):
    """The program in an environment starts the one in the framework, under that one's name (CPython's pythonw.c)."""
    program = install._program(tmp_path / str(number))
    framework = "/Library/Frameworks/Python.framework/Versions/3.12/Resources/Python.app/Contents/MacOS/Python"
    asked = []

    def ps(command, **options):
        asked.extend(command)
        said = f"{framework} -m sdi_engine serve /results HOME=/Users/me __PYVENV_LAUNCHER__={program} LANG=C\n"
        return subprocess.CompletedProcess(command, 0, said.encode())

    monkeypatch.setattr(install.sys, "platform", "darwin")
    monkeypatch.setattr(install.Path, "is_file", lambda path: False)  # there is no /proc
    monkeypatch.setattr(install.subprocess, "run", ps)
    assert install._is_used(tmp_path / "1") == is_used
    assert any(option.startswith("-") and "E" in option for option in asked), "ps tells the variables, too"


def test_what_an_earlier_version_left_half_made_is_removed(tmp_path, requirements, quick):
    folder = earlier_environment(tmp_path / "engine")
    assert install.state_of(folder, requirements) == install.UNFINISHED
    locked_install(folder, requirements)
    assert {each.name for each in folder.iterdir()} == {"sdi-environments", "current", "1"}


def killed_at(point, work):
    """Do the work in a child process that is killed at its nth access to a file; returns whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            seen = 0

            def count(event, _arguments):
                nonlocal seen
                if event in ("open", "os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.scandir", "os.listdir"):
                    seen += 1
                    if seen == point:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(count)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("before", ["nothing", "an earlier one", "one of ours"])
def test_killed_at_any_point_there_is_the_old_or_the_new_one(tmp_path, requirements, quick, monkeypatch, before):
    """At every access to a file: the old environment or the new one is in use, and the next installation cleans up."""
    monkeypatch.setattr(install, "_running_commands", list)
    new = tmp_path / "new.txt"
    new.write_text("torch==0.0.2\n")
    point, killed, states = 0, True, set()
    while killed:
        point += 1
        folder = tmp_path / f"engine {point}"
        if before == "an earlier one":
            earlier_environment(folder, requirements)
        elif before == "one of ours":
            locked_install(folder, requirements)
        killed = killed_at(point, lambda folder=folder: locked_install(folder, new))
        state = install.state_of(folder, new)
        states.add(state)
        if before != "nothing":
            assert state in (install.OUTDATED, install.READY)
        assert install.in_charge(folder) is None or install.python_of(folder).is_file()
        assert (install.in_charge(folder) is None) == (state in (install.MISSING, install.UNFINISHED))
        locked_install(folder, new)
        assert install.state_of(folder, new) == install.READY
        in_charge = install.in_charge(folder).name
        assert {each.name for each in folder.iterdir()} == {"sdi-environments", "current", in_charge}
    assert point > 20
    assert install.READY in states
    assert (install.OUTDATED in states) == (before != "nothing")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("before", ["an earlier one", "one of ours"])
def test_a_removal_that_was_killed_can_be_done_again(tmp_path, requirements, quick, monkeypatch, before):
    monkeypatch.setattr(install, "_running_commands", list)
    point, killed = 0, True
    while killed:
        point += 1
        folder = tmp_path / f"engine {point}"
        if before == "an earlier one":
            earlier_environment(folder, requirements)
        else:
            locked_install(folder, requirements)
        killed = killed_at(point, lambda folder=folder: install.remove(folder))
        assert install.in_charge(folder) is None or (install.in_charge(folder) / "lib").is_dir()
        if install.state_of(folder, requirements) != install.MISSING:
            install.remove(folder)
        assert not folder.exists() or not list(folder.iterdir())
    assert point > 5


def test_downloads_are_counted(tmp_path, monkeypatch):
    said = queue.Queue()
    monkeypatch.setattr(install, "_say", said.put)
    monkeypatch.setattr(install, "_WATCH_SECONDS", 0.01)
    (tmp_path / "half a wheel").write_bytes(bytes(3_000_000))
    with install._watched(tmp_path, "Installing torch (1 of 2)", 1, 3):
        assert said.get(timeout=60).phase == "Installing torch (1 of 2), 3 MB fetched"


@pytest.mark.parametrize("address", ["cu126", "https://", "https://one two", "-r evil.txt"])
def test_a_torch_index_that_is_no_address_is_refused_before_anything_is_touched(tmp_path, address, capsys):
    folder = earlier_environment(tmp_path / "engine", doctor.REQUIREMENTS_FILE)
    before = contents(folder)
    assert install.main([str(folder), f"--torch-index={address}"]) == errors.EXIT_BAD_INPUT
    assert "begins with https://" in capsys.readouterr().out
    assert contents(folder) == before


def test_an_unsuitable_python_is_refused_before_anything_is_touched(tmp_path, monkeypatch, capsys):
    said = doctor.Check("Python", False, "3.14.0 is too new", "Choose a Python 3.11, 3.12 or 3.13.")
    monkeypatch.setattr(doctor, "python_check", lambda: said)
    assert install.main([str(tmp_path / "engine")]) == errors.EXIT_ENVIRONMENT
    assert "Python 3.14.0 is too new" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["__init__", "doctor", "errors", "install", "contract/events", "contract/job_folder", "system/locks"]
)
def test_an_old_python_can_parse_the_module_that_refuses_it(name):
    ast.parse((ROOT / "sdi_engine" / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 8))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, requirements, capsys):
    (tmp_path / "file").touch()
    for folder, code, words in (("file/engine", 6, "cannot be written"), ("file", 2, "is a file: choose")):
        assert install.main([str(tmp_path / folder), "--requirements", str(requirements)]) == code
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "exit_code", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", 6, "is full"),
        (
            "WARNING: Retrying (Retry(total=4)) … NewConnectionError\nERROR: No matching distribution found",
            3,
            "network",
        ),
        ("ERROR: … Max retries exceeded … SSLError(SSLCertVerificationError…CERTIFICATE_VERIFY_FAILED", 3, "clock"),
        ("ERROR: … ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy", 3, "(407)"),
        ("ERROR: … ProxyError('Cannot connect to proxy.', NewConnectionError('refused'))", 3, "does not respond"),
        ("ERROR: … an OSError: Missing dependencies for SOCKS support.", 3, "a SOCKS proxy, for which"),
        ("HINT: … this system does not have Windows Long Path support enabled.", 6, "long paths"),
        ("ERROR: No matching distribution found for torch==2.0", 3, "check the Torch Index"),
        ("error: command 'gcc' failed\nERROR: Failed building wheel for torch", 3, "get Python 3.12 or 3.11"),
        ("some noise\nERROR: pip is out of its mind\nmore noise", 3, "(pip is out of its mind)"),
        ("", 3, "(no word)"),
    ],
)
def test_pips_errors_become_one_sentence(said, exit_code, words, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"{'socks5' if 'SOCKS' in said else 'http'}://127.0.0.1:1")
    error = install._why(said.splitlines(), "torch", "2.0", Path("env"), "https://torch.example")
    assert error.exit_code == exit_code
    assert words in str(error)
    assert "\n" not in str(error)
    assert ": " in str(error)


def test_a_certificate_that_is_not_trusted_is_no_reason_to_try_again(tmp_path, requirements, monkeypatch):
    """Each index is asked once more, since another one may have what is wanted."""
    for name, value in tiny_packages.pip_environment(PIP_RETRIES="5").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setattr(install, "_make", lambda environment: None)
    monkeypatch.setattr(install, "_program", lambda environment: Path(sys.executable))
    (tmp_path / "environment").mkdir()
    with untrusted_server.untrusted_server(tmp_path) as server:
        with pytest.raises(errors.EnvironmentMissingError) as caught:
            install._fill(tmp_path / "environment", requirements, f"{server.address}/simple")
        asked = server.asked
    assert f"does not trust the certificate that came for {server.address}" in str(caught.value)
    assert "set PIP_CERT to the file" in str(caught.value)
    assert asked == 2


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HTTPS_PROXY", "http://127.0.0.1:1", "correct or clear HTTPS_PROXY"),
        ("PIP_PROXY", "http://127.0.0.1:1", "correct or clear PIP_PROXY"),
        ("PIP_CONFIG_FILE", "[global]\nproxy = http://127.0.0.1:1\n", "clear global.proxy in pip's configuration"),
    ],
)
def test_the_proxy_that_pip_would_use_is_named(tmp_path, monkeypatch, variable, value, named):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    if variable == "PIP_CONFIG_FILE":
        (tmp_path / "pip.conf").write_text(value)
        value = str(tmp_path / "pip.conf")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(install, "_program", lambda environment: Path(sys.executable))
    said = "ERROR: … ProxyError('Cannot connect to proxy.', NewConnectionError('refused'))"
    sentence = str(install._why([said], "torch", "2.0", tmp_path, ""))
    assert "the proxy http://127.0.0.1:1 does not respond" in sentence
    assert named in sentence


def test_pips_log_contains_no_password(tmp_path, requirements):
    index = f"--torch-index=http://anna:secret@127.0.0.1:9/?token=secret&{'x' * 10}"  # a port without a listener
    process = start(tmp_path / "engine", requirements, index, PIP_RETRIES="0", PIP_TIMEOUT="1")
    output, _ = process.communicate()
    assert process.returncode == errors.EXIT_ENVIRONMENT
    assert "127.0.0.1:9" in output
    assert "secret" not in output


def test_a_refused_torch_index_is_reported_without_its_password(tmp_path, capsys):
    assert install.main([str(tmp_path / "new"), "--torch-index=ftp://anna:secret@torch.lan"]) == errors.EXIT_BAD_INPUT
    said = capsys.readouterr().out
    assert "***@torch.lan" in said
    assert "secret" not in said


def test_every_requirement_is_understood(monkeypatch):
    lines = doctor.REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line.strip() and not line.startswith("#")]
    markers = [line for line in required if "; python_version" in line]
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    here = [name for name, _ in doctor.pinned()]
    assert len(here) == len(required) - len(markers) // 2  # each of those has a second line for other Pythons
    monkeypatch.setattr(doctor.platform, "machine", lambda: "aarch64")
    not_on_arm = {"embreex", "pynanoinstantmeshes"}
    assert set(here) - {name for name, _ in doctor.pinned()} == not_on_arm
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    assert set(here) - {name for name, _ in doctor.pinned()} == {*not_on_arm, "warp-lang", "bitsandbytes"}
