"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011) in plain int64 tensor operations.

A draw is a function of a key and a counter, so it depends neither on batch size, nor on the device, nor on what was
drawn before, and nothing has to be saved to resume.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox4x32(key: tuple[int, int], counter: Tensor) -> Tensor:
    """(n, 4) int64 words in [0, 2^32) from a counter (n, 4) of such words and a key of two."""
    c0, c1, c2, c3 = counter.unbind(dim=1)
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(c0, _M0)
        high1, low1 = _multiply(c2, _M1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return torch.stack([c0, c1, c2, c3], dim=1)


def _multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low word of the 64-bit product of two unsigned words; int64 wraps, its bits are the same."""
    product = a * b
    return (product >> 32) & _MASK, product & _MASK


class Counter:
    """One named stream: draws by (sample, epoch, purpose)."""

    def __init__(self, key: int) -> None:
        """`key`: 64 bits."""
        self.key = (key & _MASK, (key >> 32) & _MASK)

    def bits(self, samples: Tensor, epoch: int, purpose: int, n: int = 4) -> Tensor:
        """(len(samples), n) int64 words in [0, 2^32)."""
        blocks = -(-n // 4)
        words = [self._block(samples, epoch, purpose, block) for block in range(blocks)]
        return torch.cat(words, dim=1)[:, :n]

    def _block(self, samples: Tensor, epoch: int, purpose: int, block: int) -> Tensor:
        counter = torch.empty(len(samples), 4, dtype=torch.int64, device=samples.device)
        counter[:, 0] = samples & _MASK
        counter[:, 1], counter[:, 2], counter[:, 3] = epoch & _MASK, purpose & _MASK, block
        return philox4x32(self.key, counter)

    def uniform(self, samples: Tensor, epoch: int, purpose: int, n: int = 1) -> Tensor:
        """(len(samples), n) float32 in [0, 1) with 24 random bits."""
        return (self.bits(samples, epoch, purpose, n) >> 8).to(torch.float32) * 2.0**-24

    def integers(self, samples: Tensor, epoch: int, purpose: int, high: int) -> Tensor:
        """(len(samples),) int64 in [0, high), uniform up to high / 2^32."""
        return (self.bits(samples, epoch, purpose, 1)[:, 0] * high) >> 32

    def permutation(self, n: int, epoch: int, purpose: int, device: torch.device) -> Tensor:
        """(n,) a uniform permutation."""
        words = self.bits(torch.arange(n, device=device), epoch, purpose, 2)
        return torch.argsort(((words[:, 0] >> 1) << 31) | (words[:, 1] >> 1), stable=True)
