"""The kinds of thing in the starter world, grouped by where they are found; importing this package registers all."""

from ..builder import BUILDERS
from . import creatures, household, outdoors, vehicles

__all__ = ["BUILDERS", "creatures", "household", "outdoors", "vehicles"]
