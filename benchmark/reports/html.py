"""One self-contained page per suite, and an index: no network, no cookies, every script and style
allowed by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.errors import Exit
from benchmark.reports import answer, figure, formatting, overview
from benchmark.reports.leaderboard import (
    ACROSS_HEADS,
    ENTRY_HEADS,
    RANK_HEADS,
    Leaderboard,
    model_tables,
)
from benchmark.reports.page_context import PageContext
from benchmark.reports.plots import Picture, inline
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.results import ClaimOutcome, SuiteVerdict, VerdictKind

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVES = {"arXiv": "https://arxiv.org/abs/", "OpenReview": "https://openreview.net/forum?id="}
STATE_CLASS = {
    Exit.OK: "reproduced",
    Exit.DISCREPANCY: "below",
    Exit.INCONCLUSIVE: "inconclusive",
    Exit.NOT_MEASURED: "missing",
}


METHOD_HEADS = (
    "suite",
    "data set",
    "profile",
    "trials",
    "labels at the end",
    "there",
    "place",
    "area or mean of the curve",
    "gain over control",
    "labels saved",
    "cost against control",
    "published numbers",
)


@dataclass(frozen=True)
class Page:
    """A suite in the index: its verdict, the name of its data set, and where its page lies (empty:
    nowhere)."""

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
    context: PageContext | None = None,
    curves: Mapping[str, Any] | None = None,
) -> str:
    """The page of a suite. `curves` are the values of `figure.suite_figure`."""
    context = context or PageContext()
    notes, suite = formatting.Footnotes(), suite_file.suite
    numbers = formatting.number_lines(judgement, notes)
    areas = formatting.curve_lines(judgement, notes)
    beside = formatting.number_lines(judgement, notes, decides=False)
    measured_methods = dict.fromkeys(cell.method for cell in judgement.cells)
    links = {
        method: address
        for method in measured_methods
        if (address := context.runs_of(method, judgement))
    }
    claims = [_claim_values(claim, notes, links) for claim in judgement.claims]
    measured_heads, measured = formatting.measured_grid(judgement)
    collapsed = formatting.collapsed_reason(judgement)
    deviations = [
        (name, one.topic, one.paper, one.code, one.pinned, one.effect, one.source)
        for name, one in suite.deviations.items()
    ]
    conditions = {
        "Ran on": formatting.environment_text(judgement),
        "Cost": cost_note,
        **(facts or {}),
    }
    standings = (
        [formatting.standing_cells(item) for item in judgement.standings]
        if len(judgement.standings) > 1
        else []
    )
    penalties = [
        (name, *map(formatting.format_number, row))
        for name, row in zip(judgement.penalty_methods, judgement.penalties, strict=True)
    ]
    matrix = overview.verdict_matrix(judgement)
    missing, missing_command = overview.missing_text(judgement, commands or {})
    parts = {
        "pictures": _shown(pictures),
        "numbers": [] if collapsed else numbers,
        "claims": claims,
        "methods": formatting.method_titles(judgement),
        "beside": beside,
        "measured": measured,
        "notes": [*notes.lines(), *judgement.notes],
        "deviations": deviations,
        "commands": list((commands or {}).items()),
        "models": [formatting.model_cells(row) for row in judgement.models],
        "singles": formatting.single_rows(judgement),
        "picks": context.picks,
    }
    return _render_page(
        "suite.html.j2",
        f"{judgement.title}: {judgement.suite}",
        judgement=judgement,
        suite=suite,
        index=context.index,
        pages=context.methods,
        runs=context.runs,
        links=links,
        trials=answer.trials_text(judgement),
        claim_groups=overview.claim_groups(judgement.claims),
        tiles=overview.verdict_tiles(judgement),
        matrix=matrix,
        missing=missing,
        missing_command=missing_command,
        matrix_text=formatting.matrix_text(judgement, compared=matrix.compared),
        figure=curves,
        figure_values=_mark_safe(figure.values_text(curves)) if curves else "",
        figure_text=_figure_text(curves) if curves else "",
        headline=formatting.write_headline(judgement),
        paper_url=_preprint_address(suite.paper.preprint),
        sections=_page_sections(judgement, parts),
        collapsed=collapsed,
        curves=areas,
        area=formatting.curve_text(judgement.rule),
        filters=_table_filters(numbers),
        reference=formatting.reference_head(judgement),
        budget_heads=formatting.BUDGET_HEADS,
        standings=standings,
        standing_heads=formatting.standing_heads(judgement),
        penalties=penalties if standings else [],
        penalty_heads=["method", *judgement.penalty_methods],
        kendall=formatting.kendall_text(judgement),
        beside_text=formatting.BESIDE,
        measured_heads=measured_heads,
        model_heads=formatting.MODEL_HEADS,
        model_text=formatting.model_text(judgement) if judgement.models else "",
        single_heads=formatting.SINGLE_HEADS,
        single_text=formatting.SINGLE_TEXT,
        footnotes=notes.lines(),
        notes_plain=judgement.notes,
        deviation_state=formatting.deviation_state(judgement).replace("`", ""),
        rule=formatting.rule_text(judgement),
        facts=[(name, text) for name, text in conditions.items() if text],
        **parts,
    )


def index_page(
    pages: Sequence[Page],
    board: Leaderboard | None = None,
    pictures: Sequence[Picture] = (),
    methods: Mapping[str, str] | None = None,
) -> str:
    """The page over all suites: claims, suites, and the leaderboard where there is one. `methods`
    are the relative addresses of the pages of methods, by method."""
    rows = [_index_row(page) for page in pages]
    whole = _deciding_pages(pages)
    claims, (paper_heads, papers) = claim_rows(whole), _paper_table(whole)
    entries = list(board.entries) if board else []
    return _render_page(
        "index.html.j2",
        "Active-learning papers, re-run",
        pages=rows,
        board=board,
        lead=_lead_sentences(whole),
        papers=papers,
        paper_heads=paper_heads,
        claims=claims,
        claim_filters=[
            _filter_field("paper", "Paper", claims),
            _filter_field("state", "Verdict", claims),
        ],
        methods=methods or {},
        filters=[
            _filter_field("paper", "Paper", rows),
            _filter_field("dataset", "Data set", rows),
            _filter_field("state", "Verdict", rows),
        ],
        board_text=board.text if board else "",
        ranks=[place.cells() for place in board.places] if board else [],
        rank_heads=RANK_HEADS,
        entry_heads=ENTRY_HEADS,
        entries=entries,
        entry_filters=[
            (name, title, list(dict.fromkeys(str(getattr(entry, name)) for entry in entries)))
            for name, title in (
                ("paper", "Paper"),
                ("dataset", "Data set"),
                ("budget", "Budget"),
                ("method", "Method"),
            )
        ],
        pictures=_shown(pictures),
        across=[row.cells() for row in board.across] if board else [],
        across_heads=ACROSS_HEADS,
        model_tables=model_tables([page.judgement for page in pages]),
    )


def method_page(
    method: str,
    pages: Sequence[Page],
    curves: Mapping[str, Any] | None,
    costs: Mapping[tuple[str, str], float],
    index: str,
) -> str:
    """The page of one method over all suites that measured it; addresses in `pages` are relative to
    it. `curves` are the values of `figure.gains_figure`, `costs` those of a trial by suite and
    method, `index` is the address of the page over all suites."""
    rows, claims = [], []
    for page in pages:
        judgement = page.judgement
        if any(cell.method == method for cell in judgement.cells):
            rows.append(_standing_row(method, page, costs))
        claims += [row for row in claim_rows([page]) if method in row["methods"]]
    titles = {dict(formatting.method_titles(page.judgement)).get(method, "") for page in pages} - {
        ""
    }
    return _render_page(
        "method.html.j2",
        method,
        method=method,
        titles=", ".join(sorted(titles)),
        rows=rows,
        claims=claims,
        index=index,
        heads=METHOD_HEADS,
        figure=curves,
        figure_values=_mark_safe(figure.values_text(curves)) if curves else "",
        figure_text=_figure_text(curves) if curves else "",
    )


def claim_rows(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """A row for every claim of these suites, decided ones first and questions of this project last;
    suites in which a paper's claim has the same verdict share one."""
    order = list(overview.CLAIM_WORDS)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    numbered = [
        (page, index, claim)
        for page in pages
        for index, claim in enumerate(page.judgement.claims, start=1)
    ]
    for page, index, claim in sorted(
        numbered, key=lambda item: (item[2].is_question, order.index(item[2].outcome))
    ):
        paper, verdict = page.judgement.suite.partition("/")[0], formatting.claim_text(claim)
        row = found.setdefault(
            (paper, claim.id, claim.text, verdict),
            {
                "paper": paper,
                "id": claim.id,
                "state": str(claim.outcome).replace("_", " "),
                "text": f"{claim.text} (a question of this project)"
                if claim.is_question
                else claim.text,
                "verdict": verdict,
                "suites": [],
                "methods": set(),
            },
        )
        profile = page.judgement.profile
        named = page.judgement.suite if profile == "paper" else f"{page.judgement.suite}, {profile}"
        row["suites"].append((named, f"{page.href}#claim-{index}" if page.href else ""))
        row["methods"].update(claim.methods)
    return list(found.values())


def _standing_row(
    method: str, page: Page, costs: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    """One suite in the table of a method."""
    judgement = page.judgement
    last = max(
        (cell for cell in judgement.cells if cell.method == method), key=lambda cell: cell.labelled
    )
    order = [row.method for row in judgement.standings]
    row = next((row for row in judgement.standings if row.method == method), None)
    kinds = Counter(
        f"{formatting.SIGNS[item.verdict.kind]} {str(item.verdict.kind).replace('_', ' ')}"
        for item in judgement.numbers
        if item.decides and item.method == method
    )
    own = costs.get((judgement.suite, method))
    base = costs.get((judgement.suite, row.control)) if row else None
    return {
        "suite": judgement.suite,
        "href": page.href,
        "cells": (
            page.dataset,
            judgement.profile,
            str(last.n),
            formatting.count(last.labelled),
            formatting.mean_sd(last.mean, last.sd, None),
            f"{order.index(method) + 1} of {len(order)}" if row else "–",
            formatting.mean_sd(row.area, row.area_sd, None) if row else "–",
            formatting.gain_text(row) if row else "–",
            formatting.saved_text(row) if row else "–",
            f"{own / base:.2f}×" if own and base else "–",
            ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "–",
        ),
    }


def _deciding_pages(pages: Sequence[Page]) -> list[Page]:
    """The pages that decide claims: those of a suite's whole protocol, where there is one."""
    held = {page.judgement.suite for page in pages if page.judgement.profile == "paper"}
    return [
        page
        for page in pages
        if page.judgement.profile == "paper" or page.judgement.suite not in held
    ]


def _paper_table(pages: Sequence[Page]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of how many claims and numbers of each paper got which verdict; verdicts that
    none got are left out."""
    claims: dict[str, Counter[ClaimOutcome]] = {}
    numbers: dict[str, Counter[VerdictKind]] = {}
    for page in pages:
        paper = page.judgement.suite.partition("/")[0]
        claims.setdefault(paper, Counter()).update(
            claim.outcome for claim in page.judgement.claims if not claim.is_question
        )
        numbers.setdefault(paper, Counter()).update(page.judgement.reference_counts())
    outcomes = [kind for kind in overview.CLAIM_WORDS if any(own[kind] for own in claims.values())]
    kinds = [kind for kind in overview.WORDS if any(own[kind] for own in numbers.values())]
    heads = ["paper", "claims", *map(_signed, outcomes), "published numbers", *map(_signed, kinds)]
    rows = [
        [
            paper,
            str(own.total()),
            *(str(own[kind]) for kind in outcomes),
            str(numbers[paper].total()),
            *(str(numbers[paper][kind]) for kind in kinds),
        ]
        for paper, own in claims.items()
        if own or numbers[paper]
    ]
    return heads, rows


def _lead_sentences(pages: Sequence[Page]) -> str:
    """How many suites, and what is said of their claims and numbers, in a sentence each."""
    suites = len({page.judgement.suite for page in pages})
    outcomes = Counter(
        claim.outcome for page in pages for claim in page.judgement.claims if not claim.is_question
    )
    kinds: Counter[VerdictKind] = Counter()
    for page in pages:
        kinds.update(page.judgement.reference_counts())
    claims = ", ".join(
        f"{outcomes[kind]} {str(kind).replace('_', ' ')}"
        for kind in overview.CLAIM_WORDS
        if outcomes[kind]
    )
    numbers = ", ".join(
        f"{kinds[kind]:,} {str(kind).replace('_', ' ')}" for kind in overview.WORDS if kinds[kind]
    )
    parts = [f"{suites} suite{'s' * (suites != 1)}"]
    parts += [f"{outcomes.total():,} claims: {claims}"] if claims else []
    parts += [f"{kinds.total():,} numbers: {numbers}"] if numbers else []
    return ". ".join(parts) + "."


def _signed(kind: VerdictKind | ClaimOutcome) -> str:
    return f"{formatting.SIGNS[kind]} {str(kind).replace('_', ' ')}"


def _page_sections(judgement: SuiteVerdict, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "answer": "Answer",
        "pictures": "Curves",
        "numbers": "Numbers",
        "claims": "Claims",
        "methods": "Methods",
        "models": "Target models",
        "beside": "Shown beside",
        "measured": "Measured",
        "picks": "What was bought",
        "notes": "Notes",
        "deviations": "Deviations",
        "conditions": "Conditions",
        "commands": "Commands",
    }
    always = {"answer", "numbers", "conditions", *(["commands"] if judgement.missing else [])}
    return [(name, title) for name, title in names.items() if name in always or parts.get(name)]


def _claim_values(
    claim: Any, notes: formatting.Footnotes, links: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "id": claim.id,
        "text": claim.text,
        "source": claim.source,
        "published": claim.published.rstrip("."),
        "kind": str(claim.outcome),
        "verdict": formatting.claim_text(claim),
        "marks": notes.marks(claim.notes),
        "rows": [formatting.budget_cells(test) for test in claim.budgets],
        "runs": [(method, links[method]) for method in claim.methods if method in links],
    }


def _table_filters(lines: Sequence[formatting.Line]) -> list[tuple[str, str, list[str]]]:
    columns = (
        ("method", "Method", "method"),
        ("verdict", "Verdict", "kind"),
        ("labels", "Labels", "labelled"),
    )
    return [
        (name, title, list(dict.fromkeys(getattr(line, field) for line in lines)))
        for name, title, field in columns
    ]


def _filter_field(
    name: str, title: str, rows: Iterable[Mapping[str, str]]
) -> tuple[str, str, list[str]]:
    return name, title, list(dict.fromkeys(row[name] for row in rows))


def _index_row(page: Page) -> dict[str, str]:
    judgement = page.judgement
    outcomes = [str(claim.outcome).replace("_", " ") for claim in judgement.claims]
    return {
        "title": judgement.suite,
        "paper": judgement.suite.partition("/")[0],
        "dataset": page.dataset,
        "href": page.href,
        "profile": judgement.profile,
        "state": formatting.exit_meaning(judgement),
        "kind": STATE_CLASS.get(judgement.exit_code, ""),
        "numbers": ", ".join(
            f"{n} {str(kind).replace('_', ' ')}" for kind, n in judgement.counts().items()
        )
        or "–",
        "claims": ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes))
        or "–",
    }


def _preprint_address(preprint: str) -> str:
    """Where a preprint is read; empty where there is none."""
    archive, _, number = preprint.partition(":")
    return ARCHIVES[archive] + number if preprint else ""


def _figure_text(curves: Mapping[str, Any]) -> str:
    """What the figure shows and how it is used."""
    theirs = any(one["published"] for view in curves["views"] for one in view["series"])
    lines = "Solid with filled markers: ours" + (
        "; dashed with hollow markers: published." if theirs else "."
    )
    return (
        f"{lines} Point at a curve to read its value, interval and {curves['unit']}. Press a name "
        "to hide its curve, press it "
        "twice to see it alone. Draw a rectangle to enlarge it; press twice for the whole."
    )


def _shown(pictures: Iterable[Picture]) -> list[dict[str, Any]]:
    return [
        {
            "svg": _mark_safe(inline(picture)),
            "title": picture.title,
            "description": picture.description,
        }
        for picture in pictures
    ]


def _mark_safe(markup: str) -> Any:
    from markupsafe import Markup

    return Markup(markup)  # noqa: S704 - our own SVG and our own files; every text in them is escaped where it is made


def _render_page(template: str, title: str, **values: Any) -> str:
    css, js = (TEMPLATES / "style.css").read_text(), (TEMPLATES / "filter.js").read_text()
    if values.get("figure"):
        css = f"{figure.library_style()}\n{css}"
        js = f"{figure.library_script()}{(TEMPLATES / 'figure.js').read_text()}{js}"
    # Style attributes are allowed: matplotlib's SVG is made of them, and they can load nothing
    # under this policy.
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src '{_content_hash(js)}'; style-src '{_content_hash(css)}'; "
        "style-src-attr 'unsafe-inline'"
    )
    text = (
        _template_environment()
        .get_template(template)
        .render(title=title, css=_mark_safe(css), js=_mark_safe(js), policy=policy, **values)
    )
    return str(text)


def _content_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _template_environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
