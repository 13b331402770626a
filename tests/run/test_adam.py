"""Adam as torch has it, but for parameters whose numbers take steps together."""

import torch

from sdi_engine.run.adam import Adam


def stepped(kind, gradient, **group):
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = kind([{"params": [parameter], "lr": 0.1, **group}], betas=(0.9, 0.99), eps=1e-15)
    for factor in (1.0, 0.5, -2.0):
        parameter.grad = gradient * factor
        optimizer.step()
    return parameter.detach()


def test_it_is_torch_s_own_where_nothing_else_is_asked_for():
    gradient = torch.arange(6.0).view(2, 3) - 2.0
    torch.testing.assert_close(stepped(Adam, gradient), stepped(torch.optim.Adam, gradient))


def test_what_hardly_has_a_gradient_hardly_moves():
    gradient = torch.tensor([[1.0, 0.0, 0.0], [0.01, 0.0, 0.0]])
    together, apart = (stepped(Adam, gradient, together=each).abs() for each in (True, False))
    torch.testing.assert_close(together[0, 0], apart[0, 0])
    torch.testing.assert_close(together[1, 0], 0.01 * together[0, 0])
    torch.testing.assert_close(apart[1, 0], apart[0, 0])
