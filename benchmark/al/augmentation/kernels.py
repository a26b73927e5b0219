"""Batched image transforms on uint8 tensors, equal to torchvision's on Pillow images bit for bit.

Images are (b, height, width, channels). Every function is pure: what is random comes in as drawn
words, one row per image, so an image's result depends neither on its batch nor on the device.
Arithmetic follows Pillow's and torchvision's `transforms` including their rounding, with Pillow's
order of passes before version 13 where the two differ (`resample`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import TypeAlias

import torch
from torch import Tensor

from benchmark.al.random.philox import to_integers, to_uniform

Extent: TypeAlias = int | Tensor
"""A side in pixels: the same for all images, or (b,) int64."""


# --------------------------------------------------------------------------- where images come from


@dataclass(frozen=True)
class Shape:
    """Images at one point of a view."""

    height: int
    """Pixels; the smallest height where they differ."""
    width: int
    channels: int
    """As stored: grey images stay one channel until they are normalised, since nothing before makes
    channels differ."""
    ragged: bool = False
    rgb: bool = False
    """Whether grey images have been declared RGB."""

    @property
    def values(self) -> int:
        """Bytes of an image."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Frames:
    """b images in flat memory, each (height, width, channels) in C order."""

    pixels: Tensor
    """(bytes,) uint8."""
    start: Tensor
    """(b,) int64, first byte of each image. Images of one size lie at multiples of their bytes."""
    height: Extent
    width: Extent
    channels: int
    images: Tensor | None = None
    """(b, h, w, c): the images as a tensor, where they are one already."""

    @staticmethod
    def of(images: Tensor) -> Frames:
        """A (b, h, w, c) tensor, seen as frames."""
        count, height, width, channels = images.shape
        start = torch.arange(count, device=images.device) * (height * width * channels)
        images = images.contiguous()
        return Frames(images.view(-1), start, height, width, channels, images)

    def whole(self) -> Tensor:
        """(b, h, w, c): the images themselves, which must have one size."""
        if self.images is not None:
            return self.images
        assert isinstance(self.height, int) and isinstance(self.width, int)
        shape = (self.height, self.width, self.channels)
        return _strided_rows(self.pixels, math.prod(shape), self.start).view(-1, *shape)

    def take(self, rows: Tensor, columns: Tensor, beyond: bool = True) -> Tensor:
        """(b, h, w, c): pixels at (b, h) rows and (b, w) columns; zero outside, which only `beyond`
        allows to occur."""
        picked = (
            self._take_fast(rows, columns)
            if isinstance(self.width, int)
            else self._take_any(rows, columns)
        )
        if beyond:
            # Rows of bytes keep the inner loops long.
            lines = picked.view(*rows.shape, columns.shape[1] * self.channels)
            lines *= _is_inside(rows, self.height)[:, :, None]
            lines *= _is_inside(columns, self.width).repeat_interleave(self.channels, dim=1)[
                :, None, :
            ]
        return picked

    def _take_fast(self, rows: Tensor, columns: Tensor) -> Tensor:
        assert isinstance(self.height, int) and isinstance(self.width, int)
        line = self.width * self.channels
        found = _strided_rows(
            self.pixels, line, self.start[:, None] + rows.clamp(0, self.height - 1) * line
        )
        lanes = torch.arange(self.channels, device=rows.device)
        lane = (columns.clamp(0, self.width - 1) * self.channels)[:, :, None] + lanes
        lane = lane.flatten(1)[:, None, :].expand(-1, rows.shape[1], -1)
        return (
            found.view(*rows.shape, line)
            .gather(2, lane)
            .view(*rows.shape, columns.shape[1], self.channels)
        )

    def _take_any(self, rows: Tensor, columns: Tensor) -> Tensor:
        height, width = _as_column(self.height), _as_column(self.width)
        row = torch.minimum(rows.clamp(min=0), torch.as_tensor(height - 1)) * width
        place = (
            row[:, :, None]
            + torch.minimum(columns.clamp(min=0), torch.as_tensor(width - 1))[:, None, :]
        )
        start = self.start[:, None, None] + place * self.channels
        return _strided_rows(self.pixels, self.channels, start).view(*place.shape, self.channels)


def _strided_rows(pixels: Tensor, length: int, start: Tensor) -> Tensor:
    """(starts, length): pieces of flat memory at multiples of `length`."""
    return pixels.view(-1, length).index_select(0, (start // length).flatten())


def _as_column(extent: Extent) -> Extent:
    return extent if isinstance(extent, int) else extent[:, None]


def _is_inside(places: Tensor, extent: Extent) -> Tensor:
    return ((places >= 0) & (places < _as_column(extent))).to(torch.uint8)


# ----------------------------------------------------------------------------------------- resizing


BOX_WORDS = 22
"""Ten tries of two words, then the place."""


def draw_box(
    words: Tensor,
    height: Extent,
    width: Extent,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """(b, 4) int64 boxes (top, left, height, width) of random resized crops from (b, 22) words.

    As torchvision's `RandomResizedCrop.get_params`: ten tries at an area share U[scale] and a
    log-uniform aspect ratio, then the largest centred box whose aspect ratio is allowed.
    """
    high, wide = (
        torch.as_tensor(side, device=words.device).expand(len(words)) for side in (height, width)
    )
    drawn = to_uniform(words[:, :20]).double()
    area = (high * wide)[:, None] * (scale[0] + (scale[1] - scale[0]) * drawn[:, 0::2])
    aspect = torch.exp(
        math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * drawn[:, 1::2]
    )
    tried_w, tried_h = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (tried_w > 0) & (tried_w <= wide[:, None]) & (tried_h > 0) & (tried_h <= high[:, None])
    first = fits.byte().argmax(dim=1, keepdim=True)
    found, w, h = fits.any(dim=1), tried_w.gather(1, first)[:, 0], tried_h.gather(1, first)[:, 0]

    seen = wide.double() / high.double()
    middle_w = torch.where(seen > max(ratio), (high * max(ratio)).round().long(), wide)
    middle_h = torch.where(seen < min(ratio), (wide / min(ratio)).round().long(), high)
    h, w = torch.where(found, h, middle_h), torch.where(found, w, middle_w)
    top = torch.where(found, to_integers(words[:, 20], high - h + 1), (high - h) // 2)
    left = torch.where(found, to_integers(words[:, 21], wide - w + 1), (wide - w) // 2)
    return torch.stack([top, left, h, w], dim=1)


def interpolation_matrices(start: Tensor, length: Tensor, out: int, size: int) -> Tensor:
    """(b, 2 * out, size) float32 interpolation matrices from the stretch [start, start + length) of
    a side to `out` pixels.

    Pillow's bilinear filter widens when it shrinks (antialiasing), ends at the stretch, and is
    rounded to 22 fractional bits. Each weight is split into its upper and lower 11 bits, stacked as
    rows: then every product with a byte and every sum is a whole number that float32 (and TF32)
    holds exactly, and `_interpolate` is integer arithmetic at the speed of a matmul.
    """
    scale = length.double()[:, None] / _device_divisor(out, length)
    reach = scale.clamp(min=1)
    centre = (torch.arange(out, device=start.device) + 0.5) * scale
    low = (centre - reach + 0.5).trunc().clamp(min=0)[:, :, None]
    high = torch.minimum((centre + reach + 0.5).trunc(), length[:, None])[:, :, None]
    place = (torch.arange(size, device=start.device) - start[:, None])[:, None, :]
    weight = (1 - ((place - centre[:, :, None] + 0.5) * (1 / reach)[:, :, None]).abs()).clamp(min=0)
    weight = torch.where((place >= low) & (place < high), weight, 0)
    fixed = (weight / weight.sum(dim=2, keepdim=True) * 2**22 + 0.5).floor()
    upper = (fixed * 2.0**-11).floor()
    return torch.cat([upper, fixed - upper * 2**11], dim=1).mul_(2.0**-11).float()


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(b, h', w', c) from (b, h, w, c) and the matrices of `bilinear` for heights and widths.

    Widths first, rounded to bytes in between, as every Pillow before 13 does it; 13 begins with
    heights where these shrink more, which differs by at most one level.
    """
    count, height, width, channels = images.shape
    x = images.permute(0, 2, 1, 3).float().reshape(count, width, height * channels)
    tall, wide = rows.shape[1] // 2, columns.shape[1] // 2
    x = (
        _interpolate_bytes(columns, x)
        .floor_()
        .view(count, wide, height, channels)
        .permute(0, 2, 1, 3)
    )
    x = _interpolate_bytes(rows, x.reshape(count, height, wide * channels))
    return x.view(count, tall, wide, channels).to(torch.uint8)


def _interpolate_bytes(weights: Tensor, x: Tensor) -> Tensor:
    """Weighted sums of bytes plus a half, whose whole part is exactly (sum of fixed-point weight *
    byte + 2^21) >> 22."""
    upper, lower = torch.bmm(weights.expand(len(x), -1, -1), x).chunk(2, dim=1)
    return torch.add(upper, lower.floor_(), alpha=2.0**-11).add_(0.5)


# ----------------------------------------------------------------------------------------- rotation


def draw_angle(words: Tensor, degrees: float) -> Tensor:
    """(b,) float64 uniform in [-degrees, degrees) from (b, 1) words."""
    return degrees * (2 * to_uniform(words[:, 0]).double() - 1)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """(b, h, w, c) turned counter-clockwise by (b,) float64 degrees about the middle, nearest
    neighbour, zero fill."""
    count, height, width, channels = images.shape
    turn = -torch.deg2rad(degrees.remainder(360))
    # Pillow rounds the matrix to 15 decimals, then walks over the source in 16.16 fixed point; its
    # order of additions.
    cos, sin = (torch.round(part(turn), decimals=15) for part in (torch.cos, torch.sin))
    x0 = width / 2 - (cos * (width / 2) + sin * (height / 2)) + cos * 0.5 + sin * 0.5
    y0 = height / 2 - (cos * (height / 2) - sin * (width / 2)) - sin * 0.5 + cos * 0.5
    step_c, step_s, x0, y0 = (
        (value * 65536 + 0.5).floor().long()[:, None, None] for value in (cos, sin, x0, y0)
    )
    minus_s = (-sin * 65536 + 0.5).floor().long()[:, None, None]
    i = torch.arange(height, device=images.device)[:, None]
    j = torch.arange(width, device=images.device)
    x, y = (x0 + step_c * j + step_s * i) >> 16, (y0 + minus_s * j + step_c * i) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    image = torch.arange(count, device=images.device)[:, None, None] * (height * width)
    found = images.reshape(-1, channels).index_select(
        0, (image + (y * width + x) * inside).flatten()
    )
    return found.view(images.shape) * inside[..., None]


# ------------------------------------------------------------------------------------------- colour

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = tuple(permutations(range(4)))
"""The 24 orders in which the four adjustments can be made."""
JITTER_WORDS = 5
"""The order, and one factor each."""


def draw_jitter(words: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """From (b, 5) words: (b,) places in `ORDERS`, and (b, 4) float32 factors uniform between `low`
    and `high`, (4,) each."""
    return to_integers(words[:, 0], len(ORDERS)), low + to_uniform(words[:, 1:5]) * (high - low)


def jitter_colours(images: Tensor, turns: Tensor, factors: Tensor, used: tuple[int, ...]) -> Tensor:
    """(b, h, w, c) with each image's adjustments made one after another.

    `turns` (b, k) names the adjustment of every turn, all from `used`; `factors` (b, 4) are indexed
    by adjustment.
    """
    x = images.float()
    for turn in turns.unbind(dim=1):
        if used != (HUE,):
            x = _blend_images(x, turn, factors, used)
        if HUE in used:
            chosen = (turn == HUE).nonzero()[:, 0]
            x[chosen] = _shift_hue(x[chosen], factors[chosen, HUE])
    return x.to(torch.uint8)


def _blend_images(x: Tensor, turn: Tensor, factors: Tensor, used: tuple[int, ...]) -> Tensor:
    """Between black, the mean grey level or the grey image, and the image itself; cut off, not
    rounded, as Pillow does."""
    turn = turn[:, None, None, None]
    factor = torch.where(turn == HUE, 1, factors.gather(1, turn[:, :, 0, 0])[:, :, None, None])
    if CONTRAST not in used and SATURATION not in used:
        return (x * factor).clamp_(0, 255).floor_()
    grey = _grey_images(x)
    mean = (grey.mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64) + 0.5).floor().float()
    plain = torch.where(turn == CONTRAST, mean, 0)
    base = torch.where(turn == SATURATION, grey, plain) if SATURATION in used else plain
    return (x - base).mul_(factor).add_(base).clamp_(0, 255).floor_()


def _grey_images(x: Tensor) -> Tensor:
    """(b, h, w, 1) luma; whole numbers below 2^24 until the last step, so float32 is exact."""
    if x.shape[3] == 1:
        return x
    red, green, blue = (band[..., None] for band in x.unbind(dim=3))
    return (red * 19595 + green * 38470 + blue * 7471 + 32768).mul_(2.0**-16).floor_()


def _shift_hue(x: Tensor, factor: Tensor) -> Tensor:
    """(m, h, w, 3) with hues moved by factor * 255 steps of 256, through Pillow's 8-bit HSV and its
    mix of precisions."""
    red, green, blue = x.unbind(dim=3)
    top, bottom = x.amax(dim=3), x.amin(dim=3)
    spread = (top - bottom).clamp(min=1)
    r, g, b = (((top - band) / spread).double() for band in (red, green, blue))
    hue = torch.where(red == top, b - g, torch.where(green == top, 2 + r - b, 4 + g - r)).float()
    six, full = _device_divisor(6, x), _device_divisor(255, x)
    hue = (hue.double() / six + 1).fmod(1).float()
    hue = (hue.double() * 255).floor()
    saturation = (((top - bottom) / top.clamp(min=1)).double() * 255).floor()
    hue = torch.where(top == bottom, 0, hue)
    hue = (hue + (factor.double() * 255).trunc()[:, None, None]).remainder(256).float()

    turned = hue.double() * 6 / full
    sector = turned.floor()
    part = (turned - sector).float()
    depth = (saturation / full).float()
    p = _half_up(top * (1 - depth.double()))
    q = _half_up(top * (1 - (depth * part).double()))
    t = _half_up(top * (1 - depth.double() * (1 - part.double())))
    sector = sector.remainder(6).long()
    choices = torch.stack([top, p, q, t])
    # Which of (value, p, q, t) each channel takes in each of the six sectors.
    table = torch.tensor(
        [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]], device=x.device
    )
    return torch.stack(
        [choices.gather(0, table[sector, band][None])[0] for band in range(3)], dim=3
    )


def _device_divisor(value: int, like: Tensor) -> Tensor:
    """A number to divide by: as a plain number, a GPU would multiply by its inverse, which rounds
    differently."""
    return torch.full((), value, dtype=torch.float64, device=like.device)


def _half_up(x: Tensor) -> Tensor:
    return (x + 0.5).floor().float()
