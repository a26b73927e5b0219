"""torch's optimisers without torch's compiler.

Their methods are wrapped in guards that import the compiler when they are first called, which takes
longer than torch itself; nothing here is compiled. The arithmetic is torch's own, bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from benchmark.al.training.numerics import Number

Kind = TypeVar("Kind", bound=Optimizer)
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def bare(kind: type[Kind]) -> type[Kind]:
    """A kind of optimiser whose methods are called as they are written."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    # The guard of `step` is what turns gradients off.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


SGD = bare(torch.optim.SGD)
Adam = bare(torch.optim.Adam)


class CapturableSgd(SGD):  # type: ignore[valid-type, misc]
    """SGD whose step can be captured: rates are read from where `before_step` puts them, and
    momentum begins at zero.

    An update is rounded once more than the other's; either takes the other's state.
    """

    def __init__(
        self, groups: list[dict[str, Any]], number: Callable[[], Number], **recipe: Any
    ) -> None:
        super().__init__(groups, **recipe)
        self._rates = [number() for _ in self.param_groups]

    def before_step(self) -> None:
        """Take the groups' rates over."""
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            rate.set(-group["lr"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            moved = [value for value in group["params"] if value.grad is not None]
            if moved:
                along = self._directions(moved, group)
                # Rounds once more than the sum with a plain rate, which no multi-tensor kernel
                # takes from a tensor.
                torch._foreach_add_(
                    moved, torch._foreach_mul(along, torch.as_tensor(rate.value).to(moved[0].dtype))
                )

    def _directions(self, moved: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """What the parameters move along: gradients with weight decay and momentum."""
        momentum, gradients = group["momentum"], [cast(Tensor, value.grad) for value in moved]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, moved, alpha=group["weight_decay"]))
        if not momentum:
            return gradients
        states = [self.state[value] for value in moved]
        for state, value in zip(states, moved, strict=True):
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(value)
        held = [state["momentum_buffer"] for state in states]
        torch._foreach_mul_(held, momentum)
        torch._foreach_add_(held, gradients)
        return (
            list(torch._foreach_add(gradients, held, alpha=momentum)) if group["nesterov"] else held
        )
