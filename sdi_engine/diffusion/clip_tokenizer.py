"""The tokenizer of CLIP, which all Stable Diffusion models share, built of its list of merges."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

MERGES_FILE = Path(__file__).parent / "configs" / "clip_tokenizer" / "merges.txt"
MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(pad_token: str = END) -> CLIPTokenizer:
    """The 49,408 tokens of CLIP (Radford et al. 2021): bytes, bytes that end a word, merges, start and end.

    Args:
        pad_token: what fills up a prompt to 77 tokens: the end token for OpenAI's CLIP, "!" (number 0) for OpenCLIP's.
    """
    lines = MERGES_FILE.read_text(encoding="utf-8").splitlines()[1:]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    symbols = _byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *(left + right for left, right in merges), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, merges, pad_token=pad_token, model_max_length=MAX_LENGTH)


def _byte_symbols() -> list[str]:
    """A visible character for each of the 256 bytes: those visible in Latin-1 first, then others from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(code) for code in visible] + [chr(256 + index) for index in range(256 - len(visible))]
