"""`texture` on the command line: a mesh from a file, and every way in which it cannot be."""

import errno
import json
import os

import numpy as np
import pytest
import trimesh
from PIL import Image
from tiny_models import write_stable_diffusion

from sdi_engine.cli.commands import main
from sdi_engine.mesh_files import mesh_file


@pytest.fixture
def box(tmp_path):
    file = tmp_path / "box.obj"
    trimesh.creation.box((0.001, 0.002, 0.003)).export(file)
    return file


def texture(capsys, *arguments, task="texture"):
    """The exit code, what is printed as JSON, and what is logged."""
    code = main([task, *map(str, arguments), "--json"])
    out, errors = capsys.readouterr()
    return code, json.loads(out.strip().rpartition("\n")[2]), errors


def test_a_file_gets_a_texture_and_the_job_can_be_run_again(tmp_path, box, capsys, small_pictures):
    model = write_stable_diffusion(tmp_path / "tiny")
    options = ["--model", model, "--steps", "2", "--texture-size", "64", "--resolution", "16", "--device", "cpu"]
    code, result, errors = texture(capsys, box, "a red box", "-o", tmp_path / "job", *options, "--front", "90")
    assert code == 0, errors
    assert (result["task"], result["steps"], result["settings"]["noise"]) == ("texture", 2, "cached-3d")
    made = trimesh.load(tmp_path / "job" / "mesh.glb").to_geometry()
    assert made.extents == pytest.approx([0.001, 0.002, 0.003], rel=1e-4)
    assert result["height"] == pytest.approx(0.002, rel=1e-4), "as the mesh stands: Y is up in OBJ files"
    first = np.asarray(Image.open(tmp_path / "job" / "texture.png"))
    (tmp_path / "job" / "result.json").unlink()
    assert main(["run", str(tmp_path / "job")]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "job" / "texture.png")), first)


def test_a_shape_is_refined_no_farther_than_was_allowed(tmp_path, box, capsys, small_pictures):
    model = write_stable_diffusion(tmp_path / "tiny")
    options = ["--model", model, "--steps", "2", "--texture-size", "64", "--resolution", "16", "--device", "cpu"]
    asked = [box, "a red box", "-o", tmp_path / "job", *options, "--max-move", "0.03"]
    code, result, errors = texture(capsys, *asked, task="refine")
    assert code == 0, errors
    assert result["task"] == "refine"
    with np.load(tmp_path / "job" / "source.npz") as source, np.load(tmp_path / "job" / "moved.npz") as moved:
        distances = np.linalg.norm(moved["vertices"] - source["vertices"], axis=1)
    assert 0.0 < distances.max() <= 0.03 * 0.003
    assert (tmp_path / "job" / "texture.png").is_file()


@pytest.mark.parametrize(
    ("mesh", "options", "words"),
    [
        ("none.glb", [], "none.glb"),
        ("words.stl", [], "words.stl"),
        ("words.txt", [], "no mesh file that can be read"),
        ("box.obj", ["--strength", "1.5"], '"strength" is 1.5'),
        ("box.obj", ["--front", "north"], "--front"),
        ("box.obj", ["--height", "2"], "--height"),
        ("box.obj", ["--max-move", "0.1"], "--max-move"),
    ],
)
def test_bad_input_is_a_sentence_and_code_2(tmp_path, box, capsys, caplog, mesh, options, words):
    (tmp_path / "words.stl").write_text("these are words")
    (tmp_path / "words.txt").write_text("these are words")
    code = main(["texture", str(tmp_path / mesh), "a red mug", "-o", str(tmp_path / "job"), *options])
    errors = capsys.readouterr().err + caplog.text
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "job").exists()


def test_a_shape_may_not_move_anywhere(tmp_path, box, capsys):
    code, result, _ = texture(capsys, box, "a red mug", "-o", tmp_path / "job", "--max-move", "0.3", task="refine")
    assert code == 2
    assert '"max move" is 0.3: it must be between 0.0 and 0.2' in result["error"]
    assert not (tmp_path / "job").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, box, capsys):
    code, result, _ = texture(capsys, box, "a red mug", "-o", tmp_path)
    assert code == 2
    assert "is not empty" in result["error"]
    assert not (tmp_path / "source.npz").exists()


def test_a_python_without_the_packages_is_code_3(tmp_path, box, capsys, monkeypatch):
    def lacking(_file):
        raise ImportError("No module named 'trimesh'", name="trimesh")

    monkeypatch.setattr(mesh_file, "source_from_file", lacking)
    code, result, _ = texture(capsys, box, "a red mug", "-o", tmp_path / "job")
    assert code == 3
    assert 'lacks the package "trimesh"' in result["error"]


def test_where_the_mesh_finds_no_room_nothing_is_left_in_the_way(tmp_path, box, capsys, caplog, monkeypatch):
    def fail(file, mesh):
        file.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sdi_engine.surface.source.write_source", fail)
    code, result, _ = texture(capsys, box, "a red box", "-o", tmp_path / "job")
    assert code == 6
    assert result["error"].endswith("is full: free some space, then try again.")
    assert not (tmp_path / "job").exists()


def test_a_mesh_that_needs_more_memory_than_there_is(tmp_path, box, capsys, monkeypatch):
    def fail(file):
        raise MemoryError

    monkeypatch.setattr(mesh_file, "source_from_file", fail)
    code, result, _ = texture(capsys, box, "a red box", "-o", tmp_path / "job")
    assert code == 5
    assert result["error"].startswith("There was not enough memory")
    assert not (tmp_path / "job").exists()
