"""Doing jobs: one in its folder, or many from a queue, on this computer or on a cluster."""
