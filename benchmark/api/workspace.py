"""Which folders a command or a call of the Python API works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.files import find_shipped


@dataclass(frozen=True, init=False)
class Workspace:
    """Folders of suites, runs, data, caches and committed results."""

    suites: Path
    runs: Path
    data: Path
    cache: Path
    results: Path
    arguments: tuple[str, ...]
    """The command line, to print the one that resumes it; empty in the Python API."""

    def __init__(
        self,
        suites: Path | str | None = None,
        runs: Path | str = "runs",
        data: Path | str = "data",
        cache: Path | str | None = None,
        results: Path | str | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Defaults: suites in ./suites or, where there is none, those of the package; results
        beside the suites; the cache inside the runs folder."""
        if suites is None:
            suites = Path("suites") if Path("suites").is_dir() else find_shipped("suites")
        for name, value in (
            ("suites", Path(suites)),
            ("runs", Path(runs)),
            ("data", Path(data)),
            ("cache", Path(runs) / ".cache" if cache is None else Path(cache)),
            ("results", Path(suites).parent / "results" if results is None else Path(results)),
            ("arguments", arguments),
        ):
            object.__setattr__(self, name, value)
