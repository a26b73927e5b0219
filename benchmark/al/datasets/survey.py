"""What a folder of classes or a library's data set holds: what a suite about it has to pin,
measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.al.datasets.class_folders import PARTS, ClassFolders
from benchmark.al.datasets.decode import decode_images
from benchmark.al.datasets.digest import digest_files
from benchmark.al.datasets.source import DatasetFormat, FileImages, RawImages
from benchmark.al.datasets.split import CLUTTER, cut_per_class
from benchmark.errors import DataError
from benchmark.spec.data import Split
from benchmark.spec.transforms import CenterCrop, Resize, Transform

MEASURED = 2_000
"""Images of the pool, evenly spaced, that mean and deviation are measured on."""


@dataclass(frozen=True)
class FolderSurvey:
    """A data set, as a protocol would use it."""

    classes: int
    train: int
    """Images of the pool."""
    test: int
    split: Split
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths of the images, the most frequent first."""
    decode: tuple[Transform, ...]
    """What makes the images squares of one size; nothing where they are."""
    side: int
    """Pixels of these squares."""
    mean: tuple[float, ...]
    """Of each channel of the pool, in [0, 1]."""
    std: tuple[float, ...]
    measured: int
    """Images that mean and deviation were measured on."""
    files: str
    """Digest of the files."""
    channels: int


def survey_folder(folder: Path, split: Split, side: int) -> FolderSurvey:
    """Look at `<folder>/{train,test}/<class>/<file>` or `<folder>/<class>/<file>`.

    `split` divides what is undivided; a folder of clutter as in Caltech-101 is then left out.
    Images that are not squares of one size become squares of `side` pixels. Raises DataError where
    there are no images, or an image cannot be read.
    """
    divided = all((folder / part).is_dir() for part in PARTS)
    return survey_files(ClassFolders(folder.name, divided=divided), folder.parent, split, side)


def survey_files(kind: DatasetFormat, root: Path, split: Split, side: int) -> FolderSurvey:
    """The same for any data set below a data root. Raises DataError."""
    files = kind.files(root)
    source = kind.read(files)
    pool, labels, names = source.train, source.train.labels, source.class_names
    if source.test is not None:
        used, chosen, test = Split(rule="official"), np.arange(len(labels)), len(source.test.labels)
    else:
        used = split.model_copy(update={"drop": "by_name"}) if set(names) & set(CLUTTER) else split
        chosen, held_out, labels, names = cut_per_class(used, labels, names)
        test = len(held_out)
    if len(names) < 2:
        raise DataError(
            f"there are images of {len(names)} class",
            where=str(root / kind.origin.place),
            remedy="make a folder for each class",
        )
    sizes = _read_sizes(pool) if kind.side is None else ((kind.side, kind.side),)
    square = len(sizes) == 1 and sizes[0][0] == sizes[0][1]
    decode: tuple[Transform, ...] = ()
    if not square:
        decode = (Resize(op="resize", shorter=side), CenterCrop(op="center_crop", size=side))
    some = chosen[np.linspace(0, len(chosen) - 1, min(MEASURED, len(chosen))).astype(np.int64)]
    mean, std = _measure_moments(pool, some, decode, kind.channels)
    return FolderSurvey(
        len(names),
        len(chosen),
        test,
        used,
        sizes,
        decode,
        sizes[0][0] if square else side,
        mean,
        std,
        len(some),
        digest_files(files),
        kind.channels,
    )


def _read_sizes(images: RawImages) -> tuple[tuple[int, int], ...]:
    """Heights and widths, the most frequent first, read from the heads of files where these are
    images."""
    from PIL import Image

    found: Counter[tuple[int, int]] = Counter()
    if not isinstance(images, FileImages):
        every = decode_images(images, np.arange(len(images.labels)), ())
        return tuple(size for size, _ in Counter(each.shape[:2] for each in every).most_common())
    for file in images.files:
        try:
            with Image.open(file.path) as image:
                found[image.height, image.width] += 1
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{file.name} is not an image that can be read: {error}",
                where=file.path,
                remedy="remove or replace it",
            ) from error
    return tuple(size for size, _ in found.most_common())


def _measure_moments(
    images: RawImages,
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
    decode: Sequence[Transform],
    channels: int,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels, scaled to [0, 1]."""
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for image in decode_images(images, chosen, decode):
        pixels = image.reshape(-1, channels) / 255.0
        count = count + len(pixels)
        total = total + pixels.sum(axis=0)
        squares = squares + (pixels**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(round(float(value), 4) for value in mean), tuple(
        max(round(float(value), 4), 1e-4) for value in std
    )
