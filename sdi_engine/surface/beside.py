"""The files beside a mesh file."""

from __future__ import annotations

from pathlib import Path

from trimesh.resolvers import FilePathResolver

from .mtl import ready_mtl
from .named_pictures import NamedPicture


class Beside(FilePathResolver):
    """What is read beside a mesh file, from its own folder and those below it only.

    Attributes:
        pictures: of an OBJ file's materials, by their names, as the files beside it say.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file.absolute()))
        self.pictures: dict[str | None, NamedPicture | None] = {}
        self._kind = file.suffix.lower()

    def get(self, name: str) -> bytes:
        """The content of a file; raises OSError or ValueError."""
        content = super().get(name)
        if self._kind == ".obj" and name.lower().endswith(".mtl"):
            content, pictures = ready_mtl(content)
            self.pictures.update(pictures)
        return content
