"""Another representation than the radiance field, from a request to a GLB, through the same public functions."""

import io
import json

import numpy as np
import pytest
import torch
import trimesh
from coloured_ball import ColouredBall
from exact_prior import ExactPrior, ball_images
from PIL import Image
from safetensors.torch import load_file

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import JobCancelledError, NoObjectError
from sdi_engine.run import text_to_mesh

RED = (0.9, 0.1, 0.1)
RADIUS = 0.6 * 0.775
"""The prior's images show a ball of 0.6 half frames, and half a frame is 0.775 scene units on average."""

STEPS = 40


@pytest.fixture
def new_job(tmp_path):
    request = JobRequest(
        "a red ball", preset="draft", steps=STEPS, texture_size=64, face_budget=400, height=2.0, device="cpu", seed=3
    ).validated()

    def create(name):
        return JobFolder.create(tmp_path / name, request)

    return create


def make(folder, report=lambda event: None, resume=False, represent=ColouredBall):
    prior = ExactPrior({"ball": ball_images(16, colour=RED)})
    text_to_mesh.make(folder, folder.request(), resume, report, load=lambda *_: prior, represent=represent)


def test_a_ball_of_four_numbers_is_distilled_previewed_and_exported(new_job, monkeypatch, small_pictures):
    monkeypatch.setattr(text_to_mesh, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(text_to_mesh, "LIVE_SHARE", 1e9)
    folder = new_job("job")
    folder.live_flag.touch()
    happened = []
    make(folder, happened.append)

    mesh = trimesh.load(folder.mesh_file).to_geometry()
    assert mesh.extents == pytest.approx([2.0] * 3, rel=0.05), "as tall as the request says"
    assert len(mesh.faces) == 320
    texture = np.asarray(mesh.visual.material.baseColorTexture)
    assert texture[32, 32, :3] / 255.0 == pytest.approx(RED, abs=0.1)
    result = json.loads(folder.result_file.read_text())
    assert result["vertices"] == 162
    assert result["steps"] == STEPS
    assert {"mesh", "unwrap", "save"} <= result["seconds"].keys()

    phases = [event.phase for event in happened if isinstance(event, events.Progress)]
    assert "Making the ball" in phases
    assert any(isinstance(event, events.LiveMeshSaved) for event in happened)
    live = np.load(io.BytesIO(folder.live_file.read_bytes()))
    assert np.ptp(live["vertices"][:, 2]) == pytest.approx(2.0, rel=1e-3)
    assert live["colours"][0] / 255.0 == pytest.approx(RED, abs=0.1)
    preview = np.asarray(Image.open(folder.preview_file))
    middle = preview[len(preview) // 2, len(preview) // 2]
    assert middle[0] > 200
    assert middle[1] < 80
    assert preview[0, 0] == pytest.approx([0.9 * 255] * 3, abs=3), "light grey behind it"

    saved = load_file(folder.checkpoint_file)
    assert saved["representation.radius"].item() == pytest.approx(RADIUS, abs=0.05)
    assert "optimizer.radius.exp_avg" in saved


def test_it_resumes_from_a_checkpoint_to_the_same_bytes(new_job, small_pictures):
    whole, interrupted = new_job("whole"), new_job("interrupted")
    make(whole)

    def cancel(event):
        if isinstance(event, events.PreviewSaved) and event.step >= 9:
            interrupted.cancel_flag.touch()

    with pytest.raises(JobCancelledError):
        make(interrupted, cancel)
    assert not interrupted.mesh_file.exists()
    interrupted.cancel_flag.unlink()
    steps = []

    def watch(event):
        if isinstance(event, events.PreviewSaved):
            steps.append(event.step)

    make(interrupted, watch, resume=True)
    assert steps[0] > 9, "it began anew"
    assert interrupted.mesh_file.read_bytes() == whole.mesh_file.read_bytes()


def test_a_run_without_an_object_is_tried_three_times(new_job, small_pictures):
    attempts = []

    class Shrinking(ColouredBall):
        def __init__(self, settings, start, attempt, device):
            super().__init__(settings, start, attempt, device)
            attempts.append(attempt)
            with torch.no_grad():
                self.radius.fill_(0.0)

    with pytest.raises(NoObjectError, match="The ball has vanished by step 0"):
        make(new_job("job"), represent=Shrinking)
    assert attempts == [0, 1, 2]
