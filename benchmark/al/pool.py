"""Who is labelled: two ordered, disjoint, covering lists of data set indices.

Order matters where a protocol says so (DIAM never shuffles its labelled list; TOD's first cycle
trains on the first entries of the unlabelled list), so both lists are ordered and hashed in order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import AlbenchError

Indices = NDArray[np.int64]


def indices_digest(indices: Indices) -> str:
    """sha256 (hex) of an ordered index list, independent of platform byte order."""
    return hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Pool:
    """Ordered labelled and unlabelled index lists over a training set of `size` images."""

    labelled: Indices
    unlabelled: Indices
    size: int

    @staticmethod
    def shuffled(size: int, initial: int, rng: np.random.Generator) -> Pool:
        """A uniform shuffle of 0..size-1: the first `initial` labelled, the rest unlabelled."""
        order = rng.permutation(size).astype(np.int64)
        return Pool(order[:initial], order[initial:], size)

    def candidates(self, count: int | None) -> Indices:
        """The images that may be bought: the first `count` entries of the unlabelled list, or all
        of them.

        The list is reshuffled after every acquisition and not before it: its head is a uniform
        subset, but the same images that a training which reads the list in its order
        (`Cod.first_batch` "fixed") has seen first.
        """
        return self.unlabelled if count is None else self.unlabelled[:count]

    def label(
        self, picks: Indices, rng: np.random.Generator, returned: Indices | None = None
    ) -> Pool:
        """Append `picks` to the labelled list in order and reshuffle the rest.

        `returned` replaces what goes back to the unlabelled list where an official program loses or
        doubles images (random sampling with replacement); the lists are then no longer disjoint and
        covering, as published. Raises AlbenchError when the picks are not distinct unlabelled
        images.
        """
        if returned is None:
            kept = self.unlabelled[~np.isin(self.unlabelled, picks)]
            if len(np.unique(picks)) != len(picks) or len(kept) + len(picks) != len(
                self.unlabelled
            ):
                raise AlbenchError(
                    "the picks are not distinct unlabelled images",
                    remedy="a strategy must return each candidate position at most once",
                )
        else:
            kept = returned
        return Pool(np.concatenate([self.labelled, picks]), rng.permutation(kept), self.size)

    def check(self) -> None:
        """Raise AlbenchError unless the two lists are disjoint and cover the whole set."""
        both = np.concatenate([self.labelled, self.unlabelled])
        if len(both) != self.size or not np.array_equal(np.sort(both), np.arange(self.size)):
            raise AlbenchError(
                "the pool is not a partition of the training set",
                remedy="the saved state is damaged: run with --fresh",
            )

    def digest(self) -> str:
        """sha256 (hex) of both ordered lists."""
        return hashlib.sha256(
            (indices_digest(self.labelled) + indices_digest(self.unlabelled)).encode()
        ).hexdigest()
