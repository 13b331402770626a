import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine import doctor

ROOT = Path(__file__).resolve().parent.parent


def check(report, name):
    (found,) = [each for each in report["checks"] if each["name"] == name]
    return found


def test_a_glance_imports_nothing_and_says_the_same_of_packages():
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


@pytest.mark.parametrize("name", ["__init__.py", "doctor.py", "errors.py"])
def test_an_old_python_can_read_what_tells_it_that_it_is_too_old(name):
    ast.parse((ROOT / "sdi_engine" / name).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("ask", [doctor.glance, doctor.examine])
def test_a_python_that_is_too_old_is_told_that_and_no_more(monkeypatch, ask):
    monkeypatch.setattr(doctor, "LOWEST_PYTHON", (4, 0))
    report = ask()
    assert not report["ok"]
    assert [each["name"] for each in report["checks"]] == ["Python"]
    assert report["checks"][0]["fix"] == "Choose a Python 4.0 or later."


@pytest.mark.parametrize(("gib", "advised"), [(4, True), (16, False)])
def test_little_memory_is_advice_and_no_failure(monkeypatch, gib, advised):
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: (gib * 2**30, 2**30))
    report = doctor.glance()
    assert report["ok"]
    assert check(report, "memory")["detail"] == f"{gib:.1f} GiB, 1.0 free"
    assert bool(check(report, "memory")["fix"]) == advised


def test_memory_is_measured():
    total, free = doctor._memory_bytes()
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
