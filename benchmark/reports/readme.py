"""What the README shows of the committed results: the state of the claims, the verdicts as they
stand today, and the quickstart's picture.

`python -m benchmark.reports.readme README.md` (`make readme`) writes between the markers, and the
page docs/claims.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.errors import Exit
from benchmark.reports import claims, formatting, markdown
from benchmark.runs.events import write_bytes
from benchmark.spec.load import SuiteFile, load_suite, suite_files
from benchmark.spec.published import TARGETS
from benchmark.spec.suite import OURS
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement, read_committed
from benchmark.verdicts.parts import shown_profiles, with_parts
from benchmark.verdicts.results import SuiteVerdict

SHOWN = "quickstart/digits"
PICTURE = "gain.png"
MARKER, CLAIMS_MARKER = "results", "claims"
HEADS = ("suite", "profile", "trials", "numbers", "claims", "in all")
METHOD_HEADS = ("method", "trials", "area under the curve (%)", "gain over random", "labels saved")


def results_section(root: Path) -> str:
    """Markdown of the committed results of a checkout; says so where there are none."""
    suites, tables = _read_checkout(root)
    rows = [row for suite in suites for row in _verdict_rows(suite, tables[suite.id])]
    parts = [markdown.make_table(HEADS, rows) if rows else "No results are committed yet."]
    parts.append(
        _waiting_section([suite for suite in suites if not _has_protocol(suite, tables[suite.id])])
    )
    parts += [
        _quickstart_section(root, suite, tables[suite.id]) for suite in suites if suite.id == SHOWN
    ]
    return "\n\n".join(part for part in parts if part)


def main(readme: Path) -> None:
    """Write the README's part. Raises UsageError where its markers are missing."""
    root, text = readme.resolve().parent, readme.read_text(encoding="utf-8")
    suites, committed = _read_checkout(root)
    text = markdown.replace_between(text, CLAIMS_MARKER, claims.state_table(suites, committed))
    readme.write_text(
        markdown.replace_between(text, MARKER, results_section(root)), encoding="utf-8"
    )
    write_bytes(root / claims.PAGE, claims.claims_page(suites, committed).encode())


def _read_checkout(root: Path) -> tuple[list[SuiteFile], dict[str, list[Measurement]]]:
    """The suites of a checkout, and what is committed for each."""
    suites = [load_suite(path, root / "suites") for path in suite_files(root / "suites")]
    return suites, {suite.id: read_committed(root / "results" / suite.id) for suite in suites}


def _judge_committed(
    suite: SuiteFile, rows: Sequence[Measurement], profile: str, variant: str
) -> SuiteVerdict:
    """Committed trials against the paper; against nothing where they are themselves the
    reference."""
    own = {row.method for row in rows} if suite.suite.rule.reference == "records" else set()
    return judge_suite(suite, rows, profile=profile, variant=variant, unjudged=own)


def _quickstart_section(root: Path, suite: SuiteFile, rows: Sequence[Measurement]) -> str:
    """The picture, where it is committed, and how the methods stand."""
    found = _judge_committed(suite, rows, "paper", "as_published") if rows else None
    if found is None or not found.standings:
        return ""
    image = Path("results") / suite.id / PICTURE
    parts = [
        f"![{suite.suite.title}: gain over random sampling]({image.as_posix()})"
        if (root / image).exists()
        else ""
    ]
    lines = [
        (
            item.method,
            str(item.n),
            formatting.mean_sd(item.area, item.area_sd, None),
            formatting.format_interval(item.gain, item.gain_low, item.gain_high),
            formatting.saved_text(item),
        )
        for item in found.standings
    ]
    parts.append(markdown.make_table(METHOD_HEADS, lines))
    return "\n\n".join(filter(None, parts))


def _verdict_rows(suite: SuiteFile, rows: Sequence[Measurement]) -> Iterable[tuple[str, ...]]:
    """A row for every profile and variant of a suite with committed trials, the paper's first."""
    kept = shown_profiles(suite, rows)
    for profile, variant in sorted(kept, key=lambda one: (one != ("paper", "as_published"), one)):
        found = _judge_committed(suite, rows, profile, variant)
        whole = with_parts(suite, rows, profile, variant)
        trials = {(r.method, r.seed) for r in whole if (r.profile, r.variant) == (profile, variant)}
        counts = {str(kind).replace("_", " "): count for kind, count in found.counts().items()}
        outcomes = [
            str(claim.outcome).replace("_", " ") for claim in found.claims if not claim.is_question
        ]
        claims = {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
        named = profile if variant == "as_published" else f"{profile}, {variant}"
        reason = formatting.collapsed_reason(found)
        yield (
            f"`{suite.id}`",
            named,
            str(len(trials)),
            f"not compared: {reason}" if reason else _count_verdicts(counts),
            _count_verdicts(claims),
            _describe_verdicts(suite, found),
        )


def _count_verdicts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "–"


def _describe_verdicts(suite: SuiteFile, found: SuiteVerdict) -> str:
    if suite.suite.rule.reference == "records":
        return "the reference for later runs"
    if found.claims and all(claim.is_question for claim in found.claims):
        return "methods against each other"
    if found.exit_code is Exit.OK and all(verdict.excused for verdict in found.deciding()):
        return "–"
    return formatting.MEANING.get(found.exit_code, "stopped")


def _has_protocol(suite: SuiteFile, rows: Sequence[Measurement]) -> bool:
    """Whether any trial kept the protocol, or a part of it: shrunk profiles say nothing about the
    paper."""
    parts = {name for name, profile in suite.suite.profiles.items() if profile.part}
    return any(row.profile in {"paper", *parts} for row in rows)


def _waiting_section(suites: Sequence[SuiteFile]) -> str:
    """Suites without committed results of their protocol, by paper, with what waits to be
    judged."""
    papers: dict[str, list[SuiteFile]] = {}
    for suite in suites:
        papers.setdefault(suite.id.partition("/")[0], []).append(suite)
    rows = []
    for paper, own in papers.items():
        numbers = sum(row.role in TARGETS for suite in own for row in suite.reported)
        claims = sum(
            not item.source.startswith(OURS)
            for suite in own
            for item in suite.suite.claims.values()
        )
        rows.append((f"`{paper}/*`", str(len(own)), str(numbers), str(claims)))
    heads = ("without committed results", "suites", "published numbers", "claims")
    return markdown.make_table(heads, rows) if rows else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
