"""What verdicts are made from: one measurement per (trial, cycle), from records or from a committed
table.

`results/<paper>/<dataset>/records.csv` is the committed form: one row per (trial, cycle), sorted,
numbers in the shortest form that reads back to the same bits, so that its diff is the report of
what changed. A table above `LARGE` bytes is committed as `records.csv.gz`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from benchmark import files
from benchmark.errors import StoreError
from benchmark.runs.events import Record
from benchmark.spec.tables import cells_of, parse_number, read_table


@dataclass(frozen=True)
class Measurement:
    """The outcome of one cycle of one trial, with what is needed to judge whether it may be
    compared."""

    suite: str
    method: str
    profile: str
    variant: str
    seed: int
    cycle: int
    labelled: int
    metrics: Mapping[str, float]
    """By name; `accuracy` and `accuracy/...` in percent."""
    trial_id: str
    env_id: str
    device_model: str
    canonical: bool
    data_note: str
    """Why the data are not the published ones; empty when they are."""
    record_digest: str
    """sha256 over all cycle results of the trial: equal digests mean bit-equal outcomes."""
    labelled_digest: str = ""
    """Beginning of the digest of the ordered labelled set that was trained on: equal all along
    means equal picks."""
    parts: tuple[Measurement, ...] = ()
    """What it was put together from, where the trial was not run as a whole (see `parts.py`)."""

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> tuple[str, str, str, str, int, str, str, int]:
        """The order of committed rows, and what names one of them."""
        return (
            self.suite,
            self.profile,
            self.variant,
            self.method,
            self.seed,
            self.trial_id,
            self.env_id,
            self.cycle,
        )


COLUMNS = (
    "suite",
    "profile",
    "variant",
    "method",
    "seed",
    "cycle",
    "labelled",
    "trial_id",
    "env_id",
    "device_model",
    "canonical",
    "data_note",
    "record_digest",
    "labelled_digest",
)
"""Fixed columns of a committed table; the metrics follow, sorted by name."""
RECORDS, COMPRESSED = "records.csv", "records.csv.gz"
"""Names of a committed table; a folder has one of them."""
LARGE = 512 * 1024
"""Bytes above which a table is compressed: a repository keeps every version of it."""
_WHOLE = ("seed", "cycle", "labelled")
SHORT = 16
"""Characters of a labelled set's digest that a table keeps."""


def from_records(records: Iterable[Record]) -> list[Measurement]:
    """One measurement per cycle of every record, sorted."""
    return sorted(
        (item for record in records for item in _cycle_measurements(record)),
        key=lambda item: item.key,
    )


def _cycle_measurements(record: Record) -> list[Measurement]:
    trial, outcome = record.trial, record.digest
    return [
        Measurement(
            suite=trial.suite,
            method=trial.method_name,
            profile=trial.profile,
            variant=trial.variant,
            seed=trial.seed,
            cycle=cycle.cycle,
            labelled=cycle.labelled,
            metrics=dict(cycle.metrics),
            trial_id=record.trial_id,
            env_id=record.env_id,
            device_model=record.environment.device_model,
            canonical=record.data.canonical,
            data_note=record.data.note,
            record_digest=outcome,
            labelled_digest=cycle.labelled_digest[:SHORT],
        )
        for cycle in record.cycles
    ]


def write_results(measurements: Iterable[Measurement]) -> str:
    """The committed table: `read_results` of it gives equal measurements in any order of the input.
    A trial that was put together is written as its parts."""
    written = {part.key: part for row in measurements for part in row.parts or (row,)}
    rows = [written[key] for key in sorted(written)]
    metrics = sorted({name for row in rows for name in row.metrics})
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *metrics])
    for row in rows:
        fixed = [_format_value(getattr(row, column)) for column in COLUMNS]
        writer.writerow(fixed + [_format_value(row.metrics.get(name)) for name in metrics])
    return out.getvalue()


def _format_value(value: object) -> str:
    if value is None:
        return ""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, float)
        else str(value)
    )


def read_committed(folder: Path) -> list[Measurement]:
    """The committed measurements in a folder of `results/`; none where it holds no table. Raises
    StoreError for a damaged one."""
    found = [folder / name for name in (RECORDS, COMPRESSED) if (folder / name).exists()]
    if len(found) > 1:
        raise StoreError(
            f"holds {RECORDS} and {COMPRESSED}", where=str(folder), remedy="remove the older one"
        )
    return read_results(found[0]) if found else []


def write_committed(folder: Path, measurements: Iterable[Measurement]) -> Path:
    """Write the committed table of a folder and return its path; equal measurements give equal
    bytes."""
    content = write_results(measurements).encode()
    path, other = folder / RECORDS, folder / COMPRESSED
    if len(content) > LARGE:
        path, other, content = other, path, gzip.compress(content, mtime=0)
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path, content)
    other.unlink(missing_ok=True)
    return path


def read_results(path: Path) -> list[Measurement]:
    """Measurements of a committed table. Raises StoreError with file and line for a row that is not
    one."""
    table = read_table(path, StoreError)
    metrics = table.header[len(COLUMNS) :]
    if (
        tuple(table.header[: len(COLUMNS)]) != COLUMNS
        or not metrics
        or metrics != sorted(set(metrics))
    ):
        raise StoreError(
            "the header is not that of a results table",
            where=f"{path}:1",
            remedy=f"use {','.join(COLUMNS)} and then the sorted names of the metrics",
        )
    found: dict[tuple[object, ...], Measurement] = {}
    for where, cells in cells_of(table, StoreError):
        row = _read_row(cells, metrics, where)
        if row.key in found:
            raise StoreError(
                "the same trial, environment and cycle stand twice",
                where=where,
                remedy="keep one of the two rows",
            )
        found[row.key] = row
    return sorted(found.values(), key=lambda item: item.key)


def _read_row(cells: list[str], metrics: list[str], where: str) -> Measurement:
    named = dict(zip(COLUMNS, cells, strict=False))
    whole = {column: _read_number(named[column], column, where, whole=True) for column in _WHOLE}
    if named["canonical"] not in ("true", "false"):
        raise StoreError(
            f"canonical is '{named['canonical']}'", where=where, remedy="write true or false"
        )
    values = zip(metrics, cells[len(COLUMNS) :], strict=True)
    return Measurement(
        suite=named["suite"],
        method=named["method"],
        profile=named["profile"],
        variant=named["variant"],
        seed=int(whole["seed"]),
        cycle=int(whole["cycle"]),
        labelled=int(whole["labelled"]),
        metrics={name: _read_number(cell, name, where) for name, cell in values if cell != ""},
        trial_id=named["trial_id"],
        env_id=named["env_id"],
        device_model=named["device_model"],
        canonical=named["canonical"] == "true",
        data_note=named["data_note"],
        record_digest=named["record_digest"],
        labelled_digest=named["labelled_digest"],
    )


def _read_number(cell: str, column: str, where: str, *, whole: bool = False) -> float:
    try:
        return parse_number(cell, whole=whole)
    except ValueError as error:
        kind = "a whole number" if whole else "a finite number"
        raise StoreError(
            f"{column} is '{cell}', not {kind}",
            where=where,
            remedy="regenerate the table from the runs",
        ) from error
