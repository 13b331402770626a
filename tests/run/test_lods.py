"""Levels of detail: the same object with ever fewer triangles, in files of their own."""

import json

import numpy as np
import torch
import trimesh
from exact_prior import ExactPrior, ball_images

from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.run import text_to_mesh


def test_each_has_half_the_triangles_and_stands_where_the_object_does(tmp_path):
    small = {"mesh_resolution": 32, "samples_per_ray": 16}
    request = JobRequest(
        "mug", preset="draft", steps=1, lods=2, texture_size=256, face_budget=1200, device="cpu", overrides=small
    )
    folder = JobFolder.create(tmp_path / "job", request)
    torch.manual_seed(0)
    text_to_mesh.make(
        folder, request, False, lambda event: None, load=lambda *asked: ExactPrior({"mug": ball_images(16)})
    )
    meshes = [trimesh.load(file, force="mesh") for file in (folder.mesh_file, folder.lod_file(1), folder.lod_file(2))]
    budgets = (1200, 600, 300)
    for mesh, budget in zip(meshes, budgets, strict=True):
        assert 0.8 * budget < len(mesh.faces) <= budget
        assert mesh.visual.material.baseColorTexture.size[0] == 256 * budget // 1200
        assert mesh.visual.material.normalTexture.size[0] == 256 * budget // 1200
        np.testing.assert_allclose(mesh.bounds, meshes[0].bounds, atol=0.05)
    told = json.loads(folder.result_file.read_text())["lods"]
    assert told == [{"mesh": f"mesh-lod{level}.glb", "faces": len(meshes[level].faces)} for level in (1, 2)]
    assert folder.remove()
