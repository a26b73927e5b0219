"""Published numbers as first-class objects, read from `<dataset>.reported.csv` beside the suite
file.

One row per number. Columns: method, labelled, metric, mean, dispersion, dispersion_kind, n, source,
reading_error, role, note. Empty cells mean "not published".
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import SuiteError
from benchmark.spec.base import Spec
from benchmark.spec.tables import cells_of, parse_number, read_table

Role = Literal["target", "target_weak", "context", "external", "unreleased", "reference"]
TARGETS = ("target", "target_weak")
"""Roles that decide; every other role is shown beside."""


class ReportedResult(Spec):
    """A published number, where it stands, and how exactly it could be read."""

    method: str
    """Method of the suite, or the published name where the suite has no such method (roles
    external, unreleased)."""
    labelled: Annotated[int, Field(ge=0)] | None
    """Labelled images; None where the source gives no count (a full-data line, a percentage without
    a protocol)."""
    metric: str = "accuracy"
    """Metric as recorded in events; `accuracy` is in percent."""
    mean: float | None
    """None where a point is drawn but cannot be read; such a row decides nothing and its note says
    why."""
    dispersion: Annotated[float, Field(ge=0)] | None = None
    dispersion_kind: Literal["sd", "se", "ci95", "undefined"] | None = None
    """What the spread is; `undefined` where the source draws a band and does not say what it is."""
    n: Annotated[int, Field(gt=0)] | None = None
    """Trials behind the mean."""
    source: str
    reading_error: Annotated[float, Field(ge=0)] = 0.0
    """Half-width of the error of reading the number off a figure or a rounded table, in the
    metric's unit."""
    role: Role
    """target: the authors' own run of a released option. target_weak: same, arm or origin inferred.
    context: superseded or a constant line. external: probably from another publication. unreleased:
    no released code. reference: another source."""
    note: str = ""

    @model_validator(mode="after")
    def _spread(self) -> ReportedResult:
        if (self.dispersion is None) != (self.dispersion_kind is None):
            raise ValueError("dispersion and dispersion_kind go together")
        if self.mean is None and (self.role in TARGETS or not self.note):
            raise ValueError("a row without a mean needs a note and a role that decides nothing")
        return self

    @property
    def value(self) -> float:
        """The mean of a row that has one. Raises ValueError for a point that could not be read."""
        if self.mean is None:
            raise ValueError(f"{self.method} at {self.labelled} labels has no readable mean")
        return self.mean


COLUMNS = tuple(ReportedResult.model_fields)
_WHOLE = ("labelled", "n")
_NUMBERS = (*_WHOLE, "mean", "dispersion", "reading_error")


def read_reported(path: Path) -> tuple[ReportedResult, ...]:
    """Rows of a reported table. Raises SuiteError with file and line for a row that is not a valid
    number."""
    table = read_table(path, SuiteError)
    if tuple(table.header) != COLUMNS:
        raise SuiteError(
            f"the header is {table.header}",
            where=f"{path}:1",
            remedy=f"use exactly {','.join(COLUMNS)}",
        )
    return tuple(_read_row(cells, where) for where, cells in cells_of(table, SuiteError))


def _read_row(cells: list[str], where: str) -> ReportedResult:
    named = {
        column: cell
        for column, cell in zip(COLUMNS, cells, strict=True)
        if cell != "" or column == "method"
    }
    values: dict[str, object] = {"labelled": None, "mean": None}
    for column, cell in named.items():
        try:
            values[column] = (
                parse_number(cell, whole=column in _WHOLE) if column in _NUMBERS else cell
            )
        except ValueError as error:
            kind = "a whole number" if column in _WHOLE else "a finite number"
            raise SuiteError(
                f"{column} is '{cell}', not {kind}", where=where, remedy="write a plain number"
            ) from error
    try:
        return ReportedResult.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "row"
        raise SuiteError(
            f"{field}: {first['msg']}",
            where=where,
            remedy="see the columns in benchmark/spec/published.py",
        ) from error


def write_reported(results: Iterable[ReportedResult]) -> str:
    """The CSV text of a reported table: `read_reported` of it gives the same rows."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow(
            "" if getattr(result, column) is None else getattr(result, column) for column in COLUMNS
        )
    return out.getvalue()
