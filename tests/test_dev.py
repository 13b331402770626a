"""`dev.py package`: a zip for every system, and a repository to install it from."""

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
    """The folder that `dev.py package` fills, in which an older version lies."""
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


def test_what_an_artist_needs_is_in_the_package(names):
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


def test_nothing_else_is(names):
    assert {Path(name).suffix for name in names} == {".py", ".toml", ".json", ".safetensors", ".txt", ".md", ""}
    outside = {"tests", "docs", "scripts", "shared", "dist", "demo", "results", "training", "wheels", "dev.py"}
    assert not outside & {name.split("/")[0] for name in names}
    assert not [name for name in names if "__pycache__" in name or name.split("/")[-1].startswith(".")]


def test_a_blender_that_is_not_there_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dev.py", "package", "--blender", "/nothing/blender"])
    assert dev.main() == 3
    assert capsys.readouterr().err.startswith('dev.py: There is no Blender at "/nothing/blender"')
