"""Tiny ImageNet (Stanford CS231n 2015): 64-pixel JPEG files in `tiny-imagenet-200`; the official
val part is the test set.

Only the archive has a checksum that is widely published. Unpacked, the data count as published when
`wnids.txt` names 200 classes with 500 training and 50 validation images each.
"""

from __future__ import annotations

from collections import Counter
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
    damaged_error,
    file_info,
    list_folders,
    list_kinds,
    missing_error,
)

CLASSES, TRAIN, TEST = 200, 500, 50
"""Classes, and images per class."""
WNIDS, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val/val_annotations.txt"


@dataclass(frozen=True)
class TinyImageNet:
    """Classes are the WordNet ids of `wnids.txt` in sorted order; test labels come from
    `val_annotations.txt`."""

    side: ClassVar[int | None] = 64
    channels: ClassVar[int] = 3

    origin: Origin

    def files(self, root: Path) -> list[File]:
        """The lists, the training images by class, the validation images by name."""
        folder = root / self.origin.place
        lists = [file_info(folder / name, name) for name in (WNIDS, ANNOTATIONS, WORDS)]
        for file, name in zip(lists[:2], (WNIDS, ANNOTATIONS), strict=True):
            if file is None:
                raise missing_error(self.origin, root, f"{self.origin.place}/{name}")
        found = [file for file in lists if file is not None]
        for name in list_folders(folder / "train") if (folder / "train").is_dir() else []:
            if (folder / "train" / name / "images").is_dir():
                found += list_kinds(
                    folder / "train" / name / "images", f"train/{name}/images/", JPEG
                )
        if (folder / "val" / "images").is_dir():
            found += list_kinds(folder / "val" / "images", "val/images/", JPEG)
        for part in ("train/", "val/images/"):
            if not any(file.name.startswith(part) for file in found):
                raise missing_error(self.origin, root, f"every image in {self.origin.place}/{part}")
        return found

    def differs(self, files: Sequence[File]) -> str:
        """By the number of classes and of images in each."""
        source = self.read(files)
        assert source.test is not None
        counts = [
            set(Counter(part.labels.tolist()).values()) for part in (source.train, source.test)
        ]
        if (len(source.class_names), *counts) == (CLASSES, {TRAIN}, {TEST}):
            return ""
        return (
            f"{len(source.train.labels):,} + {len(source.test.labels):,} images in "
            f"{len(source.class_names)} classes, "
            f"published are {TRAIN} + {TEST} in each of {CLASSES}"
        )

    def read(self, files: Sequence[File]) -> Source:
        """RGB images, both parts sorted by class and then by file name."""
        by_name = {file.name: file for file in files}
        wnids = sorted(set(_read_text(by_name[WNIDS]).split()))
        number = {wnid: place for place, wnid in enumerate(wnids)}
        train = [
            (file.name.split("/")[1], file) for file in files if file.name.startswith("train/")
        ]
        test = self._annotated(by_name)
        words = dict(
            line.split("\t", 1)
            for line in _read_text(by_name.get(WORDS)).splitlines()
            if "\t" in line
        )
        names = tuple(words.get(wnid, wnid).strip() for wnid in wnids)

        def part(pairs: list[tuple[str, File]]) -> FileImages:
            for wnid, file in pairs:
                if wnid not in number:
                    raise damaged_error(self.origin, file, f"its class {wnid} is not in {WNIDS}")
            pairs = sorted(pairs, key=lambda pair: (pair[0], pair[1].name))
            labels = np.array([number[wnid] for wnid, _ in pairs], dtype=np.int64)
            return FileImages(tuple(file for _, file in pairs), labels)

        return Source(part(train), part(test), names)

    def _annotated(self, by_name: dict[str, File]) -> list[tuple[str, File]]:
        """Class and file of every validation image. Lines are: file, WordNet id, bounding box; tabs
        between."""
        annotations = by_name[ANNOTATIONS]
        found = {}
        for number, line in enumerate(_read_text(annotations).splitlines(), start=1):
            file, _, rest = line.partition("\t")
            if not line.strip():
                raise damaged_error(
                    self.origin,
                    annotations,
                    f"its line {number} is blank; the published file has no such line",
                )
            if f"val/images/{file}" not in by_name:
                raise damaged_error(
                    self.origin, annotations, f"it names {file!r}, which is not there"
                )
            found[f"val/images/{file}"] = rest.partition("\t")[0].strip()
        unlisted = [
            name for name in by_name if name.startswith("val/images/") and name not in found
        ]
        if unlisted:
            raise damaged_error(self.origin, annotations, f"it does not name {unlisted[0]}")
        return [(wnid, by_name[name]) for name, wnid in found.items()]


def _read_text(file: File | None) -> str:
    return "" if file is None else Path(file.path).read_text(encoding="utf-8", errors="replace")


TINY_IMAGENET = TinyImageNet(
    origin=Origin(
        "tiny_imagenet",
        "Tiny ImageNet",
        "http://cs231n.stanford.edu/",
        "tiny-imagenet-200",
        (
            Download(
                Published("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", 248_100_043),
                ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
                makes="tiny-imagenet-200",
            ),
        ),
    )
)
"""100,000 + 10,000 images of 200 classes."""
