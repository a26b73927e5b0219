"""Two batches through one network: one after the other, or as one batch of convolutions with batch
statistics of each.

Both ways are the same mathematics. Batch norm sees the first batch, then the second, so that
statistics never mix and running statistics move twice, in that order. Rounding differs, since
gradients of weights are sums over other batches, and dropout draws once for both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.al.networks.outputs import Outputs
from benchmark.al.training.norm_apart import normalize_apart, writes_apart
from benchmark.al.training.numerics import promote_dtype

JointBatch = Callable[[nn.Module, Tensor, Tensor], tuple[Outputs, Outputs]]
"""(network, b images, u images) -> what it says of the b and of the u."""


def forward_separately(
    network: nn.Module, first: Tensor, second: Tensor
) -> tuple[Outputs, Outputs]:
    """One after the other."""
    places = _learnt_places(network.modules())
    one, two = _for_both(places)
    with _hold_values(places, one):
        said = network(first)
    with _hold_values(places, two):
        return said, network(second)


def forward_jointly(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    """As one batch of b + u images; either may be the smaller."""
    with _statistics_apart(network, len(first)):
        out: Outputs = network(torch.cat([first, second]))
    return _divide_outputs(out, [len(first), len(second)])


@contextmanager
def _statistics_apart(network: nn.Module, first: int) -> Iterator[None]:
    """Every batch norm sees the first so many images of a batch, then the others."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    places = [_learnt_places([norm]) for norm in norms]
    one, two = _for_both([place for some in places for place in some])
    for norm, some in zip(norms, places, strict=True):
        mine = [(some, one[: len(some)]), (some, two[: len(some)])]
        one, two = one[len(some) :], two[len(some) :]
        norm.forward = _run_apart(norm, first, mine)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _run_apart(
    norm: _BatchNorm,
    first: int,
    weights: Sequence[tuple[list[Place], Sequence[Tensor]]],
) -> Callable[[Tensor], Tensor]:
    forward = norm.forward

    def both(x: Tensor) -> Tensor:
        if writes_apart(norm, first, len(x)):
            affine = _affine_values(norm, *weights[0]), _affine_values(norm, *weights[1])
            return normalize_apart(norm, x, first, affine)
        found = []
        # Not two slices: their gradients would be two tensors of full size, mostly zeros, and their
        # sum.
        for half, (places, values) in zip(
            torch.split(x, [first, len(x) - first]), weights, strict=True
        ):
            with _hold_values(places, values):
                found.append(forward(half))
        return torch.cat(found)

    return both


def _affine_values(
    norm: _BatchNorm, places: Sequence[Place], values: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Weight and bias of one pass; those that learn nothing are the layer's own."""
    learnt = {name: value for (_, name), value in zip(places, values, strict=True)}
    return learnt.get("weight", norm.weight), learnt.get("bias", norm.bias)


class _ForBoth(torch.autograd.Function):
    """Tensors twice, for two passes; their gradients are added in a few kernels for all, the same
    bits as one by one."""

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(value.detach() for value in (*values, *values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(gradients) // 2
        found = [
            two if one is None else one
            for one, two in zip(gradients[:count], gradients[count:], strict=True)
        ]
        pairs = defaultdict(list)
        for place, (one, two) in enumerate(zip(gradients[:count], gradients[count:], strict=True)):
            if one is not None and two is not None:
                # A list of one type and equal layouts is what a multi-tensor kernel takes.
                pairs[one.dtype, one.stride() == two.stride()].append((place, one, two))
        for some in pairs.values():
            sums = torch._foreach_add([one for _, one, _ in some], [two for _, _, two in some])
            for (place, _, _), total in zip(some, sums, strict=True):
                found[place] = total
        return tuple(found)


Place = tuple[dict[str, Any], str]
"""Parameters of a layer, and a name in them."""


def _learnt_places(layers: Iterable[nn.Module]) -> list[Place]:
    """Where layers hold what gets a gradient."""
    return [
        (layer._parameters, name)
        for layer in layers
        for name, value in layer._parameters.items()
        if torch.is_grad_enabled() and value is not None and value.requires_grad
    ]


def _for_both(places: Sequence[Place]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What lies there, for the first pass and for the second."""
    if not places:
        return (), ()
    made = _ForBoth.apply(*(held[name] for held, name in places))
    return made[: len(places)], made[len(places) :]


@contextmanager
def _hold_values(places: Sequence[Place], values: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the layers hold these values."""
    before = [held[name] for held, name in places]
    for (held, name), value in zip(places, values, strict=True):
        held[name] = value
    try:
        yield
    finally:
        for (held, name), value in zip(places, before, strict=True):
            held[name] = value


def _divide_outputs(out: Outputs, sizes: list[int]) -> tuple[Outputs, Outputs]:
    def halves(values: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.split(values, sizes))

    # Losses cast what they take; a cast before the division is one for all of them, and one of
    # their gradients' sum.
    logits = halves(promote_dtype(out.logits))
    features = halves(out.features)
    maps = [halves(stage) for stage in out.maps]
    consistency = (
        (None, None) if out.consistency is None else halves(promote_dtype(out.consistency))
    )
    first, second = (
        Outputs(logits[k], features[k], tuple(stage[k] for stage in maps), consistency[k])
        for k in (0, 1)
    )
    return first, second
