"""Noise that lives on the object, on surfaces whose points are known."""

import dataclasses

import pytest
import torch
from coloured_ball import ColouredBall
from exact_prior import ExactPrior, ball_images
from tiny_models import write_stable_diffusion

from sdi_engine import threads as worker_threads
from sdi_engine.cameras import orbit
from sdi_engine.config.ramp import Ramp
from sdi_engine.config.settings import PRESETS
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.prior import Prediction
from sdi_engine.distillation import noise_kernels
from sdi_engine.distillation.noise import AFTERWARDS, CHOICES, NEED_CELLS, Context
from sdi_engine.distillation.surface_noise import ENTRIES, Footprints, NoiseCells, standardised
from sdi_engine.errors import BadInputError
from sdi_engine.representation import START, Step
from sdi_engine.run.guidance import PIXELS_PER_SURFACE_POINT
from sdi_engine.run.optimisation import Optimisation

CPU = torch.device("cpu")
N = 32


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def cells(channels=4, seed=0):
    return NoiseCells(channels, random(seed), CPU)


def wall(shift=0.0, count=1, size=N, opacity=1.0):
    """A wall of 1 × 1 scene units before `count` cameras, moved by a share of its width."""
    along = (torch.arange(size) + 0.5) / size
    z, x = torch.meshgrid(-along, along + shift, indexing="ij")
    position = torch.stack([x, torch.zeros_like(x), z], dim=-1).expand(count, -1, -1, -1)
    return position, torch.full((count, size, size, 1), opacity)


def footprints(position, opacity, cell=0.5):
    """With cells of so many pixels."""
    return Footprints.of_surface(position, opacity, cell / N, N)


def correlation(one, other):
    """Of all elements of two noises of mean 0 and variance 1."""
    return (one * other).mean().item()


@pytest.mark.parametrize("cell", [0.25, 0.6, 2.0])
@pytest.mark.parametrize("opacity", [1.0, 0.0])
def test_it_is_standard_normal_however_large_the_cells(cell, opacity):
    """Over many tables, so that pixels which share a cell do not decide."""
    pixels = footprints(*wall(opacity=opacity), cell)
    kappa = torch.cat([cells(seed=seed).seen_by(pixels, random(seed)) for seed in range(40)])
    assert kappa.shape == (40, 4, N, N)
    assert kappa.mean().item() == pytest.approx(0.0, abs=0.05)
    deviation = kappa.std(dim=0)
    assert deviation.mean().item() == pytest.approx(1.0, abs=0.05)
    assert deviation.amin() > 0.4
    assert deviation.amax() < 1.7


def test_it_is_standard_normal_at_an_edge_too():
    position, opacity = wall()
    opacity[:, :, N // 2] = 0.7
    opacity[:, :, N // 2 + 1 :] = 0.0
    pixels = footprints(position, opacity)
    edge = pixels.opacity[0, 0, 5]
    assert ((edge > 0.0) & (edge < 1.0)).any(), "no pixel sees both"
    kappa = torch.cat([cells(seed=seed).seen_by(pixels, random(seed)) for seed in range(100)])
    columns = kappa.square().mean((0, 1, 2)).sqrt()
    assert columns.tolist() == pytest.approx([1.0] * N, abs=0.1)


def test_neighbouring_pixels_are_nearly_independent():
    kappa = torch.cat([cells(seed=seed).seen_by(footprints(*wall()), random()) for seed in range(10)])
    assert abs(correlation(kappa[..., 1:], kappa[..., :-1])) < 0.25
    assert abs(correlation(kappa[..., 2:], kappa[..., :-2])) < 0.05


def test_the_same_points_have_the_same_noise_in_every_view_and_the_background_has_not():
    memory = cells()
    here, three_pixels_on = footprints(*wall()), footprints(*wall(shift=3 / N))
    one, other = (memory.seen_by(pixels, random(seed)) for seed, pixels in enumerate((here, three_pixels_on)))
    assert correlation(one[..., 3:], other[..., :-3]) > 0.9
    assert abs(correlation(one, other)) < 0.1
    empty = footprints(*wall(opacity=0.0))
    assert abs(correlation(memory.seen_by(empty, random(0)), memory.seen_by(empty, random(1)))) < 0.1


def test_two_cameras_see_the_same_noise_on_a_ball():
    chosen = PRESETS["draft"]
    ball = ColouredBall(chosen, Step(0, START, 1), 0, CPU)
    cameras = orbit(chosen.cameras, [0.0, 20.0], 10.0, CPU)
    with torch.no_grad():
        seen = ball.render(cameras, 64, Step(0, 0, 1)).surface(64)
    edge = 0.6 * chosen.cameras.frame / 64
    kappa = cells().seen_by(Footprints.of_surface(seen.position, seen.opacity, edge, 64), random())
    points = [seen.position[view][seen.opacity[view, ..., 0] > 0.9] for view in range(2)]
    noise = [kappa[view].permute(1, 2, 0)[seen.opacity[view, ..., 0] > 0.9] for view in range(2)]
    distance, nearest = torch.cdist(*points).min(dim=1)
    near = distance < 0.4 * edge
    assert near.sum() > 30
    assert correlation(noise[0][near], noise[1][nearest[near]]) > 0.5
    assert abs(correlation(noise[0][near], noise[1][nearest[near].flip(0)])) < 0.2


@pytest.mark.parametrize(("gamma", "left"), [(0.0, 1.0), (0.19, 0.9), (1.0, 0.0)])
def test_a_refresh_forgets_a_share_and_keeps_the_variance(gamma, left):
    memory = cells()
    before = memory.values.clone()
    memory.refresh(gamma)
    memory.look(Footprints.of_pixels(1, 2**9, CPU), random(1))
    assert correlation(before, memory.values) == pytest.approx(left, abs=0.02)
    assert memory.values.std().item() == pytest.approx(1.0, abs=0.02)


def test_cells_that_nobody_looks_at_forget_as_much_by_the_time_that_they_are_looked_at():
    """And those that are looked at no more than once each time."""
    memory, half = cells(), Footprints.of(torch.arange(ENTRIES // 2, dtype=torch.int32).view(1, 1, -1, 1))
    before = memory.values.clone()
    for step in range(3):
        memory.refresh(0.19)
        memory.look(half, random(10 + step))
        memory.look(half, random(20 + step))
    memory.look(Footprints.of_pixels(1, 2**9, CPU), random(30))
    for part in (slice(0, ENTRIES // 2), slice(ENTRIES // 2, None)):
        assert correlation(before[part], memory.values[part]) == pytest.approx(0.9**3, abs=0.02)
        assert memory.values[part].std().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_find_the_cells_and_noise_of_plain_torch(threads, monkeypatch):
    """But for a few samples on the border of two cells, where rounding decides."""
    pytest.importorskip("warp")
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(threads)
    position, opacity = wall(shift=0.123, count=2, size=20)
    opacity = (opacity * torch.linspace(0.0, 1.5, 20)[None, None, :, None]).clamp(max=1.0)
    assert noise_kernels.can_be_fused(CPU)
    fused = footprints(position, opacity)
    memory = cells()
    seen = memory.seen_by(fused, random(1))
    change = torch.randn(seen.shape, generator=random(2))
    memory.add(fused, change)
    monkeypatch.setattr(noise_kernels, "can_be_fused", lambda device: False)
    plain = footprints(position, opacity)
    assert (fused.entries == plain.entries).float().mean() > 0.99
    same = Footprints.of(fused.entries)  # counted by plain torch, and the same cells
    for name in ("times_seen", "beside", "cells"):
        assert torch.equal(getattr(fused, name), getattr(same, name)), name
    torch.testing.assert_close(fused.length, same.length, atol=1e-5, rtol=0.0)
    twin = cells()
    torch.testing.assert_close(twin.seen_by(same, random(1)), seen, atol=1e-5, rtol=0.0)
    twin.add(same, change)
    torch.testing.assert_close(twin.values, memory.values, atol=1e-5, rtol=0.0)
    assert not torch.equal(twin.values, cells().values)


def test_what_is_added_for_a_pixel_is_what_it_sees_then():
    """Exactly where no pixel shares a cell, whether it sees a cell once or several times."""
    for cell in (0.5, 1.0):
        memory, pixels = cells(), footprints(*wall(), cell)
        before = memory.seen_by(pixels, random())
        change = torch.randn(before.shape, generator=random(2))
        memory.add(pixels, change)
        after = memory.seen_by(pixels, random())
        hashed_alike = (after - before - change).abs().amax(dim=1) > 1e-3
        assert hashed_alike.float().mean() < 0.2, "few cells share an entry"


def test_a_cell_that_several_pixels_see_gets_the_mean_of_what_they_want():
    memory, pixels = cells(channels=1), Footprints.of(torch.full((1, 2, 2, 1), 7, dtype=torch.int32))
    start = memory.values[7].item()
    memory.add(pixels, torch.tensor([[1.0, 2.0], [3.0, 6.0]])[None, None])
    assert memory.values[7].item() == pytest.approx(start + 3.0)


def test_noise_stays_standard_normal_when_it_is_kept_over_many_views():
    """An average of the noise of all pixels that see a cell would fade."""
    memory = cells()
    for step in range(60):
        pixels = footprints(*wall(shift=0.013 * step))
        kappa = memory.seen_by(pixels, random(step))
        memory.add(pixels, torch.randn(kappa.shape, generator=random(100 + step)) - kappa)
    kappa = memory.seen_by(footprints(*wall(shift=0.4)), random())
    assert kappa.std().item() == pytest.approx(1.0, abs=0.15)


def test_a_shape_moves_by_itself_and_its_edge_stays_with_it():
    """What is behind an edge is weighted by its opacity: nothing is seen between the object and far away."""
    position, opacity = wall()
    position[:, :, N // 2 :] += 1e3
    opacity[:, :, N // 2 :] = 0.0
    seen = footprints(position, opacity)
    near = footprints(wall()[0], opacity)
    assert torch.equal(seen.entries[seen.entries >= 0], near.entries[near.entries >= 0])
    thin = footprints(*wall(opacity=0.8))
    assert (thin.entries == footprints(*wall()).entries).float().mean() > 0.99, "but for rounding at edges of cells"


def test_a_camera_in_empty_space_sees_only_its_own_noise():
    position, opacity = wall(opacity=0.0)
    pixels = footprints(position * torch.nan, opacity)
    assert (pixels.entries < 0).all()
    memory = cells()
    before = memory.values.clone()
    kappa = memory.seen_by(pixels, random())
    assert kappa.isfinite().all()
    memory.add(pixels, standardised(kappa, pixels.opacity))
    assert torch.equal(memory.values, before)


def test_standardised_noise_is_so_over_the_object_in_each_view_and_channel():
    opacity = (torch.rand(2, 1, N, N, generator=random()) > 0.5).float()
    noise = 3.0 * torch.randn(2, 4, N, N, generator=random(1)) + torch.tensor([5.0, 0.0, -1.0, 2.0])[:, None, None]
    result = standardised(noise, opacity)
    for view in range(2):
        over_object = result[view][:, opacity[view, 0] > 0.0]
        assert over_object.mean(dim=1).tolist() == pytest.approx([0.0] * 4, abs=1e-5)
        assert over_object.square().mean(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-4)


def test_the_prediction_of_a_view_is_its_noise_in_the_next_step():
    """Of the whole object, and without guidance, whatever guidance added."""
    prior = ExactPrior({"ball": ball_images(N)})
    pixels = footprints(*wall(), cell=1.0)
    context = Context(7.5, -7.5, PRESETS["draft"], random(), 0, cells=cells(channels=3), pixels=pixels)
    x0 = torch.zeros(1, 3, N, N)
    kappa = CHOICES["cached-3d"](prior, x0, torch.tensor([0.5]), None, context).kappa
    said, guided = (torch.randn(x0.shape, generator=random(seed)) for seed in (5, 6))
    AFTERWARDS["cached-3d"](prior, kappa, Prediction(x0, guided, x0, conditional_noise=said), context)
    following = CHOICES["cached-3d"](prior, x0, torch.tensor([0.5]), None, context).kappa
    assert correlation(following, standardised(said, pixels.opacity)) > 0.9
    assert abs(correlation(following, guided)) < 0.1


@pytest.mark.parametrize(("share", "left"), [(0.0, 1.0), (0.19, 0.9), (1.0, 0.0)])
def test_the_cache_forgets_by_t_what_the_settings_say(share, left):
    """At the times above 0.5 here, and nothing below."""
    prior, pixels, x0 = ExactPrior({"ball": ball_images(N)}), footprints(*wall(), cell=1.0), torch.zeros(1, 3, N, N)
    chosen = dataclasses.replace(PRESETS["draft"], cache_refresh=Ramp(0.0, share, start=0.5, end=0.5))
    context = Context(7.5, -7.5, chosen, random(), 0, cells=cells(channels=3), pixels=pixels)
    first, later, last = (
        CHOICES["cached-3d"](prior, x0, torch.tensor([t]), None, context).kappa for t in (0.3, 0.9, 0.3)
    )
    assert correlation(first, later) == pytest.approx(left, abs=0.1)
    assert torch.equal(later, last)


def folded_prior(folder):
    return load_prior(str(write_stable_diffusion(folder / "pixels", vae=False)), CPU)


def latent_prior(folder):
    return load_prior(str(write_stable_diffusion(folder / "latents")), CPU)


def starter_prior(folder):
    return load_prior("starter", CPU)


PRIORS = {"folded pixels": folded_prior, "latents": latent_prior, "starter": starter_prior}


def run_with(prior, noise, steps=2, **changes):
    chosen = dataclasses.replace(
        PRESETS["draft"],
        steps=steps,
        resolution=prior.resolution,
        guidance_scale=3.0,
        inversion_guidance_scale=-3.0,
        samples_per_ray=16,
        noise=noise,
        **changes,
    )
    return Optimisation(prior, "a red mug", "", chosen, seed=0)


@pytest.mark.parametrize("noise", NEED_CELLS)
@pytest.mark.parametrize("kind", PRIORS)
def test_it_works_at_the_grain_of_every_models_noise_and_costs_what_random_noise_does(kind, noise, tmp_path):
    prior = PRIORS[kind](tmp_path)
    evaluations = {}
    for each in (noise, "random"):
        counted = CountedPrior(prior)
        run = run_with(counted, each)
        while not run.done:
            run.advance()
        evaluations[each] = counted.evaluations
    assert evaluations[noise] == evaluations["random"] == 2 * 2 * 2

    run = run_with(counted, noise)
    x = torch.randn(2, *prior.latent_shape(prior.resolution), generator=random())
    grain = counted.unfolded(x)
    assert torch.equal(counted.folded(grain), x)
    assert run.guidance.cells.values.shape == (ENTRIES, grain.shape[1])
    assert run.guidance.surface_resolution == grain.shape[2] // PIXELS_PER_SURFACE_POINT
    assert grain.shape[1:] == (tuple(x.shape[1:]) if kind == "latents" else (3, prior.resolution, prior.resolution))


def test_only_noise_that_lives_on_the_object_has_a_memory(tmp_path):
    prior = ExactPrior({"mug": ball_images(16)})
    for noise in CHOICES:
        assert (run_with(prior, noise).guidance.cells is not None) == (noise in NEED_CELLS)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"noise_refresh": 1.5}, '"noise_refresh" is 1.5: it must be between 0'),
        ({"noise_cell": 0}, '"noise_cell" is 0: it must be between'),
        ({"noise": "attached-3d"}, '"noise" is "attached-3d": it must be one of'),
    ],
)
def test_what_the_settings_cannot_be_is_refused_in_a_sentence(overrides, words):
    with pytest.raises(BadInputError, match=words):
        JobRequest("a mug", overrides=overrides).validated()
