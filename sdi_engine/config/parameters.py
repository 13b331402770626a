"""What a person may choose. Standard library only."""

from __future__ import annotations

PRESETS = ("draft", "standard", "paper", "threestudio")
NOISES = ("inversion", "random", "fixed", "fixed-point", "sgd", "interval")
NOISES_2D = (*NOISES, "cached")
"""κ may also be the model's previous prediction where there is only one image (`distill2d`)."""

PERP_NEG = ("off", "prediction", "everywhere")
DEVICES = ("auto", "cpu", "cuda", "mps")
STARTER_MODEL = "starter"
