"""Textures survive an export and a re-import, and Solid shading shows their colour."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from made_jobs import PROMPT, fake_worker, make_job, make_texture_job

RED = (200 / 255, 30 / 255, 30 / 255)
LINEAR_RED = (0.578, 0.013, 0.013, 1.0)


def image_of(thing):
    nodes = thing.data.materials[0].node_tree.nodes
    return next(node.image for node in nodes if node.bl_idname == "ShaderNodeTexImage")


def save_and_open(bpy, path):
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))


def obj(bpy, folder):
    bpy.ops.wm.obj_export(filepath=str(folder / "it.obj"), path_mode="COPY", export_selected_objects=True)
    assert bpy.ops.sdi.write_textures(directory=str(folder)) == {"FINISHED"}
    return lambda: bpy.ops.wm.obj_import(filepath=str(folder / "it.obj"))


def fbx(bpy, folder, **how):
    import addon_utils

    addon_utils.enable("io_scene_fbx")
    bpy.ops.export_scene.fbx(filepath=str(folder / "it.fbx"), use_selection=True, **how)
    return lambda: bpy.ops.import_scene.fbx(filepath=str(folder / "it.fbx"))


def fbx_embedded(bpy, folder):
    return fbx(bpy, folder, path_mode="COPY", embed_textures=True)


def fbx_copied(bpy, folder):
    return fbx(bpy, folder, path_mode="COPY", embed_textures=False)


def fbx_beside(bpy, folder):
    """Export with Blender's default settings, and with the button beside them."""
    import_again = fbx(bpy, folder)
    assert bpy.ops.sdi.write_textures(directory=str(folder)) == {"FINISHED"}
    return import_again


def glb(bpy, folder):
    bpy.ops.export_scene.gltf(filepath=str(folder / "it.glb"), use_selection=True)
    return lambda: bpy.ops.import_scene.gltf(filepath=str(folder / "it.glb"))


def usd(bpy, folder):
    bpy.ops.wm.usd_export(filepath=str(folder / "it.usdc"), selected_objects_only=True)
    return lambda: bpy.ops.wm.usd_import(filepath=str(folder / "it.usdc"))


@pytest.mark.parametrize("export", [obj, fbx_embedded, fbx_copied, fbx_beside, glb, usd])
def test_the_texture_is_seen_again_in_a_re_import(bpy, put, tmp_path, export):
    put("a mug")
    put(name="job-2")
    placed = put(name="job-3")  # its name ends in a number after a dot
    assert image_of(placed).name == f"{PROMPT}.001"
    save_and_open(bpy, tmp_path / "mine.blend")
    folder = tmp_path / "export"
    folder.mkdir()
    import_again = export(bpy, folder)
    bpy.ops.wm.read_homefile(use_empty=True)
    import_again()
    things = [each for each in bpy.data.objects if each.type == "MESH"]
    assert len(things) == 1
    image = image_of(things[0])
    assert tuple(image.size) == (8, 8)
    assert tuple(image.pixels[:3]) == pytest.approx(RED, abs=0.01)


def test_the_texture_of_an_object_that_was_textured_is_written_too(bpy, extension, results, tmp_path):
    cube = bpy.data.objects["Cube"]
    assert not bpy.ops.sdi.write_textures.poll()
    folder = make_texture_job(extension, bpy, results, cube)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    assert bpy.ops.sdi.write_textures(directory=str(tmp_path)) == {"FINISHED"}
    assert (tmp_path / f"{PROMPT}.png").read_bytes() == folder.texture_file.read_bytes()


def test_a_texture_is_written_as_it_was_painted_since(bpy, put, tmp_path):
    image = image_of(put())
    image.pixels.foreach_set([0.0, 1.0, 0.0, 1.0] * (image.size[0] * image.size[1]))
    image.update()
    assert image.is_dirty
    assert bpy.ops.sdi.write_textures(directory=str(tmp_path)) == {"FINISHED"}
    written = bpy.data.images.load(str(tmp_path / f"{PROMPT}.png"))
    assert tuple(written.pixels[:3]) == pytest.approx((0.0, 1.0, 0.0), abs=0.01)


def test_that_there_are_no_textures_to_write_is_told(bpy, put, tmp_path):
    put()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
    bpy.ops.file.unpack_all(method="USE_LOCAL")
    with pytest.raises(RuntimeError, match="they are files already"):
        bpy.ops.sdi.write_textures(directory=str(tmp_path / "export"))


def test_unpacked_textures_are_files_of_their_own(bpy, extension, results, tmp_path):
    """Where all had the name that they have in their jobs' folders, the second would show the first one's picture."""
    for number, name in enumerate(("Cube", "Second")):
        cube = bpy.data.objects["Cube"] if number == 0 else bpy.data.objects["Cube"].copy()
        if number:
            cube.name, cube.data = name, cube.data.copy()
            cube.sdi_looks.clear()
            bpy.context.collection.objects.link(cube)
        folder = make_texture_job(extension, bpy, results, cube, name=f"job-{number}")
        folder.texture_file.write_bytes(fake_worker.png(64, (200 * number, 20, 30)))
        extension.scene.texture_result.apply(bpy.context, cube, folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
    bpy.ops.file.unpack_all(method="USE_LOCAL")
    red = [image_of(bpy.data.objects[name]).pixels[0] for name in ("Cube", "Second")]
    assert red == pytest.approx([0.0, 200 / 255], abs=0.01)
    assert len(list((tmp_path / "textures").iterdir())) == 2


def test_the_blend_file_has_all_it_needs(bpy, put, tmp_path, results):
    put()
    for file in results.glob("*/**/*.png"):
        file.unlink()
    save_and_open(bpy, tmp_path / "mine.blend")
    assert tuple(image_of(bpy.data.objects[PROMPT]).pixels[:3]) == pytest.approx(RED, abs=0.01)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a “red” mug: 50%", "a “red” mug_ 50%"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("con", "con (texture)"),
        ("Con . artist", "Con _ artist"),
        ("aux.old", "aux_old"),
        ("preview", "preview (texture)"),
        ("…", "…"),
        ("...", "texture"),
        ("🫖" * 40, "🫖" * 13),
        ("a mug of Bob's. ", "a mug of Bob's"),
    ],
)
def test_any_prompt_becomes_the_name_of_a_file(put, results, prompt, name):
    before = sorted(path.name for path in results.glob("*"))
    image = image_of(put(prompt))
    assert image.name == name
    assert image.filepath == str(results / "job-1" / "textures" / f"{name}.png")
    assert (results / "job-1" / "textures" / f"{name}.png").is_file()
    assert fake_worker.png(64, (200, 20, 30)) == (results / "job-1" / "preview.png").read_bytes()
    assert before == []


@pytest.mark.parametrize("prompt", ["a red mug", "a teapot " * 20, "🫖" * 40])
def test_the_name_of_an_object_ends_with_what_it_is_within_blenders_limit(extension, prompt):
    from sdi_text_to_3d.scene.names import object_name

    name = object_name(prompt, " (preview)")
    assert name.endswith(" (preview)")
    assert prompt.startswith(name.removesuffix(" (preview)"))
    assert 60 <= len(name.encode()) <= 63 or name == f"{prompt} (preview)"


def test_a_file_of_that_name_stays_and_a_link_is_not_followed(bpy, extension, results, tmp_path):
    mine = tmp_path / "mine.png"
    for number, prompt in enumerate((PROMPT, "a mug")):
        folder = make_job(extension, results, f"job-{number}", prompt)
        folder.textures_folder.mkdir()
        if number == 0:
            (folder.textures_folder / f"{prompt}.png").write_text("mine")
        else:
            (folder.textures_folder / f"{prompt}.png").symlink_to(mine)
        placement = extension.jobs.placement.Placement()
        placed = extension.scene.importer.put_into_scene(bpy.context, folder, placement)
        assert image_of(placed).filepath == f"//{prompt}.png"
    assert (results / "job-0" / "textures" / f"{PROMPT}.png").read_text() == "mine"
    assert not mine.exists()


def test_textures_do_not_take_the_place_of_other_files(bpy, put, tmp_path):
    put()
    (tmp_path / f"{PROMPT}.png").write_text("mine")
    with pytest.raises(RuntimeError, match="is another file: choose another folder"):
        bpy.ops.sdi.write_textures(directory=str(tmp_path))
    with pytest.raises(RuntimeError, match="No folder is chosen"):  # a script's working folder is not meant
        bpy.ops.sdi.write_textures()
    with pytest.raises(RuntimeError, match="cannot be written"):
        bpy.ops.sdi.write_textures(directory=str(tmp_path / "nothing"))
    assert (tmp_path / f"{PROMPT}.png").read_text() == "mine"


def test_solid_shading_shows_the_textures_colour(put):
    assert tuple(put().data.materials[0].diffuse_color) == pytest.approx(LINEAR_RED, abs=1e-3)


def test_the_colour_is_that_of_the_surface_not_of_the_whole_picture(bpy, extension, put):
    placed = put()
    image = image_of(placed)
    pixels = [0.0, 0.0, 0.0, 1.0] * 32 + [1.0, 1.0, 1.0, 1.0] * 32  # black below, white above
    image.pixels[:] = pixels
    for corner in placed.data.uv_layers.active.uv:
        corner.vector.y = 0.75 + 0.2 * corner.vector.y
    extension.scene.textures.show_in_solid_shading(placed)
    assert tuple(placed.data.materials[0].diffuse_color) == pytest.approx((1.0, 1.0, 1.0, 1.0))


def test_a_large_picture_is_made_smaller_first(bpy, extension, put, monkeypatch):
    placed = put()
    monkeypatch.setattr(extension.scene.textures, "_MOST_PIXELS", 16)
    monkeypatch.setattr(extension.scene.textures, "_SMALLER", 4)
    images = len(bpy.data.images)
    placed.data.materials[0].diffuse_color = (0.0, 0.0, 0.0, 1.0)
    extension.scene.textures.show_in_solid_shading(placed)
    assert tuple(placed.data.materials[0].diffuse_color) == pytest.approx(LINEAR_RED, abs=1e-3)
    assert len(bpy.data.images) == images
    assert tuple(image_of(placed).size) == (8, 8)


@pytest.mark.parametrize(
    ("exporter", "offers"),
    [
        ("WM_OT_obj_export", ["sdi.write_textures"]),
        ("EXPORT_SCENE_OT_fbx", ["sdi.write_textures", "sdi.put_uv_map_first"]),
        ("WM_OT_stl_export", []),
    ],
)
def test_exporters_offer_what_their_format_wants(extension, tmp_path, exporter, offers):
    panel = extension.panels.menus.SDI_PT_export
    operator = SimpleNamespace(bl_idname=exporter)
    context = SimpleNamespace(
        space_data=SimpleNamespace(active_operator=operator, params=SimpleNamespace(directory=bytes(tmp_path)))
    )
    assert panel.poll(context) == bool(offers)
    if offers:
        layout = MagicMock()
        panel.draw(SimpleNamespace(layout=layout), context)
        assert [call.args[0] for call in layout.column.return_value.operator.call_args_list] == offers
