import numpy as np

from sdi_engine.mesh_files.glossy import base_of_glossy, base_picture


def glossy_of(base, metallic):
    """What the formulas invert: the diffuse and the specular colour of a base colour."""
    specular = 0.04 + (base - 0.04) * metallic
    return base * (1.0 - 0.04) * (1.0 - metallic) / (1.0 - specular.max(axis=-1, keepdims=True)), specular


def test_grey_materials_get_back_the_base_colour_that_they_were_made_of():
    base = np.repeat(np.random.default_rng(1).uniform(0.1, 0.9, (50, 1)), 3, axis=1)
    for metallic in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(base_of_glossy(*glossy_of(base, metallic)), base, atol=1e-6)


def test_coloured_metals_and_other_materials_get_back_theirs():
    base = np.random.default_rng(1).uniform(0.1, 0.9, (50, 3))
    for metallic in (0.0, 1.0):
        np.testing.assert_allclose(base_of_glossy(*glossy_of(base, metallic)), base, atol=1e-6)


def test_of_two_pictures_the_larger_gives_the_size():
    black, gold = np.zeros((300, 2, 3), np.uint8), np.full((2, 5, 3), (255, 128, 0), np.uint8)
    base = base_picture(black, gold)
    assert base.shape == (300, 2, 3)
    np.testing.assert_allclose(base.reshape(-1, 3), [(255, 128, 0)] * 600, atol=1)
    assert base_picture(np.zeros(3, np.uint8), gold).shape == (2, 5, 3)
