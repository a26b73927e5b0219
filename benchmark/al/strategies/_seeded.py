"""Torch's generators for strategies that train a network of their own, derived from the strategy's
stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

HIGHEST = 2**63 - 1


@contextmanager
def seeded_training(rng: np.random.Generator) -> Iterator[None]:
    """Gradients on, and torch's global generators seeded by one draw of `rng`; the CPU's is put
    back afterwards.

    Those of devices need not be: every epoch of the trained network seeds them again.
    """
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(HIGHEST)))
        yield


class Chance:
    """What the networks of a strategy's own draw while they are trained, and where they start.

    A subclass may give numbers and weights of its own instead.
    """

    def __init__(self, rng: np.random.Generator, device: torch.device) -> None:
        """Seeded by one draw of `rng`."""
        self._generator = seeded_generator(rng, device)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape, type and place of `like`."""
        return torch.randn(
            like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) in the shape, type and place of `like`."""
        return torch.rand(
            like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )

    def start(self, name: str, module: nn.Module) -> None:
        """Called with every new network; here it stays as it was made."""


def seeded_generator(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    """A generator on the device, seeded by one draw of `rng`."""
    return torch.Generator(device).manual_seed(int(rng.integers(HIGHEST)))
