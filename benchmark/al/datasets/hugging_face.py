"""Image data sets in the files of Hugging Face: `huggingface:NAME` is the folder NAME (or
OWNER/NAME) below the data root, with parquet files as on the Hub, or what `save_to_disk` of the
package `datasets` wrote.

They are read with pyarrow; the package `datasets` is not needed, and nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmark.al.datasets.dataset import Bytes, Whole
from benchmark.al.datasets.source import (
    File,
    Origin,
    Source,
    decode_image,
    list_tree,
    missing_error,
)
from benchmark.errors import DataError

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

TRAIN = ("train", "training")
TEST = ("test", "testing", "validation", "valid", "val", "dev", "eval")
"""Words that files or folders of the parts begin with. The first of TEST that is there is the test
set; others are left aside."""
SAVED = re.compile(r"(dataset|data-\d+-of-\d+)\.arrow")
"""Files that `save_to_disk` writes; those of `map` and of caches have other names."""
LABELS = ("label", "labels")
"""Columns that hold the class where there are several of integers."""


@dataclass(frozen=True)
class HuggingFaceFolder:
    """A folder of parquet files, or of a saved `Dataset` or `DatasetDict`. Never counts as
    published by itself: a suite may pin the digest of its files."""

    side: ClassVar[int | None] = None
    channels: ClassVar[int] = 3

    name: str

    @property
    def origin(self) -> Origin:
        """The data set's own folder."""
        layout = (
            "the layout is <root>/<name>/<...>/train-*.parquet and test-*.parquet, or what "
            f"save_to_disk('<root>/{self.name}') writes; albench downloads none of it"
        )
        return Origin(f"huggingface:{self.name}", self.name, layout, self.name)

    def files(self, root: Path) -> list[File]:
        """The files of all parts, sorted by name."""
        found = [file for file in list_tree(root / self.name) if _is_table(file)]
        if not found:
            raise missing_error(self.origin, root, f"every parquet or arrow file in {self.name}")
        return found

    def differs(self, files: Sequence[File]) -> str:
        """Always: nothing is known here of what others publish."""
        return "no checksums of Hugging Face files are known here; pin data.files"

    def read(self, files: Sequence[File]) -> Source:
        """RGB images."""
        parts = self._parts(files)
        train, names = self._part(parts["train"])
        test, more = self._part(parts["test"]) if "test" in parts else (None, ())
        return Source(train, test, names if len(names) >= len(more) else more)

    def _parts(self, files: Sequence[File]) -> dict[str, list[File]]:
        """Files of `train` and, where there is one, of `test`; one part alone is not divided.

        Raises DataError where no part is recognised, or one has files in several folders.
        """
        found: dict[str, list[File]] = {}
        for file in files:
            found.setdefault(_part_of(file), []).append(file)
        train = next((word for word in TRAIN if word in found), None)
        test = next((word for word in TEST if word in found), None)
        if len(found) == 1:
            train, test = next(iter(found)), None
        if train is None:
            parts = ", ".join(word or "files without a name of a part" for word in sorted(found))
            raise self._refused(
                files[0], f"there is no part 'train', but {parts}", "name its files train-*.parquet"
            )
        for word in filter(None, (train, test)):
            kinds = sorted({_folder_and_kind(file) for file in found[word]})
            if len(kinds) > 1:
                raise self._refused(
                    files[0],
                    f"'{word or 'the data'}' lies in several places: {', '.join(kinds)}",
                    "keep one configuration and one kind of files in the folder",
                )
        return {"train": found[train]} | ({} if test is None else {"test": found[test]})

    def _part(self, files: Sequence[File]) -> tuple[EncodedImages, tuple[str, ...]]:
        """Images of a part, and the names of its classes. Raises DataError for tables that do not
        hold images with labels."""
        try:
            import pyarrow
        except ImportError as error:
            raise self._refused(
                files[0], f"pyarrow is missing: {error}", "install pyarrow, which MLflow needs too"
            ) from error
        try:
            table = pyarrow.concat_tables(_read_table(Path(file.path)) for file in files)
        except (pyarrow.ArrowException, OSError) as error:
            raise self._refused(files[0], f"a file cannot be read: {error}") from error
        features = _read_features(table)
        image = self._column(table, files[0], _image_columns(table, features), "images", ())
        label = self._column(table, files[0], _label_columns(table, features), "labels", LABELS)
        column = table.column(label)
        if column.null_count:
            raise self._refused(files[0], f"{column.null_count} values of '{label}' are missing")
        labels = np.asarray(column.to_numpy(), dtype=np.int64)
        names = features.get(label, {}).get("names") or range(int(labels.max(initial=-1)) + 1)
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
            raise self._refused(
                files[0],
                f"labels in '{label}' are {labels.min()}..{labels.max()}, outside "
                f"0..{len(names) - 1}",
            )
        place = str(Path(files[0].path).parent)
        return EncodedImages(table.column(image), labels, place), tuple(map(str, names))

    def _column(
        self, table: Table, file: File, found: list[str], what: str, usual: tuple[str, ...]
    ) -> str:
        chosen = found if len(found) == 1 else [name for name in found if name in usual]
        if len(chosen) == 1:
            return chosen[0]
        columns = ", ".join(f"{field.name}: {field.type}" for field in table.schema)
        raise self._refused(
            file,
            f"{len(found)} columns hold {what}, of {columns}",
            "keep one column of images {bytes, path} and one of integer labels named 'label'",
        )

    def _refused(self, file: File, reason: str, remedy: str = "") -> DataError:
        return DataError(
            f"{self.origin.name} cannot be used: {reason}",
            where=file.path,
            remedy=remedy or f"get the data again; {self.origin.home}",
        )


@dataclass(frozen=True)
class EncodedImages:
    """Image files in a column of structs {bytes, path}."""

    column: ChunkedArray
    labels: Whole
    place: str
    """Folder of its files."""

    def read(self, index: int) -> Bytes:
        """Image `index`, RGB. Raises DataError for one that cannot be decoded, or is not there."""
        entry = self.column[index].as_py() or {}
        if entry.get("bytes") is None:
            raise DataError(
                f"image {index} is not in the table, only its path {entry.get('path')}",
                where=self.place,
                remedy="write the table with the images in it: save_to_disk, or "
                "to_parquet after embedding them",
            )
        return decode_image(BytesIO(entry["bytes"]), f"image {index}", self.place)


def _is_table(file: File) -> bool:
    name = file.name.rpartition("/")[2]
    return name.endswith(".parquet") or SAVED.fullmatch(name) is not None


def _part_of(file: File) -> str:
    """The part that a file belongs to, by the first word of its name or of the nearest folder;
    empty where none says."""
    for name in reversed(file.name.split("/")):
        word = re.split(r"[-_.]", name)[0].lower()
        if word in TRAIN + TEST:
            return word
    return ""


def _folder_and_kind(file: File) -> str:
    folder, _, name = file.name.rpartition("/")
    return f"{folder or '.'}/*{Path(name).suffix}"


def _read_table(path: Path) -> Table:
    """A table: an arrow file mapped, a parquet file read whole. Raises ArrowException, OSError."""
    import pyarrow
    from pyarrow import parquet

    if path.suffix == ".parquet":
        # One row group after the other: structs of more than 2 GB cannot be read at once.
        with parquet.ParquetFile(path) as file:
            groups = [file.read_row_group(place) for place in range(file.num_row_groups)]
            return pyarrow.concat_tables([file.schema_arrow.empty_table(), *groups])
    with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
        return stream.read_all()


def _read_features(table: Table) -> Mapping[str, Any]:
    """What the package `datasets` has written about the columns; nothing where it has not."""
    try:
        written = json.loads((table.schema.metadata or {})[b"huggingface"])
        found = written["info"]["features"]
        return {name: kind for name, kind in found.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _image_columns(table: Table, features: Mapping[str, Any]) -> list[str]:
    import pyarrow

    return [
        field.name
        for field in table.schema
        if pyarrow.types.is_struct(field.type)
        and field.type.get_field_index("bytes") >= 0
        and features.get(field.name, {}).get("_type", "Image") == "Image"
    ]


def _label_columns(table: Table, features: Mapping[str, Any]) -> list[str]:
    """Columns of classes by what is written about them, else all of integers."""
    import pyarrow

    written = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    present = [name for name in written if name in table.column_names]
    return present or [field.name for field in table.schema if pyarrow.types.is_integer(field.type)]
