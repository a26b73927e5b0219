"""Data sets by name (`registry.DATASETS`)."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.al import registry
from benchmark.al.datasets.class_folders import ClassFolders
from benchmark.al.datasets.source import DatasetFormat, Origin
from benchmark.errors import DataError, UsageError
from benchmark.spec.data import Data


def format_of(data: Data) -> DatasetFormat:
    """How this data set lies on disk. Raises DataError for an unknown name."""
    if data.layout == "class_folders":
        # A protocol made for 32 pixels would run on others too, and measure something else; what
        # decodes to a size may read any.
        side = None if data.decode else side_of(data.name)
        return ClassFolders(data.name, side, divided=data.split.rule == "official")
    return official_format(data.name)


def official_format(name: str) -> DatasetFormat:
    """The data set of this name in its official layout. Raises DataError for an unknown name."""
    try:
        found: DatasetFormat = registry.find_dataset(name)
    except UsageError as error:
        raise DataError(
            str(error.message),
            remedy=error.remedy
            if name.partition(":")[0] in registry.DATA_LIBRARIES
            else (
                f"use one of {', '.join(registry.DATASETS)}, or layout = 'class_folders' for your "
                "own"
            ),
        ) from error
    return found


def side_of(name: str) -> int | None:
    """Pixels, high and wide, of a data set whose images all have one size; None for any other and
    for an unknown name."""
    try:
        return official_format(name).side
    except DataError:
        return None


SOURCES: Mapping[str, Origin] = {name: official_format(name).origin for name in registry.DATASETS}
"""Where each data set comes from and where it belongs."""
