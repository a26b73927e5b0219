"""One self-contained page per suite, and an index: no network, no cookies, every script and style allowed by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.errors import Exit
from benchmark.reports import figure, formatting, overview
from benchmark.reports.leaderboard import ACROSS_HEADS, ENTRY_HEADS, RANK_HEADS, Leaderboard, model_tables
from benchmark.reports.plots import Picture, inline
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.results import SuiteVerdict

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVES = {"arXiv": "https://arxiv.org/abs/", "OpenReview": "https://openreview.net/forum?id="}
STATE_CLASS = {
    Exit.OK: "reproduced",
    Exit.DISCREPANCY: "below",
    Exit.INCONCLUSIVE: "inconclusive",
    Exit.NOT_MEASURED: "missing",
}


@dataclass(frozen=True)
class Page:
    """A suite in the index: its verdict, the name of its data set, and where its page lies (empty: nowhere)."""

    judgement: SuiteVerdict
    dataset: str
    href: str = ""


def suite_page(
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    pictures: Sequence[Picture],
    cost_note: str = "",
    commands: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
    index: str = "",
    curves: Mapping[str, Any] | None = None,
) -> str:
    """The page of a suite. `index` is the relative address of the index page, if there is one; `curves` are the values of
    `figure.suite_figure`."""
    notes, suite = formatting.Footnotes(), suite_file.suite
    numbers, areas = formatting.number_lines(judgement, notes), formatting.curve_lines(judgement, notes)
    beside = formatting.number_lines(judgement, notes, decides=False)
    claims = [_claim(claim, notes) for claim in judgement.claims]
    measured_heads, measured = formatting.measured_grid(judgement)
    collapsed = formatting.collapsed(judgement)
    deviations = [
        (name, one.topic, one.paper, one.code, one.pinned, one.effect, one.source)
        for name, one in suite.deviations.items()
    ]
    conditions = {"Ran on": formatting.environment_text(judgement), "Cost": cost_note, **(facts or {})}
    standings = (
        [formatting.standing_cells(item) for item in judgement.standings] if len(judgement.standings) > 1 else []
    )
    penalties = [
        (name, *map(formatting.number, row))
        for name, row in zip(judgement.penalty_methods, judgement.penalties, strict=True)
    ]
    matrix = overview.verdict_matrix(judgement)
    missing, missing_command = overview.missing_text(judgement, commands or {})
    parts = {
        "pictures": [{"svg": _safe(inline(picture)), "title": picture.title, "description": picture.description} for picture in pictures],
        "numbers": [] if collapsed else numbers, "claims": claims, "methods": formatting.method_titles(judgement), "beside": beside,
        "measured": measured, "notes": [*notes.lines(), *judgement.notes], "deviations": deviations,
        "commands": list((commands or {}).items()), "models": [formatting.model_cells(row) for row in judgement.models],
        "singles": formatting.single_rows(judgement),
    }  # fmt: skip
    return _render(
        "suite.html.j2", f"{judgement.title}: {judgement.suite}", judgement=judgement, suite=suite, index=index,
        tiles=overview.verdict_tiles(judgement), matrix=matrix, missing=missing, missing_command=missing_command,
        matrix_text=formatting.matrix_text(judgement, compared=matrix.compared),
        figure=curves, figure_values=_safe(figure.values_text(curves)) if curves else "",
        figure_text=_figure_text(curves) if curves else "",
        headline=formatting.headline(judgement), paper_url=_address(suite.paper.preprint), sections=_sections(judgement, parts),
        collapsed=collapsed, curves=areas, area=formatting.curve_text(judgement.rule), filters=_filters(numbers),
        reference=formatting.reference_head(judgement), budget_heads=formatting.BUDGET_HEADS,
        standings=standings, standing_heads=formatting.standing_heads(judgement), penalties=penalties if standings else [],
        penalty_heads=["method", *judgement.penalty_methods], kendall=formatting.kendall_text(judgement),
        beside_text=formatting.BESIDE,
        measured_heads=measured_heads, model_heads=formatting.MODEL_HEADS,
        model_text=formatting.model_text(judgement) if judgement.models else "", single_heads=formatting.SINGLE_HEADS,
        single_text=formatting.SINGLE_TEXT, footnotes=notes.lines(), notes_plain=judgement.notes,
        deviation_state=formatting.deviation_state(judgement).replace("`", ""), rule=formatting.rule_text(judgement),
        facts=[(name, text) for name, text in conditions.items() if text], **parts,
    )  # fmt: skip


def index_page(pages: Sequence[Page], board: Leaderboard | None = None, pictures: Sequence[Picture] = ()) -> str:
    """The page over all suites, with the leaderboard where there is one."""
    rows = [_row(page) for page in pages]
    states = [row["state"] for row in rows]
    lead = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no suite"
    entries = list(board.entries) if board else []
    return _render(
        "index.html.j2", "Active-learning papers, re-run", pages=rows, board=board,
        lead=f"{len(pages)} suite{'s' * (len(pages) != 1)}: {lead}",
        filters=[_field("paper", "Paper", rows), _field("dataset", "Data set", rows), _field("state", "Verdict", rows)],
        board_text=board.text if board else "", ranks=[place.cells() for place in board.places] if board else [],
        rank_heads=RANK_HEADS, entry_heads=ENTRY_HEADS, entries=entries,
        entry_filters=[
            (name, title, list(dict.fromkeys(str(getattr(entry, name)) for entry in entries)))
            for name, title in (("paper", "Paper"), ("dataset", "Data set"), ("budget", "Budget"), ("method", "Method"))
        ],
        pictures=[{"svg": _safe(inline(picture)), "title": picture.title, "description": picture.description} for picture in pictures],
        across=[row.cells() for row in board.across] if board else [], across_heads=ACROSS_HEADS,
        model_tables=model_tables([page.judgement for page in pages]),
    )  # fmt: skip


def _sections(judgement: SuiteVerdict, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "answer": "Answer", "pictures": "Curves", "numbers": "Numbers", "claims": "Claims", "methods": "Methods",
        "models": "Target models", "beside": "Shown beside", "measured": "Measured", "notes": "Notes",
        "deviations": "Deviations", "conditions": "Conditions", "commands": "Commands",
    }  # fmt: skip
    always = {"answer", "numbers", "conditions", *(["commands"] if judgement.missing else [])}
    return [(name, title) for name, title in names.items() if name in always or parts.get(name)]


def _claim(claim: Any, notes: formatting.Footnotes) -> dict[str, Any]:
    return {
        "id": claim.id, "text": claim.text, "source": claim.source, "published": claim.published.rstrip("."),
        "kind": str(claim.outcome), "verdict": formatting.claim_text(claim), "marks": notes.marks(claim.notes),
        "rows": [formatting.budget_cells(test) for test in claim.budgets],
    }  # fmt: skip


def _filters(lines: Sequence[formatting.Line]) -> list[tuple[str, str, list[str]]]:
    columns = (("method", "Method", "method"), ("verdict", "Verdict", "kind"), ("labels", "Labels", "labelled"))
    return [
        (name, title, list(dict.fromkeys(getattr(line, field) for line in lines))) for name, title, field in columns
    ]


def _field(name: str, title: str, rows: Iterable[Mapping[str, str]]) -> tuple[str, str, list[str]]:
    return name, title, list(dict.fromkeys(row[name] for row in rows))


def _row(page: Page) -> dict[str, str]:
    judgement = page.judgement
    outcomes = [str(claim.outcome).replace("_", " ") for claim in judgement.claims]
    return {
        "title": judgement.suite, "paper": judgement.suite.partition("/")[0], "dataset": page.dataset, "href": page.href,
        "profile": judgement.profile, "state": formatting.meaning(judgement),
        "kind": STATE_CLASS.get(judgement.exit_code, ""),
        "numbers": ", ".join(f"{n} {str(kind).replace('_', ' ')}" for kind, n in judgement.counts().items()) or "–",
        "claims": ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes)) or "–",
    }  # fmt: skip


def _address(preprint: str) -> str:
    """Where a preprint is read; empty where there is none."""
    archive, _, number = preprint.partition(":")
    return ARCHIVES[archive] + number if preprint else ""


def _figure_text(curves: Mapping[str, Any]) -> str:
    """What the figure shows and how it is used."""
    theirs = any(one["published"] for view in curves["views"] for one in view["series"])
    lines = "Solid with filled markers: ours" + ("; dashed with hollow markers: published." if theirs else ".")
    return (
        f"{lines} Point at a curve to read its value, interval and {curves['unit']}. Press a name to hide its curve, press it twice "
        "to see it alone. Draw a rectangle to enlarge it; press twice for the whole."
    )


def _safe(markup: str) -> Any:
    from markupsafe import Markup

    return Markup(markup)  # noqa: S704 - our own SVG and our own files; every text in them is escaped where it is made


def _render(template: str, title: str, **values: Any) -> str:
    css, js = (TEMPLATES / "style.css").read_text(), (TEMPLATES / "filter.js").read_text()
    if values.get("figure"):
        css = f"{figure.library_style()}\n{css}"
        js = f"{figure.library_script()}{(TEMPLATES / 'figure.js').read_text()}{js}"
    # Style attributes are allowed: matplotlib's SVG is made of them, and they can load nothing under this policy.
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; script-src '{_hash(js)}'; style-src '{_hash(css)}'; "
        "style-src-attr 'unsafe-inline'"
    )
    text = (
        _environment().get_template(template).render(title=title, css=_safe(css), js=_safe(js), policy=policy, **values)
    )
    return str(text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
