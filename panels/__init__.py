"""What a person sees. Draw only: no disk, no network, no validation."""

from . import jobs, main, menus, object, presets, settings

CLASSES = (
    *presets.CLASSES,
    *main.CLASSES,
    *jobs.CLASSES,
    *settings.CLASSES,
    *object.CLASSES,
    *menus.CLASSES,
)
