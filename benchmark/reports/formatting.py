"""What every report shows, once: formatted lines, footnotes and headings. Terminal, Markdown and
HTML only lay them out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from string import ascii_lowercase

from benchmark.errors import Exit
from benchmark.spec.suite import Rule
from benchmark.verdicts.claims import BETTER_FROM
from benchmark.verdicts.results import (
    BudgetTest,
    Cell,
    ClaimOutcome,
    ClaimVerdict,
    CurveVerdict,
    Estimate,
    ModelRow,
    NumberVerdict,
    Standing,
    SuiteVerdict,
    Verdict,
    VerdictKind,
)
from benchmark.verdicts.trials import OTHER_DATA

SIGNS = {
    VerdictKind.REPRODUCED: "✓",
    VerdictKind.ABOVE: "▲",
    VerdictKind.BELOW: "▼",
    VerdictKind.INCONCLUSIVE: "?",
    VerdictKind.NOT_COMPARABLE: "–",
    VerdictKind.MISSING: "∅",
    ClaimOutcome.HOLDS: "✓",
    ClaimOutcome.REFUTED: "✗",
    ClaimOutcome.INCONCLUSIVE: "?",
    ClaimOutcome.NOT_TESTABLE: "–",
    ClaimOutcome.MISSING: "∅",
}
"""A sign beside every verdict, so that nothing is said by colour alone."""
MEANING = {
    Exit.OK: "all matched",
    Exit.DISCREPANCY: "a discrepancy",
    Exit.NOT_MEASURED: "incomplete",
    Exit.INCONCLUSIVE: "inconclusive only",
}


BESIDE = "Published numbers that decide nothing: other sources, superseded values, context."


@dataclass
class Footnotes:
    """Notes in the order they are first needed, each with a letter; lines carry the letters."""

    texts: list[str] = field(default_factory=list)

    def marks(self, notes: Iterable[str]) -> str:
        """Letters of these notes, `a` or `a,c`."""
        for note in notes:
            if note and note not in self.texts:
                self.texts.append(note)
        return ",".join(footnote_letter(self.texts.index(note)) for note in notes if note)

    def lines(self) -> list[tuple[str, str]]:
        """Letter and text of every note."""
        return [(footnote_letter(place), text) for place, text in enumerate(self.texts)]


def footnote_letter(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    high, low = divmod(place, len(ascii_lowercase))
    return (footnote_letter(high - 1) if high else "") + ascii_lowercase[low]


@dataclass(frozen=True)
class Line:
    """One formatted verdict."""

    method: str
    title: str
    labelled: str
    ours: str
    published: str
    difference: str
    mdd: str
    needed: str
    sign: str
    kind: str
    reason: str
    source: str
    role: str
    marks: str
    decides: bool

    @property
    def verdict(self) -> str:
        """Sign, kind and reason in one text."""
        return f"{self.sign} {self.kind}" + (f" ({self.reason})" if self.reason else "")


def format_number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A number with fixed digits; a dash where there is none. Minus zero is zero."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "+" if signed else "", 1) if float(text) == 0 else text


def count(value: int | None) -> str:
    """A whole number with separators."""
    return "–" if value is None else f"{value:,}"


def mean_sd(mean: float | None, sd: float | None, n: int | None, reading_error: float = 0.0) -> str:
    """`94.31 ± 0.12 (n=5)`, without the parts that are not known."""
    text = format_number(mean)
    if sd is not None:
        text += f" ± {format_number(sd)}"
    parts = [f"n={n}"] if n is not None and mean is not None else []
    parts += [f"read ±{reading_error:g}"] if reading_error else []
    return f"{text} ({', '.join(parts)})" if parts else text


def format_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 2
) -> str:
    """`+0.18 [-0.02, +0.38]`."""
    text = format_number(value, digits, signed=True)
    return (
        text
        if low is None or high is None
        else f"{text} [{format_number(low, digits, True)}, {format_number(high, digits, True)}]"
    )


def p_value(value: float | None) -> str:
    """Three digits, or `<0.001`."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def format_needed(estimate: Estimate | BudgetTest) -> str:
    """Trials needed, as a number or as a bound."""
    return ">1000" if estimate.needed is None else str(estimate.needed)


def number_heads(reference: str) -> tuple[str, ...]:
    """Heads of the columns that `number_lines` fills, without the last one: footnotes in a page,
    reasons in a terminal."""
    return (
        "method",
        "labels",
        "ours",
        reference,
        "difference [interval]",
        "MDD",
        "needed",
        "verdict",
        "source",
    )


def number_lines(judgement: SuiteVerdict, notes: Footnotes, decides: bool = True) -> list[Line]:
    """Lines of the reported numbers: those that decide, or those shown beside. Single models have
    lines of their own: see `single_rows`."""
    shown = [
        item
        for item in judgement.numbers
        if item.decides is decides and (decides or not SINGLE.match(item.metric))
    ]
    return [
        format_verdict(item, notes, item.metric if item.metric != judgement.rule.metric else "")
        for item in shown
    ]


SINGLE = re.compile(r"accuracy/model\d+$")
SINGLE_HEADS = (
    "method",
    "models",
    "labels",
    "numbers",
    "mean difference",
    "smallest",
    "largest",
    "verdicts",
)
SINGLE_TEXT = (
    "Single target models against the published single runs, a line per method: these numbers "
    "scatter more than the margin "
    "and decide nothing."
)


def single_rows(judgement: SuiteVerdict) -> list[list[str]]:
    """One row per method for the published numbers of single target models; none for a method
    without a comparable one."""
    found: dict[str, list[NumberVerdict]] = {}
    for item in judgement.numbers:
        if (
            not item.decides
            and SINGLE.match(item.metric)
            and item.estimate
            and item.estimate.difference is not None
        ):
            found.setdefault(item.method, []).append(item)
    rows = []
    for method, items in found.items():
        gaps = [
            item.estimate.difference
            for item in items
            if item.estimate and item.estimate.difference is not None
        ]
        kinds = [item.verdict.kind for item in items]
        sizes = sorted({item.labelled for item in items if item.labelled is not None})
        labels = count(sizes[0]) if len(sizes) == 1 else f"{sizes[0]:,}-{sizes[-1]:,}"
        verdicts = ", ".join(
            f"{kinds.count(kind)} {str(kind).replace('_', ' ')}"
            for kind in VerdictKind
            if kind in kinds
        )
        rows.append(
            [
                method,
                str(len({item.metric for item in items})),
                labels,
                str(len(items)),
                format_number(sum(gaps) / len(gaps), signed=True),
                format_number(min(gaps), signed=True),
                format_number(max(gaps), signed=True),
                verdicts,
            ]
        )
    return rows


CURVES = {"area": "normalised area over the labels", "mean": "plain mean over its sizes"}


def curve_name(rule: Rule) -> str:
    """The one number of a curve, in a column's head."""
    return "area" if rule.curve == "area" else "mean over sizes"


def curve_text(rule: Rule) -> str:
    """The one number of a curve, in a sentence."""
    what = (
        "Normalised area under the budget curve"
        if rule.curve == "area"
        else "Plain mean over the sizes of the curve"
    )
    return f"{what}: one number per trial, one test per curve."


MODEL_HEADS = (
    "method",
    "trials",
    "mean ± over models",
    "s.d. over seeds",
    "published ± over models",
    "verdict",
    "models won",
    "in the paper",
)


def model_text(judgement: SuiteVerdict) -> str:
    """What the table of target models shows."""
    return (
        f"{judgement.models[0].models} target models. The {curve_name(judgement.rule)} of the "
        "accuracy averaged over the models, ± "
        "the standard deviation over models averaged over the sizes; apart from it, the standard "
        "deviation over seeds. Models won: "
        "those on which the method has the best curve. ★ marks the best mean."
    )


def model_cells(row: ModelRow) -> list[str]:
    """One row of the table of target models."""
    return [
        row.method,
        str(row.n) if row.n else "–",
        model_cell(row),
        format_number(row.over_seeds),
        mean_sd(row.published, row.published_over_models, None),
        f"{SIGNS[row.verdict.kind]} {str(row.verdict.kind).replace('_', ' ')}"
        if row.verdict
        else "–",
        "–" if row.wins is None else str(row.wins),
        "–" if row.published_wins is None else str(row.published_wins),
    ]


def model_cell(row: ModelRow) -> str:
    """Mean and spread over models; a star at the best."""
    return mean_sd(row.mean, row.over_models, None) + (" ★" if row.best else "")


def curve_lines(judgement: SuiteVerdict, notes: Footnotes) -> list[Line]:
    """Lines of the published curves: normalised areas."""
    return [format_verdict(item, notes) for item in judgement.curves]


def format_verdict(item: NumberVerdict | CurveVerdict, notes: Footnotes, metric: str = "") -> Line:
    """One verdict, formatted; what must be known of it goes to the footnotes. `metric` is said
    beside the labels."""
    found = item.estimate or Estimate(0.0, None, 0)
    if isinstance(item, CurveVerdict):
        sizes = f"{item.labelled[0]:,}-{item.labelled[-1]:,}" if item.labelled else "–"
    else:
        sizes = count(item.labelled)
    extra = (item.note, *item.notes) if isinstance(item, NumberVerdict) else item.notes
    return Line(
        item.method,
        item.title,
        f"{sizes}, {metric}" if metric else sizes,
        ours=mean_sd(found.mean, found.sd, found.n) + other_data(item.notes)
        if item.estimate
        else "–",
        published=mean_sd(
            found.reference, found.reference_sd, found.reference_n, found.reading_error
        ),
        difference=format_interval(found.difference, found.low, found.high),
        mdd=format_number(found.mdd),
        needed=format_needed(found) if item.estimate and found.reference is not None else "–",
        sign=SIGNS[item.verdict.kind],
        kind=str(item.verdict.kind).replace("_", " "),
        reason=item.verdict.reason,
        source=item.source,
        role=item.role if isinstance(item, NumberVerdict) else "curve",
        marks=notes.marks(extra),
        decides=item.decides if isinstance(item, NumberVerdict) else True,
    )


def common_reason(verdicts: Iterable[Verdict]) -> str:
    """The reason that excuses every one of these verdicts from comparison, or nothing: then one
    sentence says it all."""
    found = {(verdict.kind, verdict.reason, verdict.excused) for verdict in verdicts}
    kind, reason, excused = (
        next(iter(found)) if len(found) == 1 else (VerdictKind.MISSING, "", False)
    )
    return reason if kind is VerdictKind.NOT_COMPARABLE and excused else ""


def collapsed_reason(judgement: SuiteVerdict) -> str:
    """Why no number was compared, where one reason holds for all and another table says what was
    measured."""
    return common_reason(item.verdict for item in judgement.numbers if item.decides)


def exit_meaning(judgement: SuiteVerdict) -> str:
    """What the exit code says in words. Nothing matched where there was nothing to hold the
    measurements to."""
    excused = all(verdict.excused for verdict in judgement.deciding())
    cited = all(
        claim.outcome is ClaimOutcome.NOT_TESTABLE or claim.is_question
        for claim in judgement.claims
    )
    if judgement.exit_code is Exit.OK and excused and cited:
        return "nothing to compare"
    return MEANING.get(judgement.exit_code, "stopped")


def write_headline(judgement: SuiteVerdict) -> str:
    """`tod/cifar10, profile paper, as_published: 12 reproduced, 1 below. Claims: 3 holds. A
    discrepancy (exit 1).`"""
    numbers = ", ".join(
        f"{n} {str(kind).replace('_', ' ')}" for kind, n in judgement.counts().items()
    )
    outcomes = [claim.outcome for claim in judgement.claims]
    claims = ", ".join(
        f"{outcomes.count(o)} {str(o).replace('_', ' ')}" for o in ClaimOutcome if o in outcomes
    )
    code = judgement.exit_code
    lead = (
        f"{judgement.suite}, profile {judgement.profile}, {judgement.variant}: "
        f"{numbers or 'no number to compare'}"
    )
    if not numbers and not claims and code is Exit.OK:
        return f"{lead} (exit {int(code)})"
    parts = [
        lead,
        f"claims: {claims}" if claims else "",
        f"{exit_meaning(judgement)} (exit {int(code)})",
    ]
    return "; ".join(part for part in parts if part)


def reference_head(judgement: SuiteVerdict) -> str:
    """Head of the column with what our numbers are held to."""
    return judgement.reference or (
        "published" if judgement.rule.reference == "reported" else "committed"
    )


def rule_text(judgement: SuiteVerdict) -> str:
    """The rule in words."""
    rule = judgement.rule
    against = (
        "the reported table"
        if rule.reference == "reported"
        else "the committed records, paired by seed"
    )
    if judgement.reference:
        against = judgement.reference + (", paired by seed" if rule.reference == "records" else "")
    return (
        f"Rule {rule.version}: {rule.metric} against {against}; two one-sided tests at "
        f"{rule.alpha:g} with a margin of "
        f"±{rule.margin:g} ({rule.margin_reason}); at least {rule.min_trials} trials; "
        f"the one number of a curve is its {CURVES[rule.curve]}; each "
        "number and curve at that level on its own, the sizes of a claim together (Holm); "
        f"devices {'may' if rule.mix_devices else 'may not'} be mixed. Intervals are "
        f"{100 * (1 - 2 * rule.alpha):g} % and include "
        "the reading error; MDD is the smallest true difference these trials find with power 0.8; "
        "needed is the number of "
        "trials for a verdict with power 0.8."
    )


def deviation_state(judgement: SuiteVerdict) -> str:
    """Which side of the deviations this run took."""
    corrected = judgement.variant == "corrected"
    return f"Variant `{judgement.variant}`: " + (
        "every switch at its corrected value." if corrected else "as pinned."
    )


def claim_text(claim: ClaimVerdict) -> str:
    """Sign, outcome and reason of a claim."""
    text = f"{SIGNS[claim.outcome]} {str(claim.outcome).replace('_', ' ')}"
    return text + (f" ({claim.reason})" if claim.reason else "") + other_data(claim.notes)


def other_data(notes: Iterable[str]) -> str:
    """A word for the line itself when it was not made from the published data; the footnote says
    why."""
    return " [other data]" if any(note.startswith(OTHER_DATA) for note in notes) else ""


def budget_place(test: BudgetTest) -> str:
    """Where or between what a claim was tested."""
    return test.what or count(test.labelled)


def budget_cells(test: BudgetTest) -> list[str]:
    """Labelled, n, difference, p after Holm, correlation, MDD, needed pairs, the paper's own
    difference."""
    return [
        budget_place(test),
        str(test.n),
        format_interval(test.difference, test.low, test.high),
        p_value(test.p_holm),
        format_number(test.correlation),
        format_number(test.mdd),
        format_needed(test),
        format_number(test.published, signed=True),
    ]


BUDGET_HEADS = (
    "labels",
    "pairs",
    "difference [interval]",
    "p (Holm)",
    "correlation",
    "MDD",
    "needed",
    "in the paper",
)
_STANDING_HEADS = (
    "method",
    "n",
    "{}",
    "gain over control",
    "control",
    "p (Holm)",
    "labels saved",
    "rank [95 %]",
    "first in",
)


def standing_heads(judgement: SuiteVerdict) -> list[str]:
    """Heads of the table of methods."""
    return [head.format(curve_name(judgement.rule)) for head in _STANDING_HEADS]


def standing_cells(item: Standing) -> list[str]:
    """One row of the table of methods."""
    rank = "–"
    if item.rank is not None:
        low, high = (format_number(value, 1) for value in (item.rank_low, item.rank_high))
        rank = f"{item.rank:g} [{low}, {high}]"
    return [
        item.method,
        str(item.n),
        mean_sd(item.area, item.area_sd, None),
        gain_text(item),
        item.control or "–",
        p_value(item.gain_p) if len(item.paired) >= BETTER_FROM else "–",
        saved_text(item),
        rank,
        "–" if item.first is None else f"{100 * item.first:.0f} %",
    ]


def gain_text(item: Standing) -> str:
    """Gain over the control with its interval; below five pairs with the degrees of freedom that
    the interval rests on."""
    few = item.gain_low is not None and len(item.paired) < BETTER_FROM
    return format_interval(item.gain, item.gain_low, item.gain_high) + (
        f" on {len(item.paired) - 1} d.f." if few else ""
    )


def method_titles(judgement: SuiteVerdict) -> list[tuple[str, str]]:
    """Names of the methods in the tables, and what the paper calls them."""
    titles = {item.method: item.title for item in judgement.numbers if item.role != "external"}
    titles |= {item.method: item.title for item in judgement.standings}
    return [(name, title) for name, title in titles.items() if name != title]


def saved_text(item: Standing) -> str:
    """Labels saved at the control's final accuracy; an open end where resamples never got there."""
    if not item.control:
        return "–"
    if item.saved is None:
        return "not reached"
    ends = [
        "not reached" if end is None else f"{end:,.0f}" for end in (item.saved_low, item.saved_high)
    ]
    return f"{item.saved:,.0f} [{ends[0]}, {ends[1]}]" if item.n > 1 else f"{item.saved:,.0f}"


def kendall_text(judgement: SuiteVerdict) -> str:
    """Agreement of the methods' order with the paper's in words; empty where it cannot be said."""
    if judgement.kendall is None:
        return ""
    tau, p, methods = judgement.kendall
    return (
        f"Order of {methods} methods against the paper's: Kendall tau "
        f"{format_number(tau, signed=True)}, p {p_value(p)}."
    )


def measured_text(cell: Cell) -> str:
    """Mean, standard deviation and trials; and the 95 % interval of the mean with the error of the
    test set."""
    text = mean_sd(cell.mean, cell.sd, cell.n)
    return (
        text
        if cell.low is None
        else f"{text} [{format_number(cell.low)}, {format_number(cell.high)}]"
    )


def measured_lead(judgement: SuiteVerdict) -> str:
    """What the brackets of the table of what was measured are; empty where there are none."""
    if all(cell.low is None for cell in judgement.cells):
        return ""
    return (
        "In brackets: 95 % interval of the mean for other test images of the same kind. It holds "
        "the error of the mean over seeds "
        "and the binomial error of the test set that all seeds share, which no number of seeds "
        "makes smaller. Verdicts do not "
        "use it: published numbers were measured on the same test set."
    )


def measured_grid(judgement: SuiteVerdict) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of what was measured: methods by sizes."""
    sizes = sorted({cell.labelled for cell in judgement.cells})
    methods = list(dict.fromkeys(cell.method for cell in judgement.cells))
    at = {(cell.method, cell.labelled): cell for cell in judgement.cells}
    rows = []
    for method in methods:
        cells = [at.get((method, size)) for size in sizes]
        rows.append([method, *(measured_text(cell) if cell else "–" for cell in cells)])
    return ["method", *(f"{size:,}" for size in sizes)], rows


def matrix_text(judgement: SuiteVerdict, *, compared: bool) -> str:
    """What the table of methods by labels shows."""
    if not compared:
        return "Mean test accuracy in percent by labelled images"
    return (
        f"Our mean minus the {reference_head(judgement)} one, in points, by labelled images; where "
        "nothing is compared, our mean"
    )


def environment_text(judgement: SuiteVerdict) -> str:
    """Devices and environments in words."""
    ids = ", ".join(env[:16] for env in judgement.environments if env)
    devices = ", ".join(judgement.devices)
    return f"{devices} (environment {ids})" if ids else devices or "nothing was run"
