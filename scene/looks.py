"""The looks of an object: its materials of before, and those of the textures that were made for it.

A look is what the object's material slots hold, and which face has which slot. Each look keeps its materials in the
file while another one is shown. Leaving a look notes its present state first, so that changes to it are not lost.

Which slot a face has is noted in an attribute of the mesh, so that it survives editing the mesh. Which UV map is active
belongs to a look, too, unless other faces, or other objects that use the mesh, are on another one (`uv_maps`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import CollectionProperty, IntProperty, PointerProperty, StringProperty

from ..sdi_engine.contract.request import JobRequest
from . import origin, uv_maps

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

BEFORE = "Before"
OWN_MESH = "“{}” has a mesh of its own now, since other objects used the same one."
_ATTRIBUTE = "sdi_look"


class SDI_PG_slot(bpy.types.PropertyGroup):
    """What a material slot holds."""

    material: PointerProperty(name="Material", type=bpy.types.Material)  # type: ignore[valid-type]
    link: StringProperty(name="Link", description="OBJECT or DATA")  # type: ignore[valid-type]


class SDI_PG_look(bpy.types.PropertyGroup):
    """A look; its `name` is the prompt of its texture."""

    job: StringProperty(name="Job", description="The folder of the job that made it; empty: it is that of before")  # type: ignore[valid-type]
    seed: IntProperty(name="Seed", description="The seed that its texture was made with")  # type: ignore[valid-type]
    slots: CollectionProperty(type=SDI_PG_slot)  # type: ignore[valid-type]
    faces: StringProperty(name="Faces", description="The attribute that notes which slot a face has")  # type: ignore[valid-type]
    uv_map: StringProperty(name="UV Map", description="The UV map that was active")  # type: ignore[valid-type]
    rendered_uv_map: StringProperty(name="Rendered UV Map", description="The UV map of materials that name none")  # type: ignore[valid-type]
    shape: StringProperty(name="Shape", description="The shape key of its job; empty if the job has left the shape")  # type: ignore[valid-type]


CLASSES = (SDI_PG_slot, SDI_PG_look)


def attach() -> None:
    """Called when the extension is enabled."""
    bpy.types.Object.sdi_looks = CollectionProperty(type=SDI_PG_look)
    bpy.types.Object.sdi_look = IntProperty(name="Look", description="The look that is shown")


def detach() -> None:
    """Called when the extension is disabled."""
    del bpy.types.Object.sdi_looks
    del bpy.types.Object.sdi_look


def of(thing: bpy.types.Object | None) -> list[SDI_PG_look]:
    """An object's looks, that of before first; empty if it was never textured by us."""
    return list(thing.sdi_looks) if thing is not None and thing.type == "MESH" else []


def shown(thing: bpy.types.Object | None) -> int:
    """The index of the look that is shown; −1 if there are none."""
    count = len(of(thing))
    return min(max(thing.sdi_look, 0), count - 1) if count else -1


def index_of(thing: bpy.types.Object, job: Path) -> int:
    """The index of the look that a job made; −1 if the object has none of it."""
    return next((index for index, look in enumerate(of(thing)) if look.job == str(job)), -1)


def last_of_ours(thing: bpy.types.Object | None) -> int:
    """The index of the newest look that we made; −1 if there is none."""
    return max((index for index, look in enumerate(of(thing)) if look.job), default=-1)


def before(thing: bpy.types.Object | None) -> int:
    """The index of the look of before; −1 if the object has none."""
    return next((index for index, look in enumerate(of(thing)) if not look.job), -1)


def add(
    thing: bpy.types.Object,
    job: Path,
    request: JobRequest,
    material: bpy.types.Material,
    uv_map: str,
    faces: np.ndarray | None = None,
    shape: str = "",
) -> None:
    """Give an object a further look, and show it.

    Args:
        thing: a mesh object in Object Mode; the only user of its mesh if `faces` are given.
        job: the folder of the job that made it.
        request: of the job.
        material: of the faces.
        uv_map: the name of the UV map that the material is on. It becomes the active one, unless other faces, or other
            objects that use the mesh, have materials on another one.
        faces: (P,) bool, the polygons that get the material, while the others keep theirs; None: all.
        shape: the name of the shape key that came with it.
    """
    if not of(thing):
        thing.sdi_looks.add().name = BEFORE
        thing.sdi_look = 0
    _note(thing)
    if faces is None:
        _put_on_all(thing, material)
    else:
        _put_on_some(thing, material, faces)
    others = [] if faces is None else set(slots_of_faces(thing.data)[~faces].tolist())
    if _is_free(thing, uv_map, (thing.material_slots[slot].material for slot in others)):
        uv_maps.activate(thing.data, uv_map, uv_map)
    look = thing.sdi_looks.add()
    look.name, look.job, look.seed, look.shape = request.prompt, str(job), request.seed, shape
    thing.sdi_look = len(thing.sdi_looks) - 1
    _note(thing)


def show(thing: bpy.types.Object, index: int) -> bool:
    """Show another look of an object in Object Mode.

    Returns:
        Whether the object has a mesh of its own for it now, since others that use the same one show other slots on its
        faces.
    """
    if index == shown(thing):
        return False
    _note(thing)
    look = thing.sdi_looks[index]
    mesh = thing.data
    slots = _slots_in(look, mesh)
    has_own_now = is_shared(mesh) and bool((slots != slots_of_faces(mesh)).any())
    if has_own_now:
        mesh = thing.data = mesh.copy()
    while len(mesh.materials) < len(look.slots):
        mesh.materials.append(None)
    _give_slots(mesh, slots)
    if not is_shared(mesh):
        _remove_slots_after(mesh, len(look.slots))
    if _is_free(thing, look.rendered_uv_map):
        uv_maps.activate(mesh, look.uv_map, look.rendered_uv_map)
    for number, slot in enumerate(thing.material_slots):
        if number < len(look.slots):
            slot.link, slot.material = look.slots[number].link, look.slots[number].material
        else:  # other objects use the mesh, and its slots
            slot.link, slot.material = "OBJECT", None
    thing.sdi_look = index
    return has_own_now


def _remove_slots_after(mesh: bpy.types.Mesh, count: int) -> None:
    if count == 0:
        mesh.materials.clear()  # after `pop` Blender would still list the last one on the object
    while len(mesh.materials) > count:
        mesh.materials.pop()


def remove(thing: bpy.types.Object, index: int) -> None:
    """Forget a look that is not shown; its material leaves the file with the next saving, if nothing else uses it."""
    noted = thing.data.attributes.get(thing.sdi_looks[index].faces)
    if noted is not None:
        thing.data.attributes.remove(noted)
    thing.sdi_looks.remove(index)
    if thing.sdi_look > index:
        thing.sdi_look -= 1


def is_shared(mesh: bpy.types.Mesh) -> bool:
    """Whether several objects use the mesh."""
    return mesh.users - mesh.use_fake_user > 1


def _is_free(thing: bpy.types.Object, uv_map: str, others: Iterable[bpy.types.Material | None] = ()) -> bool:
    """Whether a UV map may become the active one without moving what other objects, or `others`, show."""
    shown_too = list(others)
    if is_shared(thing.data):
        users = (each for each in bpy.data.objects if each.data == thing.data and each != thing)
        shown_too += [slot.material for each in users for slot in each.material_slots]
    return uv_maps.asked_for(thing.data, shown_too) <= {uv_map}


def _note(thing: bpy.types.Object) -> None:
    """Note the state of the look that is shown."""
    look = thing.sdi_looks[shown(thing)]
    look.slots.clear()
    for slot in thing.material_slots:
        noted = look.slots.add()
        noted.material, noted.link = slot.material, slot.link
    look.uv_map, look.rendered_uv_map = uv_maps.active(thing.data), uv_maps.rendered(thing.data)
    if len(thing.material_slots) > 1 or look.faces:
        look.faces = _note_faces(thing.data, look.faces)


def _note_faces(mesh: bpy.types.Mesh, name: str) -> str:
    """Note which slot each face has in the attribute of this name, or in a new one; returns its name."""
    noted = mesh.attributes.get(name) if name else None
    if noted is None or noted.domain != "FACE" or noted.data_type != "INT":
        noted = mesh.attributes.new(_ATTRIBUTE, "INT", "FACE")
    name = noted.name
    noted.data.foreach_set("value", slots_of_faces(mesh))
    return name


def _slots_in(look: SDI_PG_look, mesh: bpy.types.Mesh) -> np.ndarray:
    """(P,) int32: the slot of each polygon in a look."""
    import numpy as np

    slots = slots_of_faces(mesh)
    noted = mesh.attributes.get(look.faces) if look.faces else None
    if noted is not None and noted.domain == "FACE" and noted.data_type == "INT":
        noted.data.foreach_get("value", slots)
    return np.clip(slots, 0, max(0, len(look.slots) - 1))


def slots_of_faces(mesh: bpy.types.Mesh) -> np.ndarray:
    """(P,) int32: the slot of each polygon; an index that there is no slot for counts as the last, as in Blender."""
    import numpy as np

    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    return slots.clip(0, max(0, len(mesh.materials) - 1))


def _give_slots(mesh: bpy.types.Mesh, slots: np.ndarray) -> None:
    mesh.polygons.foreach_set("material_index", slots)
    mesh.update()


def _put_on_all(thing: bpy.types.Object, material: bpy.types.Material) -> None:
    """Put the material into every slot, so that the faces keep their slots, also those of other users of the mesh."""
    mesh = thing.data
    if not mesh.materials:
        mesh.materials.append(None)
    for slot in thing.material_slots:
        if is_shared(mesh):
            slot.link = "OBJECT"
        slot.material = material


def _put_on_some(thing: bpy.types.Object, material: bpy.types.Material, faces: np.ndarray) -> None:
    """Put the material into a slot of its own, and give these faces that slot. The object is the mesh's only user."""
    mesh = thing.data
    slots = slots_of_faces(mesh)
    if not mesh.materials:
        mesh.materials.append(None)  # of the other faces, which have no material
    kept = set(slots[~faces].tolist())
    free = [
        number
        for number, slot in enumerate(thing.material_slots)
        if number not in kept and slot.material is not None and origin.FOLDER in slot.material
    ]  # of an earlier texture of the same faces
    if not free:
        mesh.materials.append(None)
        free = [len(mesh.materials) - 1]
    thing.material_slots[free[0]].material = material
    slots[faces] = free[0]
    _give_slots(mesh, slots)
