"""The residual of eq. (8) against the quality of an evaluation's objects."""

import json
from itertools import chain

import pytest
from PIL import Image

from sdi_engine.errors import BadInputError
from sdi_engine.studies.plots import colours
from sdi_engine.studies.residual_quality import rank_correlation, residual_quality

RESIDUALS = {"cached": 0.1, "inversion": 0.2, "random": 0.4}


def written(folder, settings=RESIDUALS, prompts=6):
    """An evaluation in which the smaller residual made the better shape, and the pattern knows nothing of it."""
    folder.mkdir()
    objects = [
        {
            "prompt": f"prompt {prompt}",
            "seed": seed,
            "setting": name,
            "values": {"residual": residual + 0.01 * prompt, "iou": 0.9 - residual + 0.01 * prompt, "pattern": 1.0},
            "details": {"residuals": [[0.9, 2.0 * residual], [0.1, residual]]},
        }
        for name, residual in settings.items()
        for prompt in range(prompts)
        for seed in (0, 1)
    ]
    objects.append({"prompt": "prompt 0", "seed": 2, "setting": "random", "values": {}, "details": {}})
    (folder / "results.json").write_text(json.dumps({"objects": objects}))
    return folder


@pytest.mark.parametrize("count", [1, 10, 11, 20])
def test_no_two_settings_of_a_plot_have_the_same_colour(count):
    assert len(set(colours(count))) == count


def test_curves_and_scatter_of_an_evaluation(command, tmp_path):
    code, said = command("residuals", written(tmp_path / "evaluation"), "-o", tmp_path / "out", "--json")
    assert code == 0
    assert [*chain(*said["settings"]["inversion"]["curve"])] == pytest.approx([0.9, 0.4, 0.1, 0.2])
    assert said["settings"]["random"]["residual"] == pytest.approx(0.425)
    shape = said["correlations"]["iou"]
    assert [shape["over_settings"], shape["within_prompts"]["mean"]] == pytest.approx([-1.0, -1.0])
    assert shape["within_prompts"]["prompts"] == 6
    assert said["correlations"]["pattern"] == {"over_settings": None, "within_prompts": None}
    assert "normals" not in said["correlations"], "nobody measured them"
    for name in ("curves", "scatter"):
        assert Image.open(tmp_path / "out" / said[name]).width > 500
    assert command("residuals", tmp_path / "evaluation", "-o", tmp_path / "out", "--json")[0] == 0, "it is drawn again"


@pytest.mark.parametrize("settings", [None, {"random": 0.4}])
def test_an_evaluation_that_has_nothing_to_say_is_named(tmp_path, settings):
    folder = tmp_path / "evaluation"
    if settings:
        written(folder, settings)
    with pytest.raises(BadInputError, match="evaluation") as caught:
        residual_quality(folder, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([1, 2, 3, 4], [1, 4, 9, 16], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 1, 2, 2], 2 / 5**0.5),
        ([1, 1], [1, 2], None),
        ([1], [1], None),
    ],
)
def test_rank_correlation(x, y, rho):
    assert rank_correlation(x, y) == (None if rho is None else pytest.approx(rho))
