"""The world's own things to be painted, and how well a texture lies on them."""

import json

import numpy as np
import pytest
from PIL import Image
from sources import cube

from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.painting import painting_quality, unpainted_thing
from sdi_engine.evaluation.plan import Plan
from sdi_engine.evaluation.runs import _prepare
from sdi_engine.surface.source import read_source, write_source


def test_a_job_of_an_evaluation_has_the_thing_of_its_prompt_and_seed(tmp_path):
    plan = Plan(("a red mug",), seeds=(0, 1), task="texture")
    for job in plan.jobs({}):
        _prepare(tmp_path / str(job.seed), job)
    first, second = (read_source(tmp_path / str(seed) / "source.npz") for seed in (0, 1))
    np.testing.assert_array_equal(first.vertices, unpainted_thing("a red mug", 0).vertices)
    assert first.look is first.look_corners is first.uv is None
    assert first.vertices.shape != second.vertices.shape or not np.allclose(first.vertices, second.vertices)


def test_what_the_world_has_not_cannot_be_painted():
    with pytest.raises(BadInputError, match="no mesh of"):
        unpainted_thing("an iguana", 0)


def test_a_plan_of_before_is_one_of_objects(tmp_path):
    plan = Plan(("a red mug",))
    plan.save(tmp_path)
    file = tmp_path / "plan.json"
    known = json.loads(file.read_text())
    del known["task"]
    file.write_text(json.dumps(known))
    assert Plan.load(tmp_path) == plan
    plan.save(tmp_path)
    with pytest.raises(BadInputError, match="other task"):
        Plan(("a red mug",), task="texture").save(tmp_path)


def test_a_seam_that_shows_and_texels_that_are_not_painted_are_counted(tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a red mug", task="texture"))
    write_source(folder.source_file, cube())
    texture = np.full((64, 64, 3), 20, np.uint8)
    Image.fromarray(texture).save(folder.texture_file)
    seconds = {"optimise_2d": 6.0, "optimise_3d": 1.0, "bake": 0.5}
    folder.result_file.write_text(json.dumps({"seconds": seconds}))
    expected = {"seam": 0.0, "unpainted": 0.0, "seconds_2d": 6.0, "seconds_3d": 1.5}
    assert painting_quality(folder) == pytest.approx(expected, abs=1e-6)
    texture[:32] = 153
    Image.fromarray(texture).save(folder.texture_file)
    quality = painting_quality(folder)
    assert quality["seam"] == pytest.approx(133.0)
    assert quality["unpainted"] > 500
