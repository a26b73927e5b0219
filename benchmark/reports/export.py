"""Results for other programs: long tables (CSV, Parquet), JSON, a LaTeX table, and RO-Crate
metadata.

What is written depends on the arguments alone: no clock, no host.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any

from benchmark import __version__
from benchmark.errors import UsageError
from benchmark.reports import formatting
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict

COLUMNS = (
    "method",
    "seed",
    "labelled",
    "metric",
    "value",
    "suite",
    "profile",
    "variant",
    "cycle",
    "trial_id",
    "env_id",
    "device_model",
    "canonical",
    "data_note",
    "record_digest",
    "labelled_digest",
)
"""Columns of the long table; the first five are those that `albench judge` reads."""
ROCRATE = "https://w3id.org/ro/crate/1.1"
TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".tex": "application/x-tex",
    ".parquet": "application/vnd.apache.parquet",
}
"""Media types of the files of a crate, by suffix."""


def long_rows(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """One row per metric of every cycle of every trial. Trials that were put together are given as
    one."""
    rows = []
    for one in sorted(measurements, key=lambda item: item.key):
        for metric, value in sorted(one.metrics.items()):
            named = {"metric": metric, "value": value}
            rows.append(
                {
                    column: named[column] if column in named else getattr(one, column)
                    for column in COLUMNS
                }
            )
    return rows


def to_csv(measurements: Iterable[Measurement]) -> bytes:
    """The long table; numbers in the shortest form that reads back to the same bits."""
    out = StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in long_rows(measurements):
        writer.writerow(
            {
                name: str(value).lower() if isinstance(value, bool) else value
                for name, value in row.items()
            }
        )
    return out.getvalue().encode()


def to_frame(measurements: Iterable[Measurement]) -> Any:
    """The long table as a pandas data frame. Raises UsageError where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("pandas is not installed", remedy="install it, or export csv") from error
    return pd.DataFrame(long_rows(measurements), columns=list(COLUMNS))


def to_parquet(measurements: Iterable[Measurement]) -> bytes:
    """The long table as Parquet. Raises UsageError where pandas or pyarrow is not installed."""
    table, out = to_frame(measurements), BytesIO()
    try:
        table.to_parquet(out, engine="pyarrow", index=False)
    except ImportError as error:
        raise UsageError("pyarrow is not installed", remedy="install it, or export csv") from error
    return out.getvalue()


def to_json(judgements: Iterable[SuiteVerdict], measurements: Iterable[Measurement]) -> bytes:
    """Verdicts as in `verdicts.json`, and the long table."""
    plain = {
        "verdicts": [one.plain() for one in judgements],
        "measurements": long_rows(measurements),
    }
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "✓": "",
    "▲": "",
    "▼": "",
    "∅": "",
    "★": r"$\star$",
    "×": r"$\times$",
}


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def to_latex(judgement: SuiteVerdict) -> bytes:
    """A `tabular` (package booktabs) of the verdicts on numbers, or of what was measured where
    nothing was compared."""
    notes = formatting.Footnotes()
    lines = formatting.number_lines(judgement, notes)
    if lines and not formatting.collapsed_reason(judgement):
        heads = [
            "method",
            "labels",
            "ours",
            formatting.reference_head(judgement),
            "difference",
            "verdict",
        ]
        rows = [
            [line.method, line.labelled, line.ours, line.published, line.difference, line.kind]
            for line in lines
        ]
    else:
        heads, rows = formatting.measured_grid(judgement)
    body = [f"{' & '.join(map(escape, row))} \\\\" for row in rows]
    table = [
        f"% {judgement.suite}, profile {judgement.profile}, {judgement.variant}: "
        f"{escape(formatting.write_headline(judgement))}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        f"{' & '.join(map(escape, heads))} \\\\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return ("\n".join(table) + "\n").encode()


def to_rocrate(
    suite: SuiteFile,
    judgement: SuiteVerdict,
    measurements: Sequence[Measurement],
    files: Mapping[str, bytes],
    date: str,
) -> bytes:
    """`ro-crate-metadata.json` (RO-Crate 1.1) of a folder with these files: what they are, what
    made them, from which paper.

    `date` is when the crate is published, as year-month-day.
    """
    paper, protocol = suite.suite.paper, suite.suite.protocol
    parts = [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(len(content)),
            "encodingFormat": TYPES.get(name[name.rfind(".") :], "application/octet-stream"),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in sorted(files.items())
    ]
    machines = sorted({part.device_model for row in measurements for part in row.parts or (row,)})
    devices = [
        {"@id": f"#device-{place}", "@type": "Thing", "name": name}
        for place, name in enumerate(machines)
    ]
    trials = {(row.method, row.seed) for row in measurements}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{judgement.title}: results",
        "datePublished": date,
        "description": (
            f"{len(trials)} trials of suite {judgement.suite}, profile {judgement.profile}, "
            f"variant {judgement.variant}. "
            f"{formatting.write_headline(judgement)}"
        ),
        "license": {"@id": "#license"},
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "citation": {"@id": "#paper"},
        "about": {"@id": "#data"},
        "mentions": [{"@id": "#measuring"}],
    }
    graph: list[dict[str, Any]] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": ROCRATE},
        },
        root,
        *parts,
        {
            "@id": "#license",
            "@type": "CreativeWork",
            "name": "not stated: the licence of the repository these results came from",
        },
        {
            "@id": "#paper",
            "@type": "ScholarlyArticle",
            "name": paper.title,
            "datePublished": str(paper.year),
            "publisher": paper.venue,
            **({"identifier": paper.preprint} if paper.preprint else {}),
        },
        {
            "@id": "#data",
            "@type": "Dataset",
            "name": protocol.data.name,
            "description": (
                f"{protocol.data.train_size} training and {protocol.data.test_size} test images"
            ),
        },
        {
            "@id": "#albench",
            "@type": "SoftwareApplication",
            "name": "albench",
            "version": __version__,
        },
        {
            "@id": "#measuring",
            "@type": "CreateAction",
            "name": f"albench run {judgement.suite}",
            "instrument": [{"@id": "#albench"}, *({"@id": one["@id"]} for one in devices)],
            "object": {"@id": "#data"},
            "result": [{"@id": part["@id"]} for part in parts],
            "description": f"environments {', '.join(judgement.environments)}"
            if judgement.environments
            else "not stated",
        },
        *devices,
    ]
    crate = {"@context": f"{ROCRATE}/context", "@graph": graph}
    return (json.dumps(crate, indent=1, ensure_ascii=False) + "\n").encode()
