"""A view's transforms of bytes, made ready for images of one shape: steps from frames to frames.

Neighbouring crops and flips become one gather. Every step draws its words under the place its
transform has in the view, so that fusing changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor

from benchmark.al.augmentation import kernels
from benchmark.al.augmentation.kernels import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    ORDERS,
    SATURATION,
    Extent,
    Frames,
    Shape,
)
from benchmark.al.random.philox import to_integers, to_uniform
from benchmark.errors import UsageError
from benchmark.spec.transforms import (
    CenterCrop,
    ColorJitter,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Rotation,
    SwapRedBlue,
    ToRgb,
)

if TYPE_CHECKING:
    from benchmark.spec.transforms import Transform

Movable: TypeAlias = RandomCrop | CenterCrop | HorizontalFlip


class TransformStep(Protocol):
    """One or more neighbouring transforms."""

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        """(place in the view, words per sample) of everything that is drawn."""

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        """The images after this step; `words` are (b, n) uint32 values in int64, one tensor per
        draw."""


def compile_view(
    transforms: Sequence[Transform], shape: Shape, device: torch.device
) -> tuple[tuple[TransformStep, ...], Shape]:
    """Steps for images of a shape, and the shape they end in. Raises UsageError for what cannot be
    done."""
    steps: list[TransformStep] = []
    for place, transform in enumerate(transforms):
        step: TransformStep | None
        step, shape = _compile_step(place, transform, shape, device)
        before = steps[-1] if steps else None
        if isinstance(step, GatherStep) and isinstance(before, GatherStep) and before.takes(step):
            steps[-1] = before.then(step)
        elif step is not None:
            steps.append(step)
    if shape.ragged or any(isinstance(step, GatherStep) and step.shape.ragged for step in steps):
        raise _ragged_error("not cropping")
    return tuple(steps), shape


def _compile_step(
    place: int, transform: Transform, shape: Shape, device: torch.device
) -> tuple[TransformStep | None, Shape]:
    if isinstance(transform, RandomCrop | CenterCrop | HorizontalFlip):
        after = _cropped_shape(transform, shape)
        return GatherStep(((place, transform),), after, _needs_padding(transform, shape)), after
    if isinstance(transform, ToRgb):
        return None, replace(shape, rgb=shape.channels == 1)
    if isinstance(transform, SwapRedBlue):
        return (SwapChannels() if shape.channels == 3 else None), shape
    if isinstance(transform, ColorJitter):
        return Jitter.of(place, transform, shape, device), shape
    if isinstance(transform, RandomResizedCrop):
        after = replace(shape, height=transform.size, width=transform.size, ragged=False)
        return ResizedCrop(place, transform), after
    if isinstance(transform, Resize) and not (shape.ragged and transform.size is None):
        height, width = transform.size or _proportional_size(shape, transform.shorter or 0)
        return Resized(height, width), replace(shape, height=height, width=width, ragged=False)
    if isinstance(transform, Rotation) and not shape.ragged:
        return Rotated(place, transform.degrees), shape
    raise _ragged_error(transform.op)


def _ragged_error(what: str) -> UsageError:
    return UsageError(
        f"{what} images of different sizes is not supported",
        where="protocol.views",
        remedy="crop or resize them to one size first, here or in data.decode",
    )


def _proportional_size(shape: Shape, shorter: int) -> tuple[int, int]:
    """Height and width with the shorter side given; the longer one is cut off to a whole number, as
    in torchvision."""
    longer = int(shorter * max(shape.height, shape.width) / min(shape.height, shape.width))
    return (shorter, longer) if shape.height <= shape.width else (longer, shorter)


# ---------------------------------------------------------------------------------- crops and flips


def _cropped_shape(transform: Movable, shape: Shape) -> Shape:
    if isinstance(transform, HorizontalFlip):
        return shape
    if (
        isinstance(transform, RandomCrop)
        and min(shape.height, shape.width) + 2 * transform.padding < transform.size
    ):
        raise UsageError(
            f"random_crop of {transform.size} pixels from images of {shape.height} x {shape.width}"
            + (" (the smallest sides)" if shape.ragged else ""),
            where="protocol.views",
            remedy="pad or resize the images, or crop less",
        )
    return replace(shape, height=transform.size, width=transform.size, ragged=False)


@dataclass(frozen=True)
class GatherStep:
    """Crops and flips: each image's window moves over it and may be mirrored; the pixels are read
    once, at the end."""

    moves: tuple[tuple[int, Movable], ...]
    """(place in the view, transform)."""
    shape: Shape
    """After all of them."""
    beyond: bool
    """Whether a window may reach outside the image, where there is zero."""

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        words = [
            (place, 2 if isinstance(move, RandomCrop) else 1, move) for place, move in self.moves
        ]
        return tuple(
            (place, count) for place, count, move in words if not isinstance(move, CenterCrop)
        )

    def takes(self, other: GatherStep) -> bool:
        """Whether one gather can do both: not if padding follows a crop, for around the crop the
        image goes on."""
        return not (
            other.beyond and any(not isinstance(move, HorizontalFlip) for _, move in self.moves)
        )

    def then(self, other: GatherStep) -> GatherStep:
        """Both in one."""
        return GatherStep(self.moves + other.moves, other.shape, self.beyond or other.beyond)

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        drawn = iter(words)
        height, width = frames.height, frames.width
        top = left = torch.zeros_like(frames.start)
        mirrored = torch.zeros_like(frames.start, dtype=torch.bool)
        for _, move in self.moves:
            if isinstance(move, HorizontalFlip):
                mirrored = mirrored ^ (to_uniform(next(drawn)[:, 0]) < move.p)
                continue
            down, right = self._place(
                move, height, width, next(drawn) if isinstance(move, RandomCrop) else None
            )
            top = top + down
            left = left + torch.where(mirrored, width - move.size - right, right)
            height = width = move.size
        rows = top[:, None] + torch.arange(self.shape.height, device=top.device)
        ahead = torch.arange(self.shape.width, device=top.device)
        columns = left[:, None] + torch.where(
            mirrored[:, None], self.shape.width - 1 - ahead, ahead
        )
        return Frames.of(frames.take(rows, columns, self.beyond))

    @staticmethod
    def _place(
        move: RandomCrop | CenterCrop, height: Extent, width: Extent, words: Tensor | None
    ) -> tuple[Extent, Extent]:
        """Rows and columns from the corner of the present window to that of the next one."""
        if isinstance(move, RandomCrop):
            assert words is not None
            spare = 2 * move.padding + 1 - move.size
            return to_integers(words[:, 0], height + spare) - move.padding, to_integers(
                words[:, 1], width + spare
            ) - move.padding
        return _centre_offset(height - move.size), _centre_offset(width - move.size)


def _needs_padding(move: Movable, shape: Shape) -> bool:
    """Whether a crop of images of a shape may reach outside them."""
    if isinstance(move, RandomCrop):
        return move.padding > 0
    return isinstance(move, CenterCrop) and move.size > min(shape.height, shape.width)


def _centre_offset(spare: Extent) -> Extent:
    """Where a centred crop begins: half the spare pixels, halves to even; smaller images are
    padded, more at the end."""
    half = spare // 2
    if isinstance(spare, int):
        return half + (spare & half & 1) if spare >= 0 else -(-spare // 2)
    return torch.where(spare >= 0, half + (spare & half & 1), -(-spare // 2))


# ----------------------------------------------------------------------------------------- resizing


@dataclass(frozen=True)
class ResizedCrop:
    """A random box, resized."""

    place: int
    transform: RandomResizedCrop

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, kernels.BOX_WORDS),)

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        transform = self.transform
        box = kernels.draw_box(
            words[0], frames.height, frames.width, transform.scale, transform.ratio
        )
        return _resize_frames(frames, box, transform.size, transform.size)


@dataclass(frozen=True)
class Resized:
    """All of every image, resized."""

    height: int
    width: int
    draws: tuple[tuple[int, int], ...] = ()

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        sides = [
            torch.zeros_like(frames.start) + side for side in (0, 0, frames.height, frames.width)
        ]
        # One matrix serves all images of one size.
        count = 1 if isinstance(frames.height, int) else len(frames.start)
        return _resize_frames(frames, torch.stack(sides, dim=1)[:count], self.height, self.width)


def _resize_frames(frames: Frames, box: Tensor, height: int, width: int) -> Frames:
    """Boxes (b or 1, 4) of images, resized."""
    top, left, high, wide = box.unbind(dim=1)
    if isinstance(frames.height, int):
        images = frames.whole()
    else:
        reach_h, reach_w = (int(side.max()) if len(side) else 1 for side in (high, wide))
        rows = top[:, None] + torch.arange(reach_h, device=box.device)
        columns = left[:, None] + torch.arange(reach_w, device=box.device)
        images = frames.take(rows, columns)
        top = torch.zeros_like(top)
        left = torch.zeros_like(left)
    by_row = kernels.interpolation_matrices(top, high, height, images.shape[1])
    by_column = kernels.interpolation_matrices(left, wide, width, images.shape[2])
    return Frames.of(kernels.resample(images, by_row, by_column))


# ------------------------------------------------------------------------------ rotation and colour


@dataclass(frozen=True)
class Rotated:
    """A turn by a random angle."""

    place: int
    degrees: float

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, 1),)

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        return Frames.of(kernels.rotate(frames.whole(), kernels.draw_angle(words[0], self.degrees)))


@dataclass(frozen=True)
class SwapChannels:
    """Red for blue."""

    draws: tuple[tuple[int, int], ...] = ()

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        return Frames.of(frames.whole().flip(3))


@dataclass(frozen=True)
class Jitter:
    """Random colour adjustments in random order."""

    place: int
    low: Tensor
    high: Tensor
    """(4,) ranges of the factors."""
    turns: Tensor
    """(24, k): `kernels.ORDERS` without the adjustments that change nothing."""
    used: tuple[int, ...]

    @staticmethod
    def of(place: int, transform: ColorJitter, shape: Shape, device: torch.device) -> Jitter | None:
        """The adjustments that matter: a grey image has neither saturation nor hue."""
        given = {
            BRIGHTNESS: transform.brightness,
            CONTRAST: transform.contrast,
            SATURATION: transform.saturation if shape.channels == 3 else None,
            HUE: transform.hue if shape.channels == 3 else None,
        }
        used = tuple(name for name, limits in given.items() if limits is not None)
        if not used:
            return None
        low, high = (
            torch.tensor([(limits or (1.0, 1.0))[end] for limits in given.values()])
            for end in (0, 1)
        )
        turns = torch.tensor([[name for name in order if name in used] for order in ORDERS])
        return Jitter(place, low.to(device), high.to(device), turns.to(device), used)

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, kernels.JITTER_WORDS),)

    def __call__(self, frames: Frames, words: Sequence[Tensor]) -> Frames:
        order, factors = kernels.draw_jitter(words[0], self.low, self.high)
        return Frames.of(
            kernels.jitter_colours(frames.whole(), self.turns[order], factors, self.used)
        )
