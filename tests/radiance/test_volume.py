"""The radiance field in its volume, as a run's representation."""

import dataclasses

import pytest
import torch

from sdi_engine.cameras import orbit, sample
from sdi_engine.config.ramp import constant
from sdi_engine.config.settings import OFF, PRESETS
from sdi_engine.radiance import patches, regularisers
from sdi_engine.radiance.renderer import render_rays
from sdi_engine.radiance.volume import NORMAL_RESOLUTION, RadianceVolume
from sdi_engine.representation import START, Step

RESOLUTION = 24
CPU = torch.device("cpu")


def settings(**changes):
    return dataclasses.replace(PRESETS["draft"], resolution=RESOLUTION, samples_per_ray=32, **changes)


def volume(chosen, seed=0):
    return RadianceVolume(chosen, Step(seed, START, chosen.steps), 0, CPU)


@pytest.mark.parametrize("shaded", [False, True])
def test_patches_give_the_images_and_gradients_of_rays_that_are_rendered_at_once(shaded, monkeypatch):
    """Deferred back-propagation is exact: it saves memory and does not change the gradients."""
    monkeypatch.setitem(patches.MAX_SAMPLES_PER_PATCH, "cpu", RESOLUTION**2 * 32)
    monkeypatch.setitem(patches.MAX_EVALUATED_AT_ONCE, "cpu", RESOLUTION**2 * 8)
    chosen = settings(textureless=float(shaded), shading_start=0.0)
    made = volume(chosen)
    cameras, step = sample(chosen.cameras, 2, torch.Generator().manual_seed(0)), Step(0, 60, chosen.steps)
    rendering = made.render(cameras, RESOLUTION, step)
    assert len(rendering.patches._patches) > 1
    rays = [each.reshape(-1, 3) for each in cameras.rays(RESOLUTION)]
    random = torch.Generator().manual_seed(rendering.patches.seed)
    shading = made._shading(step, CPU)
    assert (shading is not None) == shaded
    at_once = render_rays(made.field, made.occupancy, *rays, chosen.samples_per_ray, random, shading)

    def gradients(seen, backward):
        made.zero_grad()
        weights = torch.Generator().manual_seed(1)
        names = ("rgb", "opacity", "depth", "depth_variance")
        tensors = [getattr(seen, name).reshape(len(rays[0]), -1) for name in names]
        sum((tensor * torch.randn(tensor.shape, generator=weights)).sum() for tensor in tensors).backward()
        backward()
        return tensors + [parameter.grad for parameter in made.field.parameters()]

    expected = gradients(at_once, lambda: None)
    for one, other in zip(gradients(rendering.seen, rendering.backward), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 * other.abs().max().item(), rtol=1e-3)


def test_each_weight_weighs_its_own_regulariser_and_no_other():
    chosen = settings()
    cameras, number = sample(chosen.cameras, 2, torch.Generator().manual_seed(0)), 60
    plain = volume(chosen)
    seen = plain.render(cameras, RESOLUTION, Step(0, number, chosen.steps)).seen
    far = [each.reshape(-1, 3) for each in cameras.rays(NORMAL_RESOLUTION)]
    random, spacing = Step(0, number, chosen.steps).random, plain.field.cell
    normals = render_rays(plain.field, plain.occupancy, *far, 32, random, normal_spacing=spacing).map(
        lambda tensor: tensor.view(2, NORMAL_RESOLUTION, NORMAL_RESOLUTION, -1)
    )
    expected = {
        "sparsity": regularisers.sparsity(seen.opacity),
        "opaqueness": regularisers.opaqueness(seen.opacity),
        "z_variance": regularisers.z_variance(seen.depth_variance, seen.opacity),
        "smoothness": plain.field.smoothness(),
        "orientation": regularisers.orientation(normals.facing_away, normals.opacity),
        "convexity": regularisers.convexity(regularisers.view_space(normals.normal, cameras.axes())),
    }
    off = dict.fromkeys(expected, OFF) | {"smoothness": 0.0}
    for name, value in expected.items():
        made = volume(settings(**off | {name: 3.0 if name == "smoothness" else constant(3.0)}))
        total = made.render(cameras, RESOLUTION, Step(0, number, chosen.steps)).losses()
        total = total + sum(made.penalties(cameras, Step(0, number, chosen.steps)))
        torch.testing.assert_close(total, 3.0 * value, msg=name)
    released = volume(settings(**off | {"convexity": constant(3.0)}, released_code=True))
    (found,) = released.penalties(cameras, Step(0, number, chosen.steps))
    torch.testing.assert_close(found, 3.0 * regularisers.convexity_of_colours(normals.normal, normals.opacity))


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
    assert not torch.equal(first.opacity, second.opacity)
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
