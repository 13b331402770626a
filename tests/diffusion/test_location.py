import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine.diffusion.location import (
    REAL_MODEL,
    REAL_MODEL_MIRRORS,
    ModelLocation,
    check_suffix,
    companion_folder,
    last_part,
    locate,
    model_name,
)
from sdi_engine.diffusion.model_index import read_index
from sdi_engine.errors import BadInputError, EnvironmentMissingError


def test_every_kind_of_name(tmp_path):
    file = tmp_path / "dream.safetensors"
    file.touch()
    (tmp_path / "model_index.json").touch()
    assert locate(str(file)) == ModelLocation("file", (str(file),))
    assert locate(str(tmp_path)) == ModelLocation("folder", (str(tmp_path),))
    assert locate("owner/name") == ModelLocation("hub", ("owner/name",))
    assert locate(REAL_MODEL) == ModelLocation("hub", REAL_MODEL_MIRRORS)
    assert locate("starter").kind == "folder"


@pytest.mark.parametrize(
    "name", ["nothing", "nothing.safetensors", "owner/nothing.safetensors", "owner/nothing.gguf", "a" * 5000, "\0"]
)
def test_missing_files(name):
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        locate(name)


def test_other_formats_are_refused(tmp_path):
    file = tmp_path / "model.ckpt"
    file.touch()
    with pytest.raises(BadInputError, match="can run code"):
        locate(str(file))


def test_a_folder_of_one_part_is_a_model_where_it_is_a_denoiser_alone(tmp_path):
    part = tmp_path / "dream" / "transformer"
    part.mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"has no model_index\.json"):
        locate(str(part))
    (part / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    for index in (1, 2):
        (part / f"piece-{index}.safetensors").touch()
        with pytest.raises(BadInputError, match="is one part of a model, and not a model: choose a folder with all"):
            locate(str(part))
    (part / "config.json").write_text('{"_class_name": "ZImageTransformer2DModel"}')
    assert locate(str(part)) == ModelLocation("file", (str(part),))
    assert last_part(str(part)) == "dream/transformer"
    (tmp_path / "dream" / "model_index.json").touch()
    with pytest.raises(BadInputError, match=r"one part of a model, and not a model: choose \".*dream\"\."):
        locate(str(part))


def close(monkeypatch, folder):
    """Let a folder be as one that its reader may not enter, which root always may."""

    def unless_in_it(name, call):
        def called(path, *arguments, **named):
            if folder in Path(path).parents or (name == "scandir" and Path(path) == folder):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *arguments, **named)

        return called

    for name in ("stat", "scandir"):
        monkeypatch.setattr(os, name, unless_in_it(name, getattr(os, name)))


def test_a_folder_that_may_not_be_entered_is_told_to_be_closed(tmp_path, monkeypatch):
    folder = tmp_path / "dream"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    close(monkeypatch, folder)
    with pytest.raises(
        BadInputError, match=r'"[^"]*dream" cannot be read \(Permission denied\): see to its permissions'
    ):
        locate(str(folder))
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        locate(str(folder / "dream.safetensors"))


def test_a_closed_folder_beside_a_file_is_not_asked_what_that_is(tmp_path, monkeypatch):
    (tmp_path / "dream").mkdir()
    (tmp_path / "dream.safetensors").touch()
    close(monkeypatch, tmp_path / "dream")
    assert companion_folder(tmp_path / "dream.safetensors") is None


def test_an_index_that_may_not_be_read_is_told_to_be_closed(tmp_path):
    (tmp_path / "model_index.json").mkdir()  # which is no file that can be read, also for root
    with pytest.raises(BadInputError, match=r"The model_index\.json of the model \"dream\" cannot be read \("):
        read_index(tmp_path / "model_index.json", "dream")


@pytest.mark.parametrize("name", ["dream.safetensors", "dream.gguf", "dream/model_index.json"])
def test_a_folder_of_models_names_one_of_them(tmp_path, name):
    for each in ("._dream.safetensors", "notes.txt", name):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).touch()
    model = tmp_path / name.partition("/")[0]
    with pytest.raises(BadInputError) as caught:
        locate(str(tmp_path))
    assert str(caught.value).endswith(
        f'is not a model: it has no model_index.json; choose one in it, such as "{model}".'
    )


def test_the_folder_of_a_model_in_the_hubs_cache_names_the_one_in_it(tmp_path):
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"the hub's cache of a model: choose \".*abc\", or give the model's id"):
        locate(str(tmp_path / "models--owner--name"))


def test_gguf_is_for_models_only(tmp_path):
    file = tmp_path / "model.GGUF"
    file.touch()
    assert locate(str(file)) == ModelLocation("file", (str(file),))
    with pytest.raises(BadInputError, match=r"The LoRA file .* GGUF format, which is read for the transformer"):
        check_suffix(file, "LoRA")


@pytest.mark.parametrize("name", ["dream.SAFETENSORS", "dream.sft", "dream.SFT"])
def test_safetensors_by_other_names(name, tmp_path):
    file = tmp_path / name
    file.touch()
    assert locate(f'"{file}"') == ModelLocation("file", (str(file),))


def test_an_id_is_an_id_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    """Somebody else's results folder can contain a folder of any name."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "model_index.json").touch()
    (tmp_path / "dream.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name") == ModelLocation("hub", ("owner/name",))
    with pytest.raises(EnvironmentMissingError, match="complete and correct"):
        locate("dream.safetensors")


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/owner/name",
        " 'https://huggingface.co/owner/name/' ",
        "http://www.huggingface.co/owner/name?library=diffusers#usage",
        "huggingface.co/owner/name/tree/main",
        "https://hf.co/owner/name/blob/main/README.md",
        "https://HuggingFace.co/owner/name/discussions/3",
        "https://mirror.example/owner/name",
    ],
)
def test_the_address_of_a_page_of_the_hub_is_an_id(address, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert model_name(address) == "owner/name"
    assert locate(address) == ModelLocation("hub", ("owner/name",))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("https://huggingface.co/owner/name/blob/main/dream.safetensors", "single file: download it"),
        ("https://huggingface.co/owner/name/resolve/main/dream.safetensors?download=true", "single file"),
        ("https://huggingface.co/owner/name/tree/fp16", r"another version.*owner/name"),
        ("https://huggingface.co/datasets/owner/name", "not the page of a model"),
        ("https://huggingface.co/owner", "not the page of a model"),
        ("https://civitai.com/models/4384/dreamshaper", "download the .safetensors file there"),
        ("HTTPS://example.com/dream.safetensors", "web address: download"),
        ("https://[", "web address"),
    ],
)
def test_other_addresses_say_what_to_do(address, sentence):
    with pytest.raises(BadInputError, match=sentence):
        locate(address)


def test_blenders_python_can_import_it():
    """It has no torch, and a wrong path is reported before the engine takes seconds to load it."""
    code = "import sys, sdi_engine.diffusion.location; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
