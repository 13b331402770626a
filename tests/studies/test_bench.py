"""What a run would take: the parts, the floor and the whole, of a tiny model; no bound on times."""

import itertools
import json
import math

import pytest
import trimesh

from sdi_engine.cli.commands import main
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import OutOfMemoryError
from sdi_engine.studies.bench import bench
from sdi_engine.studies.bench_ledger import Ledger

SMALL = {"samples_per_ray": 8, "textureless": 0.3, "lit": 0.2, "shading_start": 0.0, "inversion_share": 1.0}


@pytest.fixture
def ticking(monkeypatch):
    """Every look at the clock comes a second after the last one."""
    seconds = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))


@pytest.mark.usefixtures("ticking")
def test_every_moment_is_of_one_part(monkeypatch):
    monkeypatch.setattr("sys.platform", "another")  # no thread that looks at the memory
    import torch

    ledger = Ledger(torch.device("cpu"))
    with ledger.open():
        with ledger.part("render"):
            ledger.booked("normals", lambda: None)()
        ledger.rest_is("images")
    assert ledger.seconds == {"rest": 1.0, "render": 2.0, "normals": 1.0, "images": 1.0} | {"rest": 2.0}
    assert ledger.total == 6.0


@pytest.mark.usefixtures("too_large")
def test_what_cannot_fit_is_not_measured(prior, tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("ball", preset="draft"))
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        bench(folder, 1, lambda event: None, lambda *_: prior)


@pytest.mark.usefixtures("small_pictures")
def test_a_tiny_model_is_built_and_measured(tmp_path, capsys):
    options = ["--size", "tiny", "--keep", str(tmp_path), "--preset", "draft", "--steps", "1", "--resolution", "16"]
    options += ["--noise", "inversion", *(f"--set={name}={value}" for name, value in SMALL.items())]
    assert main(["bench", *options, "--device", "cpu", "--json"]) == 0
    out, lines = capsys.readouterr()
    result = json.loads(out.strip().rpartition("\n")[2])
    names = [step["name"] for step in result["steps"]]
    assert names == ["beginning", "beginning, shaded", "middle", "middle, shaded", "end", "end, shaded"]
    for step in result["steps"]:
        assert math.fsum(step["parts"].values()) == pytest.approx(step["seconds"])
        assert step["floor"] == pytest.approx(step["floor_model"] + step["floor_encoder"])
        assert step["ratio"] == pytest.approx(step["seconds"] / step["floor"])
        assert step["evaluations"] == step["evaluations_expected"] > 0
        assert {"model", "render", "backward", "occupancy", "optimiser"} <= set(step["parts"])
        assert "shaded" in step["name"] or "normals" not in step["parts"]
    evaluations = [step["evaluations"] for step in result["steps"][::2]]
    assert evaluations == sorted(evaluations, reverse=True)
    assert evaluations[0] > evaluations[-1]
    assert "normals" in result["steps"][1]["parts"]
    run = result["run"]
    assert run["seconds"] == pytest.approx(run["seconds_load"] + run["seconds_steps"] + run["seconds_between"])
    assert run["ratio"] > 0.0
    assert result["extras"]["checkpoint_copy"] > 0.0
    assert result["extras"]["checkpoint_slows"] >= 0.0
    assert "while it is written beside them" in lines
    assert "ratio to the floor" in lines
    assert (tmp_path / "tiny" / "model_index.json").is_file()


@pytest.mark.usefixtures("small_pictures")
@pytest.mark.parametrize("task", ["texture", "refine"])
def test_a_look_of_a_mesh_is_measured_with_its_rays_its_texture_and_what_moves(tmp_path, capsys, task):
    file = tmp_path / "box.ply"
    trimesh.creation.box((1.0, 2.0, 3.0)).export(file)
    options = ["--size", "tiny", "--preset", "draft", "--steps", "1", "--resolution", "16", "--texture-size", "64"]
    options += ["--task", task, "--mesh", str(file), "--set=lit=1.0", "--set=shading_start=0.0"]
    assert main(["bench", *options, "--device", "cpu", "--json"]) == 0
    out, lines = capsys.readouterr()
    result = json.loads(out.strip().rpartition("\n")[2])
    assert [step["name"] for step in result["steps"]] == ["beginning", "middle", "end"]
    for step in result["steps"]:
        assert math.fsum(step["parts"].values()) == pytest.approx(step["seconds"])
        assert {"model", "rays", "render", "backward"} <= set(step["parts"])
        assert ({"moving vertices", "normals"} <= set(step["parts"])) == (task == "refine")
    assert set(result["of_mesh"]) == {"read", "bake"}
    assert result["run"]["seconds_between"] > math.fsum(result["of_mesh"].values()) > 0.0
    assert "baking the texture: " in lines
    assert "a UV map where it has none" in lines


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--task", "texture"], "name its file with --mesh"), (["--mesh", "a.ply"], "leave out --mesh")],
)
def test_a_task_and_its_mesh_belong_together(options, words, caplog):
    assert main(["bench", *options]) == 2
    assert words in caplog.text


def test_a_model_and_a_size_exclude_each_other(tmp_path, caplog):
    assert main(["bench", "--size", "tiny", "--model", str(tmp_path)]) == 2
    assert "leave out --model or --size" in caplog.text
