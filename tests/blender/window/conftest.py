"""Lets the test import its neighbours, which are programs in their own right, by their bare names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
