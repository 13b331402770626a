import dataclasses
import json

import pytest
import torch
from PIL import Image

from sdi_engine.errors import NoObjectError, OutOfMemoryError
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.studies.results import Result, Results
from sdi_engine.studies.runs import Run2D, Run3D, caption, four_views


@pytest.fixture
def run(exact_study):
    return Run3D("random", "ball", dataclasses.replace(exact_study.settings, noise="random"))


def test_a_run_is_rendered_from_four_sides_and_measured(exact_study, run, report):
    result = run.work(exact_study, report)
    assert [picture.size for picture in result.pictures] == [(24, 24)] * 4
    numbers = result.numbers
    assert numbers["outcome"] == "object"
    # two views in each of 6 steps, and guidance evaluates each of them with and without the prompt
    assert numbers["evaluations"] == 6 * 2 * 2
    assert numbers["seconds"] == pytest.approx(numbers["seconds_2d"] + numbers["seconds_3d"], abs=0.002)
    assert 0.0 < numbers["saturation"] <= 1.0
    assert 0.0 < numbers["sharpness"] < 0.5
    assert caption(result).startswith(f"{numbers['seconds']:.0f} s, sharpness")


def test_inversion_costs_more_evaluations_the_more_steps_it_takes(exact_study, report):
    def evaluations(per_unit):
        settings = dataclasses.replace(exact_study.settings, noise="inversion", inversion_steps_per_unit=per_unit)
        return Run3D("", "ball", settings).work(exact_study, report).numbers["evaluations"]

    assert evaluations(3) < evaluations(10) < evaluations(30)


@pytest.mark.usefixtures("too_large")
@pytest.mark.parametrize("picture", [False, True])
def test_what_cannot_fit_ends_before_its_first_step(picture, exact_study, run, report):
    run = Run2D("", "ball", "random", 4) if picture else run
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        run.work(exact_study, report)


def test_views_are_those_of_the_generation(exact_study, run):
    optimisation = run.optimisation(exact_study)
    optimisation.advance()
    images, opacities = four_views(optimisation, 20)
    assert opacities.shape == (4, 1, 20, 20)
    assert opacities[..., 10, 10].min() > 0.5 > opacities[..., 0, 0].max()
    torch.testing.assert_close(images[1:2], optimisation.view([90.0], 15.0, 20).cpu())


def test_a_run_without_an_object_is_a_result(exact_study, run, report, monkeypatch):
    advance = Optimisation.advance

    def fail(optimisation):
        if optimisation.step == 2:
            raise NoObjectError("The volume has become empty.")
        return advance(optimisation)

    monkeypatch.setattr(Optimisation, "advance", fail)
    result = run.work(exact_study, report)
    assert result.pictures == ()
    assert result.numbers["outcome"] == "The volume has become empty."
    assert "sharpness" not in result.numbers
    assert caption(result) == "no object after step 2"


def test_a_run_is_done_once_and_found_again(exact_study, run, report, tmp_path, monkeypatch):
    first = Results(exact_study, tmp_path).get(run, report)

    def never(*arguments):
        raise AssertionError("the run is there already")

    monkeypatch.setattr(Optimisation, "advance", never)
    again = Results(exact_study, tmp_path).get(dataclasses.replace(run, label="another name"), report)
    assert again.numbers == first.numbers
    assert [one.tobytes() for one in again.pictures] == [one.tobytes() for one in first.pictures]
    (written,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(written.read_text())["identity"]["settings"]["noise"] == "random"


def test_whatever_changes_a_result_changes_its_key(exact_study, run, tmp_path):
    def key(study, run):
        return Results(study, tmp_path).key(run)

    def asked(**changes):
        return dataclasses.replace(exact_study, request=dataclasses.replace(exact_study.request, **changes))

    other_settings = dataclasses.replace(run, settings=dataclasses.replace(run.settings, steps=7))
    keys = {
        key(exact_study, run),
        key(exact_study, other_settings),
        key(exact_study, dataclasses.replace(run, prompt="moon")),
        key(asked(seed=1), run),
        key(asked(model="other"), run),
        key(asked(negative_prompt="ugly"), run),
        key(exact_study, Run2D("", "ball", "random", 4)),
        key(exact_study, Run2D("", "ball", "fixed", 4)),
        key(exact_study, Run2D("", "ball", "random", 5)),
    }
    assert len(keys) == 9


def test_a_half_written_run_is_done_again(exact_study, run, tmp_path):
    results = Results(exact_study, tmp_path)
    results.keep(run, Result((), {"outcome": "none"}))
    assert results.find(run) == Result((), {"outcome": "none"})
    (tmp_path / "runs" / results.key(run) / "run.json").unlink()
    assert results.find(run) is None


def test_a_2d_run_makes_one_picture(exact_study, report):
    result = Run2D("DDIM", "ball", "ddim", 8).work(exact_study, report)
    (picture,) = result.pictures
    red, green, _ = picture.getpixel((8, 8))
    assert red > green + 100
    assert set(result.numbers) == {"sharpness", "saturation"}


@pytest.mark.parametrize(
    ("file", "content"),
    [("run.json", b"{"), ("run.json", b"[]"), ("run.json", b"{}"), ("pictures.png", b""), ("pictures.png", b"\x89PNG")],
)
def test_what_is_damaged_is_run_again(exact_study, run, report, tmp_path, monkeypatch, file, content):
    made = Result((Image.new("RGB", (4, 4)),), {"seconds": 1.0})
    monkeypatch.setattr(Run3D, "work", lambda *_: made)
    results = Results(exact_study, tmp_path)
    results.keep(run, made)
    assert results.find(run) is not None
    (tmp_path / "runs" / results.key(run) / file).write_bytes(content)
    assert results.find(run) is None
    assert results.get(run, report) == made
    assert results.find(run) is not None
