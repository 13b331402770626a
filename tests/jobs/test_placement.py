import dataclasses
import json
import os

import pytest
from sdi_text_to_3d.jobs.placement import IDENTITY, IMPORTED, Placement, Target
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.system import machine, processes

MATRIX = (0.0, -2.0, 0.0, 1.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def folder(tmp_path):
    return JobFolder(tmp_path)


def test_what_is_written_is_read(folder):
    written = Placement(MATRIX, scene="Scene", blend_file="/a.blend").with_fate(IMPORTED)
    written.write(folder)
    assert Placement.read(folder) == written
    assert written.location == (1.0, 2.0, 3.0)


def test_who_owns_a_result_is_another_only_while_that_process_runs():
    other = processes.ourselves() | {"pid": os.getppid(), "process_start": processes.start_time(os.getppid())}
    assert not Placement().is_owned_by_another
    assert Placement(owner=other).is_owned_by_another
    assert not Placement(owner=other | {"process_start": "long ago"}).is_owned_by_another


def test_the_target_of_a_texture_is_read_and_sealed(folder):
    target = Target("0123", "Chair", "UVMap")
    written = Placement(MATRIX, target=target)
    written.write(folder)
    read = Placement.read(folder)
    assert read == written
    assert read.is_ours(folder)
    moved_on = dataclasses.replace(read, target=dataclasses.replace(target, name="Table"))
    assert not moved_on.is_ours(folder)


def test_the_seal_of_an_earlier_version_holds(folder):
    """Which knew no target."""
    written = Placement(MATRIX)
    fields = {**dataclasses.asdict(written), "matrix": list(MATRIX), "seal": ""}
    del fields["target"]
    seal = machine.seal("placement", folder.path.name, "", json.dumps(fields, sort_keys=True))
    (folder.path / "placement.json").write_text(json.dumps({**fields, "seal": seal}))
    assert Placement.read(folder).is_ours(folder)


def test_a_location_alone_is_upright(folder):
    placement = Placement.at((1.0, 2.0, 3.0), scene="Scene", blend_file="/a.blend")
    assert placement.matrix == (1, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1)
    assert (placement.location, placement.scene, placement.blend_file) == ((1.0, 2.0, 3.0), "Scene", "/a.blend")
    assert Placement().matrix == IDENTITY == Placement.at((0.0, 0.0, 0.0)).matrix


def test_files_of_the_first_version_are_read(folder):
    fields = {"location": [1, 2, 3], "scene": "Scene", "blend_file": "", "owner": 5, "fate": "pending"}
    (folder.path / "placement.json").write_text(json.dumps(fields))
    read = Placement.read(folder)
    assert read == dataclasses.replace(Placement.at((1.0, 2.0, 3.0), scene="Scene"), owner={})
    assert not read.is_owned_by_another  # a process id alone identifies nobody
    assert not read.is_ours(folder)


def test_further_fields_of_a_later_version_are_ignored(folder):
    written = Placement.at((1.0, 2.0, 3.0))
    (folder.path / "placement.json").write_text(json.dumps({**dataclasses.asdict(written), "weather": "fine"}))
    assert Placement.read(folder) == written


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"matrix": [1e400]}', "\xff", '{"scene": "\\ud800"}', " " * 5_000_000]
)
def test_files_that_are_no_placement_are_ignored(folder, text):
    (folder.path / "placement.json").write_text(text, encoding="latin-1")
    assert Placement.read(folder) is None


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {"scene": "Scene"},
        {"location": [1, 2]},
        {"location": "abc"},
        {"location": [1, 2, float("nan")]},
        {"matrix": [1.0] * 15},
        {"matrix": [[1.0] * 4] * 4},
        {"matrix": [float("inf")] * 16},
        {"location": [1, 2, 10**400]},
        {"location": [1, 2, True]},
        {"location": ["1", "2", "3"]},
        {"matrix": [1e39] * 16},
        {"matrix": list(IDENTITY), "scene": 5},
        {"matrix": list(IDENTITY), "blend_file": None},
        {"matrix": list(IDENTITY), "fate": "sold"},
        {"matrix": list(IDENTITY), "owner": {"pid": 10**40}},
        {"matrix": list(IDENTITY), "seal": 5},
        {"matrix": list(IDENTITY), "target": "Chair"},
        {"matrix": list(IDENTITY), "target": {"name": "Chair"}},
        {"matrix": list(IDENTITY), "target": {"identity": "0123", "name": 5, "uv_map": ""}},
    ],
)
def test_invalid_fields_are_ignored(folder, fields):
    if fields is not None:
        (folder.path / "placement.json").write_text(json.dumps(fields))
    assert Placement.read(folder) is None
