"""Whoever does jobs: one in its folder, many from a queue."""
