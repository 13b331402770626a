"""Textures: packed, so that the .blend file is complete, and with a file path, so that exports have them too.

The FBX, GLB and USD exporters include packed images. Blender's OBJ exporter refers to the file but does not write it;
`write` does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.system.files import is_file, is_there, make_folder_of_ours, open_to_read, write_atomically
from .names import file_name

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
_SMALLER = 1024
_MOST_PIXELS = 2048 * 2048
"""The average colour of a larger picture is taken from a reduced copy."""

log = logging.getLogger(__name__)


def nodes_of(material: bpy.types.Material) -> Iterator[bpy.types.ShaderNodeTexImage]:
    """The material's image texture nodes that have an image."""
    for node in material.node_tree.nodes if material.node_tree is not None else ():
        if node.bl_idname == "ShaderNodeTexImage" and node.image is not None:
            yield node


def shader_inputs(node: bpy.types.Node) -> Iterator[str]:
    """The names of the inputs of a Principled BSDF that the node feeds, directly or through other nodes."""
    for link in (link for output in node.outputs for link in output.links):
        if link.to_node.bl_idname == "ShaderNodeBsdfPrincipled":
            yield link.to_socket.name
        else:
            yield from shader_inputs(link.to_node)


def is_colour(node: bpy.types.ShaderNodeTexImage) -> bool:
    """Whether a node's image is the surface's colour, and not its normals or the like."""
    return any("Color" in name for name in shader_inputs(node))


def name(image: bpy.types.Image, prompt: str, folder: JobFolder, suffix: str = "") -> None:
    """Name a packed image after the prompt, with a suffix where a material has several, and write it as a file of that
    name into the job's folder, if that is possible.

    Image and file must have the same name: Blender's USD exporter writes a file with the image's name, but refers to
    one with the file's name.
    """
    image.name = file_name(prompt) + suffix
    ending = _ENDINGS.get(image.file_format, "")
    path = folder.textures_folder / f"{image.name}{ending}"
    try:
        if image.packed_file is not None and ending:
            make_folder_of_ours(folder.textures_folder)
        is_written = image.packed_file is not None and bool(ending) and _put(image.packed_file.data, path)
    except OSError as error:
        log.info("The texture was not written to %s: %s", path, error)
        is_written = False
    image.filepath_raw = str(path) if is_written else f"//{path.name}"
    for packed in image.packed_files:
        packed.filepath = image.filepath_raw  # where File ▸ External Data ▸ Unpack puts it


def write(things: Iterable[bpy.types.Object], folder: Path) -> list[Path]:
    """Write the packed textures of objects as files into a folder, under the names that exported files refer to.

    What was painted on them, and is not packed yet, is packed.

    Returns:
        All these files, including those that existed already.

    Raises:
        FileExistsError: there is another file of that name.
        OSError: a file cannot be written.
    """
    files = []
    for image in dict.fromkeys(_images_of(things)):
        if image.is_dirty:
            image.pack()  # what was painted since, as Image ▸ Save does
        path = folder / bpy.path.basename(image.filepath)
        if not _put(image.packed_file.data, path):
            raise FileExistsError(f'"{path}" is another file')
        files.append(path)
    return files


def _images_of(things: Iterable[bpy.types.Object]) -> Iterator[bpy.types.Image]:
    materials = (slot.material for thing in things for slot in thing.material_slots if slot.material is not None)
    images = (node.image for material in materials for node in nodes_of(material))
    return (image for image in images if image.packed_file is not None and image.filepath)


def _put(data: bytes, path: Path) -> bool:
    """Write a file; returns False, and leaves it, if one with other content exists. Raises OSError."""
    if not is_there(path):
        write_atomically(path, data)
        return True
    if not is_file(path):
        return False
    with open_to_read(path) as file:
        return file.read(len(data) + 1) == data


def show_in_solid_shading(placed: bpy.types.Object) -> None:
    """Set each material's viewport colour, which Solid shading shows, to its texture's average over the surface."""
    for material in placed.data.materials:
        for node in nodes_of(material):
            if is_colour(node):
                colour = colour_on(placed.data, node.image)
                if colour is not None:
                    material.diffuse_color = colour
                break


def colour_on(
    mesh: bpy.types.Mesh, image: bpy.types.Image, uv_map: str = ""
) -> tuple[float, float, float, float] | None:
    """The mean of the texels at the mesh's corners, by the UV map of this name or else the active one, linear RGBA.

    None without UVs or pixels.
    """
    import numpy as np

    uv_layer = mesh.uv_layers.get(uv_map) or mesh.uv_layers.active
    if uv_layer is None or not mesh.loops:
        return None
    pixels = _pixels_of(image)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    uvs = np.empty(2 * len(mesh.loops), dtype=np.float32)
    uv_layer.uv.foreach_get("vector", uvs)
    columns, rows = (np.nan_to_num(uvs).reshape(-1, 2) % 1.0 * (width, height)).astype(int).T
    texels = pixels[np.minimum(rows, height - 1), np.minimum(columns, width - 1)]
    return linear(texels[:, :3].mean(axis=0))


def _pixels_of(image: bpy.types.Image) -> np.ndarray | None:
    """Pixels (H, W, 4) float32 in sRGB, rows from the bottom up, possibly of a reduced copy; None if it has none."""
    import numpy as np

    width, height = image.size
    if not width or not height:
        return None
    if width * height > _MOST_PIXELS:
        small = image.copy()
        try:
            small.scale(min(width, _SMALLER), min(height, _SMALLER))
            return _pixels_of(small)
        finally:
            bpy.data.images.remove(small)
    pixels = np.empty(4 * width * height, dtype=np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)


def linear(encoded: np.ndarray) -> tuple[float, float, float, float]:
    """An sRGB colour, (3,) in 0…1, as linear, opaque RGBA."""
    import numpy as np

    values = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return (*map(float, values), 1.0)
