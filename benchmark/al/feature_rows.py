"""Features of a fixed network in the place of images: what a learner on frozen features is trained,
tested and scored on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.al.datasets.features import Rows
from benchmark.al.random.philox import Counter

PIECE = 4_096
"""Rows whose sums are added up together."""


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of each feature over the pool, labelled or not: no label has a part in
    them."""

    mean: Tensor
    """(d,) float32."""
    deviation: Tensor
    """(d,) float32, 1 for a feature that never changes."""

    @staticmethod
    def of(rows: Rows) -> Standard:
        """Of features (n, d), summed in float64 a piece at a time."""
        count, pieces = len(rows), range(0, len(rows), PIECE)
        mean = sum(rows[at : at + PIECE].sum(axis=0, dtype=np.float64) for at in pieces) / count
        square = sum(((rows[at : at + PIECE] - mean) ** 2).sum(axis=0) for at in pieces) / count
        deviation = np.sqrt(square)
        deviation[deviation == 0] = 1.0
        return Standard(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())


class FeatureRows:
    """Standardised features as an image source: an image of d channels and one pixel."""

    def __init__(
        self,
        rows: Rows,
        standard: Standard,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        keep: bool = False,
    ) -> None:
        """rows: (n, d), which may be a map of a file: only what is asked for is read. `keep`:
        standardise all of them now, for rows that are asked for again and again in one order."""
        with warnings.catch_warnings():
            # Files are mapped read-only; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._rows = torch.from_numpy(rows)
        self._standard, self._device, self._dtype = standard, device, dtype
        self._kept = self._made(self._rows.clone()) if keep else None
        self.shape = (rows.shape[1], 1, 1)

    def batch(
        self,
        indices: Tensor,
        counter: Counter | None = None,
        epoch: int | Tensor = 0,
        pass_: int = 0,
    ) -> Tensor:
        """(b, d, 1, 1) features of (b,) data set indices. Nothing in them is random."""
        if self._kept is None:
            rows = self._made(self._rows[indices.cpu()])
        elif _in_order(indices):
            rows = self._kept[int(indices[0]) : int(indices[-1]) + 1]
        else:
            rows = self._kept[indices]
        return rows[:, :, None, None]

    def _made(self, rows: Tensor) -> Tensor:
        """Rows of one's own, standardised in place."""
        return (
            rows.sub_(self._standard.mean)
            .div_(self._standard.deviation)
            .to(self._device, self._dtype)
        )


def _in_order(indices: Tensor) -> bool:
    """Whether the indices follow one another, so that their rows need not be copied."""
    steps = indices[1:] - indices[:-1]
    return len(indices) > 0 and bool((steps == 1).all())
