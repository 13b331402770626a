"""Mesh files from outside, read as one surface with its look."""
