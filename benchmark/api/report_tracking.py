"""The verdicts of a report in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api.compare import ComparisonResult
from benchmark.api.workspace import Workspace

if TYPE_CHECKING:
    from benchmark.verdicts.results import Estimate, SuiteVerdict


def track_report(
    settings: Workspace, item: ComparisonResult, files: Sequence[Path], uri: str | None
) -> str:
    """Add verdicts, pictures and the page to the tracker; why that failed, which is no failure of
    the report."""
    if uri is None and not (settings.runs / ".tracking" / "mlflow.db").exists():
        return ""
    from benchmark.reports.formatting import write_headline
    from benchmark.tracking import mlflow as tracking

    judgement = item.judgement
    shown = {path.stem: path for path in files if path.suffix in (".png", ".html")}
    try:
        tracking.publish_verdicts(
            uri,
            item.suite.id,
            judgement.profile,
            judgement.variant,
            _verdict_rows(judgement),
            shown,
            runs=settings.runs,
            methods=list(dict.fromkeys(cell.method for cell in judgement.cells)),
            lead=write_headline(judgement),
            about=_describe_suite(item, write_headline(judgement)),
        )
    except Exception as error:
        return f"tracking: {error}\n  the report is complete without it"
    return ""


def _describe_suite(item: ComparisonResult, sentence: str) -> str:
    """What a suite is and what came out, in Markdown: the verdict's sentence, title, paper, and a
    line for each claim."""
    from benchmark.reports.formatting import claim_text
    from benchmark.reports.html import ARCHIVES

    paper, judgement = item.suite.suite.paper, item.judgement
    named = f"{paper.title}, {paper.venue} {paper.year}"
    archive, _, number = paper.preprint.partition(":")
    link = f"{ARCHIVES[archive]}{number}" if archive in ARCHIVES else ""
    lines = [f"**{sentence}**", f"{judgement.title}. {f'[{named}]({link})' if link else named}"]
    claims = [f"- {claim_text(claim)} {claim.id}: {claim.text}" for claim in judgement.claims]
    return "\n\n".join([*lines, *(["\n".join(claims)] if claims else [])])


def _verdict_rows(judgement: SuiteVerdict) -> list[dict[str, Any]]:
    """Verdicts on numbers, areas and claims, and how methods stand, one row each. Rows without a
    method concern all."""
    curve = "area under {}" if judgement.rule.curve == "area" else "mean over sizes of {}"
    gain = "area" if judgement.rule.curve == "area" else "mean over sizes"
    rows: list[dict[str, Any]] = [
        {
            "method": item.method,
            "what": item.metric,
            "labelled": item.labelled,
            "verdict": str(item.verdict.kind),
            **_estimate_values(item.estimate),
            "reason": item.verdict.reason,
            "source": item.source,
        }
        for item in judgement.numbers
        if item.decides
    ]
    rows += [
        {
            "method": item.method,
            "what": curve.format(item.metric),
            "labelled": None,
            "verdict": str(item.verdict.kind),
            **_estimate_values(item.estimate),
            "reason": item.verdict.reason,
            "source": item.source,
        }
        for item in judgement.curves
    ]
    rows += [
        {
            "method": item.method,
            "what": f"gain over {item.control} ({gain})",
            "difference": item.gain,
            "low": item.gain_low,
            "high": item.gain_high,
            "n": item.n,
        }
        for item in judgement.standings
        if item.control
    ]
    rows += [
        {
            "what": f"claim {claim.id}: {claim.text}",
            "verdict": str(claim.outcome),
            "reason": claim.reason,
            "source": claim.source,
        }
        for claim in judgement.claims
    ]
    return rows


def _estimate_values(found: Estimate | None) -> dict[str, Any]:
    names = {
        "ours": "mean",
        "sd": "sd",
        "n": "n",
        "published": "reference",
        "difference": "difference",
        "low": "low",
        "high": "high",
        "needed": "needed",
    }
    return {name: None if found is None else getattr(found, field) for name, field in names.items()}
