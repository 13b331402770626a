"""The operators behind the buttons. They are thin: read properties, call jobs/ or scene/ through `session`, report."""

from . import asset, generate, job, model, presets, renamed, settings, setup, texture, textures

CLASSES = (
    *generate.CLASSES,
    *job.CLASSES,
    *settings.CLASSES,
    *model.CLASSES,
    *presets.CLASSES,
    *setup.CLASSES,
    *asset.CLASSES,
    *texture.CLASSES,
    *textures.CLASSES,
    *renamed.CLASSES,
)
