"""The process that `fetch.fetch` starts: which model from the standard input, and its files into the hub's cache."""

from __future__ import annotations

import json
import sys


def main() -> None:
    asked = json.load(sys.stdin)
    import diffusers

    absent = dict.fromkeys(asked["absent"])
    getattr(diffusers, asked["pipeline"]).download(asked["name"], use_safetensors=True, **absent)


if __name__ == "__main__":
    main()
