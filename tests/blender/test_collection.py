"""The collection of a scene's results shows them in that scene only."""

import pytest
from made_jobs import make_job


@pytest.fixture
def put_into(extension, results, bpy):
    """Import a result into the scene of this name."""

    def put(scene, name):
        folder = make_job(extension, results, name)
        placement = extension.jobs.placement.Placement(scene=scene)
        return extension.scene.importer.put_into_scene(bpy.context, folder, placement)

    return put


def scenes_of(thing):
    return [scene.name for scene in thing.users_scene]


def copied(bpy):
    bpy.ops.scene.new(type="FULL_COPY")
    return bpy.context.scene


@pytest.mark.parametrize("make", [lambda bpy: bpy.data.scenes.new("Other"), copied])
def test_a_result_brings_none_of_other_scenes_along(bpy, put_into, make):
    here = bpy.context.scene
    first = put_into(here.name, "job-1")
    other = make(bpy)
    before = set(other.objects)
    second = put_into(other.name, "job-2")
    assert set(other.objects) == {*before, second}
    assert (scenes_of(first), scenes_of(second)) == ([here.name], [other.name])
    third = put_into(other.name, "job-3")
    assert third.users_collection == second.users_collection
    assert put_into(here.name, "job-4").users_collection == first.users_collection


def test_what_went_with_its_scene_does_not_come_back(bpy, put_into):
    gone = bpy.data.scenes.new("Gone")
    lost = put_into("Gone", "job-1")
    bpy.data.scenes.remove(gone)
    placed = put_into("Gone", "job-2")
    assert scenes_of(placed) == ["Scene"]
    assert lost.name not in bpy.context.scene.objects


def test_scenes_that_share_the_collection_share_the_results(bpy, put_into):
    first = put_into("Scene", "job-1")
    bpy.ops.scene.new(type="LINK_COPY")
    second = put_into(bpy.context.scene.name, "job-2")
    assert second.users_collection == first.users_collection
    assert len(scenes_of(second)) == 2
