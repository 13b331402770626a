"""Choosing a model and LoRAs, and the bridge between the panel's settings and a request, both ways."""

import json

import pytest
from headers import SDXL, Z_IMAGE, write_file

LORA = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
FLUX = {"double_blocks.0.img_attn.qkv.weight": (1, 1)}


@pytest.fixture
def model_list(bpy, extension, tmp_path, monkeypatch):
    """The list of models on a computer without any."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return extension.state.current.session().models


def scanned(bpy, model_list):
    model_list.refresh(bpy.context).wait(60)
    assert model_list.take()
    return model_list.found


def refused(operator, **arguments):
    """Run an operator; returns its report."""
    with pytest.raises(RuntimeError) as error:
        operator(**arguments)
    return str(error.value)


def test_a_model_is_chosen_and_known_at_once(bpy, model_list, tmp_path):
    file = write_file(tmp_path / "dream.safetensors", SDXL)
    assert bpy.ops.sdi.choose_model(filepath=str(file)) == {"FINISHED"}
    assert bpy.context.scene.sdi.model == str(file)
    assert model_list.about(str(file)).startswith("dream.safetensors · SDXL · ")
    assert bpy.ops.sdi.set_model(model="owner/name") == {"FINISHED"}
    assert bpy.context.scene.sdi.model == "owner/name"
    assert "online access is off" in model_list.about("owner/name")
    assert bpy.ops.sdi.set_model(model="starter") == {"FINISHED"}
    assert model_list.about("starter").startswith("Built in · ")


def test_a_wrong_file_is_refused_and_the_setting_stays(bpy, model_list, tmp_path):
    settings = bpy.context.scene.sdi
    flux = write_file(tmp_path / "flux.safetensors", FLUX)
    style = write_file(tmp_path / "style.safetensors", {LORA: (1, 1)})
    assert "FLUX" in refused(bpy.ops.sdi.choose_model, filepath=str(flux))
    assert "is a LoRA" in refused(bpy.ops.sdi.set_model, model=str(style))
    assert "does not exist" in refused(bpy.ops.sdi.choose_model, filepath=str(tmp_path / "nothing.safetensors"))
    assert "no model_index.json" in refused(bpy.ops.sdi.choose_model_folder, directory=str(tmp_path))
    assert settings.model == "starter"


@pytest.mark.parametrize(
    ("operator", "argument"),
    [
        ("generate_from_file", "filepath"),
        ("choose_model", "filepath"),
        ("choose_model_folder", "directory"),
        ("add_lora", "filepath"),
        ("add_part", "filepath"),
    ],
)
def test_where_nothing_is_chosen_that_is_said(bpy, model_list, operator, argument):
    """And not what the folder lacks that Blender was started in."""
    what = "file" if argument == "filepath" else "folder"
    for nothing in ("", '""'):
        assert f"No {what} is chosen" in refused(getattr(bpy.ops.sdi, operator), **{argument: nothing})


def test_a_folder_is_no_lora(bpy, model_list, tmp_path):
    assert "is a folder: choose the .safetensors file" in refused(bpy.ops.sdi.add_lora, filepath=str(tmp_path))


def test_a_scan_reports_what_is_wrong_with_a_typed_model(bpy, model_list, tmp_path):
    settings = bpy.context.scene.sdi
    settings.model = str(write_file(tmp_path / "flux.safetensors", FLUX))
    assert model_list.about(settings.model) == ""
    scanned(bpy, model_list)
    assert model_list.is_refused(settings.model)
    assert "FLUX" in model_list.about(settings.model)


def test_what_a_run_takes_is_known_where_one_of_its_kind_was_made_here(
    bpy, extension, model_list, tmp_path, monkeypatch
):
    monkeypatch.setenv("SDI_ENGINE_STATE", str(tmp_path / "state"))
    scanned(bpy, model_list)
    scene = bpy.context.scene
    assert model_list.time_for(scene) == ""
    speeds = extension.sdi_engine.contract.speeds
    scene.sdi.prompt = "a red mug"
    speeds.record(extension.state.properties.request_from(scene), speeds.Speed(0.1, 0.5, 30.0, 64))
    scanned(bpy, model_list)
    scene.sdi.prompt = ""
    assert model_list.time_for(scene).startswith("About ")
    assert model_list.time_for(scene).endswith(" minutes on this machine")
    scene.sdi.preset = "paper"
    assert model_list.time_for(scene) == ""


def test_a_scan_finds_what_was_used_before(bpy, extension, model_list, tmp_path, results):
    file = write_file(tmp_path / "dream.safetensors", SDXL)
    (results / "one").mkdir(parents=True)
    (results / "one" / "request.json").write_text(json.dumps({"prompt": "a mug", "model": str(file)}))
    extension.jobs.placement.Placement().write(extension.sdi_engine.contract.job_folder.JobFolder(results / "one"))
    assert [model.model for model in scanned(bpy, model_list).recent] == [str(file)]


def test_a_refresh_during_a_scan_looks_once_more(bpy, model_list, tmp_path):
    first = model_list.refresh(bpy.context)
    settings = bpy.context.scene.sdi
    settings.model = str(tmp_path / "nothing")
    model_list.refresh(bpy.context)
    first.wait(60)
    while model_list.tick() is not None:
        pass
    assert model_list.is_refused(settings.model)


def test_loras_are_listed_and_passed_on(bpy, extension, model_list, tmp_path):
    scene = bpy.context.scene
    scene.sdi.prompt = "a mug"
    assert not bpy.ops.sdi.remove_lora.poll()
    for name in ("one", "two", "three"):
        file = write_file(tmp_path / f"{name}.safetensors", {LORA: (1, 1)})
        assert bpy.ops.sdi.add_lora(filepath=str(file)) == {"FINISHED"}
    assert scene.sdi.lora_index == 2
    assert "not a LoRA" in refused(bpy.ops.sdi.add_lora, filepath=str(write_file(tmp_path / "dream.safetensors", SDXL)))
    scene.sdi.loras[0].weight = 0.3
    scene.sdi.loras[1].use = False
    request = extension.state.properties.request_from(scene)
    assert [(lora.file, lora.weight) for lora in request.loras] == [
        (str(tmp_path / "one.safetensors"), 0.3),
        (str(tmp_path / "three.safetensors"), 1.0),
    ]
    for left in (2, 1, 0):
        assert bpy.ops.sdi.remove_lora() == {"FINISHED"}
        assert len(scene.sdi.loras) == left
        assert scene.sdi.lora_index == max(0, left - 1)


REQUESTS = [
    {},
    {
        "prompt": "a 🫖 “teapot”",
        "negative_prompt": "handles",
        "model": "owner/name",
        "loras": (("/a/style.safetensors", -0.35), ("/a/other.safetensors", 1.0)),
        "preset": "threestudio",
        "noise": "fixed-point",
        "perp_neg": "everywhere",
        "seed": 2**31 - 1,
        "steps": 1_000_000,
        "guidance_scale": 7.3,
        "inversion_guidance_scale": 0.0,
        "resolution": 2048,
        "views_per_step": 64,
        "face_budget": 2_000_000,
        "texture_size": 8192,
        "height": 0.1,
        "device": "mps",
        "overrides": {"t": [0.98, 0.2], "cameras.half_frame": None, "field.blob": "magic3d", "fade": True},
    },
    {"guidance_scale": -2.5, "inversion_guidance_scale": -7.5, "overrides": {"smoothness": 1e-5}},
    {"preset": "paper", "perp_neg": "off", "steps": 1, "guidance_scale": 0.001, "resolution": 16, "height": 12.3457},
]


@pytest.mark.parametrize("scale_length", [1.0, 0.01, 0.3048, 1000.0])
@pytest.mark.parametrize("fields", REQUESTS)
def test_settings_from_a_request_describe_that_request(bpy, extension, fields, scale_length):
    from sdi_text_to_3d.sdi_engine.contract.request import JobRequest, Lora

    scene = bpy.context.scene
    scene.unit_settings.scale_length = scale_length
    asked = {"prompt": "a mug"} | fields
    request = JobRequest(**asked | {"loras": tuple(Lora(*lora) for lora in asked.get("loras", ()))}).validated()
    scene.sdi.loras.add().file = "/a/left-over.safetensors"
    extension.state.properties.apply_request(scene, request)
    assert extension.state.properties.request_from(scene) == request


def test_a_request_is_what_a_person_typed(bpy, extension):
    """And not the nearest 32-bit float."""
    bpy.context.scene.sdi.prompt = "a mug"
    bpy.context.scene.sdi.guidance = 7.3
    bpy.context.scene.sdi.height = 0.1
    request = extension.state.properties.request_from(bpy.context.scene)
    assert (request.guidance_scale, request.height) == (7.3, 0.1)


def test_pasted_paths_are_understood(bpy, extension, model_list, tmp_path):
    file = write_file(tmp_path / "dream.SFT", SDXL)
    style = write_file(tmp_path / "style.sft", {LORA: (1, 1)})
    settings = bpy.context.scene.sdi
    assert bpy.ops.sdi.choose_model(filepath=f'"{file}"') == {"FINISHED"}
    assert settings.model == str(file)
    settings.model = "https://huggingface.co/owner/name/tree/main"
    assert extension.state.properties.model_of(settings) == "owner/name"
    settings.model = f" “{file}” "
    assert extension.state.properties.model_of(settings) == str(file)
    settings.loras.add().file = f"'{style}'"
    settings.prompt = "a mug"
    assert extension.state.properties.request_from(bpy.context.scene).loras[0].file == str(style)
    assert "download the .safetensors file" in refused(bpy.ops.sdi.set_model, model="https://civitai.com/models/4384")


QWEN3_4B = {"model.embed_tokens.weight": (8, 2560), "model.layers.0.self_attn.q_norm.weight": (128,)}
VAE_4 = {"decoder.conv_in.weight": (512, 4, 3, 3)}
VAE_16 = {"decoder.conv_in.weight": (512, 16, 3, 3)}


def test_parts_go_to_where_they_belong_and_wrong_pairings_are_named_at_the_click(bpy, extension, model_list, tmp_path):
    settings = bpy.context.scene.sdi
    model = write_file(tmp_path / "dream.safetensors", Z_IMAGE)
    encoder = write_file(tmp_path / "qwen.safetensors", QWEN3_4B)
    (tmp_path / "qwen").mkdir()
    (tmp_path / "qwen" / "tokenizer_config.json").write_text("{}")
    assert bpy.ops.sdi.choose_model(filepath=str(model)) == {"FINISHED"}
    assert model_list.trouble_with(str(model)).startswith("It lacks a VAE with 16 channels, as of Stable Diffusion")
    for file in (write_file(tmp_path / "sdxl_vae.safetensors", VAE_4), encoder):
        assert bpy.ops.sdi.add_part(filepath=str(file)) == {"FINISHED"}
    assert (settings.vae, settings.text_encoders) == (str(tmp_path / "sdxl_vae.safetensors"), str(encoder))
    request = extension.state.properties.request_from(bpy.context.scene, "a mug")
    with pytest.raises(extension.sdi_engine.errors.BadInputError, match=r"a VAE with 4 channels, .* with 16 channels"):
        model_list.completed(request)
    settings.vae = str(write_file(tmp_path / "ae.safetensors", VAE_16))
    request = extension.state.properties.request_from(bpy.context.scene, "a mug")
    assert model_list.completed(request) == request
    assert "is only a U-Net" in refused(
        bpy.ops.sdi.add_part, filepath=str(write_file(tmp_path / "other.safetensors", {"input_blocks.1.0.x": (1,)}))
    )


@pytest.mark.parametrize("operator", ["generate", "texture", "refine"])
def test_that_a_model_is_distilled_is_said_before_what_it_lacks(bpy, model_list, tmp_path, operator):
    settings = bpy.context.scene.sdi
    settings.model, settings.prompt = str(write_file(tmp_path / "dream_turbo.safetensors", Z_IMAGE)), "a mug"
    assert "was distilled to a few steps" in refused(getattr(bpy.ops.sdi, operator))
