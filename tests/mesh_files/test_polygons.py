import numpy as np
import pytest

from sdi_engine.mesh_files import polygons
from sdi_engine.mesh_files.polygons import of_fan, of_strip, triangulated


def area(points, faces):
    a, b, c = (np.asarray(points, float)[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)[:, 2] / 2


def test_polygons_come_in_their_order():
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 2, 0]], float)
    corners, polygon = triangulated(points, np.array([4, 2, 3]), np.array([0, 1, 2, 3, 0, 1, 2, 4, 3]))
    assert polygon.tolist() == [0, 0, 2]
    assert corners.tolist() == [[0, 1, 2], [0, 2, 3], [6, 7, 8]]


@pytest.mark.parametrize("first", range(10))
def test_a_polygon_around_a_hole_leaves_the_hole_open(first):
    """Outer and inner outline are one, by a bridge that is passed twice."""
    outline = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]
    points = np.array([(*outline[(first + each) % 10], 0) for each in range(10)], float)
    corners, _ = triangulated(points, np.array([10]), np.arange(10))
    areas = area(points, corners)
    assert areas.min() >= 0
    assert areas.sum() == pytest.approx(12)


def test_a_spiral_keeps_its_area_and_takes_few_questions(monkeypatch):
    """For each corner a few: the time that each takes grows with the number of corners, and there can be thousands."""
    turns = []
    turn = polygons._turn
    monkeypatch.setattr(polygons, "_turn", lambda *points: turns.append(1) or turn(*points))
    angle = np.linspace(0, 12 * np.pi, 200)
    inner, outer = (np.stack([r * np.cos(angle), r * np.sin(angle), 0 * r], 1) for r in (angle + 0.5, angle + 1))
    points = np.concatenate([outer, inner[::-1]])
    corners, _ = triangulated(points, np.array([400]), np.arange(400))
    areas = area(points, corners)
    x, y, _ = points.T
    assert areas.min() >= 0
    assert areas.sum() == pytest.approx((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    assert len(turns) < 20 * 400


def test_strips_and_fans_are_turned_as_they_begin():
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert area(square, of_strip(np.array([0, 1, 2, 3]))).tolist() == [0.5, 0.5]
    assert area(square, of_strip(np.array([0, 1, 2, 3, 3, 1]))).tolist() == [0.5, 0.5]
    assert area(square, of_fan(np.array([0, 1, 3, 2]))).tolist() == [0.5, 0.5]
    assert len(of_strip(np.array([0, 1]))) == len(of_fan(np.array([0]))) == 0
