"""The truth measured against itself, and against what an optimisation may turn it into."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from made_meshes import write_instance

from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.accuracy import looks_like_front
from sdi_engine.evaluation.appearance import Appearance
from sdi_engine.evaluation.frechet import frechet
from sdi_engine.evaluation.geometry import Shape, chamfer, silhouette_iou
from sdi_engine.evaluation.judge import Judge, Names, load_judge
from sdi_engine.evaluation.measure import SEED, Truths, janus, measure
from sdi_engine.evaluation.pictures import on_grey, render_around
from sdi_engine.evaluation.ranking import r_precision
from sdi_engine.starter import world
from sdi_engine.starter.render import Surface, sample_surface, spread_points
from sdi_engine.starter.world import Instance, Item, Subject

CAR = Subject(Item("car", "blue", "dotted"))
MUG = Subject(Item("mug", "red"))
BIRD_ON_CACTUS = Subject(Item("bird", "blue", "striped"), Item("cactus", "wooden"))


@pytest.fixture(scope="module")
def truths():
    return Truths.of(CAR, count=2)


@pytest.fixture(scope="module")
def car():
    """The first of the truths."""
    return world.make_instance(CAR, np.random.default_rng((SEED, 0)))


@pytest.fixture(scope="module")
def judge():
    return load_judge()


def turned(degrees):
    return trimesh.transformations.rotation_matrix(np.deg2rad(degrees), [0, 0, 1])


def two_fronts(instance: Instance) -> Instance:
    """The front half of a thing, and the same again behind it."""
    vertices, faces, origin = trimesh.remesh.subdivide_to_size(
        instance.vertices.astype(float), instance.faces, max_edge=0.05, max_iter=20, return_index=True
    )
    front = vertices[faces].mean(axis=1)[:, 1] < 0
    faces, origin = faces[front], np.tile(origin[front], 2)
    return replace(
        instance,
        vertices=np.concatenate([vertices, vertices * [1, -1, 1]]).astype(np.float32),
        faces=np.concatenate([faces, faces[:, ::-1] + len(vertices)]),
        face_paint=instance.face_paint[origin],
        face_item=instance.face_item[origin],
    )


def ball(radius, colour=(0.5, 0.5, 0.5), position=(0.0, 0.0, 0.0)):
    mesh = trimesh.creation.icosphere(4, radius)
    positions, normals, _ = spread_points(mesh.vertices + np.array(position), mesh.faces)
    coefficients = np.zeros((len(positions), 7))
    coefficients[:, :3] = colour
    return Surface(*(torch.from_numpy(np.array(v)).float() for v in (positions, normals, coefficients, np.eye(7, 3))))


def both(one, other):
    fields = (
        torch.cat([getattr(one, name), getattr(other, name)]) for name in ("positions", "normals", "coefficients")
    )
    return Surface(*fields, one.palette)


def test_a_truth_measured_against_itself_is_perfect(car, truths, judge, tmp_path):
    write_instance(tmp_path / "mesh.glb", car)
    found = measure(tmp_path / "mesh.glb", CAR, judge, truths)
    assert found.silhouette_iou > 0.97
    assert found.chamfer < 0.01
    assert found.normal_consistency > 0.95
    assert found.sharpness == pytest.approx(1, abs=0.25)
    assert found.saturation == pytest.approx(1, abs=0.1)
    assert found.contrast == pytest.approx(1, abs=0.1)
    assert list(found.recognised) == ["thing", "colour", "pattern"]
    assert found.recognised["thing"]
    assert found.recognised["colour"]
    assert found.per_view["colour"] > 0.7
    assert found.probability["thing"] > 0.9
    assert found.janus == 0
    assert found.is_janus is False
    assert found.features.shape[0] == 8
    numbers = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert "features" not in numbers
    assert np.shape(numbers["probabilities"]["base_colour"]) == (8, len(world.COLOURS) + 1)


def test_a_turned_mesh_fits_less(car, truths, judge, tmp_path):
    write_instance(tmp_path / "mesh.glb", car, turned(90))
    found = measure(tmp_path / "mesh.glb", CAR, judge, truths)
    assert found.silhouette_iou < 0.75
    assert found.chamfer > 0.05
    assert found.normal_consistency < 0.8


def test_a_front_on_either_side_is_a_janus(car, truths, judge, tmp_path):
    write_instance(tmp_path / "mesh.glb", two_fronts(car))
    found = measure(tmp_path / "mesh.glb", CAR, judge, truths)
    assert found.janus == 1
    assert found.is_janus


def test_what_has_no_front_is_no_janus(truths, car, tmp_path):
    write_instance(tmp_path / "mesh.glb", car)
    found = measure(tmp_path / "mesh.glb", CAR, Judge(Names.of_world(), fronts=()), truths)
    assert found.janus is None
    assert found.is_janus is None


def test_janus_counts_the_three_views_from_behind():
    verdict = Judge(Names.of_world()).assess(torch.rand(8, 3, 64, 64))
    views = torch.eye(8)
    views[3] = torch.eye(8)[7]
    assert janus(replace(verdict, view=views)) == pytest.approx(1 / 3)
    views[0] = torch.eye(8)[4]
    assert janus(replace(verdict, view=views)) == pytest.approx(1 / 3)
    assert looks_like_front(torch.eye(8)).tolist() == [True, True, False, False, False, False, False, True]


def test_a_pair_is_also_measured_by_what_it_stands_on(judge, tmp_path):
    instance = world.make_instance(BIRD_ON_CACTUS, np.random.default_rng(0))
    write_instance(tmp_path / "mesh.glb", instance)
    found = measure(tmp_path / "mesh.glb", BIRD_ON_CACTUS, judge, Truths.of(BIRD_ON_CACTUS, count=1))
    assert set(found.recognised) == {"thing", "colour", "pattern", "base", "base_colour"}
    assert found.recognised["base"]


def test_another_colour_is_not_taken_for_the_named_one(car, judge, truths, tmp_path):
    red = replace(car, subject=Subject(Item("car", "red", "dotted")))
    write_instance(tmp_path / "mesh.glb", red)
    found = measure(tmp_path / "mesh.glb", CAR, judge, truths)
    assert found.recognised["thing"]
    assert not found.recognised["colour"]
    assert found.probability["colour"] < 0.1


def test_an_empty_mesh_is_refused(judge, truths, tmp_path):
    about = b'{"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}    '
    header = struct.pack("<4sIIII", b"glTF", 2, 20 + len(about), len(about), 0x4E4F534A)
    (tmp_path / "mesh.glb").write_bytes(header + about)
    with pytest.raises(BadInputError, match="has 0 meshes"):
        measure(tmp_path / "mesh.glb", CAR, judge, truths)


def test_truths_are_made_once(truths, judge):
    assert Truths.of(CAR, count=2) is truths
    assert truths.pictures.shape == (16, 3, 64, 64)
    assert truths.features(judge).shape[0] == 16


def test_the_chamfer_distance_of_two_balls_is_the_difference_of_their_radii():
    small, large = Shape.of(ball(0.4)), Shape.of(ball(0.5))
    distance, consistency = chamfer(small, large)
    assert distance == pytest.approx(0.1, rel=0.05)
    assert consistency > 0.99
    assert silhouette_iou(small, large) == pytest.approx(0.64, abs=0.05)
    assert chamfer(large, small)[0] == pytest.approx(distance)


def test_invisible_surfaces_do_not_count():
    outer = ball(0.5)
    hollow, solid = Shape.of(both(outer, ball(0.3))), Shape.of(outer)
    distance, consistency = chamfer(hollow, solid)
    assert distance < 0.005
    assert consistency > 0.99


def test_points_of_a_shape_lie_on_it():
    shape = Shape.of(both(ball(0.3, position=(-0.2, 0, 0.3)), ball(0.2, position=(0.3, 0.2, -0.2))))
    centres = np.array([[-0.2, 0, 0.3], [0.3, 0.2, -0.2]])
    off = np.abs(np.linalg.norm(shape.points[:, None] - centres, axis=2) - [0.3, 0.2]).min(axis=1)
    assert off.max() < 0.03
    np.testing.assert_allclose(np.linalg.norm(shape.normals, axis=1), 1)


def test_blur_lowers_sharpness_and_grey_lowers_saturation(car):
    pictures = render_around(sample_surface(car))
    truth = Appearance.of(pictures)
    assert truth.relative_to(truth) == pytest.approx({"sharpness": 1, "saturation": 1, "contrast": 1})
    channels = pictures.permute(0, 3, 1, 2)
    blurred = torch.nn.functional.avg_pool2d(channels, 3, stride=1, padding=1).permute(0, 2, 3, 1)
    assert Appearance.of(blurred).relative_to(truth)["sharpness"] < 0.5
    grey = torch.cat([channels[:, :3].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1), channels[:, 3:]], dim=1)
    assert Appearance.of(grey.permute(0, 2, 3, 1)).relative_to(truth)["saturation"] < 0.2
    flat = torch.cat([0.5 * pictures[..., 3:].expand(-1, -1, -1, 3), pictures[..., 3:]], dim=-1)
    assert Appearance.of(flat).relative_to(truth)["contrast"] < 0.3


def test_only_high_frequencies_count_as_sharpness():
    """A wavelength of 4 pixels is above a quarter of the Nyquist frequency, one of 16 pixels below it."""
    columns = torch.arange(64).float().expand(64, 64)
    for period, energy in ((4, 0.5 * 0.25**2), (16, 0.0)):
        wave = 0.5 + 0.25 * torch.sin(2 * torch.pi * columns / period + 0.3)
        picture = torch.stack([wave, wave, wave, torch.ones_like(wave)], dim=-1)[None]
        assert Appearance.of(picture).sharpness.item() == pytest.approx(energy, abs=1e-4)


def test_the_frechet_distance_is_that_of_the_normal_distributions():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (4000, 5)), rng.normal([2, 0, 0, 0, 0], [3, 1, 1, 1, 1], (4000, 5))
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet(one, other) == pytest.approx(2**2 + (3 - 1) ** 2, rel=0.1)
    assert frechet(one, other) == pytest.approx(frechet(other, one))


def test_the_frechet_distance_stays_finite_for_few_samples():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0, 1, (8, 64)), rng.normal(0, 1, (300, 64))
    near, far = frechet(few, many), frechet(few + 3.0, many)
    assert 0 < near < far
    assert frechet(np.ones((4, 3)), np.ones((4, 3))) == 0


@pytest.mark.parametrize("features", [np.zeros((1, 4)), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_the_frechet_distance_needs_pictures(features):
    with pytest.raises(BadInputError, match="two pictures"):
        frechet(features, np.zeros((4, 4)))


def answers_of(subject, sure=0.9):
    """A judge's answers on eight good pictures."""
    names = Names.of_world()
    result = {}
    for name, index in names.correct(subject).items():
        size = names.sizes()[name]
        row = np.full(size, (1 - sure) / (size - 1))
        row[index] = sure
        result[name] = [row.tolist()] * 8
    return result


def test_r_precision_ranks_each_objects_own_prompt_among_all():
    subjects = [CAR, MUG, BIRD_ON_CACTUS, Subject(Item("car", "red"))]
    right = [answers_of(subject) for subject in subjects]
    assert r_precision(right, subjects) == {"thing": 1, "colour": 1, "both": 1, "prompt": 1}
    # A blue mug where a red one was wanted, and a plain car where a dotted one was.
    wrong = [answers_of(Subject(Item("mug", "blue"))) if s is MUG else a for s, a in zip(subjects, right, strict=True)]
    assert r_precision(wrong, subjects) == {"thing": 1, "colour": 0.75, "both": 1, "prompt": 1}
    others = [Subject(Item("mug", "blue"))]
    assert r_precision(wrong, subjects, others)["both"] == 0.75
    plain = [answers_of(Subject(Item("car", "blue")))]
    assert r_precision(plain, [CAR], [Subject(Item("car", "blue"))]) == {
        "thing": 1,
        "colour": 1,
        "both": 1,
        "prompt": 0,
    }


def test_r_precision_forgives_one_bad_view():
    answers = answers_of(MUG)
    none = [0.0] * len(answers["thing"][0])
    none[0] = 1.0
    answers["thing"] = [none, *answers["thing"][1:]]
    assert r_precision([answers], [MUG], [CAR])["thing"] == 1


def test_r_precision_needs_objects():
    with pytest.raises(BadInputError, match="at least one object"):
        r_precision([], [])
    with pytest.raises(BadInputError, match="at least one object"):
        r_precision([answers_of(MUG)], [MUG, CAR])


def test_the_judge_recognises_the_truth_rendered_as_results_are(judge, truths):
    verdict = judge.assess(truths.pictures.float() / 255)
    correct = judge.names.correct(CAR)
    assert (verdict.thing.argmax(dim=1) == correct["thing"]).float().mean() > 0.9
    assert (verdict.colour.argmax(dim=1) == correct["colour"]).float().mean() > 0.9


def test_pictures_of_balls_are_round():
    """Silhouettes of a ball are the same from all sides."""
    pictures = on_grey(render_around(ball(0.5, colour=(0.9, 0.1, 0.1))))
    assert (pictures - pictures[0]).abs().mean() < 0.01
