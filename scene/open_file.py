"""What the open file says of the jobs that were started in it."""

from __future__ import annotations

import bpy

from ..jobs.placement import Placement
from . import markers, target


class OpenFile:
    """The file as it is now, looked through once for many jobs.

    Attributes:
        marked: the names of the jobs that have a marker, and the results folder that it notes; empty if it notes none.
        shown: the names of the jobs that have a marker, or anything else that shows them, likewise.
    """

    def __init__(self) -> None:
        helpers = markers.helpers()
        self.shown = {str(each[markers.JOB]): str(each.get(markers.RESULTS, "")) for each in helpers}
        self.marked = {
            str(each[markers.JOB]): str(each.get(markers.RESULTS, ""))
            for each in helpers
            if each.get(markers.PART) == markers.MARKER
        }
        self._path = bpy.data.filepath
        self._identities = target.identities()

    def is_of(self, job_name: str, where: Placement) -> bool:
        """Whether the job was started in this file."""
        if bool(where.blend_file) and where.blend_file == self._path:
            return True
        if where.target is not None:  # as in a file that was saved under another name, or recovered
            return where.target.identity in self._identities
        return job_name in self.marked
