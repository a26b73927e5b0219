"""What the rest of the suite sees of a data set: its parts of uint8 images with labels, and what
they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Whole: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Images of the pool, of the test set or for validation, after the division and decoding."""

    pixels: Bytes
    """uint8, read-only. Equal sizes: (n, height, width, channels). Different sizes: (total bytes,),
    the images one after another, each (height, width, channels) in C order."""
    labels: Whole
    """(n,) class numbers from 0."""
    sizes: Whole | None
    """(n, 2) height and width where they differ, else None."""
    offsets: Whole | None
    """(n,) first byte of each image where sizes differ, else None."""
    channels: int

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Bytes:
        """Image `index`, (height, width, channels)."""
        if self.sizes is None or self.offsets is None:
            equal: Bytes = self.pixels[index]
            return equal
        height, width = (int(side) for side in self.sizes[index])
        start = int(self.offsets[index])
        return self.pixels[start : start + height * width * self.channels].reshape(
            height, width, self.channels
        )


@dataclass(frozen=True)
class Dataset:
    """A data set as a protocol asks for it."""

    name: str
    train: Part
    test: Part
    class_names: tuple[str, ...]
    digest: str
    """sha256 (hex) of pixels, shapes and labels of all parts: see `digest.digest_content`."""
    canonical: bool
    """Whether it was made from the published files."""
    canonical_note: str
    """Why not, in words; empty when it was."""
    validation: Part | None = None
    """What the protocol keeps from the pool, where it does."""


@dataclass(frozen=True)
class DataStatus:
    """Whether a data set can be had, and whether it is the published one."""

    name: str
    present: bool
    digest: str | None
    canonical: bool
    note: str
    """What is missing, damaged or different, in words."""
