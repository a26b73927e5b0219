"""The answer on one screen of 80 columns: what was asked, what came out, what is missing, where the
rest is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.reports import formatting
from benchmark.reports.terminal import COLOURS
from benchmark.verdicts.results import (
    ClaimOutcome,
    ClaimVerdict,
    CurveVerdict,
    NumberVerdict,
    Standing,
    SuiteVerdict,
    VerdictKind,
)

BARS = "▁▂▃▄▅▆▇█"
WIDE = 110
"""Columns from which on a row also has trials, labels saved and the verdict on the curve."""
MARKS, WIDE_MARKS = 6, 12
"""Sizes up to which a verdict is shown for each; above, verdicts are counted."""
CURVE = 8
"""Characters of a drawn curve at most."""
LINES = 8
"""Lines of one kind that are shown; what is left out is counted."""
PLACES = 12
"""Methods and sizes that one line names."""
EXPECTED = (VerdictKind.REPRODUCED,)
Deciding = NumberVerdict | CurveVerdict


@dataclass(frozen=True)
class AnswerContext:
    """What stands around the numbers."""

    command: str = "albench compare"
    """The command whose exit code the sentence names; empty for the one that prints."""
    missing: str = ""
    """The command that runs what is missing; empty where nothing is."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where report and MLflow are, by name."""
    everything: str = ""
    """The command that prints every number."""


def show_answer(
    judgement: SuiteVerdict, console: Console, context: AnswerContext | None = None
) -> None:
    """Print the sentence, a row for each method, what is not as expected, the claims, what is
    missing and where the rest is.

    What holds for everything is said once; of what is as expected there is only the count.
    """
    context = context or AnswerContext()
    console.print(f"[bold]{escape(judgement.title)}[/bold]")
    console.print(escape(write_sentence(judgement, context.command)))
    reason = formatting.collapsed_reason(judgement)
    if reason:
        console.print(escape(f"Not compared: {reason}."))
    if trials := trials_text(judgement):
        console.print(escape(trials))
    plain = not _can_encode(console, BARS + "".join(formatting.SIGNS.values()))
    _print_methods(console, judgement, plain=plain)
    _print_unexpected(console, judgement)
    _print_claims(console, judgement.claims)
    for note in judgement.notes[:LINES]:
        console.print(escape(f"Note: {note}"))
    _print_missing(console, judgement, context)
    for name, place in context.places.items():
        console.print(escape(f"{name + ':':9} {place}"), soft_wrap=True)
    if context.everything:
        console.print(escape(f"{'All:':9} {context.everything}"), style="dim", soft_wrap=True)


def write_sentence(judgement: SuiteVerdict, command: str = "") -> str:
    """What was asked, what came out, and the exit code: of this command, or of the one that is
    named."""
    text = formatting.write_headline(judgement)
    return text.replace("(exit ", f"(`{command}` exits with ") if command else text


def trials_text(judgement: SuiteVerdict) -> str:
    """On how many trials the numbers rest; empty where nothing was measured."""
    counts = _count_trials(judgement)
    if not counts:
        return ""
    least, most = min(counts.values()), max(counts.values())
    trials = f"{least} trial{'s' * (least != 1)}" if least == most else f"{least} to {most} trials"
    return (
        f"{trials} of each of {len(counts)} methods."
        if len(counts) > 1
        else f"{trials} of {next(iter(counts))}."
    )


def draw_sparkline(values: Sequence[float], low: float, high: float, width: int = CURVE) -> str:
    """Values as bars between two bounds, at most `width` of them: a longer curve is drawn at evenly
    spaced points, both ends among them."""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    span = high - low
    shares = [(value - low) / span if span > 0 else 1.0 for value in values]
    return "".join(BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))] for share in shares)


def verdict_marks(items: Sequence[Deciding], most: int, *, plain: bool = False) -> str:
    """Verdicts as signs in the order of the sizes, or as counts where there are more than `most`;
    as markup of rich."""
    kinds = [item.verdict.kind for item in items]
    if len(kinds) <= most:
        return "".join(_verdict_sign(kind, plain) for kind in kinds)
    return " ".join(
        f"{kinds.count(kind)}{_verdict_sign(kind, plain)}" for kind in VerdictKind if kind in kinds
    )


def _verdict_sign(kind: VerdictKind, plain: bool) -> str:
    text = str(kind)[0].upper() if plain else formatting.SIGNS[kind]
    return f"[{COLOURS[str(kind).replace('_', ' ')]}]{text}[/]"


def _can_encode(console: Console, text: str) -> bool:
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _count_trials(judgement: SuiteVerdict) -> dict[str, int]:
    """Trials of each measured method, in the order of the suite."""
    counts: dict[str, int] = {}
    for cell in judgement.cells:
        counts[cell.method] = max(cell.n, counts.get(cell.method, 0))
    return counts


def _print_methods(console: Console, judgement: SuiteVerdict, *, plain: bool) -> None:
    """A row for each measured method, the best curve first."""
    counts = _count_trials(judgement)
    if not counts:
        return
    wide = console.width >= WIDE
    standings = {item.method: item for item in judgement.standings}
    compared = {item.method for item in judgement.numbers if item.decides} & set(counts)
    shows_verdicts = bool(compared) and not formatting.collapsed_reason(judgement)
    shows_trials = wide or len(set(counts.values())) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold")
    if shows_trials:
        table.add_column("n", justify="right")
    table.add_column("final", no_wrap=True)
    table.add_column("mean" if judgement.rule.curve == "mean" else "area", no_wrap=True)
    table.add_column("gain over control", no_wrap=True)
    if wide:
        table.add_column("labels saved", no_wrap=True)
    if shows_verdicts:
        table.add_column("verdicts", no_wrap=True)
    if wide and judgement.curves and shows_verdicts:
        table.add_column("curve's", no_wrap=True)
    if not plain:
        table.add_column("curve", no_wrap=True)
    values = [cell.mean for cell in judgement.cells]
    bounds = min(values), max(values)
    order = sorted(
        counts, key=lambda name: -standings[name].area if name in standings else float("inf")
    )
    for method in order:
        cells = sorted(
            (cell for cell in judgement.cells if cell.method == method),
            key=lambda cell: cell.labelled,
        )
        standing, last = standings.get(method), cells[-1]
        row = [escape(method)] + [str(counts[method])] * shows_trials
        row += [
            formatting.mean_sd(last.mean, last.sd, None),
            _format_area(standing),
            _format_gain(standing),
        ]
        row += [formatting.saved_text(standing) if standing else "–"] * wide
        if shows_verdicts:
            row.append(
                verdict_marks(
                    _numbers_of(judgement, method), WIDE_MARKS if wide else MARKS, plain=plain
                )
            )
        if wide and judgement.curves and shows_verdicts:
            row.append(
                verdict_marks(
                    [item for item in judgement.curves if item.method == method], MARKS, plain=plain
                )
            )
        row += [] if plain else [draw_sparkline([cell.mean for cell in cells], *bounds)]
        table.add_row(*row)
    console.print(table)
    _print_legend(console, judgement, compared if shows_verdicts else set(), plain=plain)


def _format_area(standing: Standing | None) -> str:
    return formatting.mean_sd(standing.area, standing.area_sd, None) if standing else "–"


def _format_gain(standing: Standing | None) -> str:
    return (
        formatting.format_interval(standing.gain, standing.gain_low, standing.gain_high)
        if standing
        else "–"
    )


def _numbers_of(judgement: SuiteVerdict, method: str) -> list[NumberVerdict]:
    found = [item for item in judgement.numbers if item.decides and item.method == method]
    return sorted(found, key=lambda item: item.labelled or 0)


def _print_legend(
    console: Console, judgement: SuiteVerdict, methods: set[str], *, plain: bool
) -> None:
    """What the columns hold, and the signs that were used."""
    used = {
        item.verdict.kind for item in judgement.numbers if item.decides and item.method in methods
    }
    signs = [
        f"{_verdict_sign(kind, plain)} {str(kind).replace('_', ' ')}"
        for kind in VerdictKind
        if kind in used
    ]
    curve = (
        "mean over its sizes"
        if judgement.rule.curve == "mean"
        else "normalised area under the curve"
    )
    console.print(
        escape(f"± s.d. over trials; {curve}; [95 % interval] paired by seed"), style="dim"
    )
    if signs:
        console.print("  ".join(signs))


def _print_unexpected(console: Console, judgement: SuiteVerdict) -> None:
    """Numbers and curves that are above or below, in full; those that are open, by reason."""
    items: list[Deciding] = [item for item in judgement.numbers if item.decides] + list(
        judgement.curves
    )
    apart = [item for item in items if item.verdict.kind in (VerdictKind.ABOVE, VerdictKind.BELOW)]
    apart.sort(key=lambda item: -abs((item.estimate and item.estimate.difference) or 0.0))
    notes, reference = formatting.Footnotes(), formatting.reference_head(judgement)
    for item in apart[:LINES]:
        line = formatting.format_verdict(item, notes)
        text = (
            f"{line.sign} {_name_place(item)}: {line.ours}, {reference} {line.published}: "
            f"{line.difference}"
        )
        console.print(escape(text), style=COLOURS[line.kind])
    if len(apart) > LINES:
        console.print(f"  and {len(apart) - LINES} more above or below")
    if formatting.collapsed_reason(judgement):
        return
    for kind in (VerdictKind.INCONCLUSIVE, VerdictKind.NOT_COMPARABLE):
        reasons: dict[str, list[Deciding]] = {}
        for item in items:
            if item.verdict.kind is kind:
                reasons.setdefault(item.verdict.reason, []).append(item)
        for reason, found in list(reasons.items())[:LINES]:
            name = str(kind).replace("_", " ")
            why = f" ({reason})" if reason else ""
            console.print(
                escape(
                    f"{formatting.SIGNS[kind]} {len(found)} {name}{why}: "
                    f"{_name_places(found)}{_needed_trials(found)}"
                ),
                style=COLOURS[name],
            )


def _name_place(item: Deciding) -> str:
    if isinstance(item, CurveVerdict):
        return f"{item.method}, whole curve"
    return f"{item.method} at {formatting.count(item.labelled)}"


def _name_places(items: Iterable[Deciding]) -> str:
    """`random at 40, 80; tod at 200`, of the first ones."""
    listed = list(items)
    methods: dict[str, list[str]] = {}
    for item in listed[:PLACES]:
        place = "whole curve"
        if not isinstance(item, CurveVerdict):
            place = formatting.count(item.labelled)
        methods.setdefault(item.method, []).append(place)
    text = "; ".join(f"{method} at {', '.join(sizes)}" for method, sizes in methods.items())
    return text + (f"; and {len(listed) - PLACES} more" if len(listed) > PLACES else "")


def _needed_trials(items: Iterable[Deciding]) -> str:
    """How many trials would decide all of them, where that is known and more than are there."""
    found = [item.estimate for item in items if item.estimate is not None]
    needed = [estimate.needed for estimate in found]
    known = [value for value in needed if value is not None]
    if not known or len(known) < len(needed) or max(known) <= max(estimate.n for estimate in found):
        return ""
    return f"; {max(known)} trials of a method would decide them"


def _print_claims(console: Console, claims: Sequence[ClaimVerdict]) -> None:
    """A line for each claim that was decided; those without a test, by reason."""
    reasons: dict[tuple[ClaimOutcome, str], list[str]] = {}
    for claim in claims:
        name = str(claim.outcome).replace("_", " ")
        if claim.outcome in (ClaimOutcome.HOLDS, ClaimOutcome.REFUTED, ClaimOutcome.INCONCLUSIVE):
            sign = formatting.SIGNS[claim.outcome]
            reason = f" ({claim.reason})" if claim.reason else ""
            text = (
                f"{sign} {claim.id} {name}{reason}: "
                f"{claim.text}{formatting.other_data(claim.notes)}"
            )
            console.print(escape(text), style=COLOURS[name])
        else:
            reasons.setdefault((claim.outcome, claim.reason), []).append(claim.id)
    for (outcome, reason), ids in reasons.items():
        name = str(outcome).replace("_", " ")
        what = f"claim {ids[0]}" if len(ids) == 1 else f"{len(ids)} claims"
        which = f": {', '.join(ids)}" if 1 < len(ids) < len(claims) else ""
        why = f" ({reason})" if reason else ""
        console.print(
            escape(f"{formatting.SIGNS[outcome]} {what} {name}{why}{which}"), style=COLOURS[name]
        )


def _print_missing(console: Console, judgement: SuiteVerdict, context: AnswerContext) -> None:
    """Methods without a trial, and the command that runs what is missing."""
    names = judgement.missing
    if names:
        methods = f"{len(names)} method{'s' * (len(names) != 1)} without a trial"
        shown = ", ".join(names[:PLACES]) + (
            f" and {len(names) - PLACES} more" if len(names) > PLACES else ""
        )
        console.print(escape(f"{'Missing:':9} {methods}: {shown}"), style="magenta")
    if context.missing:
        lead = "Run it:" if names else "Missing:"
        text = context.missing if names else f"trials of the selection; {context.missing}"
        console.print(escape(f"{lead:9} {text}"), style="magenta", soft_wrap=True)
