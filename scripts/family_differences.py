"""Prints how far predictions and samples are from those of Diffusers' own pipelines, for each family, as a table.

    python scripts/family_differences.py

The tests measure that on tiny models in their real formats, and hold it below 1e-4. Here are their figures.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/diffusion/test_flow_families.py", "tests/diffusion/test_language_families.py")
CHOSEN = "sampling_is_that_of_diffusers or predictions_are_those_of_diffusers"
LINE = re.compile(
    r"^[^A-Z]*(?P<family>\S.*?) +(?:\d+ px, )?guidance +(?P<guidance>[\d.]+) largest difference (?P<found>\S+)"
)


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    command = [sys.executable, "-m", "pytest", "-s", "-q", "-n", "0", "-k", CHOSEN, *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found: dict[str, dict[bool, float]] = {}
    for line in map(LINE.match, done.stdout.splitlines()):
        if line is not None:
            of_family = found.setdefault(line["family"], {})
            is_guided = float(line["guidance"]) != 1.0
            of_family[is_guided] = max(of_family.get(is_guided, 0.0), float(line["found"]))
    print("| family | unguided | guided |\n|---|---|---|")
    for family, largest in found.items():
        print(f"| {family} | {largest.get(False, float('nan')):.1e} | {largest.get(True, float('nan')):.1e} |")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
