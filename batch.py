"""Makes an object for each line of a file, without a window, whether the extension is installed or not.

blender --background --python batch.py -- --prompts prompts.txt --output out.blend --results DIR [--preset draft] …

`-- --help` lists the options; with the extension installed, `blender --command sdi …` takes the same ones.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    folder = str(Path(__file__).resolve().parent)
    sys.path.insert(0, folder)
    import headless

    sys.path.remove(folder)
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    commands = import_module(f"{headless.enable().__name__}.console.commands")
    return commands.main(arguments, program="blender --background --python batch.py --")


if __name__ == "__main__":
    sys.exit(main())
