"""A mesh that somebody has made: read and checked, its UV map and texels, its look of before, and a new look for it."""
