"""What a data set is before a protocol chooses from it: published files, files on disk, images by
number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from benchmark.al.datasets.dataset import Bytes, Whole
from benchmark.errors import DataError

JPEG = (".jpg", ".jpeg")
IMAGES = (*JPEG, ".png", ".bmp", ".ppm")


@dataclass(frozen=True)
class Published:
    """A file whose checksum its authors or torchvision publish."""

    name: str
    md5: str
    size: int | None = None
    """Bytes, where known."""

    def __str__(self) -> str:
        return f"{self.name} ({f'{self.size:,} bytes, ' if self.size else ''}md5 {self.md5})"


@dataclass(frozen=True)
class Download:
    """A published file to fetch, and what becomes of it below the data root."""

    file: Published
    urls: tuple[str, ...]
    """Mirrors, tried in order."""
    makes: str
    """File or folder below the data root that exists afterwards."""
    unpack: bool = True
    inner: str | None = None
    """Archive inside the archive that holds the data."""


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from and where it belongs."""

    name: str
    title: str
    home: str
    """Public home page."""
    place: str
    """What must exist below the data root."""
    downloads: tuple[Download, ...] = ()

    def remedy(self, root: Path) -> str:
        """How to get the data, in words."""
        if not self.downloads:
            return f"it belongs at {root / self.place}; see {self.home}"
        files = ", ".join(str(download.file) for download in self.downloads)
        return (
            f"run `albench fetch {self.name}`, or get {files} from {self.home} so that "
            f"{root / self.place} exists"
        )


class File(NamedTuple):
    """A file of a data set; the last three show whether it changed without reading it."""

    path: str
    name: str
    """Path below the data set's own folder, with forward slashes."""
    size: int
    mtime_ns: int
    ctime_ns: int


class RawImages(Protocol):
    """Images by number with their labels."""

    @property
    def labels(self) -> Whole:
        """(n,) class numbers from 0."""

    def read(self, index: int) -> Bytes:
        """Image `index`, (height, width, channels) uint8. Raises DataError when it cannot be
        decoded."""


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie in one array (n, height, width, channels)."""

    pixels: Bytes
    labels: Whole

    def read(self, index: int) -> Bytes:
        """Image `index`."""
        image: Bytes = self.pixels[index]
        return image


@dataclass(frozen=True)
class FileImages:
    """One image file each. Grey and palette images become RGB."""

    files: tuple[File, ...]
    labels: Whole
    side: int | None = None
    """Pixels that every image has to be high and wide (None: any size)."""

    def read(self, index: int) -> Bytes:
        """Image `index`, decoded by Pillow. Raises DataError for one that cannot be, or has another
        size."""
        file = self.files[index]
        pixels = decode_image(file.path, file.name, file.path)
        height, width = pixels.shape[:2]
        if self.side is not None and (height, width) != (self.side, self.side):
            raise DataError(
                f"{file.name} has {height} x {width} pixels instead of {self.side} x {self.side}",
                where=file.path,
                remedy=f"resize the files, or declare it: data.decode = "
                f'[{{ op = "resize", size = [{self.side}, {self.side}] }}]',
            )
        return pixels


def decode_image(source: str | BytesIO, name: str, where: str) -> Bytes:
    """An image file decoded by Pillow, (height, width, 3). Raises DataError, with its name and
    place, where it cannot be."""
    from PIL import Image

    try:
        with Image.open(source) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} is not an image that can be read: {error}",
            where=where,
            remedy="fetch the data again",
        ) from error


@dataclass(frozen=True)
class Source:
    """A whole data set. `test` is None where there is no official division."""

    train: RawImages
    test: RawImages | None
    class_names: tuple[str, ...]


@runtime_checkable
class DatasetFormat(Protocol):
    """How one data set lies on disk."""

    @property
    def origin(self) -> Origin:
        """Where it comes from."""

    @property
    def side(self) -> int | None:
        """Pixels that every image is high and wide (None: images have sizes of their own)."""

    @property
    def channels(self) -> int:
        """Channels of its images: 1 or 3."""

    def files(self, root: Path) -> list[File]:
        """The files it is made from, in a fixed order. Raises DataError when they are not there."""

    def differs(self, files: Sequence[File]) -> str:
        """Why these are not the published files, in words; empty when they are."""

    def read(self, files: Sequence[File]) -> Source:
        """The images. Raises DataError when a file is damaged."""


def missing_error(origin: Origin, root: Path, what: str) -> DataError:
    """The error for data that are not there."""
    if not root.is_dir():
        return DataError(
            f"{origin.name} is not there: the data root does not exist",
            where=str(root),
            remedy=origin.remedy(root),
        )
    return DataError(
        f"{origin.name} is not there: {what} is missing",
        where=str(root),
        remedy=origin.remedy(root),
    )


def damaged_error(
    origin: Origin, file: File, reason: str, published: Iterable[Published] = ()
) -> DataError:
    """The error for a file that is there but cannot be used."""
    expected = next((f", expected {known}" for known in published if known.name == file.name), "")
    return DataError(
        f"{origin.name} is damaged: {reason}; {file.name} has {file.size:,} bytes{expected}",
        where=file.path,
        remedy=(
            f"move it away and run `albench fetch {origin.name}`, or get it again from "
            f"{origin.home}"
        ),
    )


def file_info(path: Path, name: str) -> File | None:
    """The file, or None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (
        File(str(path), name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if path.is_file()
        else None
    )


def list_folders(folder: Path) -> list[str]:
    """Names of the folders inside, sorted; hidden ones left out. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def list_kinds(folder: Path, prefix: str, suffixes: tuple[str, ...]) -> list[File]:
    """Files of these kinds directly inside a folder, sorted by name; hidden ones left out. Raises
    OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if (
                entry.name.lower().endswith(suffixes)
                and not entry.name.startswith(".")
                and entry.is_file()
            ):
                facts = entry.stat()
                name = f"{prefix}{entry.name}"
                found.append(
                    File(entry.path, name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
                )
    return sorted(found, key=lambda file: file.name)


def list_tree(folder: Path) -> list[File]:
    """Every file below a folder, sorted by name; hidden ones left out. Nothing where there is no
    folder."""
    if not folder.is_dir():
        return []
    found = list_kinds(folder, "", ("",))
    for name in list_folders(folder):
        found += [file._replace(name=f"{name}/{file.name}") for file in list_tree(folder / name)]
    return sorted(found, key=lambda file: file.name)
