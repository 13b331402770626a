"""What buttons do. Thin: read properties, call jobs/ or scene/ through `session`, report."""

from . import check, generate, job, settings

CLASSES = (*generate.CLASSES, *job.CLASSES, *settings.CLASSES, *check.CLASSES)
