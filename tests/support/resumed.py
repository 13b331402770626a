"""A job that is interrupted and resumed, beside one that is not."""

import pytest

from sdi_engine.contract import events
from sdi_engine.errors import JobCancelledError


def make_both(make, whole, interrupted, step):
    """Make two jobs of the same request, and cancel the second at its first preview from a step on, then resume it.

    Args:
        make: does a folder's job; takes the folder, what hears of its events, and whether it is resumed.
        whole, interrupted: the jobs' folders.
        step: the number of the step.
    """
    make(whole)

    def cancel(event):
        if isinstance(event, events.PreviewSaved) and event.step >= step:
            interrupted.cancel_flag.touch()

    with pytest.raises(JobCancelledError):
        make(interrupted, cancel)
    interrupted.cancel_flag.unlink()
    make(interrupted, resume=True)
