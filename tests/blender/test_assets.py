"""Results as assets, and the catalog that Blender keeps beside the .blend file."""

import pytest
from made_jobs import PROMPT

MINE = "11111111-2222-3333-4444-555555555555"
CATALOGS = "blender_assets.cats.txt"


@pytest.fixture
def assets(extension):
    return extension.scene.assets


@pytest.fixture
def save(bpy, tmp_path):
    def save_as(name="file.blend"):
        path = tmp_path / "scenes" / name
        path.parent.mkdir(exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        return path.parent / CATALOGS

    return save_as


def catalogs(file):
    """The lines that are neither empty nor comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "VERSION"))]


def ours(assets):
    return f"{assets.CATALOG_ID}:SDI:SDI"


def test_it_has_description_tags_and_thumbnail(bpy, assets, put, save):
    placed = put("a red mug on the wooden table, with Tom's tea")
    file = save()
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    data = placed.asset_data
    assert data.description == "a red mug on the wooden table, with Tom's tea"
    assert [tag.name for tag in data.tags] == ["red", "mug", "wooden", "table", "Tom's", "tea"]
    assert data.catalog_id == assets.CATALOG_ID
    assert tuple(placed.preview.image_size) == (64, 64)
    assert tuple(placed.preview.image_pixels_float[:3]) == pytest.approx((200 / 255, 20 / 255, 30 / 255), abs=0.01)
    assert catalogs(file) == [ours(assets)]
    assert "VERSION 1" in file.read_text()
    assert len(bpy.data.images) == len({image.name for image in bpy.data.images})


def test_all_our_objects_among_the_selected(bpy, assets, put):
    first, second = put(), put("a blue chair", "job-2")
    for each in (first, bpy.data.objects["Cube"]):
        each.select_set(True)
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert first.asset_data.description == PROMPT
    assert second.asset_data.description == "a blue chair"
    assert bpy.data.objects["Cube"].asset_data is None


def test_twice_is_once(bpy, assets, put, save):
    placed = put()
    file = save()
    for _ in range(2):
        assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert [tag.name for tag in placed.asset_data.tags] == ["red", "mug"]
    assert catalogs(file) == [ours(assets)]


def test_it_is_one_undo_step(bpy, put):
    put()
    bpy.ops.ed.undo_push(message=PROMPT)
    assert bpy.ops.sdi.mark_as_asset("EXEC_DEFAULT", True) == {"FINISHED"}
    assert bpy.data.objects[PROMPT].asset_data is not None
    bpy.ops.ed.undo()
    assert bpy.data.objects[PROMPT].asset_data is None


def test_without_a_picture_blender_makes_one(bpy, put, results):
    placed = put()
    (results / "job-1" / "preview.png").unlink()
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert placed.asset_data is not None


def test_it_says_why_not(bpy, extension, put, monkeypatch):
    assert not bpy.ops.sdi.mark_as_asset.poll()
    with pytest.raises(RuntimeError, match="has made from a prompt"):
        bpy.ops.sdi.mark_as_asset()
    put()
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Object Mode"):
        bpy.ops.sdi.mark_as_asset()


def test_the_catalog_comes_when_the_file_is_saved(bpy, assets, put, save, capfd):
    put()
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert "save the file" in capfd.readouterr().out
    assert catalogs(save()) == [ours(assets)]


def test_the_catalog_follows_the_file(bpy, assets, put, save, tmp_path):
    put()
    save()
    bpy.ops.sdi.mark_as_asset()
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "file.blend"))
    assert catalogs(tmp_path / "elsewhere" / CATALOGS) == [ours(assets)]


def test_a_file_without_our_assets_gets_no_catalog(put, save):
    put()
    assert not save().exists()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_what_is_in_the_catalogs_file_stays(bpy, assets, put, save, end):
    put()
    file = save()
    before = (
        f"# notes, mine: SDI:SDI\nVERSION 1\n\n{MINE}:Props/Mugs:Mugs — ünï{end}".encode() + b"# \xff\n"[: len(end)]
    )
    file.write_bytes(before)
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    after = file.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].strip().decode() == ours(assets)


def test_an_existing_catalog_of_that_name_is_used(bpy, put, save):
    placed = put()
    file = save()
    file.write_text(f"VERSION 1\n{MINE}:SDI:Whatever\n")
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert placed.asset_data.catalog_id == MINE
    assert catalogs(file) == [f"{MINE}:SDI:Whatever"]


def test_in_an_asset_library_the_catalog_is_at_its_root(bpy, assets, put, save, tmp_path):
    libraries = bpy.context.preferences.filepaths.asset_libraries
    library = libraries.new(name="Mine", directory=str(tmp_path))
    try:
        put()
        beside = save()
        assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    finally:
        libraries.remove(library)
    assert not beside.exists()
    assert catalogs(tmp_path / CATALOGS) == [ours(assets)]


def test_a_catalog_that_cannot_be_written_is_only_reported(bpy, assets, put, save, capfd):
    placed = put()
    file = save()
    file.mkdir()
    assert bpy.ops.sdi.mark_as_asset() == {"FINISHED"}
    assert "save the file in a folder that you may write to" in capfd.readouterr().out
    assert placed.asset_data is not None
    assert save() == file


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("The mug AND the spoon", ["mug", "spoon"]),
        ("mug, mug; Mug", ["mug"]),
        ("…", []),
        ("茶碗 x-ray", ["茶碗", "x-ray"]),
    ],
)
def test_tags_leave_out_stop_words(assets, prompt, words):
    assert assets.tags(prompt) == words
