"""glTF's description looked at, before trimesh reads what it says."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from ..contract.source_mesh import MAX_FACES
from ..errors import BadInputError
from ..system.untrusted import parse_json
from .named_pictures import NamedPicture, Wrap, movement

NO_MATERIAL = "no material"
"""Name of the material that primitives without one are given: trimesh keeps UV coordinates only along with one."""

_HARMLESS = ("KHR_materials_", "KHR_lights_", "KHR_texture_transform", "EXT_texture_webp", "KHR_xmp")
"""Extensions that a file may require: none of them changes the geometry."""

_FLOAT = 5126
_FAN = 6
_POSED = "Bones and shape keys of the file are left out: the mesh is taken as it was modelled, without a pose."
_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror"}
"""Samplers' numbers of OpenGL; all else repeats."""

_JSON = 0x4E4F534A


def ready_gltf(content: bytes, kind: str, name: str) -> tuple[bytes, dict[str, NamedPicture | None], tuple[str, ...]]:
    """A file's bytes for trimesh, with a material for every primitive; and the pictures of the materials.

    Args:
        kind: ".glb" or ".gltf".
        name: the file's, for messages.

    Returns:
        The bytes, in which every material has a name of its own, the pictures by these names, and notices of what
        is left out, a sentence each.

    Raises:
        BadInputError: it is damaged, or compressed in a way that cannot be read.
    """
    text, rest = _taken_apart(content, name) if kind == ".glb" else (content, b"")
    try:
        document = parse_json(text.decode("utf-8-sig"))
        _take_pictures_maps(document)
        _check(document, name)
        pictures = _named_pictures(document)
        _give_materials(document)
        _give_scene(document)
        notices = (_POSED,) if _is_posed(document) else ()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadInputError(f'"{name}" is damaged, or no glTF file: export it again.') from error
    written = json.dumps(document).encode()
    if kind == ".gltf":
        return written, pictures, notices
    written += b" " * (-len(written) % 4)
    length = 20 + len(written) + len(rest)
    return struct.pack("<4sIIII", b"glTF", 2, length, len(written), _JSON) + written + rest, pictures, notices


def _taken_apart(content: bytes, name: str) -> tuple[bytes, bytes]:
    """The JSON of a GLB file, and all that follows it."""
    if len(content) < 20 or content[:4] != b"glTF":
        raise BadInputError(f'"{name}" is damaged, or no GLB file: export it again.')
    version, length, json_length, json_kind = struct.unpack("<IIII", content[4:20])
    if version != 2:
        raise BadInputError(f'"{name}" is glTF {version}, and only glTF 2 can be read: export it again.')
    if length > len(content) or json_kind != _JSON or json_length > len(content) - 20:
        raise BadInputError(f'"{name}" is not complete: copy or export it again.')
    return content[20 : 20 + json_length], content[20 + json_length : length]


def _check(document: Any, name: str) -> None:
    for extension in document.get("extensionsRequired", []):
        if not extension.startswith(_HARMLESS):
            raise BadInputError(
                f'"{name}" needs the extension {extension!r:.60}, which cannot be read: export it without compression.'
            )
    for accessor in document.get("accessors", []):
        if not 0 <= int(accessor["count"]) <= 3 * MAX_FACES:
            raise BadInputError(f'"{name}" has more than {MAX_FACES:,} triangles: simplify the mesh.')
    for primitive in _primitives(document):
        coordinates = primitive["attributes"].get("TEXCOORD_0")
        if coordinates is not None and document["accessors"][coordinates]["componentType"] != _FLOAT:
            raise BadInputError(f'"{name}" has compressed UV coordinates: export it without compression.')
        places = document["accessors"][primitive["attributes"]["POSITION"]]
        if places["componentType"] != _FLOAT or "sparse" in places:
            raise BadInputError(f'"{name}" has compressed vertices: export it without compression.')
        if primitive.get("mode") == _FAN:
            raise BadInputError(f'"{name}" has triangle fans, which cannot be read: export it as triangles.')
    if any("EXT_mesh_gpu_instancing" in node.get("extensions", {}) for node in document.get("nodes", [])):
        raise BadInputError(
            f'"{name}" has instances of a mesh, which cannot be read: make them real, and export again.'
        )


def _take_pictures_maps(document: Any) -> None:
    """Make the UV map on which a material's picture lies the first of its primitives, the only one that is read."""
    materials = document.get("materials", [])
    for primitive in _primitives(document):
        material = materials[primitive["material"]] if "material" in primitive else {}
        picture = _base_colour(material)
        attributes = primitive["attributes"]
        name = f"TEXCOORD_{_transform(picture).get('texCoord', picture.get('texCoord', 0))}"
        if name != "TEXCOORD_0" and name in attributes:
            attributes["TEXCOORD_0"], attributes[name] = (
                attributes[name],
                attributes.get("TEXCOORD_0", attributes[name]),
            )


def _named_pictures(document: Any) -> dict[str, NamedPicture | None]:
    """The materials' base colour pictures, by the materials' numbers, which become their names."""
    pictures: dict[str, NamedPicture | None] = {}
    for number, material in enumerate(document.get("materials", [])):
        material["name"] = str(number)
        picture = _base_colour(material)
        pictures[str(number)] = None
        if picture:
            transform = _transform(picture)
            (across, down), (right, lower) = transform.get("scale", (1.0, 1.0)), transform.get("offset", (0.0, 0.0))
            angle = transform.get("rotation", 0.0)
            # glTF's v begins at the top
            offset = right + down * math.sin(angle), 1.0 - lower - down * math.cos(angle)
            move = movement((across, down), offset, angle)
            pictures[str(number)] = NamedPicture(_name(document, picture), move, _wrap(document, picture))
    return pictures


def _base_colour(material: Any) -> Any:
    """A material's texture of the base colour, {} where it has none."""
    glossy = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
    return glossy.get("diffuseTexture") or material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})


def _transform(picture: Any) -> Any:
    return picture.get("extensions", {}).get("KHR_texture_transform", {})


def _wrap(document: Any, picture: Any) -> tuple[Wrap, Wrap]:
    """What lies outside a texture, along u and along v."""
    number = document["textures"][picture["index"]].get("sampler")
    sampler = {} if number is None else document["samplers"][number]
    return _WRAPS.get(sampler.get("wrapS"), "repeat"), _WRAPS.get(sampler.get("wrapT"), "repeat")


def _name(document: Any, picture: Any) -> str:
    """The name of a texture's image or its file, or else its number."""
    texture = document["textures"][picture["index"]]
    sources = [texture.get("source"), *(each.get("source") for each in texture.get("extensions", {}).values())]
    number = next((source for source in sources if source is not None), None)
    if number is None:
        return f"texture {picture['index']}"
    image = document["images"][number]
    file = image.get("uri", "data:")
    return str(image.get("name") or (f"image {number}" if file.startswith("data:") else file))


def _give_materials(document: Any) -> None:
    without = [primitive for primitive in _primitives(document) if "material" not in primitive]
    if without:
        materials = document.setdefault("materials", [])
        materials.append({"name": NO_MATERIAL})
        for primitive in without:
            primitive["material"] = len(materials) - 1


def _give_scene(document: Any) -> None:
    """Have a scene, of all nodes where the file has none; without cameras, below which trimesh loses what there is."""
    nodes = document.get("nodes", [])
    for node in nodes:
        node.pop("camera", None)
    if nodes and not document.get("scenes"):
        below = {child for node in nodes for child in node.get("children", [])}
        document["scenes"] = [{"nodes": [number for number in range(len(nodes)) if number not in below]}]
        document["scene"] = 0


def _is_posed(document: Any) -> bool:
    """Whether bones, or shape keys that are not at 0, have a part in where vertices are."""
    meshes, nodes = document.get("meshes", []), document.get("nodes", [])
    return any("skin" in node for node in nodes) or any(any(each.get("weights", [])) for each in (*meshes, *nodes))


def _primitives(document: Any) -> list[Any]:
    return [primitive for mesh in document.get("meshes", []) for primitive in mesh["primitives"]]
