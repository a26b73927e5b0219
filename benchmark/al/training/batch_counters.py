"""Batch norm counts the batches it has seen, and reads the count only where its momentum is None.

A count is a kernel of its own for every batch norm and pass. All batch norms of a network see the
same batches, so one of them counts for all while a network is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def counted_once(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, only the first batch norm of each network counts; afterwards all have counted what it
    has."""
    groups = []
    for network in networks:
        counting = [
            norm
            for norm in network.modules()
            if isinstance(norm, _BatchNorm)
            and norm.momentum is not None
            and norm.num_batches_tracked is not None
        ]
        if len(counting) > 1:
            first, *others = counting
            assert first.num_batches_tracked is not None
            spared = [count for norm in others if (count := norm.num_batches_tracked) is not None]
            groups.append((first, first.num_batches_tracked.clone(), others, spared))
            for norm in others:
                norm.num_batches_tracked = None
    try:
        yield
    finally:
        for first, before, others, spared in groups:
            assert first.num_batches_tracked is not None
            torch._foreach_add_(spared, [first.num_batches_tracked - before] * len(spared))
            for norm, count in zip(others, spared, strict=True):
                norm.num_batches_tracked = count
