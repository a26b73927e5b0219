"""Any data set as `<root>/<name>/{train,test}/<class id>/<file>`, the layout that BAL's README asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.al.datasets.source import (
    IMAGES,
    File,
    FileImages,
    Origin,
    Source,
    damaged_error,
    listing,
    missing_error,
    subfolders,
)  # fmt: skip
from benchmark.errors import DataError

PARTS = ("train", "test")


@dataclass(frozen=True)
class ClassFolders:
    """One folder per class whose name is the class number, from 0 without gaps. Never counts as published."""

    channels: ClassVar[int] = 3

    name: str
    side: int | None = None
    """Pixels that every image has to be high and wide (None: any size)."""

    @property
    def origin(self) -> Origin:
        """The data set's own folder."""
        layout = "the layout is <root>/<name>/{train,test}/<class id>/<image file>"
        return Origin(self.name, self.name, layout, f"{self.name}/train and {self.name}/test")

    def files(self, root: Path) -> list[File]:
        """Every image, by part, class number and file name."""
        found = []
        for part in PARTS:
            folder = root / self.name / part
            if not folder.is_dir():
                raise missing_error(self.origin, root, f"{self.name}/{part}")
            for name in _numbered(folder):
                found += listing(folder / name, f"{part}/{name}/", IMAGES)
        for part in PARTS:
            if not any(file.name.startswith(f"{part}/") for file in found):
                raise missing_error(self.origin, root, f"every image in {self.name}/{part}")
        return found

    def differs(self, files: Sequence[File]) -> str:
        """Always: no such files are published."""
        return "it is read from class folders, a layout in which nothing is published"

    def read(self, files: Sequence[File]) -> Source:
        """RGB images."""
        numbers = [int(file.name.split("/")[1]) for file in files]
        classes = set(numbers)
        if classes != set(range(len(classes))):
            gap = min(set(range(len(classes))) - classes)
            raise damaged_error(
                self.origin, files[0], f"the class folders have numbers up to {max(classes)} but no {gap}"
            )

        def part(wanted: str) -> FileImages:
            pairs = zip(numbers, files, strict=True)
            chosen = [(number, file) for number, file in pairs if file.name.startswith(f"{wanted}/")]
            labels = np.array([number for number, _ in chosen], dtype=np.int64)
            return FileImages(tuple(file for _, file in chosen), labels, self.side)

        return Source(part("train"), part("test"), tuple(str(number) for number in sorted(classes)))


def _numbered(folder: Path) -> list[str]:
    names = subfolders(folder)
    for name in names:
        if not name.isdecimal():
            raise DataError(
                f"'{name}' is not a class number", where=str(folder), remedy="name class folders 0, 1, 2, ..."
            )
    return sorted(names, key=int)
