"""Data sets by name."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.al.datasets.caltech import CALTECH101, CALTECH256
from benchmark.al.datasets.cifar import CIFAR10, CIFAR100
from benchmark.al.datasets.class_folders import ClassFolders
from benchmark.al.datasets.digits import DIGITS
from benchmark.al.datasets.mnist import KMNIST, MNIST
from benchmark.al.datasets.source import DatasetFormat, Origin
from benchmark.al.datasets.svhn import SVHN
from benchmark.al.datasets.tiny_imagenet import TINY_IMAGENET
from benchmark.errors import DataError
from benchmark.spec.models import Data

FORMATS: Mapping[str, DatasetFormat] = {
    known.origin.name: known
    for known in (CIFAR10, CIFAR100, SVHN, CALTECH101, CALTECH256, TINY_IMAGENET, MNIST, KMNIST, DIGITS)
}
SOURCES: Mapping[str, Origin] = {name: known.origin for name, known in FORMATS.items()}
"""Where each data set comes from and where it belongs."""
SIDES: Mapping[str, int] = {
    "cifar10": 32, "cifar100": 32, "svhn": 32, "tiny_imagenet": 64, "mnist": 28, "kmnist": 28, "digits": 8,
}  # fmt: skip
"""Pixels of data sets whose images all have one size, high and wide."""


def format_of(data: Data) -> DatasetFormat:
    """How this data set lies on disk. Raises DataError for an unknown name."""
    if data.layout == "class_folders":
        # A protocol made for 32 pixels would run on others too, and measure something else; what decodes to a size may read any.
        return ClassFolders(data.name, None if data.decode else SIDES.get(data.name))
    return official_format(data.name)


def official_format(name: str) -> DatasetFormat:
    """The data set of this name in its official layout. Raises DataError for an unknown name."""
    if name not in FORMATS:
        raise DataError(
            f"no data set '{name}'",
            remedy=f"use one of {', '.join(FORMATS)}, or layout = 'class_folders' for your own",
        )
    return FORMATS[name]
