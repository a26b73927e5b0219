"""Any data set as `<root>/<name>/{train,test}/<class>/<file>`, the layout that BAL's README asks
for with class numbers, or undivided as `<root>/<name>/<class>/<file>`."""

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
    list_folders,
    list_kinds,
    missing_error,
)
from benchmark.errors import DataError

PARTS = ("train", "test")


@dataclass(frozen=True)
class ClassFolders:
    """One folder per class. Its name is the class number, from 0 without gaps; or no name is a
    number, and classes are numbered in the order of their names. Never counts as published by
    itself: a suite may pin the digest of its files."""

    channels: ClassVar[int] = 3

    name: str
    side: int | None = None
    """Pixels that every image has to be high and wide (None: any size)."""
    divided: bool = True
    """Whether there are folders `train` and `test`."""

    @property
    def origin(self) -> Origin:
        """The data set's own folder."""
        if not self.divided:
            return Origin(
                self.name, self.name, "the layout is <root>/<name>/<class>/<image file>", self.name
            )
        layout = "the layout is <root>/<name>/{train,test}/<class>/<image file>"
        return Origin(self.name, self.name, layout, f"{self.name}/train and {self.name}/test")

    def files(self, root: Path) -> list[File]:
        """Every image, by part, class and file name."""
        found = []
        for part in PARTS if self.divided else ("",):
            folder = root / self.name / part
            if not folder.is_dir():
                raise missing_error(self.origin, root, f"{self.name}/{part}".rstrip("/"))
            for name in _order_classes(folder):
                found += list_kinds(
                    folder / name, f"{part}/{name}/" if part else f"{name}/", IMAGES
                )
        for part in PARTS if self.divided else ("",):
            if not any(file.name.startswith(f"{part}/" if part else "") for file in found):
                raise missing_error(
                    self.origin, root, f"every image in {self.name}/{part}".rstrip("/")
                )
        return found

    def differs(self, files: Sequence[File]) -> str:
        """Always: no such files are published."""
        return "it is read from class folders, a layout in which nothing is published"

    def read(self, files: Sequence[File]) -> Source:
        """RGB images."""
        names = [file.name.split("/")[-2] for file in files]
        if all(name.isdecimal() for name in names):
            numbers, known = self._numbers(names, files)
        else:
            known = tuple(sorted(set(names)))
            place = {name: number for number, name in enumerate(known)}
            numbers = [place[name] for name in names]

        def part(wanted: str) -> FileImages:
            pairs = zip(numbers, files, strict=True)
            chosen = [(number, file) for number, file in pairs if file.name.startswith(wanted)]
            labels = np.array([number for number, _ in chosen], dtype=np.int64)
            return FileImages(tuple(file for _, file in chosen), labels, self.side)

        return (
            Source(part("train/"), part("test/"), known)
            if self.divided
            else Source(part(""), None, known)
        )

    def _numbers(
        self, names: Sequence[str], files: Sequence[File]
    ) -> tuple[list[int], tuple[str, ...]]:
        """Class number of every file, and the names of the classes. Raises DataError for a gap."""
        numbers = [int(name) for name in names]
        classes = set(numbers)
        if classes != set(range(len(classes))):
            gap = min(set(range(len(classes))) - classes)
            raise damaged_error(
                self.origin,
                files[0],
                f"the class folders have numbers up to {max(classes)} but no {gap}",
            )
        return numbers, tuple(str(number) for number in sorted(classes))


def _order_classes(folder: Path) -> list[str]:
    """Names of the class folders in the order of the classes. Raises DataError where some are
    numbers and some are not."""
    names = list_folders(folder)
    if not any(name.isdecimal() for name in names):
        return names
    for name in names:
        if not name.isdecimal():
            raise DataError(
                f"'{name}' is not a class number",
                where=str(folder),
                remedy="name class folders 0, 1, 2, ...",
            )
    return sorted(names, key=int)
