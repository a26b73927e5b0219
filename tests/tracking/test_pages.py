"""What MLflow's pages show, the addresses of pages, and the commit of a record: known values, no
server."""

from __future__ import annotations

import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmark.runs.code_digest import code_digest
from benchmark.runs.events import CycleFinished
from benchmark.tracking import commits, links, pages
from benchmark.tracking.run_history import cycle_speed, run_command
from tests.helpers.runs import result, toy_trial


def test_views_name_columns_that_runs_have() -> None:
    states = {name: json.loads(text) for name, text in pages.view_states().items()}
    methods = states["mlflow.sharedViewState.albench"]
    curves = states["mlflow.sharedViewState.albench-curves"]
    assert {
        "attributes.`Dataset`",
        "attributes.`Source`",
        "metrics.`final_accuracy`",
        "tags.`verdict`",
    } <= set(methods["selectedColumns"])
    assert curves["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "method"}]
    (line,) = [card for card in curves["compareRunCharts"] if card["type"] == "LINE"]
    assert (line["metricKey"], line["xAxisKey"]) == ("test/accuracy", "step"), (
        "steps are labelled images"
    )


def test_the_description_begins_with_what_came_out() -> None:
    text = pages.describe_experiment(
        "tod/cifar10", "7", "**12 reproduced (exit 0)**", {"tod": "abc"}
    )
    assert text.splitlines()[0] == "**12 reproduced (exit 0)**"
    assert "(#/experiments/7/runs?viewStateShareKey=albench-curves&compareRunsMode=CHART)" in text
    assert "[artifacts of tod](#/experiments/7/runs/abc/artifacts)" in text
    assert "`albench report tod/cifar10` adds the verdicts" in pages.describe_experiment(
        "tod/cifar10", "7"
    )


def test_pages_are_found_in_a_database(tmp_path: Path) -> None:
    uri = links.embedded_uri(tmp_path)
    assert links.experiment_id(uri, "toy/one") == ""
    file = links.database_file(uri)
    assert file is not None
    file.parent.mkdir()
    with sqlite3.connect(file) as connection:
        connection.execute(
            "create table experiments (experiment_id integer, name text, lifecycle_stage text)"
        )
        rows = [(3, "toy/one", "active"), (4, "toy/two", "deleted")]
        connection.executemany("insert into experiments values (?, ?, ?)", rows)
    connection.close()
    assert links.experiment_ids(uri) == {"toy/one": "3"}
    assert links.runs_page("http://me:secret@host:5000/", "3") == (
        "http://host:5000/#/experiments/3/runs?viewStateShareKey=albench"
    )


class Server(BaseHTTPRequestHandler):
    """Answers as MLflow does."""

    def do_GET(self) -> None:
        known = self.path.endswith("experiment_name=toy%2Fone") or self.path == "/health"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experiment_id": "9"}}')

    def log_message(self, *_: object) -> None:
        pass


def test_pages_are_found_on_a_server() -> None:
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert links.experiment_id(address, "toy/one") == "9"
        assert links.experiment_id(address, "toy/two") == ""
        assert links.wait_until_served(address, lambda: True)
        server.shutdown()
    assert not links.wait_until_served(address, lambda: False)
    assert links.experiment_id(address, "toy/one") == ""


def test_a_commit_is_given_for_the_code_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_present_code", lambda: (code_digest(), "c0ffee"))
    assert commits.find_commit(code_digest()) == "c0ffee"
    assert commits.find_commit("f" * 64) == "" and commits.find_commit("") == ""


def test_speed_of_a_cycle() -> None:
    trial = toy_trial()
    done = CycleFinished(
        time=2.0,
        result=result(trial, 0),
        seconds={"train": 8.0, "evaluate": 2.0},
        reused=False,
        peak_host_bytes=3 * 2**20,
        cpu_seconds=15.0,
    )
    assert cycle_speed(trial, done) == {
        "train/images_per_second": 5000 * trial.protocol.training.epochs / 8.0,
        "system/cpu_utilization_percentage": 150.0,
        "system/host_memory_peak_megabytes": 3.0,
    }
    assert "train/images_per_second" not in cycle_speed(
        trial, done.model_copy(update={"reused": True})
    )
    assert run_command(trial) == "albench run toy/one/random@0"
