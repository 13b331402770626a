"""The search for models on this computer, with tiny ones of real names, headers and indexes."""

import json
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from headers import FIRST, SD1, SD2, SDXL, VAE, write_file
from sdi_text_to_3d.jobs import models
from sdi_text_to_3d.jobs.models import Scan, check_lora, examine_piece, find_models, hub_cache, inspect, size_words
from sdi_text_to_3d.jobs.placement import Placement
from sdi_text_to_3d.sdi_engine.config.parameters import NO_PARTS, Parts
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest
from sdi_text_to_3d.sdi_engine.diffusion.location import REAL_MODEL, REAL_MODEL_MIRRORS
from sdi_text_to_3d.sdi_engine.errors import BadInputError, EngineError, EnvironmentMissingError

INPAINTING = {**SD1, FIRST: (320, 9, 3, 3)}
FLUX = {"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}
LORA = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 320, 1, 1)}
OTHER = {"weight": (1,)}
TINY_DECODER = {"1.weight": (64, 4, 3, 3)}
PARTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer.json",
}


def write_folder(folder, kind="StableDiffusionPipeline", text_width=768, **changes):
    """A folder in Diffusers layout with 1,000 bytes in each network."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": kind} | {part: ["diffusers", "Class"] for part in PARTS} | changes
    (folder / "model_index.json").write_text(json.dumps(index))
    for part, name in PARTS.items():
        (folder / part).mkdir()
        (folder / part / name).write_bytes(bytes(1000) if name.endswith(".safetensors") else b"{}")
        if name.endswith(".safetensors"):
            (folder / part / "config.json").write_text("{}")
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"hidden_size": text_width}))
    return folder


def write_cached(cache, name, commit="abc", **changes):
    """A downloaded model: its files are links to blobs, as the hub's library makes them."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = write_folder(repository / "snapshots" / commit, **changes)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    blobs = repository / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    return snapshot


def write_job(results, name, model):
    (results / name).mkdir(parents=True)
    (results / name / "request.json").write_text(json.dumps({"prompt": "a mug", "model": model}))


@pytest.mark.parametrize(("shapes", "kind"), [(SDXL, "SDXL"), (SD1, "SD 1.x")])
def test_a_file_says_its_family_and_size(tmp_path, shapes, kind):
    file = write_file(tmp_path / "dream.v2.safetensors", shapes)
    found = inspect(str(file))
    assert (found.model, found.name, found.kind) == (str(file), "dream.v2.safetensors", kind)
    assert found.size == file.stat().st_size


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [(FLUX, "FLUX"), (INPAINTING, "inpainting"), (LORA, "is a LoRA"), (OTHER, "not contain a diffusion model")],
)
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path, shapes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        inspect(str(write_file(tmp_path / "file.safetensors", shapes)))


def test_a_file_beside_its_configuration_is_what_that_says(tmp_path):
    file = write_file(tmp_path / "dream.safetensors", SD2)
    write_folder(tmp_path / "dream", "StableDiffusionPipeline", text_width=1024)
    assert inspect(str(file)).kind == "SD 2.x"
    assert [found.model for found in find_models(tmp_path, None, cache=tmp_path / "none").in_folder] == [str(file)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a tensor",
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: struct.pack("<Q", 2**40) + content[8:],
        lambda content: struct.pack("<Q", 2) + b"[]",
        lambda content: struct.pack("<Q", 10) + b'{"a": "b"}',
        lambda content: struct.pack("<Q", 12) + b'{"a": {"\xff"}}',
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path, damage):
    file = write_file(tmp_path / "dream.safetensors", SD1)
    file.write_bytes(damage(file.read_bytes()))
    for look in (lambda: inspect(str(file)), lambda: check_lora(file)):
        with pytest.raises(BadInputError, match="damaged"):
            look()


def test_a_folder_with_other_weights_is_refused_as_the_engine_does(tmp_path):
    folder = write_folder(tmp_path / "older")
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(
        BadInputError, match=r"The text encoder of the model .* has no weights in the safetensors format"
    ):
        inspect(str(folder))


def test_folders_with_and_without_a_model(tmp_path):
    assert inspect(str(write_folder(tmp_path / "old", text_width=768))).kind == "SD 1.x"
    found = inspect(str(write_folder(tmp_path / "new", text_width=1024)))
    assert found.kind == "SD 2.x"
    assert found.size > 3000
    with pytest.raises(BadInputError, match="FluxPipeline"):
        inspect(str(write_folder(tmp_path / "flux", "FluxPipeline")))
    with pytest.raises(BadInputError, match="asks for code from outside"):
        inspect(str(write_folder(tmp_path / "evil", scheduler=["evil", "DDIMScheduler"])))
    (tmp_path / "new" / "model_index.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged"):
        inspect(str(tmp_path / "new"))
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        inspect(str(tmp_path / "nothing"))
    assert inspect("starter").size > 1_000_000


def test_a_lora_is_distinguished_from_a_model(tmp_path):
    check_lora(write_file(tmp_path / "style.safetensors", LORA))
    with pytest.raises(BadInputError, match="not a LoRA"):
        check_lora(write_file(tmp_path / "dream.safetensors", SD1))
    with pytest.raises(BadInputError, match="can run code"):
        check_lora(tmp_path / "style.pt")
    with pytest.raises(BadInputError, match="does not exist"):
        check_lora(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("name", "shapes", "sentence"),
    [
        ("dream.safetensors", SD1, r"is a model, and not a text encoder or VAE of one: choose it as the model"),
        ("unet.safetensors", {"input_blocks.1.0.x": (1,)}, r"is only a U-Net, and not a text encoder or VAE"),
        ("control.safetensors", {"control_model.x": (1,)}, r"is a ControlNet, and not a text encoder or VAE"),
        ("decoder.safetensors", TINY_DECODER, r"is the decoder of a tiny VAE: choose the file of its encoder"),
        ("vae.pt", VAE, r"VAE, text encoder or LoRA file .* can run code"),
    ],
)
def test_what_is_no_part_is_called_what_it_is(name, shapes, sentence, tmp_path):
    with pytest.raises(BadInputError, match=sentence) as refusal:
        examine_piece(write_file(tmp_path / name, shapes))
    assert "not a LoRA" not in str(refusal.value)
    assert "The LoRA file" not in str(refusal.value)


def test_a_file_of_a_part_is_recognised(tmp_path):
    assert examine_piece(write_file(tmp_path / "style.safetensors", LORA)).network is None
    assert examine_piece(write_file(tmp_path / "vae.safetensors", VAE)).network.is_vae
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="is no text encoder or VAE"):
        examine_piece(tmp_path / "empty")


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
def test_downloads_are_offered_once_they_are_whole(tmp_path):
    cache = tmp_path / "hub"
    write_cached(cache, "owner/whole")
    write_cached(cache, "owner/missing-blob")
    (cache / "models--owner--missing-blob" / "snapshots" / "abc" / "unet" / PARTS["unet"]).resolve().unlink()
    half = write_cached(cache, "owner/half-precision-only")
    weights = half / "unet" / PARTS["unet"]
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    write_cached(cache, "owner/flux", kind="FluxPipeline")
    (write_cached(cache, "owner/no-pipeline") / "model_index.json").unlink()
    (cache / "datasets--owner--pictures").mkdir()
    (cache / "models--owner--empty").mkdir()
    (cache / "version.txt").write_text("1")

    found = find_models(None, None, dict.fromkeys(["owner/missing-blob", "other/never-seen"], NO_PARTS), cache=cache)
    assert [(model.model, model.kind) for model in found.cached] == [("owner/whole", "SD 1.x")]
    assert 3000 <= found.cached[0].size < 4000
    assert not found.known["owner/missing-blob"].is_here
    assert not found.known["other/never-seen"].is_here
    assert not found.known[REAL_MODEL].is_here


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
def test_a_model_in_shards_is_whole_with_the_last_of_them(tmp_path):
    snapshot = write_cached(tmp_path, "owner/large")
    (snapshot / "unet" / PARTS["unet"]).unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": dict(zip("ab", names, strict=True))})
    for name, content in [(names[0], "x"), ("diffusion_pytorch_model.safetensors.index.json", index), (names[1], "x")]:
        assert not inspect("owner/large", tmp_path).is_here
        (snapshot / "unet" / name).write_text(content)
    assert inspect("owner/large", tmp_path).is_here


def test_a_folder_that_was_downloaded_in_part_is_refused_with_a_sentence(tmp_path):
    folder = write_folder(tmp_path / "dream")
    (folder / "unet" / PARTS["unet"]).rename(folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors")
    with pytest.raises(BadInputError, match=r"lacks the index of .*: download the model again"):
        inspect(str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
def test_the_recommended_model_is_any_copy_of_it(tmp_path):
    assert not inspect(REAL_MODEL, tmp_path).is_here
    write_cached(tmp_path, REAL_MODEL_MIRRORS[1], text_width=1024)
    found = inspect(REAL_MODEL, tmp_path)
    assert found.kind == "SD 2.x"
    assert found.label.startswith("Stable Diffusion 2.1 base · SD 2.x · ")


def test_models_of_the_persons_own_folder(tmp_path):
    own = tmp_path / "own"
    write_file(own / "deep" / "er" / "dream.safetensors", SDXL)
    write_file(own / "style.safetensors", LORA)
    write_file(own / "vae.safetensors", OTHER)
    (own / "broken.safetensors").write_bytes(b"x")
    (own / "old.ckpt").write_bytes(b"x")
    write_folder(own / "folder")
    write_file(own / ".hidden" / "dream.safetensors", SD1)
    found = find_models(own, None, cache=tmp_path / "none")
    assert [(model.name, model.kind) for model in found.in_folder] == [
        ("dream.safetensors", "SDXL"),
        ("folder", "SD 1.x"),
    ]
    assert "is a LoRA" in found.known[str(own / "style.safetensors")]


def test_a_folder_that_may_not_be_read_hides_no_other(tmp_path, monkeypatch):
    write_file(tmp_path / "dream.safetensors", SDXL)
    (tmp_path / "System Volume Information").mkdir()
    stat = Path.stat

    def refused_inside(path, **how):
        if path.parent.name == "System Volume Information":
            raise PermissionError(13, "Access is denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refused_inside)
    found = find_models(tmp_path, None, cache=tmp_path / "none")
    assert [model.name for model in found.in_folder] == ["dream.safetensors"]


def test_what_was_used_lately_and_is_still_there(tmp_path):
    results = tmp_path / "results"
    file = write_file(tmp_path / "dream.safetensors", SDXL)
    used = ["owner/old", str(file), "starter", str(tmp_path / "gone.safetensors"), str(file), 7, "owner/new"]
    for number, model in enumerate(used):
        write_job(results, f"2025-01-0{number}", model)
        Placement().write(JobFolder(results / f"2025-01-0{number}"))
    write_job(results, ".deleted-2026", "owner/deleted")
    (results / "2025-01-01" / "request.json").write_text("{")
    found = find_models(None, results, cache=tmp_path / "none")
    assert [model.model for model in found.recent] == ["owner/new", str(file), "owner/old"]


def test_a_path_that_somebody_elses_job_names_is_not_touched(tmp_path, monkeypatch):
    file = write_file(tmp_path / "dream.safetensors", SDXL)
    results = tmp_path / "results"
    for number, model in enumerate((str(file), r"\\\\server\share\model", "//server/share/model", "owner/theirs")):
        write_job(results, f"2025-01-0{number}", model)
    Placement().write(JobFolder(results / "2025-01-00"))
    (results / "2025-01-00" / "request.json").write_text(json.dumps({"prompt": "another", "model": str(file)}))
    looked_at = []
    monkeypatch.setattr(models, "inspect", lambda model, cache: looked_at.append(model) or models.Model(model, model))
    found = find_models(None, results, cache=tmp_path / "none")
    assert [model.model for model in found.recent] == ["owner/theirs"]
    assert "//server/share/model" not in looked_at
    assert str(file) not in looked_at


def test_a_scan_of_nothing_finds_the_starter(tmp_path):
    scan = Scan(partial(find_models, *[tmp_path / "none"] * 2, dict.fromkeys(["starter", "", "nothing"], NO_PARTS)))
    scan.wait(60)
    assert scan.is_over
    assert scan.models.recent == scan.models.cached == scan.models.in_folder == ()
    assert scan.models.known["starter"].is_here
    assert "does not exist" in scan.models.known["nothing"]


def test_a_stopped_scan_searches_no_further(tmp_path):
    for number in range(3):
        write_file(tmp_path / f"{number}.safetensors", SD1)
    answers = iter([True, True, False, False])
    found = find_models(tmp_path, None, cache=tmp_path / "none", go_on=lambda: next(answers, False))
    assert len(found.in_folder) == 1


def test_the_cache_is_where_the_hubs_own_library_looks(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert hub_cache({}) == home / ".cache" / "huggingface" / "hub"
    assert hub_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/huggingface/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"}) == home / "hf" / "hub"
    assert hub_cache({"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}) == Path("/c")
    monkeypatch.setattr(os, "environ", os.environ | {"HF_HUB_CACHE": "/from/environment"})
    assert hub_cache() == Path("/from/environment")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, ""),
        (10, "1 kB"),
        (500_000, "500 kB"),
        (10_000_000, "10.0 MB"),
        (5_130_000_000, "5.1 GB"),
        (234_000_000_000, "234 GB"),
    ],
)
def test_sizes_in_words(size, words):
    assert size_words(size) == words


def test_nothing_raises_anything_but_a_sentence(tmp_path):
    for model in ("", "\0", "a" * 5000, "//x", str(tmp_path)):
        with pytest.raises(EngineError, match=r"\w+ .*[:;]"):
            inspect(model)


def test_blenders_python_can_import_it():
    """It has neither torch nor safetensors."""
    code = (
        "import headless; headless.load(); import sys, sdi_text_to_3d.jobs.models\n"
        "sys.exit(bool({'torch', 'safetensors', 'numpy', 'bpy'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


ROUNDED = {FIRST: "I8"}


@pytest.mark.parametrize(
    ("shapes", "dtypes"),
    [
        ({name: shape for name, shape in SD1.items() if "first_stage" not in name}, {}),
        ({name: shape for name, shape in SDXL.items() if "embedders.1" not in name}, {}),
        (SD1, ROUNDED),
        (FLUX, {}),
        (INPAINTING, {}),
        (LORA, {}),
        (OTHER, {}),
    ],
)
@pytest.mark.parametrize("companion", [False, True])
def test_the_panel_and_the_engine_say_the_same(shapes, dtypes, companion, tmp_path):
    import torch
    from sdi_text_to_3d.sdi_engine.diffusion.loading import load_prior

    file = write_file(tmp_path / "dream.safetensors", shapes, dtypes)
    if companion:
        kind = "StableDiffusionXLPipeline" if "conditioner" in str(shapes) else "StableDiffusionPipeline"
        second = {"text_encoder_2": ["transformers", "Class"], "tokenizer_2": ["transformers", "Class"]}
        folder = write_folder(tmp_path / "dream", kind, **second)
        channels = {"in_channels": shapes.get(FIRST, (0, 4))[1], "out_channels": 4}
        (folder / "unet" / "config.json").write_text(json.dumps(channels))
        (folder / "vae" / "config.json").write_text('{"latent_channels": 4}')
    said = []
    asked = JobRequest("a mug", model=str(file))

    def panel():
        inspect(str(file))
        models.completed(asked, ())  # at the click

    for look in (panel, lambda: load_prior(str(file), torch.device("cpu"))):
        with pytest.raises(EngineError) as caught:
            look()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "dream" in said[0]


def test_a_model_for_few_steps_is_named_as_one(tmp_path):
    assert inspect(str(write_folder(tmp_path / "sd-turbo", text_width=1024))).kind == "SD 2.x, few steps"


def test_a_folder_of_models_lists_denoisers_with_what_they_take_and_all_else(tmp_path):
    """As ComfyUI has it: the denoiser, text encoder, VAE and LoRA, each in a folder for its kind."""
    z_image = {
        "layers.0.adaLN_modulation.0.weight": (15360, 256),
        "x_embedder.weight": (3840, 64),
        "cap_embedder.1.weight": (3840, 2560),
    }
    qwen = {"model.embed_tokens.weight": (8, 2560), "model.layers.0.self_attn.q_norm.weight": (128,)}
    model = write_file(tmp_path / "diffusion_models" / "dream.safetensors", z_image)
    write_file(tmp_path / "vae" / "ae.safetensors", {"decoder.conv_in.weight": (512, 16, 3, 3)})
    write_file(tmp_path / "loras" / "style.safetensors", LORA)
    known = find_models(tmp_path, None, cache=tmp_path / "none")
    assert [(found.model, found.kind, found.takes_parts) for found in known.in_folder] == [
        (str(model), "Z-Image", True)
    ]
    assert known.known[str(model)].trouble.startswith(
        'It lacks the text encoder Qwen 3 4B (usually "qwen_3_4b.safetensors")'
    )
    encoder = write_file(tmp_path / "text_encoders" / "qwen_3_4b.safetensors", qwen)
    (encoder.with_suffix("")).mkdir()
    (encoder.with_suffix("") / "tokenizer_config.json").write_text("{}")
    found = find_models(tmp_path, None, cache=tmp_path / "none")
    assert found.known[str(model)].with_parts == "With ae.safetensors, qwen_3_4b.safetensors"
    assert {piece.label.split(" · ")[1] for piece in found.pieces} == {
        "LoRA for an unknown model",
        "the text encoder Qwen 3 4B",
        "a VAE with 16 channels, as of Stable Diffusion 3, FLUX.1 and Z-Image",
    }
    request = models.completed(JobRequest("a mug", model=str(model)), found.pieces)
    assert (Path(request.vae).name, request.text_encoders) == ("ae.safetensors", (str(encoder),))
    other = write_file(tmp_path / "vae" / "other.safetensors", {"decoder.conv_in.weight": (512, 16, 3, 3)})
    chosen = find_models(tmp_path, None, {str(model): Parts(vae=str(other))}, tmp_path / "none")
    assert chosen.known[str(model)].with_parts == "With other.safetensors, qwen_3_4b.safetensors"


def test_a_vae_beside_a_model_by_its_name_is_taken_and_named(tmp_path):
    model = str(write_file(tmp_path / "dream.safetensors", SD1))
    write_file(tmp_path / "other.safetensors", SD1)
    beside = write_file(tmp_path / "dream.vae.safetensors", VAE)
    known = find_models(tmp_path, None, cache=tmp_path / "none").known
    assert known[model].with_parts == "With dream.vae.safetensors"
    assert known[str(tmp_path / "other.safetensors")].with_parts == ""
    assert models.completed(JobRequest("a mug", model=model), ()).vae == str(beside)


def test_what_a_run_needs_is_known_before_it_starts(tmp_path):
    big = {f"model.diffusion_model.middle_block.{number}.weight": (2**14, 2**14) for number in range(8)}
    found = inspect(str(write_file(tmp_path / "dream.safetensors", SDXL | big)))
    asked = JobRequest("a mug", preset="paper")
    assert "Needs about" in found.needs(asked, "cuda", 80 * 2**30)
    assert "one picture at a time" in found.needs(asked, "cuda", 8 * 2**30)
    assert "turns" in found.needs(asked, "cuda", 6_200_000_000)
    assert "choose a" in found.needs(asked, "cuda", 3 * 2**30)
    assert found.needs(asked, "cuda", 0) == found.needs(asked, "", 2**30) == ""
    assert inspect("starter").needs(asked, "cpu", 2**30) == ""


def test_a_file_that_stays_the_same_is_opened_once(tmp_path, monkeypatch):
    """So that a click that has the folder searched again need not wait long."""
    model = write_file(tmp_path / "dream.safetensors", SD1)
    lora = write_file(tmp_path / "style.safetensors", {"lora_unet_x.lora_up.weight": (1, 1)})
    seen = models.Seen()
    first = models.find_models(tmp_path, None, seen=seen)
    opened = []

    def noted(function):
        return lambda path, *more: (opened.append(Path(path)), function(path, *more))[1]

    for name in ("inspect", "examine_piece"):
        monkeypatch.setattr(models, name, noted(getattr(models, name)))
    again = models.find_models(tmp_path, None, seen=seen)
    assert (again.in_folder, again.pieces) == (first.in_folder, first.pieces)
    assert not {model, lora} & set(opened)
    os.utime(model, ns=(1, 1))
    models.find_models(tmp_path, None, seen=seen)
    assert model in opened
    assert lora not in opened
