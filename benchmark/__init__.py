"""albench: re-runs published deep active-learning papers as pinned and judges their numbers with
statistics.

The public names: what the verbs of the command line do as functions, and what a strategy or an
objective of one's own is made from. Each is imported when it is first used, so that importing this
package imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.al.objectives.base import Objective
    from benchmark.al.strategies.base import Picks, ScoreStrategy, Strategy, View
    from benchmark.api.check import check
    from benchmark.api.compare import compare
    from benchmark.api.frames import picks, records, results
    from benchmark.api.judge import judge
    from benchmark.api.plan import PlanOptions, plan
    from benchmark.api.report import ReportOptions, report
    from benchmark.api.run import RunOptions, run
    from benchmark.api.selection import select
    from benchmark.api.status import status
    from benchmark.api.suites import load_suite
    from benchmark.api.verify import VerifyOptions, verify
    from benchmark.api.workspace import Workspace
    from benchmark.errors import AlbenchError

__version__ = "0.1.0"
__all__ = [
    "AlbenchError",
    "Objective",
    "Picks",
    "PlanOptions",
    "ReportOptions",
    "RunOptions",
    "ScoreStrategy",
    "Strategy",
    "VerifyOptions",
    "View",
    "Workspace",
    "check",
    "compare",
    "judge",
    "load_suite",
    "picks",
    "plan",
    "records",
    "report",
    "results",
    "run",
    "select",
    "status",
    "verify",
]
_HOMES = {
    "AlbenchError": "errors",
    "Objective": "al.objectives.base",
    "Picks": "al.strategies.base",
    "PlanOptions": "api.plan",
    "ReportOptions": "api.report",
    "RunOptions": "api.run",
    "ScoreStrategy": "al.strategies.base",
    "Strategy": "al.strategies.base",
    "VerifyOptions": "api.verify",
    "View": "al.strategies.base",
    "Workspace": "api.workspace",
    "check": "api.check",
    "compare": "api.compare",
    "judge": "api.judge",
    "load_suite": "api.suites",
    "picks": "api.frames",
    "plan": "api.plan",
    "records": "api.frames",
    "report": "api.report",
    "results": "api.frames",
    "run": "api.run",
    "select": "api.selection",
    "status": "api.status",
    "verify": "api.verify",
}
"""Module of the package in which each public name is defined."""


def __getattr__(name: str) -> Any:
    """A public name, imported now (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
