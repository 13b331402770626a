"""What a person sees. Draw only: no disk, no network, no validation."""

from . import main

CLASSES = main.CLASSES
