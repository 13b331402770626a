"""Draft and Standard by the size of the model."""

import pytest

from sdi_engine.config.evaluations import evaluations_of
from sdi_engine.config.quality import CHANGES, LATENT_512, LATENT_1024, SMALL, model_class, preset_of_model
from sdi_engine.config.settings import PRESETS, preset_for
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.run.resolve import resolve


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [(64, SMALL), (256, SMALL), (512, LATENT_512), (768, LATENT_512), (1024, LATENT_1024)],
)
def test_a_model_is_of_a_class_by_its_images(resolution, expected):
    assert model_class(resolution) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_changes_for_small_models_the_papers_presets_and_meshes(preset):
    asked = JobRequest("a mug", preset=preset)
    assert preset_of_model(asked, 64) == PRESETS[preset]
    assert preset_of_model(asked, None) == PRESETS[preset]
    texture = JobRequest("a mug", preset=preset, task="texture")
    assert preset_of_model(texture, 1024) == preset_for(preset, "texture")
    if preset not in ("draft", "standard"):
        assert preset_of_model(asked, 512) == PRESETS[preset]


@pytest.mark.parametrize("quality", CHANGES, ids=str)
def test_every_line_of_the_table_is_a_run_that_can_be(quality):
    """The levels and when they start fit each other, and the model is asked about four images in a step."""
    preset, model = quality
    resolution = {LATENT_512: 512, LATENT_1024: 1024}[model]
    settings = resolve(JobRequest("a mug", preset=preset), ModelHints(), resolution)
    assert settings.resolution == resolution
    assert len(settings.level_starts) == len(settings.field.grid_resolutions)
    assert settings.samples_per_ray == settings.field.grid_resolutions[-1]
    assert settings.steps != PRESETS[preset].steps or model == LATENT_1024
    assert settings.views == "antithetic"
    assert (settings.mesh_start, settings.mesh_smoothing) == (1.0, 0.0)
    assert evaluations_of(settings, 0.5) == 4
    assert resolve(JobRequest("a mug", preset=preset, steps=7), ModelHints(), resolution).steps == 7
    assert resolve(JobRequest("a mug", preset=preset, views_per_step=3), ModelHints(), resolution).views == "spread"
