"""Random numbers that depend on nothing but their purpose, so that a resumed run equals an uninterrupted one."""

from __future__ import annotations

import hashlib

from torch import Generator


def seed_of(*what: object) -> int:
    """A seed of 56 bits that depends on nothing but the `str` of each part of `what`."""
    digest = hashlib.sha256("/".join(map(str, what)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator_of(*what: object) -> Generator:
    """Random numbers that depend on nothing but `what`, on the CPU, so that every device draws the same ones."""
    return Generator().manual_seed(seed_of(*what))
