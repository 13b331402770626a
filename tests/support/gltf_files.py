"""glTF files made by hand: a description, whose arrays lie in data URIs."""

import base64
import io
import json

import numpy as np
from PIL import Image

KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

SQUARE = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]
"""In the plane that stands upright, seen from +Z of glTF, which is -Y of Blender."""

TWO_TRIANGLES = [0, 1, 2, 1, 3, 2]


class GltfFile:
    """A file of one scene, to which arrays, pictures, meshes and nodes are added by functions that return numbers."""

    def __init__(self):
        self.document = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}

    def add(self, kind, value):
        items = self.document.setdefault(kind, [])
        items.append(value)
        return len(items) - 1

    def view(self, content, **more):
        uri = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
        buffer = self.add("buffers", {"uri": uri, "byteLength": len(content)})
        return self.add("bufferViews", {"buffer": buffer, "byteLength": len(content), **more})

    def array(self, values, kind="f4", **more):
        values = np.asarray(values, kind)
        values = values.reshape(len(values), -1)
        described = {"componentType": KINDS[kind], "count": len(values), "type": WIDTHS[values.shape[1]], **more}
        return self.add("accessors", {"bufferView": self.view(values.tobytes()), **described})

    def picture(self, colour, form="PNG"):
        content = io.BytesIO()
        Image.new("RGB", (8, 8), tuple(colour)).save(content, form)
        image = self.add("images", {"bufferView": self.view(content.getvalue()), "mimeType": f"image/{form.lower()}"})
        return self.add("textures", {"source": image})

    def mesh(self, indices=TWO_TRIANGLES, points=SQUARE, targets=(), mode=4, material=None, weights=None, **attributes):
        """Attributes are numbers of arrays."""
        primitive = {"mode": mode, "attributes": {"POSITION": self.array(points), **attributes}}
        if indices is not None:
            primitive["indices"] = self.array(indices, "u2")
        if targets:
            primitive["targets"] = list(targets)
        if material is not None:
            primitive["material"] = self.add("materials", material)
        return self.add("meshes", {"primitives": [primitive], **({} if weights is None else {"weights": weights})})

    def node(self, is_root=True, **described):
        number = self.add("nodes", described)
        if is_root:
            self.document["scenes"][0]["nodes"].append(number)
        return number

    def write(self, file):
        file.write_text(json.dumps(self.document))
        return file
