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


def bare_class(kind: type[Kind]) -> type[Kind]:
    """A kind of optimiser whose methods are called as they are written."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    # The guard of `step` is what turns gradients off.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


SGD = bare_class(torch.optim.SGD)
Adam = bare_class(torch.optim.Adam)
LBFGS = bare_class(torch.optim.LBFGS)


class CapturableSgd(SGD):  # type: ignore[valid-type, misc]
    """SGD whose step can be captured: rates are read from where `before_step` puts them, and
    momentum begins at zero.

    Weights in float32 are updated by torch's fused kernel, which rounds otherwise than the loop;
    others in turn. Either optimiser takes the other's state.
    """

    def __init__(
        self, groups: list[dict[str, Any]], number: Callable[[], Number], **recipe: Any
    ) -> None:
        super().__init__(groups, **recipe)
        self._rates = [number() for _ in self.param_groups]

    def before_step(self) -> None:
        """Take the groups' rates over."""
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            rate.set(group["lr"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            moved = [value for value in group["params"] if value.grad is not None]
            fused = [value for value in moved if _fits_fused(value)]
            others = [value for value in moved if not _fits_fused(value)]
            for some, update in ((fused, _update_fused), (others, _update_in_turn)):
                if some:
                    gradients = [cast(Tensor, value.grad) for value in some]
                    number = torch.as_tensor(rate.value)
                    update(some, gradients, self._momenta(some, group), number, group)

    def _momenta(self, moved: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        if not group["momentum"]:
            return []
        for value in moved:
            state = self.state[value]
            held = state.get("momentum_buffer")
            if held is None:
                state["momentum_buffer"] = torch.zeros_like(value)
            elif held.stride() != value.stride():
                # The fused kernel goes through memory in order.
                state["momentum_buffer"] = torch.empty_like(value).copy_(held)
        return [self.state[value]["momentum_buffer"] for value in moved]


def _fits_fused(value: Tensor) -> bool:
    """Whether torch's fused kernel takes a weight: it reads a float32 rate, and goes through memory
    in order."""
    gradient = value.grad
    assert gradient is not None
    return value.dtype == gradient.dtype == torch.float32 and value.stride() == gradient.stride()


def _update_fused(
    moved: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor],
    rate: Tensor,
    group: dict[str, Any],
) -> None:
    """Weights and momenta in place, in one pass over both."""
    torch._fused_sgd_(
        moved,
        gradients,
        momenta,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=rate.to(torch.float32),
        dampening=0.0,
        nesterov=group["nesterov"],
        maximize=False,
        is_first_step=False,
    )


def _update_in_turn(
    moved: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor],
    rate: Tensor,
    group: dict[str, Any],
) -> None:
    """The same as written, for all types."""
    momentum = group["momentum"]
    if group["weight_decay"]:
        gradients = list(torch._foreach_add(gradients, moved, alpha=group["weight_decay"]))
    if momentum:
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, gradients)
        gradients = (
            list(torch._foreach_add(gradients, momenta, alpha=momentum))
            if group["nesterov"]
            else momenta
        )
    # Rounds once more than the sum with a plain rate, which no multi-tensor kernel takes from a
    # tensor.
    torch._foreach_sub_(moved, torch._foreach_mul(gradients, rate.to(moved[0].dtype)))
