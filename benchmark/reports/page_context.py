"""What lies around the page of a suite: other pages, the runs in MLflow, and what the trials
bought."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from benchmark.reports.picks import Picks
    from benchmark.verdicts.results import SuiteVerdict

METHODS = "methods"
"""Folder of the pages of methods, beside the index."""


@dataclass(frozen=True)
class PageContext:
    """What lies around the page of a suite, by address, and what is not part of its suite
    verdict."""

    index: str = ""
    """Relative address of the page over all suites, if there is one."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """Relative addresses of the pages of methods, by method."""
    runs: str = ""
    """Address of MLflow's page with the runs of the suite; empty where no tracker is known."""
    picks: Picks | None = None
    """What the methods bought."""

    def runs_of(self, method: str, judgement: SuiteVerdict) -> str:
        """Address of MLflow's page with the trials of one method; empty where no tracker is
        known."""
        if not self.runs:
            return ""
        place = {"method": method, "profile": judgement.profile, "variant": judgement.variant}
        asked = [
            "tags.`albench.kind` = 'trial'",
            *(f"params.`{name}` = '{value}'" for name, value in place.items()),
        ]
        return f"{self.runs.partition('?')[0]}?searchFilter={quote(' and '.join(asked), safe='')}"


def method_file(method: str) -> str:
    """Path of a method's page below the folder of the index: `methods/tod+cod.html`. Different
    methods have different pages."""
    plain = re.sub(r"[^A-Za-z0-9_+().-]+", "-", method)
    if plain != method or plain.startswith("."):
        plain = f"{plain.lstrip('.')}-{hashlib.sha256(method.encode()).hexdigest()[:8]}"
    return f"{METHODS}/{plain}.html"
