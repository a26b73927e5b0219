"""The MLflow view of the runs folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from benchmark.api.workspace import Workspace
from benchmark.spec.selectors import match_suites, parse_selector

if TYPE_CHECKING:
    from benchmark.tracking.sync import SyncResult


def sync(
    suites: Iterable[str] = (),
    workspace: Workspace | None = None,
    *,
    tracking_uri: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> SyncResult:
    """Bring MLflow up to the runs folder, of these suites (or 'tod/*') or of all. Repeating it changes nothing.

    `on_progress` is called with the runs looked at and all of them. Raises UsageError for a suite that is not there,
    TrackerError where MLflow does not answer.
    """
    from benchmark.tracking import mlflow as tracking

    workspace = workspace or Workspace()
    chosen = {suite.id for text in suites for suite in match_suites(parse_selector(text).suite, workspace.suites)}
    return tracking.sync(workspace.runs, tracking_uri, chosen, on_progress)


def ui_command(workspace: Workspace | None = None, *, tracking_uri: str | None = None, port: int = 5000) -> list[str]:
    """The command that serves MLflow's user interface on this machine."""
    from benchmark.tracking import mlflow as tracking

    return tracking.ui_argv(tracking_uri, runs=(workspace or Workspace()).runs, port=port)
