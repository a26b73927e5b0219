"""Which images a trial bought, in order: read from run folders, kept beside committed records,
checked against their digests."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark import files
from benchmark.errors import StoreError
from benchmark.runs.events import Record
from benchmark.runs.store import ENV_SHORT, output_folder
from benchmark.spec.identity import SHORT

FILE = "picks.csv.gz"
"""Name of the committed file."""
COLUMNS = ("trial_id", "env_id", "method", "seed", "sizes", "labelled")
MOST = 64 * 1024**2
"""Bytes at most of an index file, and of a committed file before it is unpacked."""
LARGEST = 10_000_000
"""Labelled images of a trial at most."""


@dataclass(frozen=True)
class LabelledSet:
    """The labelled images of one finished trial."""

    trial_id: str
    env_id: str
    method: str
    seed: int
    sizes: tuple[int, ...]
    """Labelled images at each training."""
    indices: NDArray[np.int64]
    """(sizes[-1],) data set indices in the order in which they were labelled: the first `sizes[c]`
    are the set of cycle c."""

    def cycle(self, cycle: int) -> NDArray[np.int64]:
        """(sizes[cycle],) what this cycle was trained on."""
        return self.indices[: self.sizes[cycle]]

    def bought(self, cycle: int) -> NDArray[np.int64]:
        """What was bought after this cycle's training; before the first one (-1) the first labelled
        set."""
        return self.indices[self.sizes[cycle] if cycle >= 0 else 0 : self.sizes[cycle + 1]]


def read_labelled(runs: Path, record: Record) -> LabelledSet:
    """The labelled set in the run folder of a finished trial, checked against the digests of its
    record.

    Raises ValueError, or OSError, where it is missing, damaged or another one.
    """
    folder = runs / record.trial_id[:SHORT] / record.env_id[:ENV_SHORT]
    indices = _unpack_labelled(files.read(output_folder(folder) / "indices.npz", MOST))
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or len(indices) > LARGEST:
        raise ValueError("its index file does not hold a list of indices")
    found = LabelledSet(
        record.trial_id,
        record.env_id,
        record.trial.method_name,
        record.trial.seed,
        tuple(cycle.labelled for cycle in record.cycles),
        indices.astype(np.int64),
    )
    for cycle in record.cycles:
        if (
            hashlib.sha256(found.cycle(cycle.cycle).astype("<i8").tobytes()).hexdigest()
            != cycle.labelled_digest
        ):
            raise ValueError(
                f"its index file does not hold the images that cycle {cycle.cycle} was trained on"
            )
    return found


def _unpack_labelled(archive: bytes) -> NDArray[np.int64]:
    """The array `labelled` of an index file; its size is looked at before it is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as held:
            if held.getinfo("labelled.npy").file_size > 8 * LARGEST:
                raise ValueError(f"its index file holds more than {LARGEST:,} indices")
            content = held.read("labelled.npy")
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"its index file is damaged: {error}") from error
    array: NDArray[np.int64] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def write_picks(path: Path, sets: Iterable[LabelledSet]) -> None:
    """Write labelled sets, sorted; equal sets give an equal file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in sorted(sets, key=lambda one: (one.method, one.seed, one.trial_id, one.env_id)):
        table.writerow(
            [
                one.trial_id,
                one.env_id,
                one.method,
                one.seed,
                " ".join(map(str, one.sizes)),
                " ".join(map(str, one.indices)),
            ]
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, gzip.compress(text.getvalue().encode(), mtime=0))


def read_picks(path: Path) -> list[LabelledSet]:
    """Labelled sets of a committed file; none where there is no file. Raises StoreError with file
    and line for a damaged one."""
    try:
        content = files.read(path, MOST)
    except FileNotFoundError:
        return []
    try:
        text = gzip.decompress(content).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise StoreError(
            f"is not compressed text: {error}", where=str(path), remedy="restore the committed file"
        ) from error
    csv.field_size_limit(MOST)
    rows = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(rows, ())) != COLUMNS:
        raise StoreError(
            "the header is another one", where=f"{path}:1", remedy=f"use {','.join(COLUMNS)}"
        )
    return [_read_labelled_set(cells, f"{path}:{rows.line_num}") for cells in rows]


def _read_labelled_set(cells: list[str], where: str) -> LabelledSet:
    try:
        trial, environment, method, seed, sizes, indices = cells
        found = LabelledSet(
            trial,
            environment,
            method,
            int(seed),
            tuple(map(int, sizes.split())),
            np.array(indices.split(), dtype=np.int64),
        )
    except ValueError as error:
        raise StoreError(
            f"is not a labelled set: {error}", where=where, remedy="restore the committed file"
        ) from error
    if (
        not found.sizes
        or list(found.sizes) != sorted(found.sizes)
        or found.sizes[-1] != len(found.indices)
    ):
        raise StoreError(
            "its sizes do not fit its indices", where=where, remedy="restore the committed file"
        )
    return found
