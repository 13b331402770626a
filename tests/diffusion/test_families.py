"""`generate` from a prompt to a mesh with a tiny model of every family, as folders and single files, and with LoRAs."""

import json

import pytest
import torch
from original_layout import write_single_file
from safetensors.torch import save_file
from tiny_flux import write_chroma, write_flux
from tiny_models import write_lora, write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.cli import commands as cli
from sdi_engine.errors import EXIT_BAD_INPUT, EXIT_DONE

pytestmark = pytest.mark.usefixtures("small_pictures")

COARSE = {"mesh_resolution": 16, "samples_per_ray": 16, "occupancy_resolution": 16}
FAMILIES = {
    "sd1": write_stable_diffusion,
    "sd2-v": lambda folder: write_stable_diffusion(folder, "v_prediction", version=2),
    "pixels": lambda folder: write_stable_diffusion(folder, "sample", vae=False),
    "sdxl": write_sdxl,
    "sd3": write_sd3,
    "sd3.5": lambda folder: write_sd3(folder, version=3.5),
    "flux": write_flux,
    "chroma": write_chroma,
}


def generate(model, output, *options):
    few = ["--steps", "2", "--texture-size", "64", "--face-budget", "500", "--device", "cpu"]
    few += [option for name, value in COARSE.items() for option in ("--set", f"{name}={value}")]
    return cli.main(
        ["generate", "a red mug", "--preset", "draft", "--model", str(model), "-o", str(output), *few, *options]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_folder(family, tmp_path):
    assert generate(FAMILIES[family](tmp_path / "model"), tmp_path / "job") == EXIT_DONE
    assert (tmp_path / "job" / "mesh.glb").stat().st_size > 1000


@pytest.mark.parametrize("family", ["sd3.5", "flux", "chroma"])
def test_samples_and_the_identity_in_2d(family, tmp_path):
    """With its own noise score distillation is DDIM, eq. (6)."""
    model, few = FAMILIES[family](tmp_path / "model"), ["--steps", "3", "--device", "cpu"]
    for command, *more in (("sample", "--count", "1"), ("distill2d",)):
        asked = [command, "a red mug", "--model", str(model), "-o", str(tmp_path / command), *few, *more]
        assert cli.main(asked) == EXIT_DONE
    assert (tmp_path / "sample" / "sheet.png").is_file()
    assert json.loads((tmp_path / "distill2d" / "result.json").read_text())["largest_difference"] <= 1e-4


def test_a_distilled_model_makes_objects_with_drawn_noise_only(tmp_path, caplog):
    model = write_flux(tmp_path / "model", "schnell")
    assert generate(model, tmp_path / "refused") == EXIT_BAD_INPUT
    assert "distilled to a few steps (by its configuration)" in caplog.text
    assert generate(model, tmp_path / "job", "--noise", "random") == EXIT_DONE
    result = json.loads((tmp_path / "job" / "result.json").read_text())
    assert result["settings"]["guidance_scale"] == 1.0
    assert "score distillation (SDS), not inversion, at guidance 1." in (tmp_path / "job" / "events.jsonl").read_text()


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3"])
def test_single_file(family, tmp_path):
    file = write_single_file(FAMILIES[family](tmp_path / "model"), tmp_path / "dream.safetensors")
    assert generate(file, tmp_path / "job") == EXIT_DONE
    assert (tmp_path / "job" / "mesh.glb").stat().st_size > 1000


@pytest.mark.parametrize("preset", ["paper", "threestudio", "mv-sdi"])
def test_presets_for_large_models(preset, tmp_path):
    """With Perp-Neg, hash grids (in small tables) and all losses, on a model that makes small images."""
    model = write_stable_diffusion(tmp_path / "model")
    options = ("--preset", preset, "--set", "field.log2_table_size=12")
    assert generate(model, tmp_path / "job", *options) == EXIT_DONE
    settings = json.loads((tmp_path / "job" / "result.json").read_text())["settings"]
    assert settings["perp_neg"] == "everywhere"
    assert settings["resolution"] == 16


def test_loras_change_the_object_and_are_remembered(tmp_path):
    model = write_stable_diffusion(tmp_path / "model")
    write_lora(tmp_path / "style.safetensors", model)
    results = []
    for name, options in (("plain", []), ("style", ["--lora", f"{tmp_path / 'style.safetensors'}=0.8"])):
        assert generate(model, tmp_path / name, *options) == EXIT_DONE
        results.append(json.loads((tmp_path / name / "result.json").read_text()))
    assert [len(result["loras"]) for result in results] == [0, 1]
    assert results[1]["loras"][0]["weight"] == 0.8
    plain, style = ((tmp_path / name / "mesh.glb").read_bytes() for name in ("plain", "style"))
    assert plain != style


def test_a_file_that_is_no_lora_is_refused_in_one_sentence(tmp_path, caplog):
    model = write_stable_diffusion(tmp_path / "model")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert generate(model, tmp_path / "job", "--lora", str(tmp_path / "other.safetensors")) == EXIT_BAD_INPUT
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "other.safetensors" in errors[0]
