import pytest

from sdi_engine.diffusion.header import Entry
from sdi_engine.diffusion.weight_bytes import bytes_of, is_packed_on_loading

BLOCK = "model.diffusion_model.double_blocks.0.img_attn.qkv.weight"
HEADER = {
    BLOCK: Entry("BF16", (64, 64)),
    "model.diffusion_model.double_blocks.0.img_attn.qkv.bias": Entry("BF16", (64,)),
    "model.diffusion_model.img_in.weight": Entry("F32", (64, 16)),
}


@pytest.mark.parametrize(
    ("precision", "bits", "expected"),
    [
        ("full", 16, 2 * (4096 + 64 + 1024)),
        ("full", 32, 4 * (4096 + 64 + 1024)),
        ("8-bit", 16, 4096 * 8.5 / 8 + 2 * (64 + 1024)),
        ("4-bit", 16, 4096 * 4.5 / 8 + 2 * (64 + 1024)),
        ("4-bit", 32, 4096 * 4.5 / 8 + 4 * (64 + 1024)),
    ],
)
def test_bytes_at_each_precision(precision, bits, expected):
    assert bytes_of(HEADER, precision, bits) == expected


@pytest.mark.parametrize(("kind", "bits"), [("F8_E4M3", 8.0), ("Q8_0", 8.5), ("Q4_K", 4.5), ("Q2_K", 2.625)])
def test_what_a_file_has_in_few_bits_stays_in_them(kind, bits):
    packed = {BLOCK: Entry(kind, (64, 256))}
    assert {bytes_of(packed, precision) for precision in ("full", "8-bit", "4-bit")} == {64 * 256 * bits / 8}
    assert bytes_of(packed) == 64 * 256 * 2  # of a text encoder


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("transformer_blocks.3.attn.to_q.weight", True),
        ("single_transformer_blocks.3.proj_mlp.weight", True),
        ("down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2.weight", True),
        ("model.diffusion_model.input_blocks.1.0.in_layers.2.weight", True),
        ("noise_refiner.0.attention.to_q.weight", True),
        ("layers.0.feed_forward.w1.weight", True),
        ("distilled_guidance_layer.layers.0.linear_1.weight", False),
        ("x_embedder.weight", False),
        ("time_embed.0.weight", False),
    ],
)
def test_only_weights_in_blocks_are_packed(name, packed):
    assert is_packed_on_loading(name, (64, 64)) is packed
    assert not is_packed_on_loading(name, (64,))
