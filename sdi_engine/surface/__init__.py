"""Meshes that somebody has made: checked, their UV map and texels, their look, a new one; meshes that move."""
