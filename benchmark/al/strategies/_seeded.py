"""Torch's generators for strategies that train a network of their own, derived from the strategy's stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

HIGHEST = 2**63 - 1


@contextmanager
def seeded_training(rng: np.random.Generator) -> Iterator[None]:
    """Gradients on, and torch's global generators seeded by one draw of `rng`; the CPU's is put back afterwards.

    Those of devices need not be: every epoch of the trained network seeds them anew.
    """
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(HIGHEST)))
        yield


def seeded_generator(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    """A generator on the device, seeded by one draw of `rng`."""
    return torch.Generator(device).manual_seed(int(rng.integers(HIGHEST)))
