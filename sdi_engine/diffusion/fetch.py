"""A model of the hub is downloaded by a process of its own, since the hub's library listens to nobody for gigabytes.

Where the person no longer wants it that process is ended, and the library goes on from what is there the next time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from ..system.helpers import HelperFailedError, answer_of
from .read_share import count_downloaded, downloading

FETCHER = Path(__file__).with_name("fetcher.py")

log = logging.getLogger(__name__)


def fetch(name: str, pipeline: str, absent: Iterable[str]) -> None:
    """Download a model's files into the hub's cache; how far that is, who waits is told (`read_share`).

    Why it could not is for the one to find out who reads them then, and is only noted here.

    Args:
        name: "owner/name".
        pipeline: of Diffusers, by its class's name.
        absent: parts that the pipeline is built without.
    """
    with downloading(), TemporaryDirectory(prefix="sdi-fetch-") as folder:
        told = Path(folder) / "told"
        asked = {"name": name, "pipeline": pipeline, "absent": list(absent), "told": str(told)}
        try:
            answer_of(FETCHER, json.dumps(asked).encode(), look=lambda: _pass_on(told))
        except HelperFailedError as error:
            log.info("The download of %s %s", name, error)


def _pass_on(told: Path) -> None:
    try:
        come, total = map(int, told.read_text().split())
    except (OSError, ValueError):
        return  # there is nothing yet
    if total > 0:
        count_downloaded(min(1.0, come / total))
