"""Rotation prediction (Gidaris et al., ICLR 2018) as PT4AL and BAL train it: by how many quarter
turns is an image rotated?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.augmentation.images import ImageSource
from benchmark.al.objectives.base import TURNS, Batch, CycleData, Objective
from benchmark.al.random.philox import Counter
from benchmark.al.training.numerics import promote_dtype


class RotatedImages:
    """A view whose image 4 i + r is image i after r quarter turns; the view is drawn once for all
    four."""

    def __init__(self, images: ImageSource) -> None:
        self._images, self.shape = images, images.shape

    def batch(
        self,
        indices: Tensor,
        counter: Counter | None = None,
        epoch: int | Tensor = 0,
        pass_: int = 0,
    ) -> Tensor:
        """(b, c, h, w) rotated images."""
        return rotate_images(
            self._images.batch(indices // TURNS, counter, epoch, pass_), indices % TURNS
        )


@dataclass(eq=False)
class Rotation(Objective):
    """Mean of four cross-entropies. Every image is augmented once and seen under its four rotations
    in a random order, in four forward passes: each pass has a batch's images under mixed rotations,
    which is what batch norm sees."""

    capturable: ClassVar[bool] = True

    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        """Images through the train view; `labels` (b, 4) are the turns of each image in the order
        of the passes."""
        chunks = list(data.chunks(epoch))
        for number, images in enumerate(data.views((indices, epoch) for indices in chunks)):
            turns = data.orders.turns(data, epoch, chunks[number])
            yield Batch(images, turns, epoch, epoch * data.steps + number)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over passes and images."""
        losses = [
            F.cross_entropy(promote_dtype(model(rotate_images(batch.images, turns)).logits), turns)
            for turns in batch.labels.unbind(1)
        ]
        return torch.stack(losses).mean()


def rotate_images(images: Tensor, turns: Tensor) -> Tensor:
    """(b, c, s, s) square images, each turned counter-clockwise by (b,) times 90 degrees."""
    out = images
    for turn in range(1, TURNS):
        out = torch.where((turns == turn)[:, None, None, None], images.rot90(turn, (2, 3)), out)
    return out
