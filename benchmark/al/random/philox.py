"""Counter-based random numbers: the same integers on every device, for every batch size, without
saved state.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC
2011), in int64 tensor arithmetic. A draw is a pure function of a key (one stream of one trial and
cycle) and a counter (sample, epoch, purpose, block), so nothing depends on what was drawn before.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF
"""Mask of a 32-bit word."""


def philox4x32(key: tuple[int, int], counter: Tensor) -> Tensor:
    """(n, 4) uint32 values in int64 from (n, 4) counters, uint32 values in int64, under a key of
    two 32-bit words."""
    keys, multipliers = _device_constants(key, counter.device)
    even, odd = counter[:, 0::2].t().contiguous(), counter[:, 1::2].t()
    for round_ in range(ROUNDS):
        # Products wrap at 64 bits, which loses nothing: high words are cut out below, and low words
        # may carry regardless of what stands above them, since the mask of the next round removes
        # it.
        product = (even * multipliers).flip(0)
        even = (product >> 32).bitwise_xor_(odd).bitwise_xor_(keys[round_]).bitwise_and_(WORD)
        odd = product
    return torch.stack([even, odd & WORD]).permute(2, 1, 0).reshape(-1, 4)


@lru_cache(maxsize=256)
def _device_constants(key: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Round keys (rounds, 2, 1) and multipliers (2, 1), kept on the device."""
    keys = [
        [[(word + round_ * step) & WORD] for word, step in zip(key, WEYL, strict=True)]
        for round_ in range(ROUNDS)
    ]
    return torch.tensor(keys, device=device), torch.tensor(MULTIPLIERS, device=device).view(2, 1)


@lru_cache(maxsize=256)
def _counter_layout(purpose: int, blocks: int, device: torch.device) -> Tensor:
    """(blocks, 2) of (purpose, block), kept on the device: copying it there for every draw would
    wait for it."""
    return torch.tensor([(purpose, block) for block in range(blocks)], device=device)


def to_uniform(bits: Tensor) -> Tensor:
    """float32 in [0, 1) from uint32 values: the upper 24 bits, so that every value is exact."""
    return (bits >> 8).float() * 2.0**-24


def to_integers(bits: Tensor, high: int | Tensor) -> Tensor:
    """Integers in [0, high) from uint32 values; `high` < 2^31, its bias is under high / 2^32."""
    return (bits * high) >> 32


class Counter:
    """One named stream of one (suite seed, trial, cycle)."""

    def __init__(self, key: int) -> None:
        """`key` has 64 bits."""
        self.key = (key & WORD, key >> 32 & WORD)

    def blocks(self, samples: Tensor, epoch: int | Tensor, layout: Tensor) -> Tensor:
        """(n, k, 4) uint32 values in int64 for (n,) samples and a (k, 2) int64 layout of (purpose,
        block) pairs.

        `epoch` may be (n,) int64, one for each sample.
        """
        counter = layout.new_empty(len(samples), len(layout), 4)
        counter[..., 0] = samples[:, None]
        counter[..., 1] = epoch & WORD if isinstance(epoch, int) else (epoch & WORD)[:, None]
        counter[..., 2:] = layout
        return philox4x32(self.key, counter.view(-1, 4)).view(counter.shape)

    def bits(self, samples: Tensor, epoch: int | Tensor, purpose: int, n: int = 4) -> Tensor:
        """(len(samples), n) uint32 values in int64: the first n words of blocks (sample, epoch,
        purpose, 0, 1, ...)."""
        layout = _counter_layout(purpose & WORD, -(-n // 4), samples.device)
        return self.blocks(samples, epoch, layout).flatten(1)[:, :n]

    def uniform(self, samples: Tensor, epoch: int, purpose: int, n: int = 1) -> Tensor:
        """(len(samples), n) float32 in [0, 1)."""
        return to_uniform(self.bits(samples, epoch, purpose, n))

    def integers(self, samples: Tensor, epoch: int, purpose: int, high: int) -> Tensor:
        """(len(samples),) int64 in [0, high)."""
        return to_integers(self.bits(samples, epoch, purpose, 1)[:, 0], high)

    def permutation(self, n: int, epoch: int, purpose: int, device: torch.device | str) -> Tensor:
        """(n,) int64: a random order of 0 .. n-1, by stable sorting of a 64-bit draw per
        position."""
        words = self.bits(torch.arange(n, device=device), epoch, purpose, 2)
        return torch.argsort((words[:, 0] << 32) | words[:, 1], stable=True)
