"""Textures of objects of a .blend file without a window: `blender --background FILE --command sdi texture`."""

import json

import numpy as np
import pytest


@pytest.fixture
def command(bpy, extension, tmp_path, capsys):
    """Run the command in this process; returns its exit code, and its JSON object or else all that it said."""

    def run(*arguments, task="texture"):
        output = ["-o", str(tmp_path / "out.blend"), "--json"]
        code = extension.console.commands.main([task, *arguments, *output])
        printed = capsys.readouterr().out
        last = printed.splitlines()[-1]
        return code, json.loads(last) if last.startswith("{") else printed

    return run


@pytest.fixture
def ball(bpy):
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=1, location=(3.0, 0.0, 0.0))
    bpy.context.object.name = "Ball"
    return bpy.context.object


def folders(results):
    return sorted(results.glob("2*"))


def test_objects_get_their_textures_and_the_file_is_saved(bpy, command, ball, results):
    code, said = command("a checkered red chair", "--objects", "Cube", "--objects", "Ball", "--preset", "draft")
    assert code == 0, said
    assert [each["object"] for each in said["objects"]] == ["Cube", "Ball"]
    requests = [json.loads((folder / "request.json").read_text()) for folder in folders(results)]
    assert [(each["task"], each["prompt"], each["preset"]) for each in requests] == [
        ("texture", "a checkered red chair", "draft")
    ] * 2
    bpy.ops.wm.open_mainfile(filepath=said["output"])
    for name in ("Cube", "Ball"):
        (slot,) = bpy.data.objects[name].material_slots
        nodes = slot.material.node_tree.nodes
        assert [node.image.packed_file for node in nodes if node.bl_idname == "ShaderNodeTexImage"] != [None]
    assert "Material" in bpy.data.materials, "the one of before"


def test_refined_shapes_are_saved_with_it(bpy, command, ball, results):
    code, said = command("a carved ball", "--objects", "Ball", "--max-move", "0.03", task="refine")
    assert code == 0, said
    (folder,) = folders(results)
    request = json.loads((folder / "request.json").read_text())
    assert (request["task"], request["max_move"]) == ("refine", 0.03)
    bpy.ops.wm.open_mainfile(filepath=said["output"])
    keys = bpy.data.objects["Ball"].data.shape_keys.key_blocks
    assert [(key.name, key.value) for key in keys[1:]] == [("Refined", 1.0)]


def test_what_is_asked_for_reaches_the_engine_with_the_look_of_before(bpy, command, results):
    cube = bpy.data.objects["Cube"]
    cube.vertex_groups.new(name="Lid").add([each.index for each in cube.data.vertices if each.co.z > 0], 1.0, "REPLACE")
    code, said = command(
        "a red lid", "--objects", "Cube", "--vertex-group", "Lid", "--strength", "0.5", "--front", "90"
    )
    assert code == 0, said
    (folder,) = folders(results)
    request = json.loads((folder / "request.json").read_text())
    assert (request["strength"], request["front"]) == (0.5, 90.0)
    with np.load(folder / "source.npz") as source:
        assert source["painted"].sum() == 2
        assert "look_corners" in source


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["a red chair", "--objects", "Cubes"], 'no object "Cubes": there is "Cube"'),
        (["a red chair", "--objects", "Cube", "--objects", "Camera"], '"Camera" is not a mesh'),
        (["a red chair", "--objects", "Cube", "--vertex-group", "Lid"], 'no vertex group "Lid"'),
        (["", "--objects", "Cube"], "The prompt is empty"),
        (["a red chair", "--objects", "Cube", "--strength", "2"], "strength"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_starts_nothing(command, results, tmp_path, arguments, cause):
    code, said = command(*arguments)
    assert code == said["exit_code"] == 2
    assert (said["ok"], said["objects"]) == (False, [])
    assert cause in said["error"]
    assert len(said["error"].splitlines()) == 1
    assert not folders(results)
    assert not (tmp_path / "out.blend").exists()


def test_a_failed_job_ends_with_its_exit_code_and_saves_nothing(bpy, command, tmp_path):
    code, said = command("fail 5 here", "--objects", "Cube")
    assert code == 5
    assert "as it was told" in said["objects"][0]["error"]
    assert said["output"] is None
    assert [slot.material.name for slot in bpy.data.objects["Cube"].material_slots] == ["Material"]


def test_the_same_call_with_resume_takes_what_was_made_unless_the_mesh_is_another(bpy, command, results):
    arguments = ["a red chair", "--objects", "Cube", "--resume"]
    assert command(*arguments)[0] == 0
    assert command(*arguments)[0] == 0
    assert len(folders(results)) == 1
    bpy.data.objects["Cube"].scale.x = 2.0
    bpy.context.view_layer.update()
    assert command(*arguments)[0] == 0
    assert len(folders(results)) == 2


def test_a_full_disk_leaves_no_job_without_its_mesh(bpy, command, extension, results, monkeypatch):
    def fails(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extension.console.textures, "write_atomically", fails)
    code, said = command("a checkered red chair", "--objects", "Cube")
    assert code == 6
    assert "is full: free some space, then try again." in str(said)
    assert not folders(results)
