"""A run that begins as a field and goes on as a mesh: the change itself, and runs that stop before, after, or in it."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from exact_prior import ExactPrior, ball_images
from safetensors.torch import load_file, save_file

from sdi_engine.config.settings import PRESETS
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import BadInputError, NoObjectError
from sdi_engine.mesh.surface import simplified
from sdi_engine.mesh.topology import non_manifold_edges, welded
from sdi_engine.radiance import volume
from sdi_engine.radiance.volume import RadianceVolume
from sdi_engine.run import checkpoint
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.surface import field_then_mesh
from sdi_engine.surface.field_then_mesh import FieldThenMesh

RESOLUTION = 16
STEPS = 6


@pytest.fixture(scope="module")
def prior():
    return ExactPrior({"ball": ball_images(RESOLUTION)})


def new_run(prior, **changes):
    options = {
        "steps": STEPS,
        "resolution": RESOLUTION,
        "guidance_scale": 3.0,
        "inversion_guidance_scale": -3.0,
        "samples_per_ray": 16,
        "mesh_resolution": 24,
        "mesh_start": 0.5,
    }
    return Optimisation(prior, "ball", "", dataclasses.replace(PRESETS["draft"], **options | changes), seed=0)


def advanced(run, steps):
    for _ in range(steps):
        run.advance()
    return run


@pytest.fixture(scope="module")
def whole(prior):
    return advanced(new_run(prior), STEPS)


def assert_same(run, whole):
    states = run.representation.state_dict(), whole.representation.state_dict()
    assert states[0].keys() == states[1].keys()
    assert "mesh_vertices" in states[0]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_in_time_the_surface_becomes_a_mesh_whose_vertices_move(prior, whole):
    run = advanced(new_run(prior), STEPS // 2)
    assert [group["name"] for group in run.optimizer.param_groups] == ["field"]
    before = run.view([0.0], 20.0, 32)
    run.advance()
    assert [group["name"] for group in run.optimizer.param_groups] == ["field", "vertices"]
    assert run.representation.surface.moves.abs().max() > 0.0
    # the mesh shows what the field showed
    assert (run.view([0.0], 20.0, 32) - before).abs().mean() < 0.1


def test_the_mesh_is_exported_with_its_colours_and_levels_of_detail(whole):
    larger = JobRequest("a ball", texture_size=64, lods=1)
    exported = whole.representation.export(larger, lambda name, key: contextlib.nullcontext())
    assert len(exported.lods[0].mesh.faces) <= len(exported.mesh.faces) / 2
    request = JobRequest("a ball", face_budget=300, texture_size=64, lods=1)
    exported = whole.representation.export(request, lambda name, key: contextlib.nullcontext())
    assert 100 < len(exported.mesh.faces) <= 300
    assert len(exported.lods[0].mesh.faces) <= 150
    faces = welded(exported.mesh.vertices)[exported.mesh.faces]
    assert not len(non_manifold_edges(faces))
    now = whole.representation.surface.positions().detach().numpy()
    assert np.allclose(exported.mesh.vertices.max(axis=0), now.max(axis=0), atol=0.05)
    light = whole.representation.preview_mesh(200)
    assert 0 < len(light.faces) <= 200
    assert exported.albedo.reshape(-1, 3).mean(axis=0) / 255.0 == pytest.approx(
        light.colours.mean(dim=0).tolist(), abs=0.1
    )


def test_a_level_of_detail_of_which_nothing_is_left_costs_no_object(whole, monkeypatch):
    def of_enough(mesh, face_budget):
        if face_budget < 120:
            raise NoObjectError("nothing is left")
        return simplified(mesh, face_budget)

    monkeypatch.setattr(volume, "simplified", of_enough)
    request = JobRequest("a ball", face_budget=300, texture_size=64, lods=3)
    exported = whole.representation.export(request, lambda name, key: contextlib.nullcontext())
    assert len(exported.lods) == 1
    assert "level of detail 2" in exported.notices[0]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_resumed_run_ends_as_an_uninterrupted_one(prior, whole, tmp_path, steps):
    checkpoint.save(advanced(new_run(prior), steps), tmp_path / "state")
    run = new_run(prior)
    checkpoint.load(run, tmp_path / "state")
    assert_same(advanced(run, STEPS - steps), whole)


def test_the_step_of_the_change_can_be_given_up_and_done_again(prior, whole):
    run = advanced(new_run(prior), STEPS // 2)

    def give_up(share):
        if share > 0.2:
            raise KeyboardInterrupt

    run.safepoint = give_up
    with pytest.raises(KeyboardInterrupt):
        run.advance()
    run.safepoint = lambda share: None
    advanced(run, STEPS // 2)
    assert torch.equal(run.representation.surface.moves, whole.representation.surface.moves)


def test_a_person_is_heard_while_the_field_becomes_the_mesh(prior, whole):
    run, heard_before = advanced(new_run(prior), STEPS // 2), []

    def give_up(share):
        heard_before.append(run.representation.surface is None)
        raise KeyboardInterrupt

    run.safepoint = give_up
    with pytest.raises(KeyboardInterrupt):
        run.advance()
    assert heard_before == [True]
    run.safepoint = lambda share: None
    assert_same(advanced(run, STEPS // 2), whole)


def test_a_field_without_a_surface_goes_on_and_is_asked_again(prior, monkeypatch):
    monkeypatch.setattr(field_then_mesh, "ASKED_EVERY", 2)
    asked = []

    def fine_surface(self, random):
        asked.append(run.step)
        if len(asked) == 1:
            raise NoObjectError("nothing yet")
        return RadianceVolume.fine_surface(self, random)

    monkeypatch.setattr(FieldThenMesh, "fine_surface", fine_surface)
    run = new_run(prior)
    advanced(run, STEPS)
    assert asked == [3, 5]
    assert run.representation.surface is not None


def test_a_checkpoint_with_a_damaged_mesh_is_refused_in_one_sentence(prior, whole, tmp_path):
    checkpoint.save(whole, tmp_path / "state")
    tensors = load_file(tmp_path / "state")
    tensors["representation.mesh_faces"][0, 0] = 10**6
    save_file(tensors, tmp_path / "state")
    with pytest.raises(BadInputError, match="damaged"):
        checkpoint.load(new_run(prior), tmp_path / "state")


def test_quads_come_in_pairs_of_triangles_and_it_is_said_where_none_could_be_made(whole, monkeypatch):
    pytest.importorskip("pynanoinstantmeshes")
    request = JobRequest("a ball", face_budget=600, texture_size=64, quads=True)
    exported = whole.representation.export(request, lambda name, key: contextlib.nullcontext())
    assert exported.notices == ()
    assert 200 < len(exported.mesh.faces) <= 600
    faces = welded(exported.mesh.vertices)[exported.mesh.faces]
    assert not len(non_manifold_edges(faces))
    assert all(len(set(one) & set(other)) == 2 for one, other in faces.reshape(-1, 2, 3))
    monkeypatch.setattr(volume, "remeshed", lambda mesh, face_budget: None)
    exported = whole.representation.export(request, lambda name, key: contextlib.nullcontext())
    assert "joins triangles" in exported.notices[0]
