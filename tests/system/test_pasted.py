"""Pasted texts and the paths or names that they mean."""

import os
from pathlib import Path

import pytest

from sdi_engine.system.pasted import as_meant, as_meant_here

HOME = str(Path.home())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dream.safetensors", "dream.safetensors"),
        ("  owner/name\n", "owner/name"),
        ('"C:\\models\\dream.safetensors"', "C:\\models\\dream.safetensors"),
        ("'/models/my dream.safetensors'", "/models/my dream.safetensors"),
        ("“/models/dream.safetensors” ", "/models/dream.safetensors"),
        ("\u202aC:\\models\\dream.safetensors", "C:\\models\\dream.safetensors"),
        ("\ufeff/models\u200b", "/models"),
        ("~/models", str(Path.home() / "models")),
        ('"~"', HOME),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("it's a model", "it's a model"),
        ("5'10\"", "5'10\""),
        ('"', '"'),
        ('""', ""),
        ("//textures/dream.safetensors", "//textures/dream.safetensors"),
        ("", ""),
        (" \t", ""),
    ],
)
def test_what_is_meant(text, meant):
    assert as_meant(text) == meant
    assert as_meant(as_meant(text)) == meant


def test_the_address_of_a_file_is_its_path(tmp_path):
    file = tmp_path / "my dream #1 ? 50% é.safetensors"
    assert Path(as_meant(file.as_uri())) == file
    assert Path(as_meant(f"<{file.as_uri()}>".strip("<>").replace("file:///", "FILE://localhost/"))) == file


@pytest.mark.skipif(os.name == "nt", reason="only Windows has paths to another computer's folders")
def test_another_computers_file_stays_an_address():
    assert as_meant("file://nas/models") == "file://nas/models"
    assert as_meant("file://[") == "file://["


def test_what_a_person_names_in_their_own_folder_gets_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "dream.sft").touch()
    monkeypatch.chdir(tmp_path)
    assert as_meant_here("'dream.sft'") == str(tmp_path / "dream.sft")
    for other in ("owner/name", "", "a" * 5000, "\0", str(tmp_path / "nothing")):
        assert as_meant_here(other) == other
