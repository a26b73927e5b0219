"""Torchvision's own transforms on Pillow images, one image at a time, with the numbers drawn that
the batched code draws.

Slow and obvious: Philox in plain integers, and torchvision's classes with their random calls
answered from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmark.spec import transforms as spec

ORDERS = list(permutations(range(4)))


def words_of(key: tuple[int, int], counter: Sequence[int]) -> list[int]:
    """Philox4x32-10 in plain integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2511F53, 2**32)
        high1, low1 = divmod(c2 * 0xCD9E8D57, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def draws(key: int, sample: int, epoch: int, place: int, pass_: int) -> list[int]:
    """The first 24 words of one sample at one place of a view."""
    halves, purpose = (key % 2**32, key >> 32), place * 64 + pass_
    return [
        word for block in range(6) for word in words_of(halves, (sample, epoch, purpose, block))
    ]


class Scripted:
    """Stands for the module `torch` inside torchvision: answers its random calls, passes everything
    else on."""

    def __init__(
        self, uniforms: Sequence[int], integers: Sequence[int], dtype: torch.dtype
    ) -> None:
        self._uniforms, self._integers, self._dtype = iter(uniforms), iter(integers), dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def tensor(self, values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype)

    def _unit(self) -> torch.Tensor:
        return torch.tensor((next(self._uniforms) >> 8) / 2**24, dtype=self._dtype)

    def rand(self, count: int) -> torch.Tensor:
        return self._unit()

    def empty(self, count: int) -> Scripted:
        return self

    def uniform_(self, low: Any, high: Any) -> torch.Tensor:
        low, high = (torch.as_tensor(end, dtype=self._dtype) for end in (low, high))
        return low + self._unit() * (high - low)

    def randint(self, low: int, high: int, size: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor((next(self._integers) * high) >> 32)

    def randperm(self, count: int) -> torch.Tensor:
        return torch.tensor(ORDERS[(next(self._integers) * 24) >> 32])


def scripted(transform: spec.Transform, words: Sequence[int]) -> Scripted:
    """The words of a transform's place, dealt out in the order of torchvision's calls."""
    if isinstance(transform, spec.RandomResizedCrop):
        return Scripted(words[:20], words[20:22], torch.float64)
    if isinstance(transform, spec.RandomCrop):
        return Scripted([], words[:2], torch.float64)
    if isinstance(transform, spec.ColorJitter):
        limits = (transform.brightness, transform.contrast, transform.saturation, transform.hue)
        given = [words[1 + name] for name, limit in enumerate(limits) if limit is not None]
        return Scripted(given, words[:1], torch.float32)
    return Scripted(words[:1], [], torch.float64)


def torchvision_of(transform: spec.Transform) -> Any:
    """Torchvision's class for a transform of a suite file."""
    from torchvision import transforms as tv

    match transform:
        case spec.RandomCrop(size=size, padding=padding):
            return tv.RandomCrop(size, padding=padding or None)
        case spec.HorizontalFlip(p=p):
            return tv.RandomHorizontalFlip(p)
        case spec.CenterCrop(size=size):
            return tv.CenterCrop(size)
        case spec.Resize(size=size, shorter=shorter):
            return tv.Resize(size or shorter)
        case spec.RandomResizedCrop(size=size, scale=scale, ratio=ratio):
            return tv.RandomResizedCrop(size, scale, ratio)
        case spec.ColorJitter():
            jitter = tv.ColorJitter()
            for name in ("brightness", "contrast", "saturation", "hue"):
                setattr(jitter, name, getattr(transform, name))
            return jitter
        case spec.Rotation(degrees=degrees):
            return tv.RandomRotation(degrees)
        case spec.ToRgb():
            return lambda image: image.convert("RGB")
        case spec.SwapRedBlue():
            return lambda image: Image.fromarray(np.asarray(image)[:, :, ::-1].copy())
        case spec.Normalise(mean=mean, std=std):
            return tv.Compose([tv.ToTensor(), tv.Normalize(mean, std)])
    raise NotImplementedError(transform.op)


@contextmanager
def widths_first() -> Iterator[None]:
    """Pillow's order of the two passes of a resize before version 13, whatever version is
    installed."""
    whole = Image.Image.resize

    def resize(self: Image.Image, size: Sequence[int], *options: Any, **named: Any) -> Image.Image:
        wide = whole(self, (size[0], self.height), *options, **named)
        return whole(wide, (size[0], size[1]), *options, **named)

    with patch.object(Image.Image, "resize", resize):
        yield


def reference(
    image: np.ndarray,
    transforms: Sequence[spec.Transform],
    key: int,
    sample: int,
    epoch: int = 0,
    pass_: int = 0,
) -> torch.Tensor:
    """(c, h, w) float32: one (height, width, channels) image through torchvision with its draws
    forced."""
    from torchvision import transforms as tv

    module = importlib.import_module("torchvision.transforms.transforms")
    out: Any = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    for place, transform in enumerate(transforms):
        with patch.object(
            module, "torch", scripted(transform, draws(key, sample, epoch, place, pass_))
        ):
            out = torchvision_of(transform)(out)
    return out if isinstance(out, torch.Tensor) else tv.ToTensor()(out)
