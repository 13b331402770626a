"""The kinds of thing in the starter world, by where one meets them; importing this registers them all."""

from . import creatures, household, outdoors, vehicles

__all__ = ["creatures", "household", "outdoors", "vehicles"]
