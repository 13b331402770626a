"""The files that are sent to a node and accepted from one, without a cluster."""

import json
import sys
from pathlib import Path

import pytest

from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest, Lora
from sdi_engine.errors import StorageError
from sdi_engine.service import cluster_files, cluster_node
from sdi_engine.service.cluster_files import Packer, accept, changed_files


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "job", JobRequest("a mug"))


def files_of(packer, path):
    parcel = packer.parcel(str(path))
    return sorted(parcel.files) if parcel else None


def test_a_folder_is_sent_without_what_no_engine_reads(tmp_path):
    model = tmp_path / "model"
    for name in (
        "model_index.json",
        "unet/config.json",
        "unet/w.safetensors",
        "unet/w.bin",
        "notes.docx",
        "a/b/c.json",
    ):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(name)
    names = ["model/model_index.json", "model/unet/config.json", "model/unet/w.safetensors"]
    assert files_of(Packer(), model) == names
    (model / "model_index.json").unlink()
    assert files_of(Packer(), model) is None


def test_a_file_is_sent_with_its_configuration_and_a_lora_with_its_settings(tmp_path):
    file = tmp_path / "dream.safetensors"
    file.write_text("weights")
    assert files_of(Packer(), file) == ["dream.safetensors"]
    (tmp_path / "dream").mkdir()
    (tmp_path / "dream" / "model_index.json").write_text("{}")
    (tmp_path / "dream" / "w.safetensors").write_text("not read beside a file")
    assert files_of(Packer(), file) == ["dream.safetensors", "dream/model_index.json"]
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_text("weights")
    assert files_of(Packer(), tmp_path / "adapter_model.safetensors") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_hub_ids_and_missing_files_are_not_sent(tmp_path):
    (tmp_path / "run.ckpt").write_text("weights")
    request = JobRequest("a mug", loras=(Lora(str(tmp_path / "gone.safetensors")),))
    assert Packer().parcels(request) == []
    for name in ("owner/name", "stable-diffusion", str(tmp_path / "run.ckpt")):
        assert Packer().parcel(name) is None


def test_parcels_are_distinguished_by_their_content_alone(tmp_path):
    packer = Packer()
    files = [tmp_path / part / "style.safetensors" for part in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("weights")
    one, two = (packer.parcel(str(file)) for file in files)
    assert one.key == two.key
    files[1].write_text("other weights")
    assert packer.parcel(str(files[1])).key != one.key
    assert b"".join(one.parts("style.safetensors")) == b"weights"


def test_only_what_an_engine_writes_is_taken_from_a_node(folder, tmp_path):
    request_before = folder.request_file.read_bytes()
    hostile = ["request.json", "events.jsonl", "status.json", "cancel", "../evil", "previews/../../evil", "/etc/evil"]
    hostile += ["previews/step-1.png.exe", "checkpoint/other", "mesh.glb\n", "textures/a.png", "C:\\evil", ""]
    good = [
        "preview.png",
        "previews/step-000001.png",
        "turntable/side-0.png",
        "checkpoint/state.safetensors",
        "mesh.glb",
        "mesh-lod1.glb",
        "texture.png",
        "uv.npz",
        "moved.npz",
    ]
    accept(folder, dict.fromkeys([*hostile, *good], b"content"), JobRequest("a mug"))
    there = {str(file.relative_to(folder.path)) for file in folder.path.rglob("*") if file.is_file()}
    assert there == {"request.json", "events.jsonl", *good}
    assert folder.request_file.read_bytes() == request_before
    assert not (tmp_path / "evil").exists()


def test_no_link_is_followed_when_something_comes_back(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "previews").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(StorageError, match="is a link"):
        accept(folder, {"previews/step-000001.png": b"content"}, JobRequest("a mug"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_result_comes_last_and_names_files_as_the_request_does(folder, monkeypatch):
    written = []
    monkeypatch.setattr(cluster_files.files, "write_atomically", lambda path, data: written.append((path.name, data)))
    said = json.dumps({"model": "/tmp/x/model", "loras": [], "faces": 3}).encode()
    request = JobRequest("a mug", model="/models/mine", loras=(Lora("/loras/style.safetensors", 0.5),))
    accept(folder, {"result.json": said, "mesh.glb": b"mesh", "preview.png": b"picture"}, request)
    assert [name for name, _ in written] == ["preview.png", "mesh.glb", "result.json"]
    result = json.loads(written[-1][1])
    assert result == {
        "model": "/models/mine",
        "loras": [{"file": "/loras/style.safetensors", "weight": 0.5}],
        "faces": 3,
    }


def test_processes_of_a_node_that_begin_together_may_tidy_the_same_files(tmp_path, monkeypatch):
    (tmp_path / "files" / "old").mkdir(parents=True)
    iterdir = Path.iterdir

    def removed_meanwhile(folder):
        found = list(iterdir(folder))
        if folder.name == "files":
            (folder / "old").rmdir()
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", removed_meanwhile)
    cluster_node._tidy(tmp_path)
    assert not (tmp_path / "files" / "old").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="which replaces no file that is open")
def test_a_file_that_is_replaced_while_it_is_read_comes_back_again(folder, monkeypatch):
    folder.preview_file.write_bytes(b"old")
    open_to_read = cluster_files.files.open_to_read

    def replaced_meanwhile(path):
        file = open_to_read(path)
        path.with_name("new").write_bytes(b"the new one")
        path.with_name("new").replace(path)
        return file

    with monkeypatch.context() as patch:
        patch.setattr(cluster_files.files, "open_to_read", replaced_meanwhile)
        first = changed_files(folder, {})
    state, content = first["preview.png"]
    assert content == b"old"
    assert changed_files(folder, {"preview.png": state})["preview.png"][1] == b"the new one"


def test_what_has_not_changed_is_not_sent_back_again(folder):
    folder.checkpoint_folder.mkdir()
    folder.checkpoint_file.write_bytes(b"state")
    folder.preview_file.write_bytes(b"picture")
    (folder.path / "mine.txt").write_text("the person's own")
    changed = changed_files(folder, {})
    assert {name: content for name, (_, content) in changed.items()} == {
        "preview.png": b"picture",
        "checkpoint/state.safetensors": b"state",
    }
    have = {name: state for name, (state, _) in changed.items()}
    assert changed_files(folder, have) == {}
    folder.preview_file.write_bytes(b"another picture")
    assert list(changed_files(folder, have)) == ["preview.png"]
    assert changed_files(folder, {}, ["checkpoint/state.safetensors"]).keys() == {"preview.png"}
