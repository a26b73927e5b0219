"""MNIST (LeCun et al. 1998) and Kuzushiji-MNIST (Clanuwat et al. 2018): idx files in `MNIST/raw`
and `KMNIST/raw`."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
import numpy.typing as npt

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

LIMIT = 2**31
"""Largest file in bytes after unpacking."""


@dataclass(frozen=True)
class Idx:
    """One of the two. The files may be gzipped, as published, or unpacked; a gzipped one is
    preferred."""

    side: ClassVar[int | None] = 28
    channels: ClassVar[int] = 1

    origin: Origin
    published: tuple[Published, ...]
    """Images and labels of the training part, then of the test part."""
    unpacked: tuple[Published, ...]
    """The same without gzip, where their checksums are known."""
    class_names: tuple[str, ...]

    def files(self, root: Path) -> list[File]:
        """The four files."""
        found = []
        for published in self.published:
            names = (published.name, published.name.removesuffix(".gz"))
            there = [
                file
                for name in names
                if (file := file_info(root / self.origin.place / name, name)) is not None
            ]
            if not there:
                raise missing_error(self.origin, root, f"{self.origin.place}/{published.name}")
            found.append(there[0])
        return found

    def differs(self, files: Sequence[File]) -> str:
        """By the md5 of every file, as torchvision checks them."""
        known = {entry.name for entry in (*self.published, *self.unpacked)}
        strangers = [file.name for file in files if file.name not in known]
        if strangers:
            return f"only the gzipped files have a published md5, but {strangers[0]} is unpacked"
        return digest.describe_differences(files, (*self.published, *self.unpacked))

    def read(self, files: Sequence[File]) -> Source:
        """Images (n, 28, 28, 1)."""
        train, train_labels, test, test_labels = (self._array(file) for file in files)
        return Source(
            self._part(train, train_labels, files[1]),
            self._part(test, test_labels, files[3]),
            self.class_names,
        )

    def _part(
        self, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], file: File
    ) -> ArrayImages:
        if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
            raise self._damaged(file, f"images have shape {pixels.shape}, labels {labels.shape}")
        if len(labels) and int(labels.max()) >= len(self.class_names):
            raise self._damaged(file, f"labels are outside 0..{len(self.class_names) - 1}")
        return ArrayImages(pixels[..., None], labels.astype(np.int64))

    def _array(self, file: File) -> npt.NDArray[np.uint8]:
        """An idx file of bytes: two zeros, type 8, number of dimensions, big-endian dimensions,
        values."""
        try:
            with Path(file.path).open("rb") as raw:
                stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if file.name.endswith(".gz") else raw  # type: ignore[assignment]
                head = stream.read(4)
                if head[:3] != b"\0\0\x08" or len(head) != 4:
                    raise self._damaged(file, "it is not an idx file of bytes")
                shape = tuple(
                    int(side) for side in np.frombuffer(stream.read(4 * head[3]), dtype=">u4")
                )
                size = math.prod(shape)
                if len(shape) != head[3] or size > LIMIT:
                    raise self._damaged(file, f"it announces the shape {shape}")
                content = stream.read(
                    size + 1
                )  # one more: at the end of the stream gzip compares its checksum
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(file, str(error)) from error
        if len(content) != size:
            raise self._damaged(
                file, f"it announces {size:,} values of shape {shape} and holds another number"
            )
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)

    def _damaged(self, file: File, reason: str) -> Exception:
        return damaged_error(self.origin, file, reason, (*self.published, *self.unpacked))


def _idx_origin(
    name: str, title: str, home: str, place: str, mirrors: Sequence[str], files: Sequence[Published]
) -> Origin:
    downloads = tuple(
        Download(
            file,
            tuple(f"{mirror}{file.name}" for mirror in mirrors),
            makes=f"{place}/{file.name}",
            unpack=False,
        )
        for file in files
    )
    return Origin(name, title, home, place, downloads)


_MNIST = (
    Published("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
    Published("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
    Published("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
    Published("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
)
_KMNIST = (
    Published("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7", 18_165_135),
    Published("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344", 29_497),
    Published("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7", 3_041_136),
    Published("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134", 5_120),
)

MNIST = Idx(
    origin=_idx_origin(
        "mnist",
        "MNIST",
        "http://yann.lecun.com/exdb/mnist/",
        "MNIST/raw",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        _MNIST,
    ),
    published=_MNIST,
    unpacked=(
        Published("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", 47_040_016),
        Published("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", 60_008),
        Published("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", 7_840_016),
        Published("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", 10_008),
    ),
    class_names=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)
"""60,000 + 10,000 handwritten digits. The checksums of the unpacked files are those of the
published content."""

KMNIST = Idx(
    origin=_idx_origin(
        "kmnist",
        "Kuzushiji-MNIST",
        "http://codh.rois.ac.jp/kmnist/",
        "KMNIST/raw",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        _KMNIST,
    ),
    published=_KMNIST,
    unpacked=(),
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)
"""60,000 + 10,000 handwritten characters."""
