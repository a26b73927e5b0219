"""Handwritten digits of 8 by 8 pixels (UCI optical recognition, test part), as scikit-learn ships
them: no download."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.al.datasets import digest
from benchmark.al.datasets.dataset import Bytes, Whole
from benchmark.al.datasets.source import ArrayImages, File, Origin, Source, file_info
from benchmark.errors import DataError

TEST, SEED = 500, 0
"""Images in the test set, and the key of the cut."""
CONTENT = "335edd25f2078aa2fc961dc781872cdd25007cfe94298857b7e0a8864b104e61"
"""sha256 over the 1,797 images and labels."""


@dataclass(frozen=True)
class Digits:
    """1,797 grey images, cut here into 1,297 for the pool and 500 for the test set, classes in
    proportion."""

    side: ClassVar[int | None] = 8
    channels: ClassVar[int] = 1

    origin: Origin

    def files(self, root: Path) -> list[File]:
        """The file inside scikit-learn; `root` plays no part."""
        found = importlib.util.find_spec("sklearn")
        name = "datasets/data/digits.csv.gz"
        file = (
            file_info(Path(found.origin).parent / name, name)
            if found is not None and found.origin is not None
            else None
        )
        if file is None:
            raise DataError(
                "digits is not there: scikit-learn or its data are missing",
                remedy="install scikit-learn again",
            )
        return [file]

    def differs(self, files: Sequence[File]) -> str:
        """By the digest of the images and labels, independent of how the file is compressed."""
        pixels, labels = _read_digits(files[0])
        same = (
            digest.digest_json([digest.digest_array(pixels), digest.digest_array(labels)])
            == CONTENT
        )
        return "" if same else "the installed scikit-learn has other digits"

    def read(self, files: Sequence[File]) -> Source:
        """Images (n, 8, 8, 1); the 17 grey levels 0..16 become 0..255."""
        pixels, labels = _read_digits(files[0])
        train, test = split_stratified(labels, TEST, SEED)
        names = tuple(str(digit) for digit in range(10))
        return Source(
            ArrayImages(pixels[train], labels[train]),
            ArrayImages(pixels[test], labels[test]),
            names,
        )


def split_stratified(labels: Whole, size: int, seed: int) -> tuple[Whole, Whole]:
    """Positions of the rest and of `size` images held out, classes in proportion by largest
    remainders, native order.

    Within a class the held-out images are drawn by Philox(key=seed), classes in order.
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    counts = np.bincount(labels)
    share = counts * size / len(labels)
    take = np.floor(share).astype(np.int64)
    largest = np.argsort(take - share, kind="stable")[: size - int(take.sum())]
    take[largest] += 1
    held = [
        generator.permutation(np.flatnonzero(labels == place))[:count]
        for place, count in enumerate(take)
    ]
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _read_digits(file: File) -> tuple[Bytes, Whole]:
    """All images (1797, 8, 8, 1) and labels. Rows are 64 grey levels 0..16 and the digit."""
    # What sklearn.datasets.load_digits reads, without the seconds that importing it takes.
    try:
        table = np.loadtxt(file.path, delimiter=",", ndmin=2)
        pixels = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        return pixels, table[:, 64].astype(np.int64)
    except (ValueError, IndexError, EOFError, zlib.error) as error:
        raise DataError(
            f"digits is damaged: {error}", where=file.path, remedy="install scikit-learn again"
        ) from error


DIGITS = Digits(
    Origin(
        "digits",
        "Digits",
        "https://archive.ics.uci.edu/dataset/80",
        "nowhere: it ships with scikit-learn",
    )
)
