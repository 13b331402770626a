"""The mesh that a job is about, `source.npz` beside `request.json`: the names of its arrays, and their limits.

An archive of numpy's (`numpy.savez`, no pickles), written by Blender or by the command line. The F triangles keep
their order, and each its three corners in theirs, from here to the results. Axes are Blender's, lengths the source's.

vertices       (V, 3) float32, with the object's own place and size: for objects of Blender, world space
faces          (F, 3) int32, triangles, counter-clockwise seen from outside
uv             (F, 3, 2) float32, of every corner, v = 0 at the bottom; absent where there is no UV map
normals        (F, 3, 3) float32, of every corner, as shaded; absent: they are computed
painted        (F,) bool, which faces get a new look; absent: all
look           (n, n, 3) uint8, sRGB, the base colour of before on that UV map, row 0 at v = 1; absent: unknown
look_corners   (F, 3, 3) uint8, sRGB, the same of every corner, where there is no picture or no UV map; absent: unknown
rest           (V, 3) float32, the vertices as the object's mesh has them, in its own space, before its modifiers;
               absent: unknown, or modifiers make other vertices

Where a new UV map was made, `uv.npz` has it as the one array `uv`, in the order and of the type above. Where the shape
was refined, `moved.npz` has the one array `vertices` (V, 3) float32: where each of the source's vertices is now, in the
source's own place. None is farther from where it was than the request's `max_move` times the longest edge of the
upright box around the vertices that faces have. Vertices of no face, and of a face that is not painted, are where they
were.
Standard library only.
"""

from __future__ import annotations

VERTICES = "vertices"
FACES = "faces"
UV = "uv"
NORMALS = "normals"
PAINTED = "painted"
LOOK = "look"
LOOK_CORNERS = "look_corners"
REST = "rest"

DTYPES = {
    VERTICES: "float32",
    FACES: "int32",
    UV: "float32",
    NORMALS: "float32",
    PAINTED: "bool",
    LOOK: "uint8",
    LOOK_CORNERS: "uint8",
    REST: "float32",
}
"""The types of the arrays' numbers, little endian, under numpy's names."""

MAX_FACES = 5_000_000
MAX_VERTICES = 3 * MAX_FACES
MAX_LOOK_EDGE = 8192
"""Limits: a mesh beyond them is refused. Edges are in pixels."""

MAX_COORDINATE = 1e15
"""The largest magnitude of a vertex's coordinate, whose products are still finite as float32."""
