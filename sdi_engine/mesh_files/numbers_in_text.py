"""The numbers of a file that is text."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray


def numbers_in(text: bytes) -> NDArray[np.float64]:
    """All numbers of a text, parted by white space.

    Raises:
        ValueError: there is something else in it.
    """
    if not text.strip():
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of numpy, where it stops
        try:
            return np.fromstring(text.decode("ascii"), sep=" ")
        except DeprecationWarning as error:
            raise ValueError("a word among the numbers") from error
