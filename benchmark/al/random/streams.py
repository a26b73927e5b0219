"""Named random streams of one trial.

Every use of randomness has its own stream, derived by hash from (suite seed, trial seed, cycle,
name). Only what a strategy draws is keyed by the strategy too (`Strategy.stream`). So swapping the
strategy leaves initial sets, initial weights, batch order and augmentation bit-identical, methods
are paired by seed, and no two samplers share their draws. Streams are not consumed across purposes
and need no saved state to resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from benchmark.al.random.philox import Counter

Name = Literal["pool", "init", "order", "augment", "query"]
"""pool: initial set and shuffles of the unlabelled list. init: weights. order: batch composition,
dropout. augment: random views of images. query: what the strategy draws, one stream for each
strategy."""


class Streams:
    """The streams of a trial: `seed` is the suite's, `trial` the trial's."""

    def __init__(self, seed: int, trial: int) -> None:
        self.seed, self.trial = seed, trial

    def key(self, name: Name, cycle: int = 0, part: str = "") -> int:
        """64-bit key of a stream; `part` distinguishes several uses in one cycle (two networks,
        say)."""
        text = f"albench/{self.seed}/{self.trial}/{name}/{cycle}/{part}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def generator(self, name: Name, cycle: int = 0, part: str = "") -> np.random.Generator:
        """A numpy generator for draws on the host: shuffles of index lists, a strategy's own
        choices."""
        return np.random.Generator(np.random.Philox(key=self.key(name, cycle, part)))

    def counter(self, name: Name, cycle: int = 0, part: str = "") -> Counter:
        """Counter-based draws per sample, the same integers on every device and for every batch
        size."""
        return Counter(self.key(name, cycle, part))

    @contextmanager
    def torch_seeded(self, name: Name, cycle: int = 0, part: str = "") -> Iterator[None]:
        """Torch's global CPU generator seeded with this stream, and put back afterwards: for weight
        initialisation."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.key(name, cycle, part))
            yield
