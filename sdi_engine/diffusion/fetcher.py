"""The process that `fetch.fetch` starts: which model from the standard input, and its files into the hub's cache.

How far it is stands in the file that it is told: bytes that have come and bytes in all, again and again.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

SECONDS = 0.5
"""It is told at most so often."""


def main() -> None:
    asked = json.load(sys.stdin)
    import diffusers

    pipeline = getattr(diffusers, asked["pipeline"])
    its_module = sys.modules[pipeline.download.__module__]
    its_module.snapshot_download = functools.partial(_download, its_module.snapshot_download, Path(asked["told"]))
    pipeline.download(asked["name"], use_safetensors=True, **dict.fromkeys(asked["absent"]))


def _download(snapshot_download: Any, told: Path, *names: Any, **options: Any) -> Any:
    """Download as the hub's library does, and tell how far it is."""
    files = snapshot_download(*names, **options, dry_run=True)
    total = sum(file.file_size or 0 for file in files if file.will_download)

    class Told(tqdm):
        """A bar that nobody sees. Those of bytes know what has come; of what will, only what has begun."""

        most = 0.0

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named | {"file": io.StringIO(), "mininterval": SECONDS})

        def display(self, *arguments: Any, **named: Any) -> None:
            if self.unit != "B" or self.n <= Told.most:
                return
            Told.most = self.n
            part = told.with_suffix(".part")
            with suppress(OSError):  # on Windows while it is read
                part.write_text(f"{self.n:.0f} {total}")
                part.replace(told)

    return snapshot_download(*names, **options, tqdm_class=Told)


if __name__ == "__main__":
    main()
