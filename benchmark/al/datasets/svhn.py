"""SVHN, cropped digits (Netzer et al. 2011): `train_32x32.mat` and `test_32x32.mat`, at the root or
in `svhn/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.al.datasets import digest
from benchmark.al.datasets.source import (
    ArrayImages,
    Download,
    File,
    Origin,
    Published,
    Source,
    damaged_error,
    file_info,
    missing_error,
)

FOLDERS = ("", "svhn", "SVHN")
LIMIT = 2**31
"""Largest image array in bytes."""
CLASSES = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Svhn:
    """Two MATLAB files with X (32, 32, 3, n) and y (n, 1), where 10 stands for the digit 0."""

    side: ClassVar[int | None] = 32
    channels: ClassVar[int] = 3

    origin: Origin
    published: tuple[Published, ...]

    def files(self, root: Path) -> list[File]:
        """Both files, each where it is found first."""
        found = []
        for published in self.published:
            there = [
                file
                for folder in FOLDERS
                if (file := file_info(root / folder / published.name, published.name))
            ]
            if not there:
                raise missing_error(self.origin, root, published.name)
            found.append(there[0])
        return found

    def differs(self, files: Sequence[File]) -> str:
        """By the md5 of both files, as torchvision checks them."""
        return digest.describe_differences(files, self.published)

    def read(self, files: Sequence[File]) -> Source:
        """Images (n, 32, 32, 3)."""
        train, test = (self._part(file) for file in files)
        return Source(train, test, CLASSES)

    def _part(self, file: File) -> ArrayImages:
        from scipy.io import loadmat, whosmat

        try:
            announced = {name: (shape, kind) for name, shape, kind in whosmat(file.path)}
            shape, kind = announced["X"]
            if (
                kind != "uint8"
                or shape[:-1] != (32, 32, 3)
                or int(np.prod(shape, dtype=object)) > LIMIT
            ):
                raise ValueError(f"X is {kind} of shape {shape}")
            content = loadmat(file.path, variable_names=["X", "y"])
            pixels, labels = content["X"], content["y"].astype(np.int64).reshape(-1)
        except Exception as error:  # damaged bytes make scipy fail in many ways
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the content
            raise damaged_error(
                self.origin, file, f"{type(error).__name__}: {error}", self.published
            ) from error
        if labels.shape != pixels.shape[3:] or not set(np.unique(labels)) <= set(range(11)):
            raise damaged_error(self.origin, file, "labels do not fit the images", self.published)
        return ArrayImages(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels % 10)


_PUBLISHED = (
    Published("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
    Published("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", 64_275_384),
)
_HOME = "http://ufldl.stanford.edu/housenumbers/"
SVHN = Svhn(
    origin=Origin(
        "svhn",
        "SVHN",
        _HOME,
        "train_32x32.mat",
        tuple(
            Download(file, (f"{_HOME}{file.name}",), makes=file.name, unpack=False)
            for file in _PUBLISHED
        ),
    ),
    published=_PUBLISHED,
)
"""73,257 + 26,032 house number digits; the `extra` part is not used."""
