"""The kinds of thing in the starter world, by where one meets them; importing this registers them all."""

from ..builder import BUILDERS
from . import creatures, household, outdoors, vehicles

__all__ = ["BUILDERS", "creatures", "household", "outdoors", "vehicles"]
