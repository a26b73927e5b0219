"""Deterministic transforms done once when images are decoded: as torchvision's on Pillow images,
bilinear with antialiasing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmark.al.datasets.dataset import Bytes, Whole
from benchmark.al.datasets.digest import count_threads
from benchmark.al.datasets.source import ArrayImages, RawImages
from benchmark.errors import DataError
from benchmark.spec.transforms import CenterCrop, Resize, SwapRedBlue, ToRgb, Transform

CHUNK = 256
"""Images decoded ahead of the writer: bounds memory."""


def decode_images(
    images: RawImages, indices: Whole, transforms: Sequence[Transform]
) -> Iterator[Bytes]:
    """The chosen images in order, each (height, width, channels) uint8, decoded and transformed."""
    if isinstance(images, ArrayImages) and not transforms:
        yield from (images.read(int(index)) for index in indices)
        return
    with ThreadPoolExecutor(count_threads()) as pool:
        for start in range(0, len(indices), CHUNK):
            chunk = [int(index) for index in indices[start : start + CHUNK]]
            yield from list(
                pool.map(lambda index: transform_image(images.read(index), transforms), chunk)
            )


def check(transforms: Sequence[Transform]) -> None:
    """Raise DataError for a transform that is random or leaves uint8."""
    for transform in transforms:
        if not isinstance(transform, Resize | CenterCrop | ToRgb | SwapRedBlue):
            raise DataError(
                f"data.decode holds '{transform.op}'",
                remedy=(
                    "only resize, center_crop, to_rgb and swap_red_blue are done when decoding; "
                    "put it into the views"
                ),
            )


def transform_image(pixels: Bytes, transforms: Sequence[Transform]) -> Bytes:
    """One image (height, width, channels) through the transforms in order."""
    for transform in transforms:
        if isinstance(transform, Resize):
            pixels = _resize_pixels(
                pixels, transform.size or _resize_proportionally(pixels, transform.shorter or 0)
            )
        elif isinstance(transform, CenterCrop):
            pixels = _crop_centre(pixels, transform.size)
        elif isinstance(transform, ToRgb):
            pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        else:
            pixels = pixels[:, :, ::-1]
    return pixels


def _resize_proportionally(pixels: Bytes, shorter: int) -> tuple[int, int]:
    """Height and width with the shorter side given; the longer one is truncated, as in
    torchvision."""
    height, width = pixels.shape[:2]
    longer = int(shorter * max(height, width) / min(height, width))
    return (shorter, longer) if height <= width else (longer, shorter)


def _resize_pixels(pixels: Bytes, size: tuple[int, int]) -> Bytes:
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(
        pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    )
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resized.reshape(*size, pixels.shape[2])


def _crop_centre(pixels: Bytes, size: int) -> Bytes:
    """The middle square; smaller images are padded with zeros first."""
    short = [max(size - side, 0) for side in pixels.shape[:2]]
    if any(short):
        pixels = np.pad(pixels, [(gap // 2, (gap + 1) // 2) for gap in short] + [(0, 0)])
    # Python rounds halves to even, and so does torchvision's crop.
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]
