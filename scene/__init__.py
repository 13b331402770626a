"""Results into the scene."""
