"""What a model needs, by its headers alone; the headers are those of real models, without their numbers."""

import dataclasses
import json
import re
import struct

import pytest

from sdi_engine.config.settings import PRESETS
from sdi_engine.diffusion.header import Entry
from sdi_engine.diffusion.needs import MEASURES, PACKINGS, Weights, Work, packed_sizes_of, plan, sizes_of, weigh
from sdi_engine.errors import BadInputError

GIB = 2**30


def weights(family, resolution, denoiser, vae, *encoders):
    """A model in half precision whose parts have so many numbers."""
    headers = {"unet": denoiser, "vae": vae, **{f"text_encoder_{place}": each for place, each in enumerate(encoders)}}
    headers = {part: {"blocks.0.weight": Entry("F16", (numbers // 1024, 1024))} for part, numbers in headers.items()}
    parts = {part: sizes_of(header, part, part == "unet") for part, header in headers.items()}
    packed = {packing: packed_sizes_of(headers["unet"], packing) for packing in PACKINGS}
    return Weights(family, parts, packed, "unet", resolution, 8, 128)


def sdxl():
    return weights("SDXL", 1024, 2_567_463_684, 83_653_863, 123_060_480, 694_659_840)


def sd21():
    return weights("SD 2.x", 512, 865_910_724, 83_653_863, 340_387_840)


def test_what_is_plenty_takes_no_measures():
    found = plan(sd21(), Work(512, 2), "cpu", 64 * GIB)
    assert (found.measures, found.advice) == ((), "")
    assert 8 * GIB < found.need < 14 * GIB  # 13.1 GB were measured for such a run in 32 bits


@pytest.mark.parametrize(
    ("free", "last"), [(24, None), (20, "graphs again"), (16, "graphs in parts"), (12, "16 bits"), (8, "turns")]
)
def test_the_less_memory_there_is_the_more_is_done(free, last):
    """SDXL at 1024² fits on a card of 12 GB, and of 8 GB in turns."""
    found = plan(sdxl(), Work(1024, 1), "cuda", free * 10**9)
    count = 0 if last is None else list(MEASURES).index(last) + 1
    assert found.measures == tuple(MEASURES)[:count]
    assert found.need <= free * 10**9


def test_a_person_is_told_what_is_done_without_the_words_of_autograd():
    """The sentence is in Blender's panel, too."""
    said = plan(sdxl(), Work(1024, 1), "cuda", 8 * 10**9).words("cuda", "are there")
    assert "the VAE encodes each picture twice" in said
    assert not re.search(r"gradient|graph\b|block|bfloat", said)


def test_more_measures_never_need_more():
    needs = [plan(sdxl(), Work(1024, 2), "cuda", free * GIB).need for free in range(60, 4, -1)]
    assert needs == sorted(needs, reverse=True)


def test_what_cannot_fit_is_refused_with_settings_that_would():
    found = plan(sdxl(), Work(2048, 2), "cuda", 8 * GIB)
    assert found.is_hopeless
    assert "choose a resolution of 768 and 1 view per step" in found.words("cuda")
    assert not plan(sdxl(), Work(768, 1), "cuda", 8 * GIB).is_hopeless
    hopeless = plan(sdxl(), Work(1024, 1), "cuda", 2 * GIB)
    assert "smaller model" in hopeless.words("cuda")
    assert "device cpu" in hopeless.words("cuda")
    assert "device cpu" not in plan(sdxl(), Work(1024, 1), "cpu", 2 * GIB).words("cpu")


def test_the_work_of_a_run_is_that_of_its_settings():
    assert Work.of(PRESETS["standard"], 512) == Work(512, PRESETS["standard"].views_per_step, 2)
    assert Work.of(PRESETS["paper"], 512).texts == 4  # Perp-Neg


def test_a_truncated_file_of_gigabytes_is_refused_by_its_header_alone(tmp_path):
    file = tmp_path / "dream.safetensors"
    header = json.dumps({"weight": {"dtype": "F16", "shape": [2**16, 2**16], "data_offsets": [0, 2**33]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with file.open("r+b") as stream:
        stream.truncate(2**33)  # sparse: eight gigabytes, a few bytes too few
    with pytest.raises(BadInputError, match="truncated"):
        weigh(str(file))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_person_asks_for_is_counted(device):
    """On the CPU the model passes through memory as it is."""
    full, packed = (plan(sdxl(), Work(256, 1), device, 200 * GIB, True, bits) for bits in ("full", "4-bit"))
    assert (full.measures, packed.measures) == ((), ("4-bit",))
    assert packed.need < full.need
    loaded = plan(sdxl(), Work(256, 1), device, 200 * GIB, precision="4-bit", is_loaded=True)
    assert loaded.need < packed.need if device == "cpu" else loaded.need == packed.need
    assert plan(sdxl(), Work(1024, 1), "cuda", 6 * GIB, True).measures[-1] == "8-bit"
    assert "8-bit" not in plan(sdxl(), Work(1024, 1), "cuda", 6 * GIB, True, "full").measures


def test_weights_are_packed_where_nothing_else_helps():
    flux = weights("FLUX.1", 1024, 11_901_408_320, 83_819_683, 123_060_480, 4_762_310_656)
    assert plan(flux, Work(1024, 1), "cuda", 12 * GIB, may_pack=True).measures[-1] == "4-bit"
    found = plan(flux, Work(1024, 1), "cuda", 20 * GIB, may_pack=True)
    assert found.measures[-1] == "8-bit"
    assert "packed to 8 bits" in found.words("cuda")
    assert plan(flux, Work(1024, 1), "cuda", 12 * GIB).is_hopeless
    loaded = plan(flux, Work(1024, 1), "cuda", 40 * GIB, precision="4-bit", is_loaded=True)
    assert loaded.measures == ("4-bit",)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_tiny_vae_spares_the_graph_of_the_vae(device):
    """That of SDXL's is 12.7 GB for each view, the tiny one's 2.1."""
    tiny = dataclasses.replace(sdxl(), tiny_channels=64)
    without, found = (plan(each, Work(1024, 2), device, 200 * GIB) for each in (sdxl(), tiny))
    assert 20e9 < without.need - found.need < 26e9
    assert plan(tiny, Work(1024, 4), device, 200 * GIB).need - found.need > 2 * 2e9, "it is held of all views at once"
    short = plan(tiny, Work(1024, 2), device, 8 * GIB)
    assert "graphs again" in short.measures
    assert short.need <= plan(sdxl(), Work(1024, 2), device, 8 * GIB).need, "where memory is short it is no hindrance"
