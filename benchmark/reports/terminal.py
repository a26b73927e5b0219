"""The verdicts on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.reports import formatting
from benchmark.verdicts.regression import Regression, RegressionState
from benchmark.verdicts.results import SuiteVerdict

SHOWN = 20
"""Trials that part from their committed outcome and are named."""
COLOURS = {
    "reproduced": "green",
    "holds": "green",
    "above": "yellow",
    "below": "red",
    "refuted": "red",
    "inconclusive": "cyan",
    "missing": "magenta",
    "not comparable": "dim",
    "not testable": "dim",
}


def show(
    judgement: SuiteVerdict,
    console: Console,
    cost_note: str = "",
    commands: Mapping[str, str] | None = None,
) -> None:
    """Print the verdicts, the claims, what is missing and what to do about it."""
    notes, head = formatting.Footnotes(), formatting.reference_head(judgement)
    console.print(f"[bold]{escape(judgement.title)}[/bold]")
    console.print(escape(formatting.write_headline(judgement)))
    reason = formatting.collapsed_reason(judgement)
    if reason:
        heads, rows = formatting.measured_grid(judgement)
        console.print(
            escape(
                f"Not compared: {reason}. {'What' if rows else 'Nothing'} was "
                f"measured{':' if rows else '.'}"
            )
        )
        if rows:
            _print_grid(console, heads, rows)
    else:
        _print_verdicts(console, "Numbers", formatting.number_lines(judgement, notes), head)
    _print_verdicts(
        console,
        f"Curves: {formatting.curve_name(judgement.rule)}",
        formatting.curve_lines(judgement, notes),
        head,
    )
    _print_claims(console, judgement, notes)
    if len(judgement.standings) > 1:
        _print_grid(
            console,
            formatting.standing_heads(judgement),
            [formatting.standing_cells(item) for item in judgement.standings],
        )
    if judgement.models:
        console.print(escape(formatting.model_text(judgement)))
        _print_grid(console, formatting.MODEL_HEADS, map(formatting.model_cells, judgement.models))
    if rows := formatting.single_rows(judgement):
        console.print(escape(formatting.SINGLE_TEXT))
        _print_grid(console, formatting.SINGLE_HEADS, rows)
    if judgement.kendall:
        console.print(escape(formatting.kendall_text(judgement)))
    for mark, text in notes.lines():
        console.print(escape(f"  {mark}) {text}"), style="dim")
    for note in judgement.notes:
        console.print(escape(f"Note: {note}"))
    if judgement.missing:
        console.print(escape(f"Missing: {', '.join(judgement.missing)}"), style="magenta")
    console.print(escape(formatting.rule_text(judgement)), style="dim")
    if cost_note:
        console.print(escape(cost_note))
    for purpose, command in (commands or {}).items():
        console.print(escape(f"{purpose}:\n  {command}"), soft_wrap=True)


def show_regression(regression: Regression, console: Console, *, brief: bool = False) -> None:
    """Print how the trials stand to their committed outcomes, where they part, and the numbers that
    the rule judged. `brief`: the sentence only."""
    named = f"{regression.suite}, profile {regression.profile}, {regression.variant}"
    code = regression.exit_code
    console.print(
        escape(
            f"{named} against committed records: {formatting.MEANING.get(code, 'stopped')} (exit "
            f"{int(code)})"
        ),
        style="bold",
    )
    if brief:
        return
    methods = list(dict.fromkeys(trial.method for trial in regression.trials))
    states = [
        state
        for state in RegressionState
        if any(trial.state is state for trial in regression.trials)
    ]
    rows = []
    for method in methods:
        found = [trial.state for trial in regression.trials if trial.method == method]
        rows.append([method, *(str(found.count(state) or "–") for state in states)])
    if rows:
        _print_grid(console, ["trials", *map(str, states)], rows)
    changed = [trial for trial in regression.trials if trial.divergence]
    for trial in changed[:SHOWN]:
        console.print(
            escape(str(trial)), style="red" if trial.state is RegressionState.LOST else ""
        )
    if len(changed) > SHOWN:
        console.print(f"and {len(changed) - SHOWN} more")
    _print_verdicts(
        console,
        "Trials of other environments, by the suite's rule",
        [formatting.format_verdict(item, formatting.Footnotes()) for item in regression.numbers],
        "committed",
    )


def _print_verdicts(
    console: Console, title: str, lines: Sequence[formatting.Line], reference: str
) -> None:
    if not lines:
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for head in (*formatting.number_heads(reference), ""):
        table.add_column(head, justify="right" if head in ("labels", "MDD", "needed") else "left")
    for line in lines:
        cells = (
            line.method,
            line.labelled,
            line.ours,
            line.published,
            line.difference,
            line.mdd,
            line.needed,
        )
        verdict = f"[{COLOURS[line.kind]}]{escape(line.verdict)}[/]"
        table.add_row(*map(escape, cells), verdict, escape(line.source), line.marks)
    console.print(table)


def _print_claims(console: Console, judgement: SuiteVerdict, notes: formatting.Footnotes) -> None:
    if not judgement.claims:
        return
    table = Table(title="Claims", title_justify="left", header_style="bold")
    for head in ("claim", "verdict", "better minus worse at its sizes", "in the paper", ""):
        table.add_column(head)
    for claim in judgement.claims:
        colour = COLOURS[str(claim.outcome).replace("_", " ")]
        tests = "; ".join(
            f"{formatting.budget_place(test)}: "
            f"{formatting.format_interval(test.difference, test.low, test.high)}"
            for test in claim.budgets
        )
        table.add_row(
            escape(f"{claim.id}: {claim.text}"),
            f"[{colour}]{escape(formatting.claim_text(claim))}[/]",
            tests,
            escape(claim.published),
            notes.marks(claim.notes),
        )
    console.print(table)


def _print_grid(console: Console, heads: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(header_style="bold")
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
