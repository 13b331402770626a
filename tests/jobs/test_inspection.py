"""The check of files before Blender opens them: what the engine writes passes, and nothing else does."""

import json
import os
import random
import struct
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from made_jobs import fake_worker, write_live
from sdi_text_to_3d.jobs import inspection
from sdi_text_to_3d.jobs.inspection import UnsoundFileError, check_glb, is_picture, read_live_mesh
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder

from sdi_engine.mesh.export import write_glb
from sdi_engine.mesh.unwrap import UnwrappedMesh

CASES = int(os.environ.get("SDI_FUZZ_CASES", "300"))


@pytest.fixture
def folder(tmp_path):
    return JobFolder(tmp_path)


def png(width, height, depth=8, colour=2):
    """A PNG's header, which Blender would trust."""
    whole = fake_worker.png(4, (1, 2, 3))
    return whole[:16] + struct.pack(">IIBB", width, height, depth, colour) + whole[26:]


def parts_of(glb):
    (length,) = struct.unpack_from("<I", glb, 12)
    return json.loads(glb[20 : 20 + length]), glb[28 + length :]


def joined(document, binary, text=None):
    text = json.dumps(document).encode() if text is None else text
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


class TestMesh:
    def test_what_the_engine_writes_is_sound(self, folder):
        triangle = np.eye(3, dtype=np.float32)
        mesh = UnwrappedMesh(triangle, triangle, np.array([[0, 1, 2]]), np.zeros((3, 2), np.float32))
        write_glb(folder.mesh_file, mesh, np.zeros((64, 64, 3), np.uint8), "a red mug")
        check_glb(folder.mesh_file)

    def test_what_the_stand_in_writes_is_sound(self, folder):
        folder.mesh_file.write_bytes(joined(*parts_of(fake_worker.glb(1.0))))
        check_glb(folder.mesh_file)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda d: d["images"][0].update(uri="//server/share/a.png"), "names another file"),
            (lambda d: d["images"].append({"uri": "data:image/png;base64,xx"}), "names another file"),
            (lambda d: d["buffers"][0].update(uri="file:///etc/passwd"), "names another file"),
            (lambda d: d.update(extensionsUsed=["KHR_draco_mesh_compression"]), "which this engine never writes"),
            (lambda d: d["nodes"][0].update(extensions={"EXT_mesh_gpu_instancing": {}}), "extensions"),
            (lambda d: d.update(animations=[{}]), "which this engine never writes"),
            (lambda d: d.update(skins=[{}]), "which this engine never writes"),
            (lambda d: d["nodes"][1].update(extras={"sdi_job": "job-1"}), "properties"),
            (lambda d: d["nodes"][1].update(children=[0]), "do not form a tree"),
            (lambda d: d["nodes"][0].update(children=[0]), "do not form a tree"),
            (lambda d: d["nodes"][0].update(children=[7]), "do not form a tree"),
            (lambda d: d["scenes"][0].update(nodes=[-1]), "do not form a tree"),
            (lambda d: d["nodes"].extend([{}] * 5000), "more nodes"),
            (lambda d: d.update(nodes={"0": {}}), "more nodes"),
            (lambda d: d["meshes"][0].update(primitives=d["meshes"][0]["primitives"] * 50), "more meshes"),
            (lambda d: d["buffers"].append({"byteLength": 10**12}), "several buffers"),
            (lambda d: d["accessors"][0].update(count=10**12), "less data than it says"),
            (lambda d: d["accessors"][1].update(byteOffset=8), "less data than it says"),
            (lambda d: d["accessors"][1].update(sparse={"count": 10**12}), "another layout"),
            (lambda d: d["accessors"][1].pop("bufferView"), "damaged"),
            (lambda d: d["accessors"][2].update(count=3), "one value per vertex"),
            (lambda d: d["accessors"][0].update(componentType=5126), "indices of the wrong type"),
            (lambda d: d["accessors"][0].update(count=True), "damaged"),
            (lambda d: d["bufferViews"][0].update(byteLength=-1), "damaged"),
            (lambda d: d["bufferViews"][3].update(byteLength=10**12), "less data"),
            (lambda d: d["bufferViews"][1].update(byteStride=4), "another layout"),
            (lambda d: d["images"][0].update(mimeType="image/jpeg"), "no PNG"),
            (lambda d: d["images"][0].update(bufferView=0), "no PNG"),
            (lambda d: d["meshes"][0]["primitives"][0].update(targets=[{}]), "other primitives than triangles"),
            (lambda d: d["meshes"][0]["primitives"][0].update(mode=0), "other primitives than triangles"),
            (
                lambda d: d["meshes"][0]["primitives"][0]["attributes"].update(JOINTS_0=1),
                "attributes that this engine never writes",
            ),
            (lambda d: d["asset"].update(version="3.0"), "not glTF 2.0"),
            (lambda d: d.pop("meshes"), "damaged"),
        ],
    )
    def test_what_it_never_writes_is_refused(self, folder, change, words):
        document, binary = parts_of(fake_worker.glb(1.0))
        change(document)
        folder.mesh_file.write_bytes(joined(document, binary))
        with pytest.raises(UnsoundFileError, match=words):
            check_glb(folder.mesh_file)

    @pytest.mark.parametrize(
        ("number", "value", "words"),
        [(3, float("nan"), "NaN"), (5, float("inf"), "infinite"), (0, None, "vertex that does not exist")],
    )
    def test_invalid_vertices_and_indices_are_refused(self, folder, number, value, words):
        document, binary = parts_of(fake_worker.glb(1.0))
        if value is None:
            binary = struct.pack("<H", 60_000) + binary[2:]
        else:
            at = document["bufferViews"][1]["byteOffset"] + 4 * number
            binary = binary[:at] + struct.pack("<f", value) + binary[at + 4 :]
        folder.mesh_file.write_bytes(joined(document, binary))
        with pytest.raises(UnsoundFileError, match=words):
            check_glb(folder.mesh_file)

    def test_a_texture_whose_header_claims_a_huge_size(self, folder):
        document, binary = parts_of(fake_worker.glb(1.0))
        at = document["bufferViews"][3]["byteOffset"]
        huge = png(30_000, 30_000)
        folder.mesh_file.write_bytes(joined(document, binary[:at] + huge + binary[at + len(huge) :]))
        with pytest.raises(UnsoundFileError, match="30000 × 30000 pixels"):
            check_glb(folder.mesh_file)

    @pytest.mark.parametrize(
        "text", [b"[" * 100_000, b'{"asset": NaN}', b"[]", b"5", b"\xff\xfe", b'{"nodes": 1e400}', b" " * 2_000_000]
    )
    def test_invalid_descriptions(self, folder, text):
        _, binary = parts_of(fake_worker.glb(1.0))
        folder.mesh_file.write_bytes(joined(None, binary, text))
        with pytest.raises(UnsoundFileError, match=r"damaged|larger"):
            check_glb(folder.mesh_file)

    def test_half_a_file_and_a_link(self, folder, tmp_path):
        whole = fake_worker.glb(1.0)
        for length in range(0, len(whole), 97):
            folder.mesh_file.write_bytes(whole[:length])
            with pytest.raises(UnsoundFileError):
                check_glb(folder.mesh_file)
        folder.mesh_file.unlink()
        (tmp_path / "elsewhere.glb").write_bytes(whole)
        try:
            folder.mesh_file.symlink_to(tmp_path / "elsewhere.glb")
        except OSError:
            pytest.skip("this person may not make links")
        with pytest.raises(UnsoundFileError, match="is a link"):
            check_glb(folder.mesh_file)

    def test_damaged_bytes_are_sound_or_refused(self, folder):
        lot = random.Random(1)
        whole = fake_worker.glb(1.0)
        refused = 0
        for _ in range(CASES):
            damaged = bytearray(whole)
            for _ in range(lot.randrange(1, 4)):
                damaged[lot.randrange(1200)] = lot.choice((*b'"[]{}:,0189-e.', lot.randrange(256)))
            folder.mesh_file.write_bytes(damaged)
            try:
                check_glb(folder.mesh_file)
            except UnsoundFileError:
                refused += 1
        assert refused > CASES // 4


class TestPictures:
    @pytest.mark.parametrize(
        ("content", "is_sound"),
        [
            (fake_worker.png(64, (1, 2, 3)), True),
            (png(2048, 2048), True),
            (png(30_000, 30_000), False),
            (png(2049, 1), False),
            (png(0, 5), False),
            (png(4, 4, depth=16), False),
            (png(4, 4, colour=7), False),
            (fake_worker.png(64, (1, 2, 3))[:28], False),
            (b"GIF89a" + bytes(100), False),
            (b"", False),
        ],
    )
    def test_only_png_of_ordinary_size(self, tmp_path, content, is_sound):
        (tmp_path / "preview.png").write_bytes(content)
        assert is_picture(tmp_path / "preview.png") == is_sound

    def test_only_files(self, tmp_path):
        assert not is_picture(tmp_path / "nothing.png")
        assert not is_picture(tmp_path)
        (tmp_path / "a.png").write_bytes(fake_worker.png(4, (1, 2, 3)))
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.png")
            assert not is_picture(tmp_path / "pipe.png")  # and it does not wait for a writer
        try:
            (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
        except OSError:
            pytest.skip("this person may not make links")
        assert not is_picture(tmp_path / "link.png")

    def test_a_picture_larger_than_its_header_explains(self, tmp_path, monkeypatch):
        monkeypatch.setattr(inspection, "MAX_PICTURE_BYTES", 50)
        (tmp_path / "a.png").write_bytes(fake_worker.png(4, (1, 2, 3)) + bytes(100))
        assert not is_picture(tmp_path / "a.png")

    def test_a_turntable_has_its_own_pictures_only(self, tmp_path):
        turntable = tmp_path / "turntable"
        assert inspection.sides_in(turntable) == []
        turntable.mkdir()
        for name in ("side-1.png", "side-0.png", "side-.png", "mine.png", "side-0.png.txt"):
            (turntable / name).write_bytes(fake_worker.png(4, (1, 2, 3)))
        (turntable / "side-2.png").write_bytes(png(30_000, 30_000))
        assert [file.name for file in inspection.sides_in(turntable)] == ["side-0.png", "side-1.png"]

    @pytest.mark.parametrize(
        "images", [None, 5, {}, [5], [{}], [{"file": 5}], [{"file": "../a.png"}], [{"file": "b.png"}]]
    )
    def test_a_preview_in_2d_names_no_other_files(self, tmp_path, images):
        inside = tmp_path / "look"
        inside.mkdir()
        for file in (tmp_path / "a.png", inside / "seed-1.png"):
            file.write_bytes(fake_worker.png(4, (1, 2, 3)))
        assert inspection.samples_in(inside, None) == []
        assert inspection.samples_in(inside, {"images": images}) == []
        assert inspection.samples_in(inside, {"images": [{"file": "seed-1.png"}]}) == [inside / "seed-1.png"]


class TestLiveMesh:
    def test_what_the_engine_writes_is_read(self, folder):
        write_live(folder)
        mesh = read_live_mesh(folder.live_file)
        vertices = np.frombuffer(mesh.vertices, "<f4").reshape(-1, 3)
        assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
        assert np.frombuffer(mesh.faces, "<i4").reshape(-1, 3)[1].tolist() == [0, 1, 3]
        assert np.frombuffer(mesh.colours, "u1").tolist() == [255, 0, 0] * 4

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"faces": ((0, 1, 4),)}, "does not exist"),
            ({"faces": ((0, 1, -1),)}, "does not exist"),
            ({"vertices": ((0, 0, float("nan")),) * 4}, "NaN"),
            ({"vertices": ((0, 0, float("inf")),) * 4}, "infinite"),
            ({"colours": ((0, 0, 0),)}, "one colour per vertex"),
            ({"more": np.zeros(3)}, "other arrays"),
            ({"vertices": np.zeros((100_001, 3)), "colours": np.zeros((100_001, 3))}, "more vertices"),
            ({"vertices": np.zeros((200, 2))}, "another type"),
            ({"faces": np.zeros((0, 3))}, "another size"),
        ],
    )
    def test_what_is_no_live_mesh_is_refused(self, folder, change, words):
        write_live(folder, **change)
        with pytest.raises(UnsoundFileError, match=words):
            read_live_mesh(folder.live_file)

    @pytest.mark.parametrize(
        ("description", "words"),
        [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }", "another size"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3), }", "another size|damaged"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }", "another type"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), }", "another type"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (4, 3), }", "another type"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': 12, }", "damaged"),
            ("__import__('os').system('true')", "damaged"),
            ("(" * 200, "damaged"),
            ("5", "damaged"),
        ],
    )
    def test_an_arrays_header_is_not_trusted(self, folder, description, words):
        write_live(folder)
        with zipfile.ZipFile(folder.live_file) as archive:
            arrays = {name: archive.read(name) for name in archive.namelist()}
        header = description.encode() + b"\n"
        numbers = arrays["vertices.npy"][-48:]
        arrays["vertices.npy"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + numbers
        with zipfile.ZipFile(folder.live_file, "w") as archive:
            for name, content in arrays.items():
                archive.writestr(name, content)
        with pytest.raises(UnsoundFileError, match=words):
            read_live_mesh(folder.live_file)

    def test_a_compressed_live_mesh_is_refused_since_it_may_expand(self, folder):
        write_live(folder)
        with zipfile.ZipFile(folder.live_file) as archive:
            arrays = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(folder.live_file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in arrays.items():
                archive.writestr(name, content)
        with pytest.raises(UnsoundFileError, match="compressed"):
            read_live_mesh(folder.live_file)

    def test_a_file_that_is_too_large_is_not_read(self, folder):
        with folder.live_file.open("wb") as file:
            file.truncate(10**10)
        with pytest.raises(OSError, match="larger"):
            read_live_mesh(folder.live_file)

    def test_damaged_bytes_are_sound_or_refused(self, folder):
        lot = random.Random(2)
        write_live(folder)
        whole = folder.live_file.read_bytes()
        refused = 0
        for _ in range(CASES):
            damaged = bytearray(whole)
            for _ in range(lot.randrange(1, 8)):
                damaged[lot.randrange(len(damaged))] = lot.randrange(256)
            folder.live_file.write_bytes(damaged[: lot.randrange(len(whole) // 2, len(whole) + 1)])
            try:
                read_live_mesh(folder.live_file)
            except UnsoundFileError:
                refused += 1
        assert refused > CASES // 4


def test_a_live_mesh_is_read_however_its_arrays_lie_in_memory(folder):
    import torch
    from sdi_text_to_3d.sdi_engine.representation import ColouredMesh
    from sdi_text_to_3d.sdi_engine.run.previews import save_live_mesh

    vertices = np.asfortranarray(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32))
    faces = np.asfortranarray(np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    colours = torch.linspace(0.0, 1.0, 12).reshape(3, 4).T  # by columns, as from a network that works by features
    grown = SimpleNamespace(preview_mesh=lambda _faces: ColouredMesh(vertices, faces, colours, is_placed=True))
    save_live_mesh(SimpleNamespace(representation=grown, step=1), folder, 1.0)
    mesh = read_live_mesh(folder.live_file)
    assert np.frombuffer(mesh.faces, np.int32).tolist() == faces.ravel().tolist()
    assert np.frombuffer(mesh.colours, np.uint8).reshape(-1, 3)[0].tolist() == [0, 93, 185]
