"""Batch norm of two batches that lie in one tensor: statistics of each, and one output that both
are written into.

The plain way divides the tensor and joins what batch norm makes of the parts, which copies every
activation of a network once more. Values, gradients and running statistics are the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
"""Layers that compute batch norm and nothing else."""
Affine = tuple[Tensor, Tensor]
"""Weight and bias."""


def writes_apart(norm: _BatchNorm, first: int, count: int) -> bool:
    """Whether `normalize_apart` computes what this layer does with the `first` of `count` images
    and then with the others."""
    return (
        type(norm) in NORMS
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        # torch refuses one value a channel, in its own words.
        and min(first, count - first) > 1
    )


def normalize_apart(
    norm: _BatchNorm, x: Tensor, first: int, weights: tuple[Affine, Affine]
) -> Tensor:
    """Batch norm of `x` (b + u, channels, ...) with statistics of its `first` images, then of the
    others, in training mode.

    Running statistics move twice, in that order. `weights` are the layer's for each of the two
    parts.
    """
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(2)
    momentum = norm.momentum
    assert momentum is not None
    made: Tensor = _NormalizedApart.apply(
        x, first, norm.running_mean, norm.running_var, momentum, norm.eps, *weights[0], *weights[1]
    )
    return made


class _NormalizedApart(torch.autograd.Function):
    """What torch.nn.functional.batch_norm computes, with a part of one tensor as the output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        first: int,
        mean: Tensor,
        var: Tensor,
        momentum: float,
        eps: float,
        *weights: Tensor,
    ) -> Tensor:
        out, saved = torch.empty_like(x), []
        for part, (weight, bias) in enumerate((weights[:2], weights[2:])):
            half = _take_part(x, first, part)
            statistics = (
                torch.empty_like(weight),
                torch.empty_like(weight),
                x.new_empty(0, dtype=torch.uint8),
            )
            _, *kept = torch.ops.aten._batch_norm_with_update.out(
                half,
                weight,
                bias,
                mean,
                var,
                momentum,
                eps,
                out=_take_part(out, first, part),
                save_mean=statistics[0],
                save_invstd=statistics[1],
                reserve=statistics[2],
            )
            saved += [weight, *kept]
        ctx.save_for_backward(x, *saved)
        ctx.first, ctx.eps = first, eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        mask = [ctx.needs_input_grad[0], *ctx.needs_input_grad[6:8]]
        of_x, of_weights = [], []
        for part, (weight, mean, inverse, reserve) in enumerate((saved[:4], saved[4:])):
            along, *others = torch.ops.aten.batch_norm_backward(
                _take_part(gradient, ctx.first, part), _take_part(x, ctx.first, part), weight,
                None, None, mean, inverse, True, ctx.eps, mask, reserve,
            )  # fmt: skip
            of_x.append(along)
            of_weights += others
        joined = torch.cat(of_x) if mask[0] else None
        return joined, None, None, None, None, None, *of_weights


def _take_part(x: Tensor, first: int, part: int) -> Tensor:
    return x[first:] if part else x[:first]
