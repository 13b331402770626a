"""The installer, with a package server made of files: no network, and no Python environment but its own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_packages

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


def start(folder, requirements, *options, **pip):
    return subprocess.Popen(
        [sys.executable, "-m", "sdi_engine.install", str(folder), "--requirements", str(requirements), *options],
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


def test_an_environment_with_what_is_pinned_and_nothing_of_before(tmp_path, requirements, torch_index, other_index):
    folder = tmp_path / "an engine"
    folder.mkdir()
    (folder / "of before").touch()
    (folder / install.STAMP).write_text("of before")
    assert install.state_of(folder, requirements) == install.UNFINISHED
    process = start(
        *(folder, requirements, f"--torch-index={torch_index}"),
        **{"PIP_INDEX_URL": other_index, "PIP_USER": "1", "PIP_TARGET": str(tmp_path / "elsewhere")},
    )
    output, _ = process.communicate()
    assert process.returncode == 0, output

    said = events_in(output)
    assert [(event["phase"], event["step"], event["steps"]) for event in said if event["type"] == "progress"] == [
        ("Making the environment", 0, 3),
        ("Installing torch (1 of 2)", 1, 3),
        ("Installing sdi-tiny (2 of 2)", 2, 3),
    ]
    assert said[-1]["state"] == "done"
    code = "import sdi_tiny, sys, torch; print(sdi_tiny.VERSION, torch.VERSION, sys.prefix)"
    answer = subprocess.run([install.python_of(folder), "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split(maxsplit=2) == ["1.0", "0.0.1", f"{folder}\n"]
    assert not (folder / "of before").exists()
    assert not (tmp_path / "elsewhere").exists()

    assert install.state_of(folder, requirements) == install.READY
    requirements.write_text("torch==0.0.2\n")
    assert install.state_of(folder, requirements) == install.OUTDATED
    install.python_of(folder).unlink()  # the Python that it was made with is gone
    assert install.state_of(folder, requirements) == install.UNFINISHED


def test_a_package_that_is_nowhere_is_one_sentence(tmp_path, requirements, torch_index):
    process = start(tmp_path / "engine", requirements, PIP_INDEX_URL=torch_index)
    output, _ = process.communicate()
    assert process.returncode == errors.EXIT_ENVIRONMENT
    failed = events_in(output)[-1]
    assert (failed["type"], failed["exit_code"]) == ("failed", errors.EXIT_ENVIRONMENT)
    assert failed["message"].startswith("There is no sdi-tiny 1.0 for Python 3.")
    assert "Traceback" not in output
    assert install.state_of(tmp_path / "engine", requirements) == install.UNFINISHED


def test_it_can_be_stopped_at_any_time_and_only_one_is_at_it(tmp_path, requirements):
    with tiny_packages.deaf_server() as server:
        process = start(tmp_path / "engine", requirements, PIP_INDEX_URL=server)
        wait_for(process, "Installing torch (1 of 2)")

        second = start(tmp_path / "engine", requirements, PIP_INDEX_URL=server)
        output, _ = second.communicate()
        assert second.returncode == errors.EXIT_BAD_INPUT
        assert "wait until it ends" in events_in(output)[-1]["message"]

        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)  # ends only when pip has closed its end of the pipe, too
    assert process.returncode == errors.EXIT_CANCELLED
    assert events_in(output)[-1]["state"] == "cancelled"
    assert install.state_of(tmp_path / "engine", requirements) == install.UNFINISHED


def test_what_is_fetched_is_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "_WATCH_SECONDS", 0.01)
    (tmp_path / "half a wheel").write_bytes(bytes(3_000_000))
    with install._watched(tmp_path, "Installing torch (1 of 2)", 1, 3):
        until = time.monotonic() + 10
        said = ""
        while "\n" not in said and time.monotonic() < until:  # a line may be read before it is whole
            said += capsys.readouterr().out
    assert events_in(said)[0]["phase"] == "Installing torch (1 of 2), 3 MB fetched"


@pytest.mark.parametrize("address", ["cu126", "https://", "https://one two", "-r evil.txt"])
def test_a_torch_index_that_is_no_address_is_refused_before_anything_is_touched(tmp_path, address, capsys):
    (tmp_path / install.STAMP).touch()
    assert install.main([str(tmp_path), f"--torch-index={address}"]) == errors.EXIT_BAD_INPUT
    assert "begins with https://" in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == [install.STAMP]


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
        ("HINT: … this system does not have Windows Long Path support enabled.", 6, "long paths"),
        ("ERROR: No matching distribution found for torch==2.0", 3, "check the Torch Index"),
        ("error: command 'gcc' failed\nERROR: Failed building wheel for torch", 3, "get Python 3.12 or 3.11"),
        ("some noise\nERROR: pip is out of its mind\nmore noise", 3, "(pip is out of its mind)"),
        ("", 3, "(no word)"),
    ],
)
def test_pips_words_become_one_sentence(said, exit_code, words):
    error = install._why(said.splitlines(), "torch", "2.0", Path("env"), has_index=True)
    assert error.exit_code == exit_code
    assert words in str(error)
    assert "\n" not in str(error)
    assert ": " in str(error)


def test_the_log_of_pip_holds_no_password(tmp_path, requirements):
    index = f"--torch-index=http://anna:secret@127.0.0.1:9/?token=secret&{'x' * 10}"  # where nobody listens
    process = start(tmp_path / "engine", requirements, index, PIP_RETRIES="0", PIP_TIMEOUT="1")
    output, _ = process.communicate()
    assert process.returncode == errors.EXIT_ENVIRONMENT
    assert "127.0.0.1:9" in output
    assert "secret" not in output


def test_a_refused_torch_index_is_said_without_its_password(tmp_path, capsys):
    assert install.main([str(tmp_path / "new"), "--torch-index=ftp://anna:secret@torch.lan"]) == errors.EXIT_BAD_INPUT
    said = capsys.readouterr().out
    assert "***@torch.lan" in said
    assert "secret" not in said


def test_every_requirement_is_understood():
    lines = doctor.REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line.strip() and not line.startswith("#")]
    markers = [line for line in required if "; python_version" in line]
    assert len(doctor.pinned()) == len(required) - len(markers) // 2  # each of those has a twin for other Pythons
