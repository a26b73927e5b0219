"""Images on the device, seen through a view: bytes uploaded once per part, transforms as batched
tensor code.

Pixels stay uint8 until they are normalised, and only a batch is ever floating point. Random
transforms draw per sample from a counter, so what a sample becomes depends on (stream, sample,
epoch, use), never on its batch, its order or the device. Given the same drawn numbers every view
equals torchvision's transforms on Pillow images bit for bit; only the order of the two passes of a
resize is always Pillow's of before 13 (widths first), which can differ from 13's by one level of
256.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from benchmark.al.augmentation.compile import TransformStep, compile_view
from benchmark.al.augmentation.kernels import Frames, Shape
from benchmark.al.random.philox import Counter
from benchmark.errors import UsageError
from benchmark.spec.transforms import (
    CenterCrop,
    Normalise,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Transform,
)

if TYPE_CHECKING:
    from benchmark.al.datasets import Part

USES = 64
"""Purposes per place in a view: uses of one sample in one epoch that are augmented
independently."""
CHUNK = {"cpu": 2**22, "cuda": 2**27}
"""Values of a view made at a time: some megabytes on a CPU, a gigabyte or two on a GPU."""
TEST_SHARE = 0.875
"""What a test view's centre crop keeps of the resized image (224 of 256) when a network asks for
another size."""


class ImageSource(Protocol):
    """Images by data set index: a part of a data set through a view, or images made in another
    way."""

    shape: tuple[int, int, int]
    """(c, h, w) of an image."""

    def batch(
        self,
        indices: Tensor,
        counter: Counter | None = None,
        epoch: int | Tensor = 0,
        pass_: int = 0,
    ) -> Tensor:
        """(b, c, h, w) images of (b,) data set indices, in the type and layout of the arithmetic.

        What is random in them is drawn from `counter`; `epoch` and `pass_` distinguish uses of the
        same image.
        """
        ...


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """A part's bytes on a device, shared by all views of it."""

    part: Part
    flat: Tensor
    """(bytes,) uint8."""
    sizes: Tensor | None
    """(n, 2) int64 height and width where they differ."""
    offsets: Tensor | None
    """(n,) int64 first byte of each image where sizes differ."""
    shape: Shape

    def frames(self, indices: Tensor) -> Frames:
        """The chosen images."""
        if self.sizes is None or self.offsets is None:
            height, width = self.shape.height, self.shape.width
            return Frames(
                self.flat,
                indices * (height * width * self.shape.channels),
                height,
                width,
                self.shape.channels,
            )
        sizes = self.sizes[indices]
        return Frames(
            self.flat, self.offsets[indices], sizes[:, 0], sizes[:, 1], self.shape.channels
        )


_uploaded: WeakValueDictionary[tuple[int, str], DeviceImages] = WeakValueDictionary()


def upload(part: Part, device: torch.device) -> DeviceImages:
    """A part's bytes on the device: the same tensor for every view that lives at the same time. On
    a CPU nothing is copied."""
    key = (id(part), str(device))  # the value keeps the part alive, so its id stays its own
    found = _uploaded.get(key)
    if found is None:
        found = _uploaded[key] = _upload_part(part, device)
    return found


def _upload_part(part: Part, device: torch.device) -> DeviceImages:
    with warnings.catch_warnings():
        # Parts are memory-mapped read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        flat = torch.from_numpy(part.pixels.reshape(-1)).to(device)
        if part.sizes is None or part.offsets is None:
            _, height, width, channels = part.pixels.shape
            return DeviceImages(part, flat, None, None, Shape(height, width, channels))
        sizes, offsets = (
            torch.from_numpy(table).to(device) for table in (part.sizes, part.offsets)
        )
    height, width = (int(side) for side in part.sizes.min(axis=0))
    return DeviceImages(
        part, flat, sizes, offsets, Shape(height, width, part.channels, ragged=True)
    )


class ImageView:
    """A part of a data set on a device, through a view."""

    memory_format: torch.memory_format = torch.contiguous_format
    """Layout of what `batch` returns; channels_last costs nothing, contiguous a copy."""
    shape: tuple[int, int, int]
    """(c, h, w) of an image of this view."""
    random: bool
    """Whether the view draws anything."""

    def __init__(
        self,
        part: Part,
        transforms: tuple[Transform, ...],
        device: torch.device,
        size: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`dtype` is that of `batch`. `size` replaces that of the last spatial transform, see
        `at_size`.

        Raises UsageError for views that cannot be.
        """
        transforms = transforms if size is None else at_size(transforms, size)
        self.device, self._pixels = device, upload(part, device)
        of_bytes, normalise = _split_view(transforms)
        self._steps, shape = compile_view(of_bytes, self._pixels.shape, device)
        self._levels = _Levels(normalise, shape, device, dtype)
        self.shape = (self._levels.channels, shape.height, shape.width)
        self._layout = _Layout.of(self._steps, device)
        self.random = bool(self._layout.counts)
        values = max(math.prod(self.shape), self._pixels.shape.values)
        self._chunk = max(CHUNK.get(device.type, CHUNK["cuda"]) // values, 1)

    @torch.no_grad()
    def batch(
        self,
        indices: Tensor,
        counter: Counter | None = None,
        epoch: int | Tensor = 0,
        pass_: int = 0,
    ) -> Tensor:
        """(b, c, h, w) images of (b,) data set indices.

        `epoch`, one for all or (b,) int64, and `pass_` (below 64) distinguish uses of the same
        sample. Raises UsageError for a random view without counter.
        """
        if self.random and counter is None:
            raise UsageError(
                "this view draws random numbers and was given no counter", where="protocol.views"
            )
        if not 0 <= pass_ < USES:
            raise UsageError(f"pass {pass_} of a view: only 0 to {USES - 1} are distinguished")
        indices = indices.to(self.device)
        channels, height, width = self.shape
        images = torch.empty(
            len(indices), height, width, channels, dtype=self._levels.dtype, device=self.device
        )
        # A byte times an 11-bit weight needs more than bfloat16 holds.
        with torch.autocast(self.device.type, enabled=False):
            for start in range(0, len(indices), self._chunk):
                chunk = slice(start, start + self._chunk)
                when = epoch if isinstance(epoch, int) else epoch[chunk]
                self._levels(self._bytes(indices[chunk], counter, when, pass_), images[chunk])
        return images.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)

    def _bytes(
        self, indices: Tensor, counter: Counter | None, epoch: int | Tensor, pass_: int
    ) -> Tensor:
        """(b, h, w, c) uint8 images before they are normalised."""
        frames = self._pixels.frames(indices)
        words = iter(self._layout.words(indices, counter, epoch, pass_))
        for step in self._steps:
            frames = step(frames, [next(words) for _ in step.draws])
        return frames.whole()


# --------------------------------------------------------------------------------- words per sample


@dataclass(frozen=True)
class _Layout:
    """Which blocks of four words a view draws for each sample, all at once."""

    blocks: Tensor
    """(k, 2) of (place in the view * USES, block)."""
    counts: tuple[tuple[int, int], ...]
    """(first word, words) of every draw."""

    @staticmethod
    def of(steps: Sequence[TransformStep], device: torch.device) -> _Layout:
        rows: list[tuple[int, int]] = []
        counts = []
        for place, words in (draw for step in steps for draw in step.draws):
            counts.append((4 * len(rows), words))
            rows += [(place * USES, block) for block in range(-(-words // 4))]
        return _Layout(
            torch.tensor(rows, dtype=torch.int64, device=device).view(-1, 2), tuple(counts)
        )

    def words(
        self, indices: Tensor, counter: Counter | None, epoch: int | Tensor, pass_: int
    ) -> list[Tensor]:
        """One (b, words) int64 tensor per draw: `counter.bits(indices, epoch, place * USES + pass_,
        words)` of each."""
        if counter is None or not self.counts:
            return []
        purposes = self.blocks.clone()
        purposes[:, 0] += pass_
        drawn = counter.blocks(indices, epoch, purposes).flatten(1)
        return [drawn[:, first : first + words] for first, words in self.counts]


# ---------------------------------------------------------------------------------- bytes to floats


class _Levels:
    """What becomes of a byte: (byte / 255 - mean) / std of its channel, in torchvision's order of
    operations."""

    def __init__(
        self, normalise: Normalise | None, shape: Shape, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.dtype = dtype
        self.channels = 3 if shape.rgb else shape.channels
        means, stds = (normalise.mean, normalise.std) if normalise else ((0.0,), (1.0,))
        if len(means) not in (1, self.channels) or len(stds) != len(means):
            raise UsageError(
                f"normalise has {len(means)} means and {len(stds)} deviations for {self.channels} "
                "channels",
                where="protocol.views",
                remedy="give one of each per channel, or one for all",
            )
        mean, std = (
            torch.tensor(values, dtype=dtype).expand(self.channels) for values in (means, stds)
        )
        # A tensor: a GPU would multiply by the inverse of a plain number.
        whole = torch.tensor([255.0], dtype=dtype)
        if shape.channels == 1:
            levels = (torch.arange(256.0, dtype=dtype)[:, None] / whole - mean) / std
            self._tables: tuple[Tensor, ...] = (levels.to(device),)
        else:
            # Repeated along a row, for a long inner loop.
            self._tables = tuple(
                t.to(device) for t in (whole, mean.repeat(shape.width), std.repeat(shape.width))
            )

    def __call__(self, images: Tensor, out: Tensor) -> None:
        """Fill (b, h, w, channels) numbers from (b, h, w, c) uint8."""
        if len(self._tables) == 1:
            torch.index_select(
                self._tables[0], 0, images.flatten().int(), out=out.view(-1, self.channels)
            )
        else:
            whole, mean, std = self._tables
            out.copy_(images).view(-1, len(mean)).div_(whole).sub_(mean).div_(std)


def _split_view(
    transforms: tuple[Transform, ...],
) -> tuple[tuple[Transform, ...], Normalise | None]:
    """The transforms of bytes, and the normalisation that ends a view."""
    if any(isinstance(transform, Normalise) for transform in transforms[:-1]):
        raise UsageError(
            "a transform follows normalise", where="protocol.views", remedy="normalise last"
        )
    if transforms and isinstance(transforms[-1], Normalise):
        return transforms[:-1], transforms[-1]
    return transforms, None


# -------------------------------------------------------------------------------------- other sizes


def at_size(transforms: tuple[Transform, ...], size: int) -> tuple[Transform, ...]:
    """A view for a network that takes `size` pixels: its last spatial transform gives that size.

    Where that is a centre crop of a resized image, the resize follows: the shorter side, or both,
    become ceil(size / 0.875), as in the test view of DIAM (Tang & Huang, NeurIPS 2022, released
    code).
    """
    found = list(transforms)
    spatial = [
        place
        for place, transform in enumerate(transforms)
        if isinstance(transform, RandomCrop | CenterCrop | RandomResizedCrop | Resize)
    ]
    if not spatial:
        raise UsageError(
            f"no transform of the view has a size that could become {size}",
            where="protocol.views",
            remedy="add a resize, or leave the network's size out",
        )
    last = spatial[-1]
    found[last] = _resize_transform(transforms[last], size)
    if (
        isinstance(transforms[last], CenterCrop)
        and len(spatial) > 1
        and isinstance(transforms[spatial[-2]], Resize)
    ):
        found[spatial[-2]] = _resize_transform(
            transforms[spatial[-2]], math.ceil(size / TEST_SHARE)
        )
    return tuple(found)


def _resize_transform(transform: Transform, size: int) -> Transform:
    if isinstance(transform, Resize):
        key, value = ("shorter", size) if transform.size is None else ("size", (size, size))
        return transform.model_copy(update={key: value})
    return transform.model_copy(update={"size": size})
