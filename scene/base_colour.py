"""The base colour that a mesh has, from its materials: read where that is exact, else baked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from .baking import GREY, BakeFailedError, bake_corners, bake_picture
from .emission import colour_input, has_nodes
from .looks import slots_of_faces

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_READ_FROM = ("ShaderNodeBsdfPrincipled", "ShaderNodeBsdfDiffuse", "ShaderNodeEmission")
_ENCODED = "sRGB"
_LINEAR = ("Non-Color", "Linear Rec.709")
_NEARLY = 1e-4


@dataclass(frozen=True)
class Look:
    """The base colour of a mesh with L corners, as a picture or by its corners; neither if it is unknown.

    Attributes:
        picture: (n, n, 3) uint8, sRGB, on the UV map, row 0 at v = 1.
        corners: (L, 3) uint8, sRGB.
        notice: a sentence for the person if it is unknown, or less exact than it could be; else empty.
    """

    picture: np.ndarray | None = None
    corners: np.ndarray | None = None
    notice: str = ""


@dataclass(frozen=True)
class _Plain:
    """One colour, linear RGB."""

    colour: tuple[float, float, float]


@dataclass(frozen=True)
class _Attribute:
    """A colour attribute of the mesh."""

    name: str


@dataclass(frozen=True)
class _Picture:
    """An image on the UV map.

    Attributes:
        is_straight: its colours are shown as they are; a material that does not use the image's alpha multiplies them
            by it.
    """

    image: bpy.types.Image
    is_straight: bool


def base_colour(context: bpy.types.Context, mesh: bpy.types.Mesh, place: Matrix, uv_name: str, size: int) -> Look:
    """The base colour of a mesh. Nothing in the file is changed but the mesh.

    Args:
        context: the frame of its scene counts for what is animated.
        mesh: a mesh of our own, whose materials and colour attributes may be changed.
        place: its world matrix.
        uv_name: the UV map for a picture; empty without one.
        size: the edge of the picture in pixels.
    """
    materials = _used_materials(mesh)
    missing = next(_missing_images(materials.values()), None)
    if missing is not None:
        return Look(
            notice=f'The image "{missing.name}" is missing, so that the look of before is unknown: find it with '
            "File ▸ External Data ▸ Find Missing Files to start from it."
        )
    sources = {slot: _source_of(material, mesh, uv_name) for slot, material in materials.items()}
    kinds = set(sources.values())
    if len(kinds) == 1 and isinstance(only := next(iter(kinds)), _Picture):
        picture = _picture_of(only, size)
        if picture is not None:
            return Look(picture=picture)
    elif all(isinstance(each, _Plain | _Attribute) for each in kinds):
        return Look(corners=_corners_of(mesh, sources))
    try:
        if uv_name and _is_inside(mesh, uv_name):
            return Look(picture=bake_picture(context, mesh, place, uv_name, size))
        notice = "The UV map goes beyond 0…1, so that only the look at the corners of the faces is known."
        return Look(corners=bake_corners(context, mesh, place), notice=notice if uv_name else "")
    except BakeFailedError as error:
        return Look(notice=f"The look of before is unknown ({error}).")


def uses_tiles(mesh: bpy.types.Mesh) -> bool:
    """Whether a material of the mesh has an image of several UDIM tiles."""
    images = _images(mesh.materials)
    return any(image.source == "TILED" and len(image.tiles) > 1 for image in images)


def _used_materials(mesh: bpy.types.Mesh) -> dict[int, bpy.types.Material | None]:
    """The materials that faces have, by their index; None for empty slots, and for faces where there are no slots."""
    import numpy as np

    slots = list(mesh.materials) or [None]
    return {int(slot): slots[slot] for slot in np.unique(slots_of_faces(mesh))}


def _source_of(
    material: bpy.types.Material | None, mesh: bpy.types.Mesh, uv_name: str
) -> _Plain | _Attribute | _Picture | None:
    """What a material's base colour can be read from; None if its nodes have to be computed."""
    if material is None:
        return _default_source(mesh)
    if not has_nodes(material):
        return _Plain(tuple(material.diffuse_color)[:3])
    shader = _from(_surface_of(material))
    if shader is None or shader.bl_idname not in _READ_FROM or shader.mute:
        return None
    colour = colour_input(shader)
    if not colour.is_linked:
        return _Plain(tuple(colour.default_value)[:3])
    node = _from(colour)
    if node is None or node.mute or colour.links[0].from_socket.name != "Color":
        return None
    if node.bl_idname == "ShaderNodeTexImage":
        is_straight = node.outputs["Alpha"].is_linked
        return _Picture(node.image, is_straight) if _is_plainly_on(node, mesh, uv_name) else None
    if node.bl_idname == "ShaderNodeVertexColor":
        name = node.layer_name
    elif node.bl_idname == "ShaderNodeAttribute" and node.attribute_type == "GEOMETRY":
        name = node.attribute_name
    else:
        return None
    return _Attribute(name) if name in mesh.color_attributes else None


def _default_source(mesh: bpy.types.Mesh) -> _Plain | _Attribute:
    """For faces without a material: colours of a scan or of painted vertices where there is no material at all."""
    attribute = mesh.color_attributes.active_color
    if attribute is not None and not any(mesh.materials):
        return _Attribute(attribute.name)
    return _Plain(GREY[:3])


def _surface_of(material: bpy.types.Material) -> bpy.types.NodeSocket | None:
    output = material.node_tree.get_output_node("CYCLES")
    return output.inputs["Surface"] if output is not None else None


def _from(socket: bpy.types.NodeSocket | None) -> bpy.types.Node | None:
    """The node that feeds an input; None without one, or if its link is muted."""
    if socket is None or not socket.is_linked or socket.links[0].is_muted:
        return None
    return socket.links[0].from_node


def _is_plainly_on(node: bpy.types.ShaderNodeTexImage, mesh: bpy.types.Mesh, uv_name: str) -> bool:
    """Whether a node shows all of its image once on the whole of the UV map."""
    image, mapping = node.image, node.texture_mapping
    if image is None or image.source not in ("FILE", "GENERATED") or node.projection != "FLAT" or not uv_name:
        return False
    is_moved = any(mapping.translation) or any(mapping.rotation) or any(each != 1.0 for each in mapping.scale)
    if is_moved or node.extension != "REPEAT":
        return False
    rendered = next((each.name for each in mesh.uv_layers if each.active_render), "")
    vector = node.inputs["Vector"]
    if not vector.is_linked:
        return rendered == uv_name
    source = _from(vector)
    if source is None or source.mute:
        return False
    if source.bl_idname == "ShaderNodeTexCoord":
        return vector.links[0].from_socket.name == "UV" and rendered == uv_name
    return source.bl_idname == "ShaderNodeUVMap" and (source.uv_map or rendered) == uv_name


def _picture_of(source: _Picture, size: int) -> np.ndarray | None:
    """An image as a square picture, at most `size` wide; None if it cannot be read as such."""
    image = source.image
    space = image.colorspace_settings.name
    if space not in (_ENCODED, *_LINEAR):
        return None
    if max(image.size) <= size:
        pixels = _pixels_of(image)
    elif image.source == "FILE" and not image.is_dirty:  # a copy has what is in the file
        copy = image.copy()
        try:
            copy.scale(size, size)
            pixels = _pixels_of(copy)
        finally:
            bpy.data.images.remove(copy)
    else:
        return None
    colours = _shown(pixels, image, source.is_straight)
    return _eight_bit(colours if space == _ENCODED and not image.is_float else _encoded(colours))


def _pixels_of(image: bpy.types.Image) -> np.ndarray:
    """An image as a square (n, n, 4) float32 by repeating rows or columns, row 0 at v = 1."""
    import numpy as np

    width, height = image.size
    edge = max(width, height)
    pixels = np.empty(4 * width * height, np.float32)
    image.pixels.foreach_get(pixels)
    rows, columns = np.arange(edge) * height // edge, np.arange(edge) * width // edge
    return pixels.reshape(height, width, 4)[rows[::-1, None], columns]


def _shown(pixels: np.ndarray, image: bpy.types.Image, is_straight: bool) -> np.ndarray:
    """The colours (…, 3) that an image's pixels (…, 4) are shown with (`_Picture`).

    Blender keeps colours of bytes straight, and those of floats multiplied by their alpha.
    """
    import numpy as np

    colours, alpha = pixels[..., :3], pixels[..., 3:]
    if image.alpha_mode not in ("STRAIGHT", "PREMUL") or is_straight != image.is_float:
        return colours
    return np.divide(colours, alpha, out=colours.copy(), where=alpha > 0.0) if is_straight else colours * alpha


def _corners_of(mesh: bpy.types.Mesh, sources: dict[int, _Plain | _Attribute]) -> np.ndarray:
    """Each corner's colour, (L, 3) uint8, sRGB."""
    import numpy as np

    totals = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", totals)
    slots = np.repeat(slots_of_faces(mesh), totals)
    colours = np.empty((len(mesh.loops), 3), np.uint8)
    for slot, source in sources.items():
        at = slots == slot
        if isinstance(source, _Plain):
            colours[at] = _eight_bit(_encoded(np.array(source.colour)))
        else:
            colours[at] = _attribute_at_corners(mesh, source.name)[at]
    return colours


def _attribute_at_corners(mesh: bpy.types.Mesh, name: str) -> np.ndarray:
    """A colour attribute at every corner, (L, 3) uint8, sRGB."""
    import numpy as np

    attribute = mesh.color_attributes[name]
    values = np.empty(4 * len(attribute.data), np.float32)
    attribute.data.foreach_get("color_srgb", values)
    colours = _eight_bit(values.reshape(-1, 4)[:, :3])
    if attribute.domain == "CORNER":
        return colours
    vertices = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertices)
    return colours[vertices]


def _is_inside(mesh: bpy.types.Mesh, uv_name: str) -> bool:
    """Whether a UV map lies in 0…1, where Blender bakes."""
    import numpy as np

    uv = np.empty(2 * len(mesh.loops), np.float32)
    mesh.uv_layers[uv_name].uv.foreach_get("vector", uv)
    return bool(uv.min() >= -_NEARLY and uv.max() <= 1.0 + _NEARLY)


def _missing_images(materials: Iterable[bpy.types.Material | None]) -> Iterator[bpy.types.Image]:
    """Images of colours in files that are not there; Blender draws them in pink."""
    return (image for image in _images(materials) if image.source == "FILE" and not image.size[0])


def _images(materials: Iterable[bpy.types.Material | None]) -> Iterator[bpy.types.Image]:
    trees = [material.node_tree for material in materials if has_nodes(material)]
    while trees:
        for node in trees.pop().nodes:
            if node.bl_idname == "ShaderNodeTexImage" and node.image is not None:
                yield node.image
            elif getattr(node, "node_tree", None) is not None:
                trees.append(node.node_tree)


def _encoded(linear: np.ndarray) -> np.ndarray:
    """Linear colours as sRGB, both from 0 on."""
    import numpy as np

    positive = np.maximum(linear, 0.0)
    return np.where(positive <= 0.0031308, positive * 12.92, 1.055 * positive ** (1.0 / 2.4) - 0.055)


def _eight_bit(encoded: np.ndarray) -> np.ndarray:
    import numpy as np

    return (encoded * 255.0).round().clip(0, 255).astype(np.uint8)
