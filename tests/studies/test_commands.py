"""The studies through the command line, in this process, on models that cost nothing."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import write_stable_diffusion

from sdi_engine.cli.parser import FIGURES as FIGURE_NAMES
from sdi_engine.cli.studies import RUNS_FOLDER
from sdi_engine.config.parameters import NOISES
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.diffusion.sources import digest, sources_before_loading
from sdi_engine.distillation.noise import CHOICES, Noise
from sdi_engine.errors import EXIT_BAD_INPUT
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.studies import results as kept_results
from sdi_engine.studies.figures import FIGURES

SMALL = ["--preset", "draft", "--steps", "2", "--json"]


def test_sample_writes_a_picture_for_each_seed(command, exact_model, tmp_path):
    out = tmp_path / "out"
    code, said = command("sample", "a ball", "-o", out, "--count", 5, "--seed", 3, "--steps", 6, "--json")
    assert code == said["exit_code"] == 0
    assert [image["seed"] for image in said["images"]] == [3, 4, 5, 6, 7]
    for image in said["images"]:
        red, green, _ = Image.open(out / image["file"]).getpixel((8, 8))
        assert red > green + 100, "the ball is red"
        assert 0.0 < image["saturation"] < 1.0
    sheet = Image.open(out / said["sheet"])
    assert sheet.width > 5 * 160
    written = json.loads((out / "result.json").read_text())
    assert written["images"] == said["images"]
    assert written["steps"] == 6


def test_distill2d_measures_that_cached_noise_is_ddim(command, exact_model, tmp_path, caplog):
    caplog.set_level("INFO")
    options = ["--steps", 8, "--guidance-scale", 7.5, "--json"]
    code, said = command("distill2d", "ball", "-o", tmp_path / "cached", *options)
    assert code == 0
    assert said["noise"] == "cached"
    assert said["same"]
    assert said["largest_difference"] == max(said["differences"]) <= 1e-4
    assert len(said["differences"]) == len(said["times"]) == 8
    assert "trajectories are the same" in caplog.text
    picture = Image.open(tmp_path / "cached" / "trajectories.png")
    assert picture.width > 6 * 160
    assert picture.height > 2 * 160
    ddim, distilled = (
        np.asarray(Image.open(tmp_path / "cached" / f"{name}.png"), int) for name in ("ddim", "distilled")
    )
    assert np.abs(ddim - distilled).max() <= 1, "up to rounding"

    code, said = command("distill2d", "ball", "-o", tmp_path / "random", "--noise", "random", *options)
    assert code == 0
    assert not said["same"]
    assert said["largest_difference"] > 0.1
    assert said["differences"][0] == 0.0, "both start with the model's first word"


def test_compare_shows_every_noise_and_continues_where_it_was_stopped(command, exact_model, tmp_path, monkeypatch):
    advance, steps = Optimisation.advance, []

    def counting(optimisation):
        steps.append(optimisation.settings.noise)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return advance(optimisation)

    monkeypatch.setattr(Optimisation, "advance", counting)
    code, said = command("compare", "a ball", "-o", tmp_path / "out", *SMALL)
    assert code == said["exit_code"] == 130
    assert not (tmp_path / "out" / "sheet.png").exists()

    code, said = command("compare", "a ball", "-o", tmp_path / "out", *SMALL)
    assert code == 0
    assert [run["noise"] for run in said["runs"]] == list(NOISES)
    assert all(run["outcome"] == "object" and run["seconds"] > 0.0 for run in said["runs"])
    assert steps.count(NOISES[0]) == 2, "the first was done before the interruption"
    sheet = Image.open(tmp_path / "out" / said["sheet"])
    assert sheet.height > len(NOISES) * 160
    assert all(len(run["residuals"]) == 2 for run in said["runs"])
    assert Image.open(tmp_path / "out" / said["residuals"]).width > 400


def test_noise_error_writes_curves_and_a_plot(command, exact_model, tmp_path):
    code, said = command("noise-error", "ball", "-o", tmp_path / "out", "--points", 2, *SMALL)
    assert code == 0
    assert len(said["t"]) == 2
    assert set(said["kappa"]) == {*NOISES, "bare inversion"}
    assert len(said["guidance"]) == 4
    assert said == {**json.loads((tmp_path / "out" / "result.json").read_text()), **said}
    assert Image.open(tmp_path / "out" / "residuals.png").width > 800


def test_figures_are_made_of_shared_runs_and_resume(command, tmp_path, monkeypatch):
    model = write_stable_diffusion(tmp_path / "tiny", vae=False)
    out = tmp_path / "out"
    monkeypatch.setattr(kept_results.Results, "keep", _counted(kept_results.Results.keep, kept := []))
    monkeypatch.setattr("sdi_engine.studies.figures.DEFAULT_STEPS", 2)
    options = ["--model", model, "-o", out, "--prompt", "a mug", "--prompt", "a hat", "--seeds", 1, *SMALL]
    code, said = command("figures", "1", "8", "11", *options)
    assert code == 0
    figures = said["figures"]
    assert set(figures) == {"1", "8", "11"}
    assert [len(figure["runs"]) for figure in figures.values()] == [2 * 6, 2 * 5, 2 * 5]
    for figure in figures.values():
        assert (out / figure["picture"]).is_file()
    keys = {(run["row"], run["column"]): run["run"] for figure in figures.values() for run in figure["runs"]}
    assert keys["a mug", "(e) SDI, 3D"] == keys["a mug", "+ inversion"] == keys["a mug", "3 steps"]
    assert keys["a mug", "(f) cached, 3D"] == keys["a mug", "or + cache"]
    assert keys["a mug", "(d) SDS, 3D"] == keys["a mug", "+ full resolution"] != keys["a hat", "+ full resolution"]
    assert len(kept) == len(set(keys.values())) == 2 * (3 + 5 + 4)

    assert command("figures", "8", *options)[0] == 0
    assert len(kept) == 2 * (3 + 5 + 4), "nothing is run twice"


def test_an_interrupted_run_of_a_figure_is_continued(command, exact_model, tmp_path, monkeypatch):
    """With the residuals that were measured along it, and with what it has cost so far."""
    monkeypatch.setattr("sdi_engine.studies.figures.DEFAULT_POINTS", 3)
    monkeypatch.setattr("sdi_engine.studies.unfinished.CHECKPOINT_SECONDS", 0.0)
    advance, steps, stops = Optimisation.advance, [], set()

    def counting(optimisation):
        if len(steps) in stops:
            stops.remove(len(steps))
            raise KeyboardInterrupt
        steps.append(optimisation.step)
        return advance(optimisation)

    monkeypatch.setattr(Optimisation, "advance", counting)
    figure = ["figures", "10", "--prompt", "ball", "--preset", "draft", "--steps", 4, "--json", "-o"]
    code, whole = command(*figure, tmp_path / "whole")
    assert code == 0
    assert steps == [0, 1, 2, 3] * 4

    steps.clear()
    stops.update({2, 7})
    for wanted in (130, 130, 0):
        code, said = command(*figure, tmp_path / "out")
        assert code == wanted
    assert steps == [0, 1, 2, 3] * 4, "no step is done twice"
    one, other = said["figures"]["10"], whole["figures"]["10"]
    for name, curve in one["residuals"]["curves"].items():
        assert curve == pytest.approx(other["residuals"]["curves"][name], rel=1e-3)
    kappa = {}
    for name in ("out", "whole"):
        numbers = [json.loads(file.read_text())["numbers"] for file in (tmp_path / name).glob("runs/*/run.json")]
        (kappa[name],) = [found["kappa"] for found in numbers if "kappa" in found]
    for name, curve in kappa["out"].items():
        assert curve == pytest.approx(kappa["whole"][name], rel=1e-3), name
    for ours, theirs in zip(one["runs"], other["runs"], strict=True):
        assert [ours[name] for name in ("steps", "evaluations")] == [theirs[name] for name in ("steps", "evaluations")]
        np.testing.assert_allclose(ours["residuals"], theirs["residuals"], rtol=1e-3)
        files = [tmp_path / name / "runs" / ours["run"] / "pictures.png" for name in ("out", "whole")]
        pictures = [np.asarray(Image.open(file), int) for file in files]
        assert np.abs(pictures[0] - pictures[1]).max() <= 2, "but for rounding"
    assert {file.name for file in tmp_path.glob("*/runs/*/*")} == {"pictures.png", "run.json"}


def test_figure_1_has_intervals_over_prompts_and_seeds(command, exact_model, tmp_path, monkeypatch):
    monkeypatch.setattr("sdi_engine.studies.figures.DEFAULT_STEPS", 2)
    options = ["--prompt", "ball", "--prompt", "moon", "--seeds", 2, "-o", tmp_path, *SMALL]
    code, said = command("figures", "1", *options)
    assert code == 0
    figure = said["figures"]["1"]
    rows = [f"{name}, seed {seed}" for name in ("ball", "moon") for seed in (0, 1)]
    assert [run["row"] for run in figure["runs"]] == [row for row in rows for _ in range(6)]
    assert len({run["run"] for run in figure["runs"]}) == 2 * 2 * 6, "another seed is another run"
    evaluations, cached, _ = [one for one in figure["differences"] if one["number"] == "evaluations"]
    assert (cached["column"], cached["minus"], cached["mean"]) == ("(f) cached, 3D", "(d) SDS, 3D", 0.0)
    assert (evaluations["column"], evaluations["minus"]) == ("(e) SDI, 3D", "(d) SDS, 3D")
    assert 0.0 < evaluations["low"] <= evaluations["mean"] <= evaluations["high"]
    assert evaluations["prompts"] == 2
    assert "| (e) SDI, 3D | (d) SDS, 3D | evaluations | +" in (tmp_path / figure["table"]).read_text()


def test_figures_with_residuals_measure_them_once(command, exact_model, tmp_path, monkeypatch):
    monkeypatch.setattr("sdi_engine.studies.figures.DEFAULT_STEPS", 3)
    monkeypatch.setattr("sdi_engine.studies.figures.DEFAULT_POINTS", 2)
    code, said = command("figures", "9", "10", "-o", tmp_path, "--prompt", "ball", *SMALL)
    assert code == 0
    nine, ten = said["figures"]["9"], said["figures"]["10"]
    assert set(nine["residuals"]["curves"]) == {*NOISES, "bare inversion"}
    assert len(ten["residuals"]["curves"]) == 4
    assert nine["residuals"]["t"] == ten["residuals"]["t"]
    assert (tmp_path / nine["residuals"]["plot"]).is_file()
    assert [run["column"] for run in nine["runs"]] == list(NOISES) * 2
    identities = [json.loads(file.read_text())["identity"] for file in tmp_path.glob("runs/*/run.json")]
    assert sum("residuals_at" in identity for identity in identities) == 1


def test_a_run_without_an_object_does_not_stop_a_figure(command, exact_model, tmp_path, monkeypatch):
    from sdi_engine.errors import NoObjectError

    advance = Optimisation.advance

    def fail(optimisation):
        if optimisation.settings.inversion_steps_per_unit == 5:
            raise NoObjectError("The volume has become empty.")
        return advance(optimisation)

    monkeypatch.setattr(Optimisation, "advance", fail)
    code, said = command("figures", "11", "-o", tmp_path, "--prompt", "ball", *SMALL)
    assert code == 0
    outcomes = {run["column"]: run["outcome"] for run in said["figures"]["11"]["runs"]}
    assert outcomes.pop("5 steps") == "The volume has become empty."
    assert set(outcomes.values()) == {"object"}


@pytest.mark.parametrize("study", ["sample", "distill2d"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_of_nan_or_infinite_weights_makes_no_black_picture(command, exact_model, tmp_path, study, number):
    exact_model._images[:, 5] = number
    code, said = command(study, "a ball", "-o", tmp_path / "out", "--steps", 3, "--json")
    assert code == 4
    assert said["error"].startswith("The model returned values that are NaN or infinite")
    assert list((tmp_path / "out").rglob("*.png")) == []


def test_a_method_that_diverges_has_no_picture(command, exact_model, tmp_path, monkeypatch):
    def nowhere(prior, x0, t, y, context):
        return Noise(torch.full_like(x0, torch.nan))

    monkeypatch.setitem(CHOICES, "random", nowhere)
    code, said = command("distill2d", "ball", "-o", tmp_path / "out", "--noise", "random", "--steps", 3, "--json")
    assert code == 0
    assert said["distilled"] == {"file": None}
    assert said["largest_difference"] is None
    assert sorted(file.name for file in (tmp_path / "out").glob("*.png")) == ["ddim.png", "trajectories.png"]


@pytest.mark.parametrize(
    "arguments", [["sample", "a dragon"], ["figures", "8", "--prompt", "ball", "--prompt", "a dragon"]]
)
def test_a_prompt_with_no_word_that_the_model_knows_is_refused(command, exact_model, tmp_path, arguments):
    exact_model.hints = ModelHints(guidance_scale=1.0, knows={"things": ["ball", "moon"]})
    code, said = command(*arguments, "-o", tmp_path / "out", "--steps", 2, "--json")
    assert code == 2
    assert said["error"].startswith('This model does not know any word of "a dragon"')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", " "], "prompt is empty"),
        (["sample", "a ball", "--count", "0"], '"count" is 0'),
        (["sample", "a ball", "--steps", "0"], '"steps" is 0'),
        (["distill2d", "a ball", "--noise", "loud"], '"loud" does not exist: choose one of inversion'),
        (["distill2d", "a ball", "--guidance-scale", "nan"], '--guidance-scale: "nan" is no number'),
        (["compare", "a ball", "--preset", "best"], "draft"),
        (["noise-error", "a ball", "--points", "0"], '"points" is 0'),
        (["figures", "1", "--prompt", "a ball", "--seeds", "0"], '"seeds" is 0'),
        (["figures", "7"], '"7" does not exist: choose one of 1, 8, 9, 10, 11, all'),
        (["figures", "1", "--prompt", "a ball", "--prompt", "  "], "prompt is empty"),
        (["compare", "a ball", "--model", "notes.ckpt"], ""),
    ],
)
def test_bad_input_is_one_sentence(command, exact_model, tmp_path, caplog, arguments, words):
    (tmp_path / "notes.ckpt").write_text("")
    arguments = [str(tmp_path / word) if word == "notes.ckpt" else word for word in arguments]
    code, said = command(*arguments, "-o", tmp_path / "out", "--json")
    assert code == said["exit_code"] == 2
    assert words in said["error"]
    assert said["error"].endswith(".")
    assert "\n" not in said["error"]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["sample", "distill2d", "compare", "noise-error", "figures"])
def test_an_occupied_folder_is_not_touched(command, exact_model, tmp_path, name):
    (tmp_path / "thesis.txt").write_text("mine")
    prompt = [] if name == "figures" else ["a ball"]
    code, said = command(name, *prompt, "-o", tmp_path, "--json")
    assert code == 2
    assert "is not empty" in said["error"]
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_that_cannot_be_sampled_in_so_many_steps(command, tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny", vae=False)
    code, said = command("sample", "a mug", "-o", tmp_path / "out", "--model", model, "--steps", 5000, "--json")
    assert code == 2
    assert "5000 steps" in said["error"]


def test_the_command_line_knows_every_figure_and_where_runs_are():
    assert tuple(FIGURES) == FIGURE_NAMES
    assert kept_results.FOLDER == RUNS_FOLDER


def test_without_matplotlib_the_sentence_names_it(command, exact_model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "sdi_engine.studies.plots", raising=False)
    monkeypatch.delitem(sys.modules, "sdi_engine.studies.noise_error", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, said = command("noise-error", "ball", "-o", tmp_path / "out", *SMALL)
    assert code == 3
    assert "matplotlib" in said["error"]


def test_the_command_line_is_parsed_without_torch():
    code = "import sys, sdi_engine.cli.commands; sys.exit(int(any(name in sys.modules for name in ('torch', 'PIL'))))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def _counted(function, calls):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


def test_a_run_is_done_again_with_another_model_of_the_same_name_and_not_for_a_newer_time(
    command, tmp_path, monkeypatch
):
    monkeypatch.setattr("sdi_engine.studies.compare.CHOICES", {"random": CHOICES["random"]})
    model = write_stable_diffusion(tmp_path / "tiny", vae=False)
    weights = next(model.glob("unet/*.safetensors"))

    def run_of():
        code, said = command("compare", "a mug", "-o", tmp_path / "out", "--model", model, *SMALL)
        assert code == 0
        return said["runs"][0]["run"]

    first = run_of()
    times = weights.stat().st_atime_ns, weights.stat().st_mtime_ns
    os.utime(weights, ns=(1, 1))
    assert run_of() == first
    weights.write_bytes(weights.read_bytes()[:-4] + struct.pack("<f", 0.125))
    os.utime(weights, ns=times)
    assert run_of() != first


def test_an_evaluation_that_no_job_could_be_made_of_is_refused_before_the_first(command, tmp_path):
    model = write_stable_diffusion(tmp_path / "a-turbo", vae=False)
    code, said = command("evaluate", "-o", tmp_path / "out", "--model", model, "--prompt", "a mug", "--json")
    assert code == EXIT_BAD_INPUT
    assert "turbo" in said["error"]
    assert not (tmp_path / "out").exists()


def test_an_evaluation_knows_its_model_before_it_is_loaded_as_a_study_does_after_it(tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny", vae=False)
    loaded = load_prior(str(model), torch.device("cpu")).weights
    assert digest(sources_before_loading(JobRequest("a mug", model=str(model)))) == digest(loaded)
    assert loaded
