"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): pickled batches in `cifar-10-batches-py` and
`cifar-100-python`."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.al.datasets import digest, unpickle
from benchmark.al.datasets.dataset import Bytes, Whole
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

SIDE = 32
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Cifar:
    """One of the two. Keys of the pickles may be bytes or text, `filenames` may be absent."""

    side: ClassVar[int | None] = SIDE
    channels: ClassVar[int] = 3

    origin: Origin
    train: tuple[Published, ...]
    test: tuple[Published, ...]
    meta: Published
    label_key: str
    names_key: str

    def files(self, root: Path) -> list[File]:
        """The batches and the class names."""
        found = []
        for published in (*self.train, *self.test, self.meta):
            file = file_info(root / self.origin.place / published.name, published.name)
            if file is None:
                raise missing_error(self.origin, root, f"{self.origin.place}/{published.name}")
            found.append(file)
        return found

    def differs(self, files: Sequence[File]) -> str:
        """By the md5 of every file, as torchvision checks them."""
        return digest.describe_differences(files, (*self.train, *self.test, self.meta))

    def read(self, files: Sequence[File]) -> Source:
        """Images (n, 32, 32, 3); batches in their published order."""
        content = {file.name: self._content(file) for file in files}
        names = content[self.meta.name].get(self.names_key)
        if not isinstance(names, list) or not names:
            raise self._damaged(files[-1], f"there are no {self.names_key}")
        by_name = {file.name: file for file in files}

        def part(published: tuple[Published, ...]) -> ArrayImages:
            batches = [
                self._batch(by_name[entry.name], content[entry.name], len(names))
                for entry in published
            ]
            rows = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, SIDE, SIDE)
            pixels = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
            return ArrayImages(pixels, np.concatenate([labels for _, labels in batches]))

        texts = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
        return Source(part(self.train), part(self.test), texts)

    def _content(self, file: File) -> dict[str, Any]:
        try:
            return unpickle.read(file.path)
        except pickle.UnpicklingError as error:
            raise self._damaged(file, str(error)) from error

    def _batch(self, file: File, content: dict[str, Any], classes: int) -> tuple[Bytes, Whole]:
        """Rows (n, 3072) and labels (n,) of one file."""
        pixels, labels = content.get("data"), content.get(self.label_key, content.get("labels"))
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
            raise self._damaged(file, "`data` is not a table of bytes")
        try:
            numbers = np.asarray(labels, dtype=np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged(file, f"`{self.label_key}` are not numbers") from error
        if pixels.shape[1] != 3 * SIDE * SIDE or numbers.shape != pixels.shape[:1]:
            raise self._damaged(
                file, f"`data` has shape {pixels.shape}, `{self.label_key}` {numbers.shape}"
            )
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < classes:
            raise self._damaged(file, f"`{self.label_key}` are outside 0..{classes - 1}")
        return pixels, numbers

    def _damaged(self, file: File, reason: str) -> Exception:
        return damaged_error(self.origin, file, reason, (*self.train, *self.test, self.meta))


def _archive_origin(name: str, title: str, place: str, archive: Published) -> Origin:
    url = f"https://www.cs.toronto.edu/~kriz/{archive.name}"
    return Origin(name, title, HOME, place, (Download(archive, (url,), makes=place),))


CIFAR10 = Cifar(
    origin=_archive_origin(
        "cifar10",
        "CIFAR-10",
        "cifar-10-batches-py",
        Published("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170_498_071),
    ),
    train=(
        Published("data_batch_1", "c99cafc152244af753f735de768cd75f", 31_035_704),
        Published("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec", 31_035_320),
        Published("data_batch_3", "54ebc095f3ab1f0389bbae665268c751", 31_035_999),
        Published("data_batch_4", "634d18415352ddfa80567beed471001a", 31_035_696),
        Published("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb", 31_035_623),
    ),
    test=(Published("test_batch", "40351d587109b95175f43aff81a1287e", 31_035_526),),
    meta=Published("batches.meta", "5ff9c542aee3614f3951f8cda6e48888", 158),
    label_key="labels",
    names_key="label_names",
)
"""50,000 + 10,000 images of 10 classes."""

CIFAR100 = Cifar(
    origin=_archive_origin(
        "cifar100",
        "CIFAR-100",
        "cifar-100-python",
        Published("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),
    ),
    train=(Published("train", "16019d7e3df5f24257cddd939b257f8d", 155_249_918),),
    test=(Published("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    meta=Published("meta", "7973b15100ade9c7d40fb424638fde48", 1_473),
    label_key="fine_labels",
    names_key="fine_label_names",
)
"""50,000 + 10,000 images of 100 classes (the fine labels)."""
