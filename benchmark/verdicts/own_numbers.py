"""Numbers of any program as measurements: a table with one row per (method, seed, number of
labels).

Columns, in any order: `method`, `seed`, `labelled`, `value`, and `metric` where it is not the one
that the suite's rule judges. Nothing but the table is needed, so nothing but the table can be
checked: neither data, nor protocol, nor machine.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmark.errors import UsageError
from benchmark.spec.identity import digest
from benchmark.spec.load import SuiteFile
from benchmark.spec.published import ReportedResult
from benchmark.spec.suite import Component, Suite
from benchmark.spec.tables import Table, cells_of, parse_number, read_table
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import ClaimOutcome, ClaimVerdict, SuiteVerdict, VerdictKind

COLUMNS = ("method", "seed", "labelled", "metric", "value")
"""All columns; `metric` may be left out."""
REQUIRED = ("method", "seed", "labelled", "value")
DEVICE = "not stated"
"""Device of numbers that come without one."""


class TableError(UsageError):
    """A table of somebody's own numbers is not valid."""


@dataclass(frozen=True)
class Number:
    """One row of the table and where it stands."""

    method: str
    seed: int
    labelled: int
    metric: str
    value: float
    where: str


def read_own(path: Path, suite_file: SuiteFile, variant: str = "as_published") -> list[Measurement]:
    """The measurements in a table of somebody's own numbers for a suite.

    Raises TableError with file, line and remedy for what the suite cannot have: an unknown metric,
    a number of labels that the protocol never reaches, a fraction in place of percent, a value that
    stands twice.
    """
    suite = suite_file.resolve("paper", variant)
    numbers = list(_read_numbers(read_table(path, TableError), suite.rule.metric))
    if not numbers:
        raise TableError(
            "holds no numbers",
            where=f"{path}:1",
            remedy="write one row per method, seed and labels",
        )
    _check_methods(numbers, suite)
    _check_metrics(numbers, suite, suite_file.reported)
    _check_sizes(numbers, suite_file, variant)
    _check_values(numbers)
    _check_once(numbers)
    return _as_measurements(numbers, suite_file.id, variant)


def judge_own(
    suite_file: SuiteFile,
    own: Sequence[Measurement],
    *,
    variant: str = "as_published",
    against: Sequence[Measurement] = (),
    against_name: str = "",
    by_seed: bool = False,
    references: Sequence[Measurement] = (),
) -> SuiteVerdict:
    """Verdicts on somebody's own numbers: against the published ones, or against other numbers of
    the same form.

    `against` are the other numbers and `against_name` what to call them. Their seeds mean nothing
    to ours unless `by_seed`: means are then compared by Welch's test, else differences of trials
    with one seed by the paired one. `references` are the committed records of a suite that is
    compared with those. Published numbers and claims that the table has nothing for are left out,
    and a note counts them.
    """
    suite = suite_file.resolve("paper", variant)
    methods = tuple(dict.fromkeys(row.method for row in own))
    external = {
        method: Component(name="supervised") for method in methods if method not in suite.methods
    }
    if against and by_seed:
        suite_file = _compared_with_records(suite_file)
        references = [replace(row, variant=variant) for row in against]
    elif against:
        suite_file = suite_file.with_reported(_as_published(against, against_name))
    found = judge_suite(
        suite_file, own, variant=variant, methods=methods, external=external, references=references
    )
    there = {(row.method, row.labelled) for row in against} if by_seed else None
    numbers = tuple(
        replace(item, source=against_name) if there is not None and item.decides else item
        for item in found.numbers
        if item.verdict.kind is not VerdictKind.MISSING
        and (there is None or (item.method, item.labelled) in there)
    )
    curves = tuple(item for item in found.curves if item.verdict.kind is not VerdictKind.MISSING)
    claims = tuple(map(_uncovered_claim, found.claims))
    left_out = sum(item.decides for item in found.numbers) - sum(item.decides for item in numbers)
    notes = [
        *found.notes,
        "only the table was read: neither data, protocol nor machine behind it could be checked",
    ]
    if left_out:
        notes.append(
            f"{left_out} numbers to compare with have no counterpart in the table and are left out"
        )
    unknown = ", ".join(external)
    if unknown:
        notes.append(f"not methods of this suite, so that nothing is published for them: {unknown}")
    if against and by_seed:
        notes.append(f"compared with {against_name}, paired by seed")
    return replace(
        found,
        reference=against_name,
        numbers=numbers,
        curves=curves,
        claims=claims,
        notes=tuple(notes),
    )


def _uncovered_claim(claim: ClaimVerdict) -> ClaimVerdict:
    """A claim that the table does not cover was not asked about."""
    if claim.outcome is not ClaimOutcome.MISSING:
        return claim
    return replace(
        claim, outcome=ClaimOutcome.NOT_TESTABLE, reason="the table does not have all of its sizes"
    )


def _compared_with_records(suite_file: SuiteFile) -> SuiteFile:
    rule = suite_file.suite.rule.model_copy(update={"reference": "records", "mix_devices": True})
    raw = suite_file.raw | {
        "rule": suite_file.raw["rule"] | {"reference": "records", "mix_devices": True}
    }
    return replace(
        suite_file, suite=suite_file.suite.model_copy(update={"rule": rule}), raw=raw
    ).with_reported(())


def _as_published(rows: Iterable[Measurement], name: str) -> list[ReportedResult]:
    """Somebody's numbers as means with spread and number of trials: what a paper would print of
    them."""
    groups: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for row in rows:
        for metric, value in row.metrics.items():
            groups[row.method, row.labelled, metric].append(value)
    found = []
    for (method, labelled, metric), values in groups.items():
        several = len(values) > 1
        found.append(
            ReportedResult(
                method=method,
                labelled=labelled,
                metric=metric,
                mean=float(np.mean(values)),
                n=len(values),
                dispersion=float(np.std(values, ddof=1)) if several else None,
                dispersion_kind="sd" if several else None,
                source=name,
                role="target",
            )
        )
    return found


# ----------------------------------------------------------------------------- reading and checking


def _read_numbers(table: Table, metric: str) -> Iterator[Number]:
    """Rows of the table, each cell read. Raises TableError."""
    where, header = table.where(1), table.header
    if not header:
        raise TableError(
            "the file is empty", where=where, remedy=f"start it with {','.join(COLUMNS)}"
        )
    separator = next((sign for sign in (";", "\t") if len(header) == 1 and sign in header[0]), "")
    if separator:
        name = "semicolons" if separator == ";" else "tabs"
        raise TableError(
            f"columns are separated by {name}", where=where, remedy="separate them by commas"
        )
    for column in header:
        if column not in COLUMNS:
            raise TableError(
                f"unknown column '{column}'",
                where=where,
                remedy=f"name columns {', '.join(COLUMNS)}",
            )
        if header.count(column) > 1:
            raise TableError(
                f"column '{column}' stands twice", where=where, remedy="keep one of the two"
            )
    absent = [column for column in REQUIRED if column not in header]
    if absent:
        raise TableError(
            f"no column '{absent[0]}'", where=where, remedy=f"add it: {', '.join(COLUMNS)}"
        )
    for place, cells in cells_of(table, TableError):
        named = {"metric": metric} | dict(zip(header, cells, strict=True))
        if not named["method"].strip():
            raise TableError(
                "no method", where=place, remedy="write the method's name in the suite"
            )
        yield Number(
            named["method"],
            int(_read_cell(named["seed"], "seed", place, whole=True)),
            int(_read_cell(named["labelled"], "labelled", place, whole=True)),
            named["metric"] or metric,
            _read_cell(named["value"], "value", place),
            place,
        )


def _read_cell(cell: str, column: str, where: str, *, whole: bool = False) -> float:
    try:
        return parse_number(cell, whole=whole)
    except ValueError as error:
        kind, example = (
            ("a whole number from 0 on", "5000") if whole else ("a finite number", "93.25")
        )
        remedy = f"write it like {example}; leave the row out if there is no value"
        raise TableError(f"{column} is '{cell}', not {kind}", where=where, remedy=remedy) from error


def _check_methods(numbers: Iterable[Number], suite: Suite) -> None:
    """Refuse spellings that can only mean a method of the suite; other names are methods of one's
    own."""
    plain = {
        _normalise_name(spelling): name
        for name, method in suite.methods.items()
        for spelling in (method.title, name)
    }
    for item in numbers:
        meant = plain.get(_normalise_name(item.method))
        if meant is not None and item.method not in suite.methods:
            raise TableError(
                f"the suite has no method '{item.method}'",
                where=item.where,
                remedy=f"write '{meant}'",
            )


def _normalise_name(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum() or sign == "+")


def _check_metrics(
    numbers: Iterable[Number], suite: Suite, reported: Iterable[ReportedResult]
) -> None:
    known = list(dict.fromkeys([suite.rule.metric, *(row.metric for row in reported)]))
    if len(suite.protocol.models) > 1:
        known += [
            name
            for place in suite.protocol.trained()
            if (name := f"accuracy/model{place}") not in known
        ]
    for item in numbers:
        if item.metric not in known:
            near = difflib.get_close_matches(item.metric, known, n=3, cutoff=0.4) or known[:3]
            raise TableError(
                f"nothing is known of the metric '{item.metric}'",
                where=item.where,
                remedy=(
                    f"write {' or '.join(near)}, or leave the column out for {suite.rule.metric}"
                ),
            )


def _check_sizes(numbers: Iterable[Number], suite_file: SuiteFile, variant: str) -> None:
    suite = suite_file.resolve("paper", variant)
    every = set(suite.protocol.acquisition.labelled())
    published: Mapping[str, set[int | None]] = defaultdict(set)
    for row in suite_file.reported:
        published[row.method].add(row.labelled)
    for item in numbers:
        method = suite.methods.get(item.method)
        own = every | {size for size in published[item.method] if size is not None}
        if method is not None and method.set:
            (trial,) = suite_file.trials("paper", variant, [item.method], [0])
            own |= set(trial.protocol.acquisition.labelled())
        if item.labelled not in own:
            near = sorted(sorted(own, key=lambda size: abs(size - item.labelled))[:3])
            raise TableError(
                f"the protocol never has {item.labelled} labels",
                where=item.where,
                remedy=(
                    f"numbers of labels near it: {', '.join(map(str, near))}; leave the row out if "
                    "it is neither"
                ),
            )


def _check_values(numbers: Sequence[Number]) -> None:
    """Accuracies are in percent: refuse what lies outside 0 to 100, and tables in which everything
    lies below 1."""
    accuracies = [item for item in numbers if item.metric.partition("/")[0] == "accuracy"]
    for item in accuracies:
        if not 0 <= item.value <= 100:
            raise TableError(
                f"{item.metric} is {item.value:g}, not in percent",
                where=item.where,
                remedy="write 0 to 100",
            )
    if accuracies and all(item.value <= 1 for item in accuracies):
        one = accuracies[0]
        raise TableError(
            f"{one.metric} is {one.value:g}, and no accuracy of the table exceeds 1",
            where=one.where,
            remedy="write percent: 93.25 for 0.9325",
        )


def _check_once(numbers: Iterable[Number]) -> None:
    seen: dict[tuple[str, int, int, str], Number] = {}
    for item in numbers:
        first = seen.setdefault((item.method, item.seed, item.labelled, item.metric), item)
        if first is not item:
            raise TableError(
                f"{item.method}, seed {item.seed}, {item.labelled} labels, {item.metric} stands "
                "twice",
                where=item.where,
                remedy=(
                    f"keep this row or that of line {first.where.rpartition(':')[2]}; another run "
                    "needs its own seed"
                ),
            )


def _as_measurements(numbers: Iterable[Number], suite: str, variant: str) -> list[Measurement]:
    trials: dict[tuple[str, int], dict[int, dict[str, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for item in numbers:
        trials[item.method, item.seed][item.labelled][item.metric] = item.value
    found = []
    for (method, seed), cycles in trials.items():
        outcome = digest([[size, sorted(cycles[size].items())] for size in sorted(cycles)])
        found += [
            Measurement(
                suite=suite,
                method=method,
                profile="paper",
                variant=variant,
                seed=seed,
                cycle=cycle,
                labelled=size,
                metrics=cycles[size],
                trial_id=f"{method}/{seed}",
                env_id="",
                device_model=DEVICE,
                canonical=True,
                data_note="",
                record_digest=outcome,
            )
            for cycle, size in enumerate(sorted(cycles))
        ]
    return sorted(found, key=lambda row: row.key)
