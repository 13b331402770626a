"""Normals for a coarse surface are those of the fine one that lies beside it."""

import numpy as np
import trimesh
from sources import grid

from sdi_engine.surface.normals_beside import REACH, NormalsBeside

HIGH = 0.02
WAVES = 10.0


def waves(x):
    return HIGH * np.sin(WAVES * x)


def test_they_are_the_normals_where_rays_along_the_coarse_ones_meet_it():
    flat = grid(64)
    vertices = flat.vertices.astype(float)
    vertices[:, 1] = waves(vertices[:, 0])
    wavy = trimesh.Trimesh(vertices, flat.faces, process=False)
    points = np.random.default_rng(0).uniform(-0.45, 0.45, (500, 3)).astype(np.float32)
    points[:, 1] = 0.0
    towards = np.tile(np.float32([0.0, -1.0, 0.0]), (500, 1))
    wanted = np.stack([WAVES * HIGH * np.cos(WAVES * points[:, 0]), -np.ones(500), np.zeros(500)], axis=1)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    beside = NormalsBeside(wavy)
    angles = np.degrees(np.arccos((beside.at(points, towards) * wanted).sum(axis=1).clip(-1.0, 1.0)))
    assert angles.max() < 1.0
    # on the surface itself it is the same
    points[:, 1] = waves(points[:, 0])
    angles = np.degrees(np.arccos((beside.at(points, towards) * wanted).sum(axis=1).clip(-1.0, 1.0)))
    assert angles.max() < 1.0


def test_out_of_reach_there_is_none():
    beside = NormalsBeside(trimesh.Trimesh(grid(1).vertices, grid(1).faces, process=False))
    points = np.float32([[0.0, -0.5 * REACH, 0.0], [0.0, -2.0 * REACH, 0.0], [9.0, 0.0, 0.0]])
    found = beside.at(points, np.tile(np.float32([0.0, -1.0, 0.0]), (3, 1)))
    assert np.allclose(found, [[0.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
