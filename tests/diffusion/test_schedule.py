import pytest
import torch
from diffusers import DDIMScheduler

from sdi_engine.diffusion.schedule import DiscreteSchedule


@pytest.fixture
def alphas():
    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod


def test_scales_at_whole_timesteps_are_the_schedulers(alphas):
    a, b = DiscreteSchedule(alphas).scales(torch.tensor([0.0, 0.02, 0.5, 0.98], dtype=torch.float64))
    expected = alphas[[0, 20, 500, 980]].double()
    torch.testing.assert_close(a.square(), expected)
    torch.testing.assert_close(b.square(), 1.0 - expected)


def test_scales_rise_and_fall_between_timesteps(alphas):
    a, b = DiscreteSchedule(alphas).scales(torch.linspace(0.0, 0.999, 5001, dtype=torch.float64))
    assert (a.diff() < 0).all()
    assert (b.diff() > 0).all()


def test_time_one_is_the_last_timestep(alphas):
    schedule = DiscreteSchedule(alphas)
    assert schedule.timestep(torch.tensor([1.0])).item() == 999
    a, _ = schedule.scales(torch.tensor([1.0], dtype=torch.float64))
    torch.testing.assert_close(a.square(), alphas[-1:].double())
