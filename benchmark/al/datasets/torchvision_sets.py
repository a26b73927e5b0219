"""Image classification data sets of torchvision by their names there: `torchvision:FashionMNIST`.

Their files lie below the data root where torchvision itself puts them, and are read by torchvision;
nothing is downloaded. Data sets that this project reads itself, such as MNIST, are not here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.al.datasets.dataset import Bytes, Whole
from benchmark.al.datasets.source import File, Origin, Source, list_tree, missing_error
from benchmark.errors import DataError, UsageError

ARCHIVES = (".gz", ".tgz", ".tar", ".zip")
"""What torchvision unpacks and never reads again."""


class Layout(NamedTuple):
    """Where a data set lies below the data root, and how torchvision is asked for its parts."""

    place: str
    train: Mapping[str, Any] = {"split": "train"}
    test: Mapping[str, Any] | None = {"split": "test"}
    """None where there is no official division."""
    side: int | None = None
    """Pixels that every image is high and wide (None: images have sizes of their own)."""
    channels: int = 3


LAYOUTS = {
    "Country211": Layout("country211"),
    "DTD": Layout("dtd"),
    "EuroSAT": Layout("eurosat", train={}, test=None, side=64),
    "FashionMNIST": Layout(
        "FashionMNIST/raw", train={"train": True}, test={"train": False}, side=28, channels=1
    ),
    "FGVCAircraft": Layout("fgvc-aircraft-2013b", train={"split": "trainval"}),
    "Flowers102": Layout("flowers-102"),
    "Food101": Layout("food-101"),
    "GTSRB": Layout("gtsrb"),
    "Imagenette": Layout("imagenette2", test={"split": "val"}),
    "OxfordIIITPet": Layout("oxford-iiit-pet", train={"split": "trainval"}),
    "RenderedSST2": Layout("rendered-sst2"),
    "StanfordCars": Layout("stanford_cars"),
    "STL10": Layout("stl10_binary", side=96),
}
"""By torchvision's name of the class. A test compares the places with torchvision's source."""
BUILT_IN = {
    "Caltech101": "caltech101",
    "Caltech256": "caltech256",
    "CIFAR10": "cifar10",
    "CIFAR100": "cifar100",
    "KMNIST": "kmnist",
    "MNIST": "mnist",
    "SVHN": "svhn",
}
"""Names here of what this project reads itself, by torchvision's."""


@dataclass(frozen=True)
class TorchvisionSet:
    """One of LAYOUTS. Never counts as published by itself: torchvision publishes checksums of the
    archives, not of what it unpacks from them. A suite may pin the digest of the files."""

    name: str
    layout: Layout

    @property
    def side(self) -> int | None:
        """Pixels that every image is high and wide, if these are equal."""
        return self.layout.side

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.layout.channels

    @property
    def origin(self) -> Origin:
        """Its folder, and torchvision's page about it."""
        page = f"https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.{self.name}"
        advice = f"{page}.html (root: the data root, download: True); albench downloads none of it"
        return Origin(
            f"torchvision:{self.name}", f"{self.name} of torchvision", advice, self.layout.place
        )

    def files(self, root: Path) -> list[File]:
        """Every file of its folder but archives, sorted by name."""
        folder = root / self.layout.place
        found = [
            file for file in list_tree(folder) if not file.name.lower().endswith(ARCHIVES)
        ]  # an archive that was kept changes nothing
        if not found:
            raise missing_error(self.origin, root, self.layout.place)
        return found

    def differs(self, files: Sequence[File]) -> str:
        """Always: nothing is published to compare unpacked files with."""
        return "torchvision publishes no checksums of its unpacked files; pin data.files"

    def read(self, files: Sequence[File]) -> Source:
        """Images as torchvision gives them."""
        from torchvision import datasets

        # The data root: as many folders up from a file as its names in the data set and the place.
        depth = len(Path(files[0].name).parts) + len(Path(self.layout.place).parts)
        root = Path(files[0].path).parents[depth - 1]
        layout = self.layout
        try:
            cls = getattr(datasets, self.name)
            train = _open_images(cls(str(root), **layout.train), self.channels, root)
            test = None
            if layout.test is not None:
                test = _open_images(cls(str(root), **layout.test), self.channels, root)
        except (RuntimeError, OSError, ValueError, LookupError, ImportError) as error:
            raise DataError(
                f"torchvision does not read its {self.name}: {' '.join(str(error).split())}",
                where=str(root / layout.place),
                remedy=f"see {self.origin.home}",
            ) from error
        most = max(int(part.labels.max(initial=-1)) for part in (train, test) if part is not None)
        names = getattr(train.images, "classes", None) or range(most + 1)
        return Source(train, test, tuple(map(_class_name, names)))


@dataclass(frozen=True)
class TorchvisionImages:
    """A part of a data set of torchvision."""

    images: Any
    labels: Whole
    channels: int
    root: Path

    def read(self, index: int) -> Bytes:
        """Image `index`. Raises DataError for one that cannot be decoded."""
        try:
            image = self.images[index][0]
            pixels = np.asarray(image.convert("L" if self.channels == 1 else "RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"image {index} of torchvision's {type(self.images).__name__} cannot be read: "
                f"{error}",
                where=str(self.root),
                remedy="get the data again",
            ) from error
        return pixels.reshape(*pixels.shape[:2], self.channels)


def find_torchvision_set(name: str) -> TorchvisionSet:
    """The data set of torchvision with this name. Raises UsageError for one that is not offered."""
    if name in BUILT_IN:
        raise UsageError(
            f"torchvision:{name} is '{BUILT_IN[name]}' here",
            remedy=f"data.name = '{BUILT_IN[name]}'",
        )
    if name not in LAYOUTS:
        close = difflib.get_close_matches(name, LAYOUTS, n=3, cutoff=0.4)
        raise UsageError(
            f"torchvision:{name} is not among the data sets that are read through torchvision",
            remedy=f"use {' or '.join(close or LAYOUTS)}, or a file of your own: "
            "docs/add-a-data-set.md",
        )
    return TorchvisionSet(name, LAYOUTS[name])


def _open_images(images: Any, channels: int, root: Path) -> TorchvisionImages:
    return TorchvisionImages(images, read_labels(images), channels, root)


def read_labels(images: Any) -> Whole:
    """Labels of a data set of torchvision: (n,), from what it keeps of them, else image by
    image."""
    for kept in ("targets", "labels", "_labels"):
        if (found := getattr(images, kept, None)) is not None:
            return np.asarray(found, dtype=np.int64)
    pairs = getattr(images, "_samples", images)
    return np.array([label for _, label in pairs], dtype=np.int64)


def _class_name(name: Any) -> str:
    """A class' name; ImageNet's classes have several."""
    return ", ".join(name) if isinstance(name, tuple) else str(name)
