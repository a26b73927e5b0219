"""Averages of weights along a training: exponential (teachers) and arithmetic (snapshots), and
their batch statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def warmup_alpha(step: int, cap: float) -> float:
    """min(1 - 1/(step + 1), cap) for step 1, 2, ...: until the cap binds, the average weighs all
    its terms equally.

    TOD (siyuhuang/TOD at 883494b, update_ema_variables) has cap 0.999, ST-CoNAL-EMA
    (soony1213/ST-CoNAL at 43cb8c9) 0.97.
    """
    return min(1 - 1 / (step + 1), cap)


@torch.no_grad()
def ema_update(
    average: nn.Module, model: nn.Module, alpha: float | Tensor, *, buffers: bool = False
) -> None:
    """w_average <- alpha * w_average + (1 - alpha) * w_model, in place, for parameters in the order
    of both modules.

    With `buffers`, those of the model are copied too (batch statistics); without, the average keeps
    its own. `alpha` may be a float64 scalar on the device of the weights.
    """
    own, new = _floating_weights(average), _floating_weights(model)
    if isinstance(alpha, Tensor):
        torch._foreach_mul_(own, alpha.to(own[0].dtype))
        # Rounds once more than the sum with a plain factor, which no multi-tensor kernel takes from
        # a tensor.
        torch._foreach_add_(own, torch._foreach_mul(new, (1 - alpha).to(own[0].dtype)))
    else:
        torch._foreach_mul_(own, alpha)
        torch._foreach_add_(own, new, alpha=1 - alpha)
    if buffers:
        _copy_weights(average.buffers(), model.buffers())


class WeightAverage:
    """Arithmetic mean of snapshots of a network (SWA; the teacher of ST-CoNAL, section 2.2 of its
    protocol).

    `module` is the averaged network, on the device of the snapshots. All parameters are averaged;
    buffers are those of the first snapshot until `refresh_batch_norm` re-estimates them.
    """

    def __init__(self) -> None:
        self.module: nn.Module | None = None
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> nn.Module:
        """Take one more snapshot k of `model`: theta <- theta + (theta_k - theta) / k. Returns the
        average."""
        self.count += 1
        if self.module is None:
            self.module = copy.deepcopy(model).requires_grad_(False)
            self.module.zero_grad()
        else:
            own = _floating_weights(self.module)
            torch._foreach_add_(
                own, torch._foreach_sub(_floating_weights(model), own), alpha=1 / self.count
            )
        return self.module

    def state_dict(self) -> dict[str, Any]:
        """Tensors to save: the number of snapshots and the averaged network's state (empty before
        the first)."""
        weights = {} if self.module is None else self.module.state_dict()
        return {"count": torch.tensor(self.count), "weights": weights}

    def load_state_dict(self, state: Mapping[str, Any], like: nn.Module) -> None:
        """Take a state back; `like` is a network of the same kind, used for its structure and
        device only."""
        self.count = int(state["count"])
        self.module = None
        if self.count:
            self.module = copy.deepcopy(like).requires_grad_(False)
            self.module.load_state_dict(state["weights"])


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Re-estimate all batch-norm statistics: the unweighted mean over batches of batch mean and
    unbiased batch variance.

    One forward pass over `batches` of images (b, ...) in train mode with a cumulative average;
    momentum and mode are put back. A partial last batch weighs as much as the others, as released
    (soony1213/ST-CoNAL at 43cb8c9, update_batchnorm). Nothing happens for a network without batch
    norm.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    before, was_training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
    model.train()
    for seen, images in enumerate(batches, start=1):
        # What a momentum of None comes to; that reads the count from the device in every batch
        # norm, and waits for it.
        for norm in norms:
            norm.momentum = 1 / seen
        model(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.train(was_training)


def _floating_weights(module: nn.Module) -> list[Tensor]:
    return list(module.parameters())


def _copy_weights(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
