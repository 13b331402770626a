"""Panels, lists, menus and preferences. They only draw: no disk, no network, no validation."""

from . import dialog, jobs, main, menus, object, preferences, presets, settings, texture

CLASSES = (
    *preferences.CLASSES,
    *presets.CLASSES,
    *main.CLASSES,
    *jobs.CLASSES,
    *texture.CLASSES,
    *settings.CLASSES,
    *object.CLASSES,
    *dialog.CLASSES,
    *menus.CLASSES,
)
