"""Measurements as pandas data frames: one row per trial and cycle, with the columns of a committed
records.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmark.api.compare import OnRefused
from benchmark.api.selection import parse_selectors
from benchmark.api.workspace import Workspace
from benchmark.runs.store import Store
from benchmark.spec.inherit import suite_files
from benchmark.spec.selectors import Selector

PICK_COLUMNS = ["suite", "method", "seed", "trial_id", "env_id", "cycle", "index"]

if TYPE_CHECKING:
    from pandas import DataFrame

    from benchmark.verdicts.measurements import Measurement


def records(
    selectors: str | Selector | Sequence[str | Selector] = (),
    workspace: Workspace | None = None,
    *,
    on_refused: OnRefused = lambda _: None,
) -> DataFrame:
    """Finished trials of the runs folder, of every profile and variant: all, or those that match a
    selector.

    One row per trial and cycle, with the columns of records.csv: the fixed ones, then one for each
    metric, sorted by name (accuracies in percent; NaN where a trial has not measured it). Records
    that are damaged are left out and given to `on_refused`. Raises UsageError for text that is not
    a selector.
    """
    from benchmark.verdicts.measurements import from_records

    wanted = parse_selectors(selectors)
    found = Store((workspace or Workspace()).runs).records(on_refused=on_refused)
    return _as_frame(
        from_records(
            [
                record
                for record in found
                if not wanted or any(selector.matches(record.trial) for selector in wanted)
            ]
        )
    )


def results(
    selectors: str | Selector | Sequence[str | Selector] = (), workspace: Workspace | None = None
) -> DataFrame:
    """Committed measurements of the suites, as `records` gives those of the runs folder. Raises
    StoreError for a damaged table, UsageError for text that is not a selector."""
    from benchmark.verdicts.measurements import read_committed

    workspace, wanted = workspace or Workspace(), parse_selectors(selectors)
    rows: list[Measurement] = []
    for path in suite_files(workspace.suites):
        rows += read_committed(
            workspace.results / path.relative_to(workspace.suites).with_suffix("")
        )
    named = [(row, (row.suite, row.method, row.seed)) for row in rows]
    return _as_frame(
        [row for row, names in named if not wanted or any(one.means(*names) for one in wanted)]
    )


def picks(
    selectors: str | Selector | Sequence[str | Selector] = (), workspace: Workspace | None = None
) -> DataFrame:
    """Which images the committed trials bought: one row per trial and labelled image, in the order
    of purchase.

    Columns: suite, method, seed, trial_id, env_id, cycle (of the purchase; -1 for the first
    labelled set), index (of the image in the training set). Raises StoreError for a damaged file,
    UsageError for text that is not a selector.
    """
    import pandas as pd

    from benchmark.runs.picks import FILE, read_picks

    workspace, wanted = workspace or Workspace(), parse_selectors(selectors)
    parts = []
    for path in suite_files(workspace.suites):
        suite = path.relative_to(workspace.suites).with_suffix("").as_posix()
        for one in read_picks(workspace.results / suite / FILE):
            if wanted and not any(
                selector.means(suite, one.method, one.seed) for selector in wanted
            ):
                continue
            named = {
                "suite": suite,
                "method": one.method,
                "seed": one.seed,
                "trial_id": one.trial_id,
                "env_id": one.env_id,
            }
            parts += [
                pd.DataFrame(
                    {**named, "cycle": cycle, "index": one.bought(cycle)}, columns=PICK_COLUMNS
                )
                for cycle in range(-1, len(one.sizes) - 1)
            ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=PICK_COLUMNS)


def _as_frame(rows: Iterable[Measurement]) -> DataFrame:
    import pandas as pd

    from benchmark.verdicts.measurements import COLUMNS

    ordered = sorted(rows, key=lambda row: row.key)
    metrics = sorted({name for row in ordered for name in row.metrics})
    values = [
        {name: getattr(row, name) for name in COLUMNS}
        | {name: row.metrics.get(name) for name in metrics}
        for row in ordered
    ]
    return pd.DataFrame(values, columns=[*COLUMNS, *metrics])
