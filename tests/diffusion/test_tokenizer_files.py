"""Tokenizers from text encoders' files: they read what the same tokenizer reads from its folder."""

import pytest
import torch
from safetensors.torch import save_file
from sentencepiece_files import sentencepiece_bytes
from tiny_language_models import tiny_gemma_tokenizer
from tiny_models import tiny_t5
from torch import nn

from sdi_engine.diffusion import families
from sdi_engine.diffusion.sentencepiece_model import BPE, UNIGRAM, read_model
from sdi_engine.diffusion.tokenizer_files import tokenizer_in
from sdi_engine.errors import BadInputError

TEXTS = ["a red mug, from behind", "", "two  spaces\nand a line", "ünknown"]
T5, GEMMA = families.CHROMA.components[1], families.SANA.components[1]


class Encoder(nn.Module):
    """A text encoder that knows so many words."""

    def __init__(self, words):
        super().__init__()
        self._words = nn.Embedding(words, 2)

    def get_input_embeddings(self):
        return self._words


def written(data, path):
    numbers = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    save_file({"spiece_model": numbers, "model.embed_tokens.weight": torch.ones(2, 2)}, path)
    return path


def test_t5s(tmp_path):
    _, own = tiny_t5(8)
    pieces = [(own.convert_ids_to_tokens(number), -1.0 if number > 2 else 0.0) for number in range(len(own))]
    pieces.append(("▁red", -1.5))
    data = sentencepiece_bytes(pieces, UNIGRAM, ("<pad>", "</s>"))
    found = tokenizer_in(written(data, tmp_path / "t5.safetensors"), T5, ["transformers", "T5Tokenizer"], Encoder(128))
    for text in TEXTS:
        expected = own(text).input_ids
        told = found(text).input_ids
        assert found.convert_ids_to_tokens(told[-1]) == "</s>"
        assert found.decode(told) == own.decode(expected)
    assert found.tokenize("red") == ["▁red"]
    padded = found("a", padding="max_length", max_length=5)
    assert padded.input_ids[-1] == 0
    assert padded.attention_mask == [1, 1, 1, 0, 0][: len(padded.attention_mask)]


def test_gemmas(tmp_path):
    own = tiny_gemma_tokenizer()
    words = [own.convert_ids_to_tokens(number) for number in range(len(own))]
    data = sentencepiece_bytes(((word, -1.0) for word in words), BPE, ("<pad>", "<eos>", "<bos>"))
    kind = ["transformers", "GemmaTokenizer"]
    found = tokenizer_in(written(data, tmp_path / "gemma.safetensors"), GEMMA, kind, Encoder(128))
    for text in TEXTS:
        assert found(text).input_ids == own(text).input_ids
    merged = sentencepiece_bytes(((word, -1.0) for word in [*words, "re", "red"]), BPE, ("<pad>", "<eos>", "<bos>"))
    found = tokenizer_in(written(merged, tmp_path / "merged.safetensors"), GEMMA, kind, Encoder(128))
    assert found.tokenize("a red") == ["a", "▁", "red"]


def test_one_that_is_damaged_or_of_another_text_encoder_is_named(tmp_path):
    data = sentencepiece_bytes([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0)], UNIGRAM)
    kind = ["transformers", "T5Tokenizer"]
    for damaged in (data[:-3], data[:7], b"\x0f", b"", bytes(9), b"\xff" * 20):
        with pytest.raises(BadInputError, match=r"The tokenizer in .*t5\.safetensors\" cannot be loaded"):
            tokenizer_in(written(damaged or b"\x12\x00", tmp_path / "t5.safetensors"), T5, kind, Encoder(128))
    with pytest.raises(BadInputError, match="knows 4 words and the text encoder 3"):
        tokenizer_in(written(data, tmp_path / "t5.safetensors"), T5, kind, Encoder(3))


def test_a_model_is_read_as_it_was_written():
    model = read_model(sentencepiece_bytes([("▁a", -1.5), ("é", 2.0)], BPE, ("é",)))
    assert [(piece.text, piece.score, piece.kind) for piece in model.pieces] == [("▁a", -1.5, 1), ("é", 2.0, 3)]
    assert (model.kind, model.normalisation) == (BPE, b"")
