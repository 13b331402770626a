"""The radiance field in its volume, as a run's representation."""

import dataclasses

import pytest
import torch

from sdi_engine.cameras import orbit, sample
from sdi_engine.config.settings import PRESETS
from sdi_engine.radiance import patches
from sdi_engine.radiance.volume import RadianceVolume
from sdi_engine.representation import START, Step

RESOLUTION = 24
CPU = torch.device("cpu")


def settings(**changes):
    return dataclasses.replace(PRESETS["draft"], resolution=RESOLUTION, samples_per_ray=32, **changes)


def volume(chosen, seed=0):
    return RadianceVolume(chosen, Step(seed, START, chosen.steps), 0, CPU)


def test_patches_give_the_gradients_of_the_whole(monkeypatch):
    """Deferred back-propagation is exact: it saves memory and does not change the gradients."""

    def gradients(rays_per_patch):
        monkeypatch.setitem(patches.MAX_SAMPLES_PER_PATCH, "cpu", rays_per_patch * 32)
        monkeypatch.setitem(patches.MAX_EVALUATED_AT_ONCE, "cpu", rays_per_patch * 8)
        chosen = settings()
        made = volume(chosen)
        cameras = sample(chosen.cameras, 2, torch.Generator().manual_seed(0))
        rendering = made.render(cameras, RESOLUTION, Step(0, 60, chosen.steps))
        weights = torch.randn(rendering.images.shape, generator=torch.Generator().manual_seed(1))
        ((rendering.images * weights).sum() + rendering.losses()).backward()
        rendering.backward()
        return rendering.images.detach(), [parameter.grad for parameter in made.field.parameters()]

    whole_images, whole = gradients(10**6)
    # each patch draws its own offsets, one after the other, so the split must not change what is drawn
    patched_images, patched = gradients(RESOLUTION * RESOLUTION)
    torch.testing.assert_close(patched_images, whole_images)
    for one, other in zip(whole, patched, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_shading_is_drawn_in_its_shares_and_only_after_its_start():
    chosen = settings(textureless=0.3, lit=0.2, shading_start=0.5)
    made = volume(chosen)
    modes = []
    for number in range(400):
        shading = made._shading(Step(0, number, 400), CPU)
        modes.append(shading.mode if shading else "albedo")
    assert set(modes[:200]) == {"albedo"}
    assert modes[200:].count("textureless") == pytest.approx(60, abs=20)
    assert modes[200:].count("lit") == pytest.approx(40, abs=20)


def test_the_surface_that_is_seen_is_where_matter_is_and_does_not_tremble():
    """The images' samples lie elsewhere in their intervals in every step; those that the surface is found by do not."""
    chosen = settings()
    made = volume(chosen)
    made.prepare(Step(0, 0, chosen.steps))
    cameras = orbit(chosen.cameras, [0.0, 90.0], 10.0, CPU)
    first, second = (made.render(cameras, RESOLUTION, Step(0, number, chosen.steps)) for number in (1, 2))
    assert not torch.equal(first.images, second.images)
    seen = first.surface(12)
    assert seen.position.shape == (2, 12, 12, 3)
    assert seen.opacity.shape == (2, 12, 12, 1)
    assert torch.equal(seen.position, second.surface(12).position)
    assert not seen.position.requires_grad
    opaque = seen.opacity[..., 0] > 0.9
    assert opaque.any()
    # at first there is a soft ball around the origin: its points face the camera that sees them
    towards = torch.nn.functional.normalize(cameras.position, dim=-1)
    facing = (seen.position * towards[:, None, None]).sum(dim=-1)[opaque]
    assert facing.min() > 0.0
    assert seen.position[opaque].norm(dim=-1).max() < 0.5


def test_a_view_is_the_same_at_every_call_and_takes_no_gradients():
    made = volume(settings())
    cameras = orbit(made.settings.cameras, [0.0, 90.0], 10.0, CPU)
    rgb, opacity = made.view(cameras, 8)
    assert rgb.shape == (2, 3, 8, 8)
    assert opacity.shape == (2, 1, 8, 8)
    assert not rgb.requires_grad
    assert torch.equal(rgb, made.view(cameras, 8)[0])
    assert (rgb <= opacity + 1e-5).all(), "colours are multiplied by the opacity"
