"""The files of a suite's report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.compare.judgement import Judgement
from benchmark.compare.measurements import Measurement
from benchmark.events import write_bytes
from benchmark.report import markdown
from benchmark.spec.load import SuiteFile


def write_all(
    folder: Path,
    suite_file: SuiteFile,
    judgement: Judgement,
    measurements: Sequence[Measurement],
    cost_note: str,
    commands: Mapping[str, str],
    facts: Mapping[str, str],
) -> list[Path]:
    """`verdicts.json`, `report.md`: see `benchmark.report.write`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "verdicts.json": json.dumps(judgement.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.md": markdown.render(suite_file, judgement, cost_note, commands, facts),
    }
    for name, text in files.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in sorted(files)]
