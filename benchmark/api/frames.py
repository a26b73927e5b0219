"""Measurements as pandas data frames: one row per trial and cycle, with the columns of a committed records.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmark.api.compare import RECORDS, OnRefused
from benchmark.api.selection import parse_selectors
from benchmark.api.workspace import Workspace
from benchmark.runs.store import Store
from benchmark.spec.inherit import suite_files
from benchmark.spec.selectors import Selector

if TYPE_CHECKING:
    from pandas import DataFrame

    from benchmark.verdicts.measurements import Measurement


def records(
    selectors: str | Selector | Sequence[str | Selector] = (),
    workspace: Workspace | None = None,
    *,
    on_refused: OnRefused = lambda _: None,
) -> DataFrame:
    """Finished trials of the runs folder, of every profile and variant: all, or those that match a selector.

    One row per trial and cycle, with the columns of records.csv: the fixed ones, then one for each metric, sorted by name
    (accuracies in percent; NaN where a trial has not measured it). Records that are damaged are left out and given to
    `on_refused`. Raises UsageError for text that is not a selector.
    """
    from benchmark.verdicts.measurements import from_records

    wanted = parse_selectors(selectors)
    found = Store((workspace or Workspace()).runs).records(on_refused=on_refused)
    return _frame(
        from_records(
            [record for record in found if not wanted or any(selector.matches(record.trial) for selector in wanted)]
        )
    )


def results(selectors: str | Selector | Sequence[str | Selector] = (), workspace: Workspace | None = None) -> DataFrame:
    """Committed measurements of the suites, as `records` gives those of the runs folder. Raises StoreError for a damaged table,
    UsageError for text that is not a selector."""
    from benchmark.verdicts.measurements import read_results

    workspace, wanted = workspace or Workspace(), parse_selectors(selectors)
    rows: list[Measurement] = []
    for path in suite_files(workspace.suites):
        table = workspace.results / path.relative_to(workspace.suites).with_suffix("") / RECORDS
        if table.exists():
            rows += read_results(table)
    return _frame([row for row in rows if not wanted or any(_matches(selector, row) for selector in wanted)])


def _matches(selector: Selector, row: Measurement) -> bool:
    from fnmatch import fnmatchcase

    return (
        fnmatchcase(row.suite, selector.suite)
        and (selector.method is None or fnmatchcase(row.method, selector.method))
        and (selector.seeds is None or row.seed in selector.seeds)
    )


def _frame(rows: Iterable[Measurement]) -> DataFrame:
    import pandas as pd

    from benchmark.verdicts.measurements import COLUMNS

    ordered = sorted(rows, key=lambda row: row.key)
    metrics = sorted({name for row in ordered for name in row.metrics})
    values = [
        {name: getattr(row, name) for name in COLUMNS} | {name: row.metrics.get(name) for name in metrics}
        for row in ordered
    ]
    return pd.DataFrame(values, columns=[*COLUMNS, *metrics])
