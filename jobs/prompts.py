"""Prompts from a text file: one per line; lines that begin with # are comments."""

from __future__ import annotations

from pathlib import Path

from ..sdi_engine.errors import BadInputError
from ..sdi_engine.system.untrusted import read_list


def read_prompts(file: Path) -> list[str]:
    """The file's prompts, at least one.

    Raises:
        BadInputError: it is a folder, cannot be read, is too large for a list, is not text, or has no prompt.
    """
    if file.is_dir():
        raise BadInputError(f'"{file}" is a folder: choose the text file with the prompts.')
    try:
        prompts = read_list(file)
    except OSError as error:
        raise BadInputError(
            f'The prompts in "{file}" cannot be read ({error.strerror or error}): give a text file.'
        ) from error
    except ValueError as error:
        raise BadInputError(f'"{file}" is not UTF-8 text: save it as UTF-8, with one prompt per line.') from error
    if not prompts:
        raise BadInputError(f'"{file}" has no prompts: write one per line.')
    return prompts
