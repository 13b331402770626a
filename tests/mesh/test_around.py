"""Means over the vertices around points."""

import numpy as np
import pytest
import trimesh

from sdi_engine.mesh.around import Around


def test_what_is_true_of_vertices_is_true_of_them_and_blends_in_between():
    ball = trimesh.creation.icosphere(3, 1.0)
    around = Around(ball.vertices)
    values = ball.vertices * [1.0, 2.0, 3.0]
    np.testing.assert_allclose(around.mean(ball.vertices, values), values, atol=1e-6)
    middles = ball.triangles_center
    np.testing.assert_allclose(around.mean(middles, values), middles * [1.0, 2.0, 3.0], atol=0.1)


@pytest.mark.parametrize("count", [1, 3])
def test_few_vertices_do(count):
    vertices = np.eye(3)[:count]
    assert np.allclose(Around(vertices).mean(np.ones((5, 3)), np.full((count, 2), 7.0)), 7.0)
