"""The material of a texture that was made for a mesh."""

from __future__ import annotations

import bpy

from ..jobs.arrays import UnsoundFileError
from ..jobs.texture_files import check_texture
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.contract.request import JobRequest
from . import materials, origin, textures
from .names import object_name


def load(folder: JobFolder, prompt: str) -> bpy.types.Image:
    """The job's texture as a new image, packed.

    Raises:
        UnsoundFileError: it is damaged, or none of ours.
        OSError: there is none, or it cannot be read.
    """
    check_texture(folder)
    image = bpy.data.images.load(str(folder.texture_file), check_existing=False)
    try:
        if not image.size[0]:  # which makes Blender read it
            raise UnsoundFileError("it is damaged")
        image.pack()
    except (UnsoundFileError, RuntimeError) as error:
        bpy.data.images.remove(image)
        raise UnsoundFileError("it is damaged") from error
    textures.name(image, prompt, folder)
    return image


def make(image: bpy.types.Image, uv_map: str, folder: JobFolder, request: JobRequest) -> bpy.types.Material:
    """A new material with a texture on the UV map of this name."""
    material, shader = materials.principled(object_name(request.prompt))
    nodes = material.node_tree.nodes
    picture = nodes.new("ShaderNodeTexImage")
    picture.image = image
    materials.connect_colour(material, picture, shader)
    place = nodes.new("ShaderNodeUVMap")
    place.uv_map = uv_map
    place.location = picture.location.x - place.width - 60.0, picture.location.y
    material.node_tree.links.new(place.outputs["UV"], picture.inputs["Vector"])
    nodes.active = picture  # Solid shading shows the active node's image as texture
    origin.describe(material, folder, request)
    return material
