"""From a verdict on the page to its runs in MLflow, in a real browser and with a real server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.api import report as reporting
from benchmark.api.tracking import sync, ui_command, wait_until_served
from benchmark.api.workspace import Workspace
from benchmark.runs.store import Store
from benchmark.spec.selectors import Selection, Selector
from tests.helpers.chromium import PROGRAM, Browser
from tests.helpers.runs import ENVIRONMENT, finish, write_suite

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs Debian's Chromium at {PROGRAM}"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three finished trials of two methods, committed and in MLflow."""
    found = Workspace(suites=tmp_path / "suites", runs=tmp_path / "runs", data=tmp_path / "data")
    write_suite(found.suites)
    chosen = Selection([Selector("toy/one")], methods=("random", "entropy"), seeds=(0, 1, 2))
    for asked in chosen.trials(found.suites):
        trial = asked.trial.model_copy(update={"data_digest": "d" * 64})
        level = 54.0 if trial.method_name == "entropy" else 50.0
        finish(Store(found.runs), trial, ENVIRONMENT, accuracy=level + 0.5 * trial.seed)
    reporting.report("toy/one", found, reporting.ReportOptions(publish=True, tracking=False))
    sync(["toy/one"], found)
    return found


@pytest.fixture
def address(workspace: Workspace) -> Iterator[str]:
    """A running server of MLflow on what was synced."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        ui_command(workspace, port=port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        assert wait_until_served(found, lambda: server.poll() is None)
        yield found
        server.terminate()


def test_a_verdict_leads_to_its_runs(workspace: Workspace, address: str, tmp_path: Path) -> None:
    options = reporting.ReportOptions(out=tmp_path / "report", tracking_uri=address)
    (suite,) = reporting.report("toy/one", workspace, options).suites
    assert suite.tracking_problem == ""
    browser = Browser()
    try:
        browser.open(tmp_path / "report/toy/one/report.html")
        row = "document.querySelector('#table-numbers tr[data-method=entropy] td.verdict')"
        assert browser.run(f"{row}.textContent.trim()").startswith("✓ reproduced")
        browser.run(f"{row}.querySelector('a').click()")
        # The method's run and its three trials; until they are loaded, the page counts none.
        words = "document.body?.innerText"
        browser.wait_until(f"{words}?.includes('4 matching runs')")
        browser.wait_until(f"{words}.split('Run Name')[1]?.includes('entropy')")
        assert browser.run("location.href").startswith(f"{address}/#/experiments/")
        words = browser.run("document.body.innerText").split("Run Name")[1]
        assert "entropy" in words and "random" not in words
    finally:
        browser.close()
