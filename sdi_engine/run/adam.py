"""The optimiser of a run: Adam, which for some parameters takes steps of one size for all of their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """Adam (Kingma & Ba 2015), in which the numbers of a group that is marked `together` share the second moment.

    Such a group, of one parameter, moves along its mean gradient: what hardly has one hardly moves, and no axis of
    space is preferred. Source: AdamUniform of Nicolet, Jacobson, Jakob: Large Steps in Inverse Rendering of Geometry,
    2021. All other groups are left to torch's fused kernel, which goes over the memory once.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step of all groups."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get("together")]
        try:
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group.get("together"):
                self._step_together(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of torch, with each tensor laid out in memory as its parameter is, which the fused kernel relies on."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for key, tensor in state.items():
                if tensor.shape == parameter.shape:
                    state[key] = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)

    def _step_together(self, group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            state["exp_avg"].lerp_(parameter.grad, 1.0 - first)
            state["exp_avg_sq"].lerp_(parameter.grad.square(), 1.0 - second)
            count = state["step"].item()
            size = (state["exp_avg_sq"].max() / (1.0 - second**count)).sqrt() + group["eps"]
            parameter -= group["lr"] / (1.0 - first**count) * state["exp_avg"] / size
