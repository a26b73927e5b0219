"""Images on the device, seen through a view: the pool as one uint8 tensor, transforms as batched tensor code.

Pixels stay uint8 and are uploaded once per part, however many views look at them. Random transforms draw per sample from a
counter, so what a sample becomes depends on (stream, epoch, use), never on its batch. A leading run of flips and one
crop becomes a single gather.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.al.philox import Counter
from benchmark.errors import UsageError
from benchmark.spec.models import CenterCrop, HorizontalFlip, Normalise, RandomCrop, SwapRedBlue, ToRgb, Transform

if TYPE_CHECKING:
    from benchmark.al.data import Part

USES = 64
"""Purposes per transform position: uses of one sample in one epoch that are augmented independently."""

_uploaded: dict[tuple[int, torch.device, int], tuple[Part, Tensor]] = {}


def upload(part: Part, device: torch.device, padding: int) -> Tensor:
    """(n, h + 2 padding, w + 2 padding, c) uint8 on the device, zero-padded; the same tensor for every view of a part."""
    place = (id(part), device, padding)
    if place not in _uploaded:
        n, height, width, channels = part.pixels.shape
        pixels = torch.zeros(n, height + 2 * padding, width + 2 * padding, channels, dtype=torch.uint8)
        pixels[:, padding : padding + height, padding : padding + width] = torch.from_numpy(part.pixels.copy())
        _uploaded[place] = (part, pixels.to(device))  # the part is kept alive, so its id stays its own
    return _uploaded[place][1]


@dataclass(frozen=True)
class Gather:
    """A crop and flips of one view, as offsets and directions of a single gather."""

    height: int
    width: int
    rows: int
    """Number of possible vertical offsets (1: none is drawn)."""
    columns: int
    flips: tuple[tuple[float, bool, int], ...]
    """(p, whether it comes before the crop, position in the view) of each flip."""
    crop: int
    """Position of the crop in the view."""


class Images:
    """A part of a data set on a device, through a view."""

    def __init__(
        self, part: Part, transforms: tuple[Transform, ...], device: torch.device, size: int | None = None
    ) -> None:
        """`size` replaces the side of the last spatial transform. Raises UsageError for a transform that is not batched."""
        if size is not None:
            transforms = resized(transforms, size)
        self.device, self.memory_format = device, torch.contiguous_format
        self.random = any(isinstance(t, RandomCrop | HorizontalFlip) for t in transforms)
        count = _leading(transforms)
        padding = max((t.padding for t in transforms[:count] if isinstance(t, RandomCrop)), default=0)
        self._pixels = upload(part, device, padding)
        self._gather = _plan(transforms[:count], self._pixels.shape[1], self._pixels.shape[2])
        self._rest = [_point(t) for t in transforms[count:]]
        probe = self.batch(torch.zeros(1, dtype=torch.int64, device=device), Counter(0))
        self.shape: tuple[int, int, int] = (probe.shape[1], probe.shape[2], probe.shape[3])

    def batch(self, indices: Tensor, counter: Counter | None = None, epoch: int = 0, pass_: int = 0) -> Tensor:
        """(b, c, h, w) float32 images of data set indices (b,) int64; `pass_` tells apart several uses in one epoch."""
        rows, columns = self._places(indices, counter, epoch, pass_)
        pixels = self._pixels[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = pixels.permute(0, 3, 1, 2).float()
        for transform in self._rest:
            images = transform(images)
        return images.contiguous(memory_format=self.memory_format)

    def _places(self, indices: Tensor, counter: Counter | None, epoch: int, pass_: int) -> tuple[Tensor, Tensor]:
        """(b, height) rows and (b, width) columns of the padded pixels that make each image."""
        plan, device = self._gather, indices.device
        top = torch.zeros(len(indices), 1, dtype=torch.int64, device=device)
        left = top.clone()
        if plan.rows > 1 or plan.columns > 1:
            bits = _counter(counter).bits(indices, epoch, plan.crop * USES + pass_, 2)
            top, left = (bits[:, :1] * plan.rows) >> 32, (bits[:, 1:] * plan.columns) >> 32
        rows = top + torch.arange(plan.height, device=device)
        columns = left + torch.arange(plan.width, device=device)
        for p, before, position in plan.flips:
            flipped = _counter(counter).uniform(indices, epoch, position * USES + pass_) < p
            # Mirroring before the crop mirrors the whole padded image, after it only the crop.
            mirrored = self._pixels.shape[2] - 1 - columns if before else 2 * left + plan.width - 1 - columns
            columns = torch.where(flipped, mirrored, columns)
        return rows, columns


def resized(transforms: tuple[Transform, ...], size: int) -> tuple[Transform, ...]:
    """The view with the `size` of its last spatial transform replaced."""
    for place in reversed(range(len(transforms))):
        if isinstance(transforms[place], CenterCrop | RandomCrop):
            changed = transforms[place].model_copy(update={"size": size})
            return (*transforms[:place], changed, *transforms[place + 1 :])
    raise UsageError(
        f"no transform of this view has a size to replace by {size}", remedy="leave the network's size out"
    )


def _leading(transforms: tuple[Transform, ...]) -> int:
    """How many of the first transforms one gather can do: flips and at most one crop."""
    crops = 0
    for count, transform in enumerate(transforms):
        crops += isinstance(transform, RandomCrop | CenterCrop)
        if crops > 1 or not isinstance(transform, RandomCrop | CenterCrop | HorizontalFlip):
            return count
    return len(transforms)


def _plan(transforms: tuple[Transform, ...], height: int, width: int) -> Gather:
    crop = next((i for i, t in enumerate(transforms) if isinstance(t, RandomCrop | CenterCrop)), len(transforms))
    flips = tuple((t.p, i < crop, i) for i, t in enumerate(transforms) if isinstance(t, HorizontalFlip))
    found = transforms[crop] if crop < len(transforms) else None
    if isinstance(found, RandomCrop):
        return Gather(found.size, found.size, height - found.size + 1, width - found.size + 1, flips, crop)
    return Gather(height, width, 1, 1, flips, crop)


def _point(transform: Transform) -> Callable[[Tensor], Tensor]:
    """A transform of every pixel by itself, on float images (b, c, h, w) in 0..255 until they are normalised."""
    if isinstance(transform, Normalise):
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (transform.mean, transform.std))
        return lambda images: (images / 255 - mean.to(images.device)) / std.to(images.device)
    if isinstance(transform, ToRgb):
        return lambda images: images.expand(-1, 3, -1, -1)
    if isinstance(transform, SwapRedBlue):
        return lambda images: images.flip(1)
    raise UsageError(
        f"the transform {transform.op} cannot follow the first crop",
        where="protocol.views",
        remedy="put it into data.decode",
    )


def _counter(counter: Counter | None) -> Counter:
    if counter is None:
        raise UsageError("a random view needs a random stream")
    return counter
