"""The developers' scripts can be imported and print their help, so that none uses code that was removed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITH_PARSER = [
    "demo.py",
    "family_differences.py",
    "gallery.py",
    "measure_extension.py",
    "measure_ideal_prior.py",
    "measure_import.py",
    "measure_pool.py",
    "panel_picture.py",
]


@pytest.mark.parametrize("name", WITH_PARSER)
def test_a_script_shows_its_help(name):
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / name), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
