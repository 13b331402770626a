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


def test_a_state_that_lies_otherwise_in_memory_goes_on_alike():
    """As checkpoints hold it, of grids that lie with their features side by side."""
    torch.manual_seed(0)
    start, gradient, second = torch.randn(3, 1, 2, 3, 3, 3)

    def optimised(layout):
        parameter = torch.nn.Parameter(start.clone(memory_format=layout))
        return parameter, Adam([{"params": [parameter], "lr": 0.1}], betas=(0.9, 0.99), eps=1e-15)

    results = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        parameter, optimizer = optimised(torch.contiguous_format)
        parameter.grad = gradient
        optimizer.step()
        state = optimizer.state_dict()
        resumed, optimizer = optimised(layout)
        resumed.data.copy_(parameter.data)
        optimizer.load_state_dict(state)
        resumed.grad = second.contiguous(memory_format=layout)
        optimizer.step()
        results.append(resumed.detach().contiguous())
    torch.testing.assert_close(*results)
