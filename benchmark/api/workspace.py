"""Which folders a command or a call of the Python API works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Folders of suites, runs, data, caches and committed results."""

    suites: Path
    runs: Path
    data: Path
    cache: Path
    results: Path
    arguments: tuple[str, ...]
    """The command line, to print the one that resumes it."""
