"""Transforms while decoding are torchvision's on Pillow images, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.al.datasets import decode
from benchmark.al.datasets.source import ArrayImages
from benchmark.errors import DataError
from benchmark.spec.transforms import (
    CenterCrop,
    HorizontalFlip,
    Resize,
    SwapRedBlue,
    ToRgb,
    Transform,
)

SIZES = [(30, 41), (41, 30), (32, 32), (7, 100), (33, 32)]


def _twin(transform: Transform, image: Image.Image) -> Image.Image:
    from torchvision import transforms

    if isinstance(transform, Resize):
        return transforms.Resize(list(transform.size) if transform.size else transform.shorter)(
            image
        )
    assert isinstance(transform, CenterCrop)
    return transforms.CenterCrop(transform.size)(image)


@pytest.mark.parametrize(
    "steps",
    [
        [Resize(op="resize", size=(20, 24))],
        [Resize(op="resize", shorter=32)],
        [Resize(op="resize", shorter=19), CenterCrop(op="center_crop", size=16)],
        [CenterCrop(op="center_crop", size=31)],
        [CenterCrop(op="center_crop", size=40)],
        [CenterCrop(op="center_crop", size=35)],
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_as_torchvision(rng: np.random.Generator, steps: list[Transform], channels: int) -> None:
    for height, width in SIZES:
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        for step in steps:
            image = _twin(step, image)
        expected = np.asarray(image).reshape(image.height, image.width, channels)
        assert np.array_equal(decode.transform_image(pixels, steps), expected), (height, width)


def test_colours(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (4, 5, 1), dtype=np.uint8)
    rgb = decode.transform_image(grey, [ToRgb(op="to_rgb")])
    assert rgb.shape == (4, 5, 3) and all(
        np.array_equal(rgb[..., place], grey[..., 0]) for place in range(3)
    )
    colour = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert decode.transform_image(colour, [ToRgb(op="to_rgb")]) is colour
    assert np.array_equal(
        decode.transform_image(colour, [SwapRedBlue(op="swap_red_blue")])[..., 0], colour[..., 2]
    )


def test_order_is_kept_across_threads_and_chunks(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CHUNK", 7)
    monkeypatch.setattr(decode, "count_threads", lambda: 4)
    pixels = rng.integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
    images, order = ArrayImages(pixels, np.zeros(50, np.int64)), rng.permutation(50)
    steps = [ToRgb(op="to_rgb")]
    found = np.stack(list(decode.decode_images(images, order, steps)))
    assert np.array_equal(found, np.repeat(pixels[order], 3, axis=3))
    assert np.array_equal(np.stack(list(decode.decode_images(images, order, []))), pixels[order])


def test_random_transforms_are_refused(spec: Any) -> None:
    with pytest.raises(DataError, match="'horizontal_flip'"):
        decode.check([HorizontalFlip(op="horizontal_flip", p=0.5)])
