"""`dev.py package`: a zip for every system, and a repository to install it from; `dev.py test`, here and everywhere."""

import json
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packages import make_packages

import dev


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The folder that `dev.py package` writes, with an older version in it."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / "sdi_text_to_3d-0.0.1.zip").write_bytes(b"old")
    return make_packages(folder)


@pytest.fixture(scope="module")
def names(packages):
    (archive,) = packages.glob("*.zip")
    with zipfile.ZipFile(archive) as package:
        return package.namelist()


def test_the_newest_version_alone_is_offered(packages):
    manifest = tomllib.loads((dev.ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    name = f"sdi_text_to_3d-{manifest['version']}.zip"
    assert sorted(path.name for path in packages.iterdir()) == ["index.html", "index.json", name]
    (offered,) = json.loads((packages / "index.json").read_text(encoding="utf-8"))["data"]
    assert offered["archive_url"] == f"./{name}"
    assert offered["archive_size"] == (packages / name).stat().st_size
    assert "platforms" not in offered
    assert "wheels" not in offered


def test_the_package_has_what_an_artist_needs(names):
    for name in (
        "__init__.py",
        "blender_manifest.toml",
        "LICENSE",
        "batch.py",
        "presets/sdi_text_to_3d/Quick_Look.py",
        "sdi_engine/requirements.txt",
        "sdi_engine/starter/weights/model_index.json",
        "sdi_engine/starter/weights/unet/diffusion_pytorch_model.safetensors",
        "sdi_engine/diffusion/configs/sdxl/model_index.json",
    ):
        assert name in names


def test_the_package_has_nothing_else(names):
    assert {Path(name).suffix for name in names} == {".py", ".toml", ".json", ".safetensors", ".txt", ".md", ""}
    outside = {"tests", "docs", "scripts", "shared", "dist", "demo", "results", "training", "wheels", "dev.py"}
    assert not outside & {name.split("/")[0] for name in names}
    assert not [name for name in names if "__pycache__" in name or name.split("/")[-1].startswith(".")]


def test_a_folder_that_cannot_be_written_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["dev.py", "package", "--blender", sys.executable])
    (tmp_path / "file").touch()
    monkeypatch.setattr(dev, "PACKAGE_FOLDER", tmp_path / "file")
    assert dev.main() == 6
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_missing_blender_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dev.py", "package", "--blender", "/nothing/blender"])
    assert dev.main() == 3
    assert capsys.readouterr().err.startswith('dev.py: There is no Blender at "/nothing/blender"')


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The place of the environment; making it does nothing."""
    folder = tmp_path / ".venv"
    monkeypatch.setattr(dev, "VENV", folder)
    monkeypatch.setattr(dev, "STAMP", folder / "requirements.sha256")
    monkeypatch.setattr(dev, "_base_python", lambda: sys.executable)
    monkeypatch.setattr(dev, "_run", lambda command, quiet=False, changes=None: int(quiet))
    return folder


def test_an_environment_that_is_broken_is_made_anew(place):
    (place / "lib").mkdir(parents=True)
    (place / "pyvenv.cfg").touch()
    dev.STAMP.write_text("of before")
    dev.set_up()
    assert [each.name for each in place.iterdir()] == [dev.STAMP.name]
    assert len(dev.STAMP.read_text()) == 64


@pytest.mark.parametrize("is_link", [False, True])
def test_an_environment_that_somebody_else_made_is_not_emptied(place, tmp_path, is_link):
    real = tmp_path / "elsewhere" if is_link else place
    real.mkdir()
    (real / "novel.txt").touch()
    if is_link:
        place.symlink_to(real)
        (real / dev.STAMP.name).touch()
    with pytest.raises(dev.SetUpError, match="move it away"):
        dev.set_up()
    assert (real / "novel.txt").is_file()


@pytest.fixture
def ran(monkeypatch):
    """The commands that `dev.py` would have run, with their changes of the environment. The third one fails."""
    commands = []

    def run(command, quiet=False, changes=None):
        commands.append((command[1:], changes))
        return 5 if len(commands) == 3 else 0

    monkeypatch.setattr(dev, "set_up", lambda: Path(sys.executable))
    monkeypatch.setattr(dev, "_run", run)
    return commands


def test_tests_run_side_by_side_unless_a_person_says_otherwise(ran, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dev.py", "test", "tests/mesh", "-k", "uv", "-n", "0"])
    assert dev.main() == 0
    ((command, _),) = ran
    assert command[:2] == ["-m", "pytest"]
    assert command.index(dev.WORKERS) < command.index("0")  # pytest uses the last one
    assert command[-5:] == ["tests/mesh", "-k", "uv", "-n", "0"]


def test_everywhere_is_every_processor_with_one_thread_and_with_two(ran, monkeypatch, capsys):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    monkeypatch.setattr(sys, "argv", ["dev.py", "test-everywhere", "tests/mesh"])
    assert dev.main() == 5
    assert all(command[-1] == "tests/mesh" for command, _ in ran)
    assert [(changes["ATEN_CPU_CAPABILITY"], changes["OMP_NUM_THREADS"]) for _, changes in ran] == [
        (capability, threads) for capability in ("default", "avx2", None) for threads in ("1", "2")
    ]
    said = capsys.readouterr().out
    assert said.count("passed:") == 5
    assert "FAILED (5): ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1" in said


def test_everywhere_leaves_out_what_computes_nothing(ran, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dev.py", "test-everywhere"])
    dev.main()
    left_out = {option.partition("=")[2] for option in ran[0][0] if option.startswith("--ignore=")}
    assert "tests/jobs" in left_out
    assert [path for path in left_out if not (dev.ROOT / path).exists()] == []
