"""Caltech-101 (Fei-Fei et al. 2004) and Caltech-256 (Griffin et al. 2007): one folder of JPEG files
per class, undivided.

Only the archives have published checksums. Unpacked, the data count as published when the object
classes and the images in them, background or clutter aside, are as many as in the archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.al.datasets.source import (
    JPEG,
    Download,
    File,
    FileImages,
    Origin,
    Published,
    Source,
    list_folders,
    list_kinds,
    missing_error,
)
from benchmark.al.datasets.split import CLUTTER


@dataclass(frozen=True)
class Caltech:
    """One of the two. Classes are the folders in sorted order; files that are no images are left
    out."""

    side: ClassVar[int | None] = None
    channels: ClassVar[int] = 3

    origin: Origin
    classes: int
    """Object classes."""
    images: int
    """Images of object classes."""

    def files(self, root: Path) -> list[File]:
        """Every image, by class and file name."""
        place = Path(self.origin.place)
        folder = next(
            (root / there for there in (place, place.name) if (root / there).is_dir()), None
        )
        if folder is None:
            raise missing_error(self.origin, root, self.origin.place)
        found = [
            file
            for name in list_folders(folder)
            for file in list_kinds(folder / name, f"{name}/", JPEG)
        ]
        if not found:
            raise missing_error(self.origin, root, f"every image in {self.origin.place}")
        return found

    def differs(self, files: Sequence[File]) -> str:
        """By the number of object classes and of their images."""
        objects = [name for name in (_class_of(file) for file in files) if name not in CLUTTER]
        if (len(objects), len(set(objects))) == (self.images, self.classes):
            return ""
        return (
            f"{len(objects):,} images in {len(set(objects))} object classes, published are "
            f"{self.images:,} in {self.classes}"
        )

    def read(self, files: Sequence[File]) -> Source:
        """RGB images of different sizes; background or clutter is a class like the others until it
        is dropped."""
        names = sorted({_class_of(file) for file in files})
        number = {name: place for place, name in enumerate(names)}
        labels = np.array([number[_class_of(file)] for file in files], dtype=np.int64)
        return Source(FileImages(tuple(files), labels), None, tuple(names))


def _class_of(file: File) -> str:
    return file.name.partition("/")[0]


CALTECH101 = Caltech(
    origin=Origin(
        "caltech101",
        "Caltech-101",
        "https://data.caltech.edu/records/mzrjq-6wc02",
        "caltech101/101_ObjectCategories",
        (
            Download(
                Published("caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0", 137_414_764),
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                makes="caltech101/101_ObjectCategories",
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
        ),
    ),
    classes=101,
    images=8_677,
)

CALTECH256 = Caltech(
    origin=Origin(
        "caltech256",
        "Caltech-256",
        "https://data.caltech.edu/records/nyy15-4j048",
        "caltech256/256_ObjectCategories",
        (
            Download(
                Published(
                    "256_ObjectCategories.tar", "67b4f42ca05d46448c6bb8ecd2220f6d", 1_183_006_720
                ),
                ("https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",),
                makes="caltech256/256_ObjectCategories",
            ),
        ),
    ),
    classes=256,
    images=29_780,
)
