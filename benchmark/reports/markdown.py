"""The verdicts as Markdown: the committed report, the step summary, the README's table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from benchmark.errors import UsageError
from benchmark.reports import formatting
from benchmark.spec.load import SuiteFile
from benchmark.text import escape_controls
from benchmark.verdicts.results import SuiteVerdict


def render(
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    cost_note: str = "",
    commands: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """The whole report. `pictures` are alternative text and path, relative to where the text will
    lie."""
    notes, head = formatting.Footnotes(), formatting.reference_head(judgement)
    paper = suite_file.suite.paper
    parts = [
        f"# {escape_cell(judgement.title)}",
        f"{escape_cell(paper.title)} ({escape_cell(paper.venue)} {paper.year}). "
        f"Suite `{judgement.suite}`, profile `{judgement.profile}`, "
        f"variant `{judgement.variant}`.",
        f"**{escape_cell(formatting.write_headline(judgement))}**",
        *(f"![{escape_cell(alt)}]({path})" for alt, path in (pictures or {}).items()),
        _number_sections(judgement, notes),
        _format_section(
            "Curves",
            _verdict_table(formatting.curve_lines(judgement, notes), head),
            formatting.curve_text(judgement.rule),
        ),
        _claim_section(judgement, notes),
        _standing_section(judgement),
        _model_section(judgement),
        _format_section(
            "Shown beside",
            _verdict_table(formatting.number_lines(judgement, notes, decides=False), "published"),
            formatting.BESIDE,
        ),
        "\n".join(f"- {mark}) {escape_cell(text)}" for mark, text in notes.lines()),
        _format_section(
            "Measured",
            make_table(*formatting.measured_grid(judgement)) if judgement.cells else "",
            formatting.measured_lead(judgement),
        ),
        _deviation_section(suite_file, judgement),
        _format_section("Notes", "\n".join(f"- {escape_cell(note)}" for note in judgement.notes)),
        _condition_section(judgement, cost_note, facts or {}),
        _command_section(judgement, commands or {}),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_table(judgement: SuiteVerdict) -> str:
    """Only the table of deciding verdicts, or the sentence why there is none."""
    return _number_sections(judgement, formatting.Footnotes(), heading=False)


def overview_table(judgements: Iterable[SuiteVerdict]) -> str:
    """One row per suite: how its numbers and claims stand."""
    rows = []
    for judgement in judgements:
        claims = [str(claim.outcome) for claim in judgement.claims]
        rows.append(
            [
                f"`{judgement.suite}`",
                judgement.profile,
                ", ".join(f"{n} {kind}" for kind, n in judgement.counts().items()) or "–",
                ", ".join(f"{claims.count(o)} {o}" for o in dict.fromkeys(claims)) or "–",
                formatting.exit_meaning(judgement),
            ]
        )
    return make_table(("suite", "profile", "numbers", "claims", "in all"), rows)


def make_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells may hold anything."""
    lines = [list(heads), ["---"] * len(heads), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(map(escape_cell, line))} |" for line in lines)


def escape_cell(text: str) -> str:
    """Text that cannot break a table, start markup or carry HTML; control characters are written
    out."""
    text = escape_controls(text)
    for old, new in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), (">", "&gt;"), ("\n", " ")):
        text = text.replace(old, new)
    return text


def replace_between(text: str, name: str, body: str) -> str:
    """The text with `body` between its markers `<!-- name -->` and `<!-- /name -->`. Raises
    UsageError without them."""
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    changed, count = re.subn(
        pattern, lambda found: f"{found[1]}\n{body}\n\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        marks = f"<!-- {name} --> and <!-- /{name} -->"
        raise UsageError(
            f"{count} places for what is generated",
            remedy=f"write {marks} once, each on a line of its own",
        )
    return changed


def _format_section(title: str, body: str, lead: str = "") -> str:
    return "\n\n".join(part for part in (f"## {title}", lead, body) if part) if body else ""


def _number_sections(
    judgement: SuiteVerdict, notes: formatting.Footnotes, heading: bool = True
) -> str:
    reason = formatting.collapsed_reason(judgement)
    lines = formatting.number_lines(judgement, notes)
    body = (
        f"Not compared: {escape_cell(reason)}."
        if reason
        else _verdict_table(lines, formatting.reference_head(judgement))
    )
    return _format_section("Numbers", body) if heading else body


def _verdict_table(lines: Sequence[formatting.Line], reference: str) -> str:
    heads = (*formatting.number_heads(reference), "notes")
    rows = [
        (
            line.method,
            line.labelled,
            line.ours,
            line.published,
            line.difference,
            line.mdd,
            line.needed,
            line.verdict,
            line.source,
            line.marks,
        )
        for line in lines
    ]
    return make_table(heads, rows) if rows else ""


def _claim_section(judgement: SuiteVerdict, notes: formatting.Footnotes) -> str:
    parts = []
    for claim in judgement.claims:
        marks = notes.marks(claim.notes)
        text = (
            f"**{escape_cell(claim.id)}: {escape_cell(claim.text)}** "
            f"({escape_cell(claim.source)}): "
            f"{escape_cell(formatting.claim_text(claim))}"
        )
        text += f" [{marks}]" if marks else ""
        parts.append(
            text + (f". In the paper: {escape_cell(claim.published)}" if claim.published else "")
        )
        if claim.budgets:
            parts.append(
                make_table(formatting.BUDGET_HEADS, map(formatting.budget_cells, claim.budgets))
            )
    return _format_section("Claims", "\n\n".join(parts))


def _standing_section(judgement: SuiteVerdict) -> str:
    parts = [
        "\n".join(
            f"- `{name}`: {escape_cell(title)}"
            for name, title in formatting.method_titles(judgement)
        )
    ]
    if len(judgement.standings) > 1:
        parts.append(
            make_table(
                formatting.standing_heads(judgement),
                map(formatting.standing_cells, judgement.standings),
            )
        )
    if len(judgement.penalties) > 1:
        rows = [
            [name, *(formatting.format_number(value) for value in row)]
            for name, row in zip(judgement.penalty_methods, judgement.penalties, strict=True)
        ]
        parts += [
            "Share of sizes at which the row's method beats the column's (paired t test at each "
            "size):"
        ]
        parts += [make_table(["", *judgement.penalty_methods], rows)]
    if judgement.kendall:
        parts += [formatting.kendall_text(judgement)]
    return _format_section("Methods", "\n\n".join(part for part in parts if part))


def _model_section(judgement: SuiteVerdict) -> str:
    """Target models: the paper's table, and single models against single published runs."""
    parts = []
    if judgement.models:
        parts += [
            escape_cell(formatting.model_text(judgement)),
            make_table(formatting.MODEL_HEADS, map(formatting.model_cells, judgement.models)),
        ]
    if rows := formatting.single_rows(judgement):
        parts += [formatting.SINGLE_TEXT, make_table(formatting.SINGLE_HEADS, rows)]
    return _format_section("Target models", "\n\n".join(parts))


def _deviation_section(suite_file: SuiteFile, judgement: SuiteVerdict) -> str:
    found = suite_file.suite.deviations
    rows = [
        (name, item.topic, item.paper, item.code, item.pinned, item.effect)
        for name, item in found.items()
    ]
    body = make_table(("", "topic", "paper", "code", "pinned", "effect"), rows) if rows else ""
    return _format_section("Deviations in force", body, formatting.deviation_state(judgement))


def _condition_section(judgement: SuiteVerdict, cost_note: str, facts: Mapping[str, str]) -> str:
    lines = {"Ran on": formatting.environment_text(judgement), "Cost": cost_note, **facts}
    listed = "\n".join(
        f"- {escape_cell(name)}: {escape_cell(text)}" for name, text in lines.items() if text
    )
    return _format_section(
        "Conditions", f"{escape_cell(formatting.rule_text(judgement))}\n\n{listed}"
    )


def _command_section(judgement: SuiteVerdict, commands: Mapping[str, str]) -> str:
    missing = f"Missing: {escape_cell(', '.join(judgement.missing))}." if judgement.missing else ""
    listed = "\n\n".join(
        f"{escape_cell(purpose)}:\n\n```sh\n{command}\n```" for purpose, command in commands.items()
    )
    return _format_section("Commands", "\n\n".join(part for part in (missing, listed) if part))
