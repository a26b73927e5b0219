"""Whether a report's files are still those that the same inputs gave: then nothing is drawn or
written again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark import reports
from benchmark.api.compare import ComparisonResult
from benchmark.runs.events import write_bytes

FOLDER = "reports"
"""Below the cache: a file for each folder of reports."""
DRAWN_WITH = ("matplotlib", "jinja2")
WRITTEN_BY = ("api", "reports", "tracking")
"""Folders of the package with the code that writes reports and adds them to MLflow."""


class Stamp:
    """What a folder of reports was last written from. Losing the file loses nothing but time."""

    def __init__(
        self, cache: Path, folder: Path, item: ComparisonResult, index: bool, runs: str = ""
    ) -> None:
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._path = cache / FOLDER / f"{name}.json"
        self._inputs = _digest_inputs(item, index, runs)

    def files(self, tracker: str) -> list[Path] | None:
        """The files, where they were written from the same inputs, they are untouched since then,
        and they were added to this tracker; else None."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            held: dict[str, Any] = json.loads(self._path.read_bytes())
            listed = {
                Path(name): (int(time), int(size)) for name, (time, size) in held["files"].items()
            }
            same = held["inputs"] == self._inputs and held["tracker"] == tracker
            if same and listed and all(_file_stamp(path) == seen for path, seen in listed.items()):
                return list(listed)
        return None

    def save(self, files: Sequence[Path], tracker: str) -> None:
        """Remember what was written. Where that cannot be done, the next report is slower."""
        held = {
            "inputs": self._inputs,
            "tracker": tracker,
            "files": {str(path): _file_stamp(path) for path in files},
        }
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._path, json.dumps(held).encode())


def _file_stamp(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_mtime_ns, seen.st_size


def _digest_inputs(item: ComparisonResult, index: bool, runs: str) -> str:
    """Digest of everything that a report is written from, and of the code and the libraries that
    write it."""
    found = hashlib.sha256()
    values = [
        item.judgement.plain(),
        [asdict(row) for row in item.measurements],
        item.cost_note,
        dict(item.commands),
        dict(item.facts),
        index,
        runs,
        item.suite.suite.model_dump(mode="json"),
        str(item.suite.path.resolve()),
        [_package_version(name) for name in DRAWN_WITH],
    ]
    found.update(json.dumps(values, sort_keys=True, default=str).encode())
    package = Path(reports.__file__).parents[1]
    for path in sorted(file for name in WRITTEN_BY for file in (package / name).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
