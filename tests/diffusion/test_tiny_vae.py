"""Gradients through a tiny VAE of the person's: the real formats, and which of them belongs to a model."""

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from tiny_models import write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.cli.options import request_of
from sdi_engine.cli.parser import make_parser
from sdi_engine.config.parameters import STARTER_MODEL, Parts
from sdi_engine.diffusion import parts
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.needs import weigh
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"sd": str(write_stable_diffusion(folder / "sd")), "sdxl": str(write_sdxl(folder / "sdxl"))}


@pytest.fixture(scope="module")
def tiny():
    return tiny_vae()


def tiny_vae(channels=4, halvings=1):
    torch.manual_seed(0)
    widths, blocks = (8,) * (halvings + 1), (1, *(2,) * halvings)
    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=widths,
        num_encoder_blocks=blocks,
        decoder_block_out_channels=widths,
        num_decoder_blocks=blocks[::-1],
    ).eval()


def written(vae, folder, name="taesd_encoder.safetensors", part="encoder", start=""):
    """The file of an encoder as its authors distribute it, or as ComfyUI writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = getattr(vae, part).layers.state_dict()
    save_file({start + name: tensor.contiguous() for name, tensor in state.items()}, folder / name)
    return str(folder / name)


@pytest.mark.parametrize("layout", ["its authors'", "ComfyUI's", "Diffusers' folder", "Diffusers' file"])
def test_images_are_encoded_by_the_vae_and_gradients_pass_the_tiny_one(models, tiny, tmp_path, layout):
    if layout.startswith("Diffusers'"):
        tiny.save_pretrained(tmp_path / "taesd", safe_serialization=True)
        file = tmp_path / "taesd" / ("" if layout.endswith("folder") else "diffusion_pytorch_model.safetensors")
    else:
        file = written(tiny, tmp_path, start="taesd_encoder." if layout == "ComfyUI's" else "")
    plain = load_prior(models["sd"], CPU)
    prior = load_prior(models["sd"], CPU, parts=Parts(tiny_vae=str(file)))
    weighed = weigh(models["sd"], Parts(tiny_vae=str(file)))
    assert weighed is not None
    assert weighed.tiny_channels == 8, "of which a person is told what it takes"
    images = torch.rand(2, 3, 35, 35, generator=torch.Generator().manual_seed(0))  # no whole cells
    leaf, alone = images.clone().requires_grad_(), images[..., :34, :34].clone().requires_grad_()
    x0 = prior.encode(leaf)
    assert torch.equal(x0, plain.encode(images))
    weights = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    (x0 * weights).sum().backward()
    (tiny.encode(alone * 2.0 - 1.0).latents * weights).sum().backward()
    torch.testing.assert_close(leaf.grad[..., :34, :34], alone.grad)
    assert torch.equal(prior.encode(images), x0.detach())
    again, kept = images.clone().requires_grad_(), []
    prior.save_memory(("graphs again",))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        x0 = prior.encode(again)
    (x0 * weights).sum().backward()
    torch.testing.assert_close(again.grad, leaf.grad)
    assert len(kept) < 9, "nothing of the tiny one's layers is held"


def test_one_is_found_in_a_folder_of_models_by_its_channels_and_its_name(models, tiny, tmp_path):
    approx = tmp_path / "vae_approx"
    files = {name: written(tiny, approx, f"{name}_encoder.safetensors") for name in ("taesd", "taesdxl")}
    written(tiny_vae(16), approx, "taef1_encoder.safetensors")
    written(tiny, approx, "taesd_decoder.safetensors", part="decoder")
    for model, name in (("sd", "taesd"), ("sdxl", "taesdxl")):
        options = make_parser().parse_args(
            ["generate", "a mug", "-o", str(tmp_path / "out"), "--model", models[model], "--tiny-vae", str(tmp_path)]
        )
        assert request_of(options, "a mug").tiny_vae == files[name]
    with pytest.raises(BadInputError, match="no tiny VAE for this SD 3 model"):
        parts.check(str(write_sd3(tmp_path / "sd3")), Parts(tiny_vae=str(tmp_path)))


def test_what_does_not_belong_together_is_refused_by_the_header(models, tiny, tmp_path):
    sixteen = written(tiny_vae(16), tmp_path, "taef1_encoder.safetensors")
    other = written(tiny, tmp_path, "taesdxl_encoder.safetensors")
    decoder = written(tiny, tmp_path, "taesd_decoder.safetensors", part="decoder")
    plain = written(tiny, tmp_path, "quick.safetensors")
    for model, file, sentence in (
        (
            models["sd"],
            sixteen,
            "a tiny VAE with 16 channels, by its name of the kind taef1, and this SD 1.x model needs",
        ),
        (models["sd"], other, 'of the kind taesdxl.* needs one with 4 channels .usually "taesd_encoder.safetensors"'),
        (models["sd"], decoder, "decoder of a tiny VAE: choose the file of its encoder"),
        (models["sd"], f"{models['sd']}/vae", "no tiny VAE: choose one"),
        (STARTER_MODEL, plain, "has no VAE that a tiny one could stand in for"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            parts.check(model, Parts(tiny_vae=file))
    with pytest.raises(BadInputError, match="a tiny VAE with 4 channels: choose it as the tiny VAE"):
        parts.check(models["sd"], Parts(vae=plain))
    assert parts.network_at(tmp_path / "quick.safetensors").is_tiny_vae
    with pytest.raises(BadInputError, match="makes cells of 4 pixels"):
        load_prior(models["sd"], CPU, parts=Parts(tiny_vae=written(tiny_vae(4, 2), tmp_path / "finer")))


def test_a_damaged_one_is_refused(models, tiny, tmp_path):
    state = tiny.encoder.layers.state_dict()
    state["1.conv.0.weight"] = torch.full_like(state["1.conv.0.weight"], torch.nan)
    save_file(state, tmp_path / "taesd_encoder.safetensors")
    with pytest.raises(BadInputError, match="NaN or infinite"):
        load_prior(models["sd"], CPU, parts=Parts(tiny_vae=str(tmp_path / "taesd_encoder.safetensors")))
