import torch

from sdi_engine.radiance.shading import AMBIENT, DIFFUSE, Shading

ALBEDO = torch.tensor([[0.8, 0.4, 0.2]])
AWAY = torch.tensor([[0.0, 1.0, 0.0]])


def shade(mode, normal, offset=(0.0, 0.0, 0.0)):
    return Shading(mode, torch.tensor(offset), 0.01)(ALBEDO, torch.tensor([normal]), AWAY)


def test_a_surface_that_faces_the_camera_is_fully_lit():
    torch.testing.assert_close(shade("lit", [0.0, -1.0, 0.0]), ALBEDO * (AMBIENT + DIFFUSE))
    torch.testing.assert_close(shade("textureless", [0.0, -1.0, 0.0]), torch.full((1, 3), AMBIENT + DIFFUSE))


def test_a_surface_at_sixty_degrees_gets_half_of_the_lamp():
    tilted = [0.0, -0.5, 0.75**0.5]
    torch.testing.assert_close(shade("textureless", tilted), torch.full((1, 3), AMBIENT + 0.5 * DIFFUSE))


def test_away_from_the_lamp_and_without_a_normal_there_is_ambient_light_only():
    for normal in ([0.0, 1.0, 0.0], [0.0, 0.0, 0.0]):
        torch.testing.assert_close(shade("lit", normal), ALBEDO * AMBIENT)


def test_the_lamp_moves_with_its_offset():
    upwards = [0.0, 0.0, 1.0]
    assert shade("lit", upwards, (0.0, 0.0, 1.0)).sum() > shade("lit", upwards).sum()
