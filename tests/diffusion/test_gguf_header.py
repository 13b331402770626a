"""The header of `.gguf` files, read without the format's package, and that none does harm."""

import random
import struct

import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf_files import write_blocks, write_gguf

from sdi_engine.diffusion.gguf_header import KINDS, READ_BLOCKS, read_gguf
from sdi_engine.diffusion.header import read_header
from sdi_engine.errors import BadInputError


@pytest.fixture
def file(tmp_path):
    tensors = {"double_blocks.0.img_attn.qkv.weight": torch.randn(6, 64), "img_in.bias": torch.randn(5)}
    return write_gguf(tmp_path / "model.gguf", tensors)


def test_the_types_are_those_of_the_formats_package():
    assert {number: name for number, (name, _, _) in KINDS.items()} == {
        kind.value: kind.name for kind in GGML_QUANT_SIZES
    }
    assert {name: sizes for name, *sizes in KINDS.values()} == {k.name: list(s) for k, s in GGML_QUANT_SIZES.items()}


def test_the_types_that_are_read_are_those_that_diffusers_can_unpack():
    from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES

    assert {*READ_BLOCKS, "BF16"} == {kind.name for kind in SUPPORTED_GGUF_QUANT_TYPES}


def test_names_types_shapes_and_places_are_those_that_the_package_reads(file):
    found = read_gguf(file)
    theirs = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert found.keys() == theirs.keys()
    for name, tensor in theirs.items():
        ours = found[name]
        assert (ours.kind, ours.offset, ours.length) == (tensor.tensor_type.name, tensor.data_offset, tensor.n_bytes)
        assert ours.shape == tuple(reversed(tensor.shape.tolist()))
    assert read_header(file)["double_blocks.0.img_attn.qkv.weight"].dtype == "Q8_0"


def test_the_shape_of_before_is_the_shape(tmp_path):
    """ComfyUI's converter writes kernels of convolutions, whose rows fill no block, in another shape."""
    writer = GGUFWriter(str(tmp_path / "unet.gguf"), "sdxl")
    writer.add_array("comfy.gguf.orig_shape.conv.weight", [8, 4, 3, 3])
    writer.add_tensor("conv.weight", torch.randn(9, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_gguf(tmp_path / "unet.gguf")["conv.weight"].shape == (8, 4, 3, 3)


def test_blocks_of_256_weights(tmp_path):
    tensor = read_gguf(write_blocks(tmp_path / "model.gguf", "a", 3, "Q4_K", 2 * 144))["a"]
    assert (tensor.kind, tensor.shape, tensor.length) == ("Q4_K", (3, 512), 3 * 288)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data[:-64], "it is truncated"),
        (lambda data: data[:100], "it is truncated"),
        (lambda data: data[:10], "it is truncated"),
        (lambda data: b"", "does not start like a GGUF file"),
        (lambda data: b"GGML" + data[4:], "does not start like a GGUF file"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "another byte order"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version 1 of the GGUF format"),
        (lambda data: data[:8] + struct.pack("<Q", 2**63) + data[16:], "cannot be loaded"),
        (lambda data: data[:16] + struct.pack("<Q", 2**63) + data[24:], "cannot be loaded"),
        (lambda data: data[:24] + struct.pack("<Q", 2**63) + data[32:], "it is truncated"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(change, sentence, file):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BadInputError, match=rf"model\.gguf\".*{sentence}"):
        read_gguf(file)


@pytest.mark.parametrize(("alignment", "kind"), [(24, "uint32"), (0, "uint32"), (32, "uint64")])
def test_an_alignment_that_the_package_does_not_read_is_refused(alignment, kind, tmp_path):
    writer = GGUFWriter(str(tmp_path / "model.gguf"), "flux")
    getattr(writer, f"add_{kind}")("general.alignment", alignment)
    writer.add_tensor("a", torch.zeros(8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadInputError, match="its header is invalid"):
        read_gguf(tmp_path / "model.gguf")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match="cannot be read"):
        read_gguf(tmp_path / "model.gguf")


def test_an_unknown_type_is_named(file):
    data = bytearray(file.read_bytes())
    place = data.index(b"qkv.weight") + len(b"qkv.weight") + 4 + 2 * 8
    assert struct.unpack_from("<I", data, place) == (GGMLQuantizationType.Q8_0.value,)
    struct.pack_into("<I", data, place, 99)
    file.write_bytes(data)
    with pytest.raises(BadInputError, match=r"of a type \(99\) that is not known: choose another"):
        read_gguf(file)


def test_no_damage_does_more_than_a_sentence(file):
    data, chance = file.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(data) - 4 * 64)] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            tensors = read_gguf(file)
        except BadInputError:
            refused += 1
            continue
        assert all(tensor.offset + tensor.length <= len(data) for tensor in tensors.values())
    assert 0 < refused < 200
