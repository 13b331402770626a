"""The packages that `dev.py package` makes, without an installed Blender."""

import sys
from pathlib import Path

import pytest

import dev


def make_packages(folder: Path) -> Path:
    """Fill the folder as `python3 dev.py package` fills dist/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dev, "PACKAGE_FOLDER", folder)
        patch.setattr(dev, "set_up", lambda: Path(sys.executable))
        patch.setattr(sys, "argv", ["dev.py", "package"])
        assert dev.main() == 0
    return folder
