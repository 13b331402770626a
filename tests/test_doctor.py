import ast
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine import doctor, install

ROOT = Path(__file__).resolve().parent.parent


def check(report, name):
    (found,) = [each for each in report["checks"] if each["name"] == name]
    return found


def test_a_quick_examination_imports_nothing_and_reports_the_same_packages():
    code = "import json, sys; from sdi_engine import doctor; print(json.dumps(doctor.glance())); "
    code += "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    line, imported = done.stdout.splitlines()
    assert imported == "[]"
    glance, examination = json.loads(line), doctor.examine()
    assert glance["ok"]
    assert glance["prefix"] == sys.prefix
    names = [name for name, _ in doctor.pinned()]
    assert [check(glance, name) for name in names] == [check(examination, name) for name in names]


def test_quick_is_one_line():
    arguments = [sys.executable, "-S", "-m", "sdi_engine.doctor", "--quick"]  # -S: without any package
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["device"] == "none"
    assert check(json.loads(line), "torch")["fix"].endswith('-m pip install "torch==2.13.0"')


@pytest.mark.parametrize(
    "name",
    [
        "__init__.py",
        "__main__.py",
        "doctor.py",
        "errors.py",
        "system/__init__.py",
        "system/redaction.py",
        "system/memory.py",
    ],
)
def test_an_old_python_can_parse_the_module_that_refuses_it(name):
    ast.parse((ROOT / "sdi_engine" / name).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("ask", [doctor.glance, doctor.examine])
@pytest.mark.parametrize(("pythons", "words"), [(((4, 0),), "is too old"), (((3, 7),), "is too new")])
def test_an_unsuitable_python_gets_that_reason_only(monkeypatch, ask, pythons, words):
    monkeypatch.setattr(doctor, "PYTHONS", pythons)
    report = ask()
    assert not report["ok"]
    (said,) = report["checks"]
    assert words in said["detail"]
    assert said["fix"] == "Choose a Python 3.11, 3.12 or 3.13."


@pytest.mark.parametrize("command", [["serve", "results"], ["doctor"], ["doctor", "--json"]])
def test_no_command_advises_installing_packages_into_an_unsuitable_python(tmp_path, command):
    program = "import runpy, sys; from sdi_engine import doctor; doctor.PYTHONS = ((3, 7),); "
    program += "sys.argv[0] = 'sdi_engine'; runpy.run_module('sdi_engine', run_name='__main__')"
    started = [sys.executable, "-c", program, *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(started, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 3
    if "--json" in command:
        (said,) = json.loads(done.stdout)["checks"]
        assert said["fix"] == "Choose a Python 3.11, 3.12 or 3.13."
    else:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Python {sys.version.split()[0]} is too new")
        assert line.endswith("Choose a Python 3.11, 3.12 or 3.13.")
    assert not list(tmp_path.iterdir())


USUAL = doctor._Build("cpython", (3, 12), 64, "linux-x86_64", is_free_threaded=False, is_translated=False)


@pytest.mark.parametrize(
    ("build", "reason", "fix"),
    [
        ({}, "", ""),
        ({"version": (3, 11), "platform": "macos-arm64"}, "", ""),
        ({"version": (3, 13), "platform": "win-amd64"}, "", ""),
        ({"platform": "linux-aarch64"}, "", ""),
        ({"version": (3, 10)}, "too old", "Choose a Python 3.11, 3.12 or 3.13."),
        ({"version": (3, 14)}, "too new", "Choose a Python 3.11, 3.12 or 3.13."),
        ({"version": (3, 13), "is_free_threaded": True}, "free-threaded", "of the usual kind"),
        ({"bits": 32, "platform": "win32"}, "32-bit", "64-bit Python 3.11"),
        ({"implementation": "pypy"}, "is PyPy", "instead"),
        ({"platform": "macos-x86_64"}, "Intel", "Use a Mac with Apple silicon"),
        ({"platform": "macos-x86_64", "is_translated": True}, "Intel", "made for Apple silicon"),
        ({"platform": "win-arm64"}, "ARM", "x86-64"),
    ],
)
def test_a_python_without_prebuilt_packages_is_reported(build, reason, fix):
    said, cure = dataclasses.replace(USUAL, **build).why_not()
    assert reason in said
    assert fix in cure
    assert bool(said) == bool(cure) == bool(build.keys() - {"version", "platform"} or reason)


def test_the_python_of_the_tests_is_suitable():
    assert doctor.python_check() == doctor.Check("Python", True, sys.version.split()[0])


def test_the_sentence_names_the_pythons():
    numbers = [".".join(map(str, each)) for each in doctor.PYTHONS]
    assert f"Python {', '.join(numbers[:-1])} or {numbers[-1]}" == doctor.SUITABLE_PYTHONS
    assert sorted(install.READY_MADE_FOR) == list(doctor.PYTHONS)


@pytest.mark.parametrize(
    ("name", "tested", "found", "ok", "advised"),
    [
        ("diffusers", "0.42.1", "0.42.1", True, False),
        ("diffusers", "0.42.1", "0.43.0.dev0", True, False),
        ("diffusers", "0.42.1", "0.42.0", False, True),  # older ones ran a model's own code
        ("diffusers", "0.42.1", "0.27.0", False, True),
        ("diffusers", "0.42.1", "1.0.0", True, True),
        ("transformers", "5.23.0", "5.22.9", False, True),
        ("transformers", "5.23.0", "4.99.0", False, True),
        ("torch", "2.13.0", "2.13.0+cu126", True, False),
        ("torch", "2.13.0", "2.9.1", True, False),
        ("torch", "2.13.0", "1.13.1", False, True),
        ("torch", "2.13.0", "3.0.0", True, True),
        ("nerfacc", "0.5.3", "0.5.2", True, False),
        ("nerfacc", "0.5.3", "0.3.5", False, True),
        ("xatlas", "0.0.11", "nonsense", False, True),
    ],
)
def test_versions_below_the_lowest_tested_one_are_refused(monkeypatch, name, tested, found, ok, advised):
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    said = doctor._package(name, tested)
    assert (said.ok, bool(said.fix)) == (ok, advised)
    if advised:
        assert f'-m pip install "{name}=={tested}"' in said.fix


def test_only_packages_are_examined(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("pillow==13.0.0\nsdi-tiny==1.0\n")
    command = [sys.executable, "-m", "sdi_engine.doctor", "--packages", str(requirements)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert [(each["name"], each["ok"]) for each in checks] == [("pillow", True), ("sdi-tiny", False)]


@pytest.mark.parametrize(("gib", "advised"), [(4, True), (16, False)])
def test_little_memory_is_advice_and_no_failure(monkeypatch, gib, advised):
    monkeypatch.setattr(doctor, "memory_bytes", lambda: (gib * 2**30, 2**30))
    report = doctor.glance()
    assert report["ok"]
    assert check(report, "memory")["detail"] == f"{gib:.1f} GiB, 1.0 free"
    assert bool(check(report, "memory")["fix"]) == advised


def test_memory_is_measured():
    total, free = doctor.memory_bytes()
    assert 2**28 < free <= total


@pytest.mark.parametrize(
    ("cuda", "words"), [(None, "Torch Index"), ("12.6", "Update the NVIDIA driver")], ids=["CPU build", "CUDA build"]
)
def test_a_gpu_that_torch_does_not_use_comes_with_its_cure(monkeypatch, cuda, words):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    device, said = doctor._device()
    assert (device, said.ok) == ("cpu", True)
    assert words in said.fix


@pytest.mark.parametrize(
    ("line", "programs", "device"),
    [
        ("cuda: Optional[str] = None", ["nvidia-smi"], "cpu"),
        ("cuda: Optional[str] = '12.6'", ["nvidia-smi"], "cuda"),
        ("cuda: Optional[str] = '12.6'", [], "cpu"),
        ("hip: Optional[str] = '6.4'", ["rocm-smi"], "cuda"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac's device follows from the machine")
def test_the_device_is_guessed_from_torchs_files(monkeypatch, tmp_path, line, programs, device):
    class Torch:
        def locate_file(self, path):
            return tmp_path / path

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text(f"debug = False\n{line}\n")
    monkeypatch.setattr(doctor.importlib.metadata, "distribution", lambda name: Torch())
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name in programs else None)
    assert doctor._likely_device() == device


@pytest.mark.parametrize(
    ("prefix", "can"),
    [
        (r"C:\Program Files\WindowsApps\PythonSoftwareFoundation.Python.3.12_3.12.2800.0_x64__qbz5n2kfra8p0", False),
        (r"C:\Program Files\Python312", True),
    ],
)
def test_a_python_of_microsofts_store_makes_no_environment_that_blender_would_not_see(monkeypatch, prefix, can):
    monkeypatch.setattr(sys, "base_prefix", prefix)
    assert doctor.glance()["can_make_environments"] == can
