"""The MLflow view of the runs folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from benchmark.api.workspace import Workspace
from benchmark.spec.selectors import match_suites, parse_selector
from benchmark.tracking import links

if TYPE_CHECKING:
    from benchmark.tracking.sync import SyncResult


def sync(
    suites: Iterable[str] = (),
    workspace: Workspace | None = None,
    *,
    tracking_uri: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> SyncResult:
    """Bring MLflow up to the runs folder, of these suites (or 'tod/*') or of all. Repeating it
    changes nothing.

    `on_progress` is called with the runs looked at and all of them. Raises UsageError for a suite
    that is not there, TrackerError where MLflow does not answer.
    """
    from benchmark.tracking import mlflow as tracking

    workspace = workspace or Workspace()
    chosen = {
        suite.id
        for text in suites
        for suite in match_suites(parse_selector(text).suite, workspace.suites)
    }
    return tracking.sync(workspace.runs, tracking_uri, chosen, on_progress)


def ui_command(
    workspace: Workspace | None = None, *, tracking_uri: str | None = None, port: int = 5000
) -> list[str]:
    """The command that serves MLflow's user interface on this machine."""
    from benchmark.tracking import mlflow as tracking

    return tracking.ui_argv(tracking_uri, runs=(workspace or Workspace()).runs, port=port)


def suite_page(
    suite: str, workspace: Workspace | None = None, *, tracking_uri: str | None = None
) -> str:
    """Address of MLflow's page with the runs of a suite: on the server that keeps them, or where
    `albench ui` serves them.

    Empty where MLflow has no runs of the suite. Needs no library of MLflow and no running server
    for the embedded tracker.
    """
    uri = tracking_uri or links.embedded_uri((workspace or Workspace()).runs)
    found = links.experiment_id(uri, suite)
    return links.runs_page(uri if uri.startswith("http") else links.ADDRESS, found) if found else ""


def suite_pages(
    address: str, workspace: Workspace | None = None, *, tracking_uri: str | None = None
) -> dict[str, str]:
    """Addresses of the pages of all suites on a server at `address` that serves a sqlite tracker,
    by the suite's id."""
    uri = tracking_uri or links.embedded_uri((workspace or Workspace()).runs)
    found = links.experiment_ids(uri)
    return {
        name: links.runs_page(address, number)
        for name, number in sorted(found.items())
        if "/" in name
    }


def wait_until_served(address: str, is_running: Callable[[], bool]) -> bool:
    """Whether a server that was started answers: True as soon as it does, False once `is_running`
    says that it ended."""
    return links.wait_until_served(address, is_running)
