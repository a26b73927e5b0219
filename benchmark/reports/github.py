"""Annotations on the lines of the reported table and of the suite, and the step summary of a
workflow."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from benchmark.reports import formatting, markdown
from benchmark.spec.load import SuiteFile
from benchmark.text import escape_controls
from benchmark.verdicts.regression import Regression, RegressionState
from benchmark.verdicts.results import ClaimOutcome, NumberVerdict, SuiteVerdict, VerdictKind

LIMIT = 1_000_000
"""Bytes of a step summary that are kept; the service refuses more than 1 MiB."""


def annotate(suite_file: SuiteFile, judgement: SuiteVerdict, root: Path) -> list[str]:
    """Workflow commands, one per line to print: errors for discrepancies, warnings for what is
    inconclusive or missing.

    `root` is the checkout that the paths are relative to.
    """
    table_path = suite_file.path.with_name(f"{suite_file.path.stem}.reported.csv")
    table, lines = _relative_path(table_path, root), _table_lines(table_path)
    found = []
    for item in judgement.numbers:
        level = _annotation_level(item.verdict.kind, item.verdict.excused)
        if item.decides and level:
            shown = formatting.format_verdict(item, formatting.Footnotes())
            text = (
                f"{item.title} at {shown.labelled}: {shown.verdict}; ours {shown.ours}, reference "
                f"{shown.published}, "
            )
            text += f"difference {shown.difference}, needed {shown.needed} ({item.source})"
            at = lines.get(_sort_key(item))
            place = (table, at) if at else _place_of(suite_file, f"methods.{item.method}", root)
            found.append(_workflow_command(level, *place, judgement.suite, text))
    for name, claim in suite_file.suite.claims.items():
        outcome = next((one for one in judgement.claims if one.id == name), None)
        if (
            outcome
            and not outcome.is_question
            and outcome.outcome
            in (ClaimOutcome.REFUTED, ClaimOutcome.INCONCLUSIVE, ClaimOutcome.MISSING)
        ):
            level = (
                "error"
                if outcome.outcome is ClaimOutcome.REFUTED and not outcome.as_printed
                else "warning"
            )
            place = _place_of(suite_file, f"claims.{name}", root)
            found.append(
                _workflow_command(
                    level,
                    *place,
                    judgement.suite,
                    f"{name}: {claim.text}: {formatting.claim_text(outcome)}",
                )
            )
    silent = [
        method
        for method in judgement.missing
        if not any(item.method == method for item in judgement.numbers)
    ]
    found += [
        _workflow_command(
            "warning",
            *_place_of(suite_file, f"methods.{method}", root),
            judgement.suite,
            f"{method}: no trial",
        )
        for method in silent
    ]
    return found


def annotate_regression(suite_file: SuiteFile, regression: Regression, root: Path) -> list[str]:
    """Workflow commands for trials that changed or are missing, and numbers that moved."""
    levels = {RegressionState.LOST: "error", RegressionState.MISSING: "warning"}
    found = [
        _workflow_command(
            levels[trial.state],
            *_place_of(suite_file, f"methods.{trial.method}", root),
            regression.suite,
            str(trial),
        )
        for trial in regression.trials
        if trial.state in levels
    ]
    for item in regression.numbers:
        level = _annotation_level(item.verdict.kind, item.verdict.excused)
        if level:
            shown = formatting.format_verdict(item, formatting.Footnotes())
            text = (
                f"{item.title} at {shown.labelled}: {shown.verdict}; difference {shown.difference}"
            )
            found.append(
                _workflow_command(
                    level,
                    *_place_of(suite_file, f"methods.{item.method}", root),
                    regression.suite,
                    text,
                )
            )
    return found


def step_summary(judgements: Iterable[SuiteVerdict], regressions: Iterable[Regression] = ()) -> str:
    """Markdown for the step summary: an overview, then the verdicts of every suite."""
    listed = list(judgements)
    parts = [markdown.overview_table(listed)] if listed else []
    parts += [
        f"## {judgement.suite}\n\n{markdown.verdict_table(judgement)}" for judgement in listed
    ]
    for regression in regressions:
        rows = [
            (trial.method, str(trial.seed), str(trial.state), str(trial.divergence or ""))
            for trial in regression.trials
        ]
        title = (
            f"## {regression.suite} against committed records: "
            f"{formatting.MEANING.get(regression.exit_code, 'stopped')}"
        )
        heads = ("method", "seed", "state", "first difference")
        parts.append(f"{title}\n\n{markdown.make_table(heads, rows)}")
    text = "\n\n".join(parts) + "\n"
    if len(text.encode()) <= LIMIT:
        return text
    return (
        text.encode()[:LIMIT].decode(errors="ignore").rpartition("\n")[0]
        + "\n\nCut: the whole report is in its files.\n"
    )


def _annotation_level(kind: VerdictKind, excused: bool) -> str:
    if kind in (VerdictKind.ABOVE, VerdictKind.BELOW):
        return "error"
    return (
        ""
        if kind is VerdictKind.REPRODUCED or (kind is VerdictKind.NOT_COMPARABLE and excused)
        else "warning"
    )


def _workflow_command(level: str, file: str, line: int, title: str, text: str) -> str:
    return (
        f"::{level} "
        f"file={_escape_property(file)},line={line},title={_escape_property(title)}::{_escape_data(text)}"
    )


def _escape_data(text: str) -> str:
    return escape_controls(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def _place_of(suite_file: SuiteFile, dotted: str, root: Path) -> tuple[str, int]:
    """File, relative to the checkout, and line that give the value at a dotted path: the suite's
    own or its base's."""
    path, line = suite_file.locate(dotted)
    return _relative_path(path, root), line


def _relative_path(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _sort_key(item: NumberVerdict) -> tuple[str, ...]:
    return (
        item.method,
        "" if item.labelled is None else str(item.labelled),
        item.metric,
        item.source,
    )


def _table_lines(path: Path) -> dict[tuple[str, ...], int]:
    """Line of every reported number, by method, labels, metric and source; the table was validated
    when it was read."""
    if not path.exists():
        return {}
    rows = csv.reader(StringIO(path.read_text(encoding="utf-8-sig")))
    header = next(rows)
    places = [header.index(name) for name in ("method", "labelled", "metric", "source")]
    found: dict[tuple[str, ...], int] = {}
    for row in rows:
        if row:
            method, labelled, metric, source = (row[place] for place in places)
            found.setdefault((method, labelled, metric or "accuracy", source), rows.line_num)
    return found
