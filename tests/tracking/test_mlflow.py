"""MLflow for real: a sqlite database, a server, and what goes wrong with them."""

from __future__ import annotations

import base64
import fcntl
import http.server
import json
import os
import shutil
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from benchmark.tracking import mlflow as tracking
from benchmark.tracking.mlflow import (
    BackgroundMlflowSync,
    MlflowSync,
    TrackerError,
    embedded_uri,
    publish_verdicts,
    sync,
)
from tests.helpers.runs import ENVIRONMENT, fail, finish, interrupt, toy_trial
from tests.helpers.waiting import patience, wait_for

QUERIES = {
    "metrics": (
        "select r.name, m.key, m.value, m.timestamp, m.step from metrics m join runs r using "
        "(run_uuid)"
    ),
    "params": "select r.name, p.key, p.value from params p join runs r using (run_uuid)",
    "tags": (
        "select r.name, t.key, t.value from tags t join runs r using (run_uuid) where t.key != "
        "'mlflow.parentRunId'"
    ),
    "runs": "select name, status, start_time, end_time, lifecycle_stage from runs",
    "datasets": "select name, digest from datasets",
    "inputs": "select count(*) from inputs",
    "experiments": "select name, lifecycle_stage from experiments",
}


def content(database: Path) -> dict[str, list[Any]]:
    """Every row that a sync writes, without the ids that MLflow makes up."""
    with sqlite3.connect(database) as connection:
        return {
            name: sorted(connection.execute(query).fetchall()) for name, query in QUERIES.items()
        }


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has been initialised: this takes seconds, so it is done once for all tests
    and test processes."""
    folder = tmp_path_factory.getbasetemp().parent / "tracking-template"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            tracking.check(f"sqlite:///{folder}/mlflow.db")
            (folder / "done").touch()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Store:
    """A runs folder whose embedded tracker is initialised and empty."""
    store = Store(tmp_path / "runs")
    (store.root / ".tracking").mkdir(parents=True)
    shutil.copyfile(template, store.root / ".tracking" / "mlflow.db")
    return store


def database(store: Store) -> Path:
    return store.root / ".tracking" / "mlflow.db"


def client(store: Store) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(embedded_uri(store.root))


def runs_of(store: Store, kind: str) -> list[Any]:
    found = client(store)
    experiment = found.get_experiment_by_name("toy/one")
    return list(found.search_runs([experiment.experiment_id], f"tags.`albench.kind` = '{kind}'"))


def test_a_finished_trial(store: Store) -> None:
    trial = toy_trial(4)
    folder = finish(store, trial)
    MlflowSync().sync_run(folder)
    (child,), (parent,) = runs_of(store, "trial"), runs_of(store, "cell")
    assert child.info.run_name == "random@4"
    assert (child.info.status, child.info.end_time) == ("FINISHED", 3000)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    expected = {
        "suite": "toy/one",
        "trial_id": trial_id(trial),
        "env_id": ENVIRONMENT.env_id,
        "seed": "4",
        "state": "finished",
        "device_model": "Toy",
        "data_canonical": "true",
        "record": "complete",
    }
    assert {
        f"albench.{name}": value for name, value in expected.items()
    }.items() <= child.data.tags.items()
    assert child.data.params["protocol.acquisition.budget"] == "2500"
    history = client(store).get_metric_history(child.info.run_id, "test/accuracy")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (5000, 50.0, 2000),
        (7500, 51.0, 2000),
        (10000, 52.0, 2000),
    ]
    (used,) = child.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "d" * 36)
    found = client(store).search_runs([child.info.experiment_id], "dataset.name = 'digits'")
    assert [run.info.run_id for run in found] == [child.info.run_id]
    assert child.info.artifact_uri.startswith("mlflow-artifacts:/toy-one/")
    files = (
        store.root
        / ".tracking"
        / "artifacts"
        / child.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    )
    for name in ("trial.json", "record.json", "events.jsonl"):
        assert (files / name).read_bytes() == (folder / name).read_bytes()


def test_nothing_doubles(store: Store, tmp_path: Path) -> None:
    finish(store, toy_trial(0))
    finish(store, toy_trial(0, "entropy"))
    interrupt(store, toy_trial(1), cycles=2)
    fail(store, toy_trial(2))
    report = sync(store.root)
    assert (report.written, report.unchanged, report.empty, report.problems) == (4, 0, 0, ())
    once = content(database(store))
    assert [row[:2] for row in once["runs"]] == [
        ("entropy", "FINISHED"),
        ("entropy@0", "FINISHED"),
        ("random", "FAILED"),
        ("random@0", "FINISHED"),
        ("random@1", "KILLED"),
        ("random@2", "FAILED"),
    ]
    again = sync(store.root)
    assert (again.written, again.unchanged) == (0, 4)
    assert content(database(store)) == once


def test_a_rebuilt_database_equals_the_lost_one(store: Store, template: Path) -> None:
    folder = finish(store, toy_trial(0))
    text = (folder / "events.jsonl").read_bytes()
    syncer = MlflowSync()
    for size in (150, len(text) // 2, len(text) - 3):
        (folder / "events.jsonl").write_bytes(text[:size])
        syncer.sync_run(folder, live=True)
    (folder / "events.jsonl").write_bytes(text)
    syncer.sync_run(folder)
    syncer.close()
    streamed = content(database(store))
    shutil.copyfile(template, database(store))
    sync(store.root)
    assert content(database(store)) == streamed


def test_a_crash_between_metrics_and_tags(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(store, toy_trial(0))
    whole = tracking.MlflowTracker.log
    calls = []

    def dies(self: Any, run_id: str, metrics: Any, tags: Any) -> None:
        calls.append(1)
        whole(self, run_id, metrics, {} if len(calls) == 3 else tags)
        if len(calls) == 3:
            raise ConnectionResetError("the host died")

    monkeypatch.setattr(tracking.MlflowTracker, "log", dies)
    with pytest.raises(TrackerError, match="the host died"):
        MlflowSync().sync_run(folder)
    monkeypatch.undo()
    MlflowSync().sync_run(folder)
    (child,) = runs_of(store, "trial")
    steps = [
        point.step for point in client(store).get_metric_history(child.info.run_id, "test/accuracy")
    ]
    assert steps == [5000, 7500, 10000]


def test_a_run_removed_in_the_ui_comes_back(store: Store) -> None:
    folder = finish(store, toy_trial(0))
    syncer = MlflowSync()
    syncer.sync_run(folder)
    (child,) = runs_of(store, "trial")
    client(store).delete_run(child.info.run_id)
    sync(store.root)
    (back,) = runs_of(store, "trial")
    assert back.info.run_id != child.info.run_id
    assert back.info.status == "FINISHED"
    client(store).delete_experiment(back.info.experiment_id)
    sync(store.root)
    assert [run.info.status for run in runs_of(store, "trial")] == ["FINISHED"]


def test_a_parent_deleted_and_an_experiment_renamed_in_the_ui_are_mended(store: Store) -> None:
    for seed in range(2):
        finish(store, toy_trial(seed))
    sync(store.root)
    (parent,) = runs_of(store, "cell")
    found = client(store)
    found.delete_run(parent.info.run_id)
    report = sync(store.root)
    assert (report.written, report.unchanged) == (2, 0)
    (again,) = runs_of(store, "cell")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs_of(store, "trial")} == {
        again.info.run_id
    }
    assert again.info.status == "FINISHED"

    found.rename_experiment(again.info.experiment_id, "mine")
    child = runs_of_experiment(store, again.info.experiment_id)[0]
    found.set_tag(child.info.run_id, "albench.digest", "better")
    found.set_tag(child.info.run_id, "mlflow.runName", "mine")
    report = sync(store.root)
    assert (report.written, report.unchanged) == (1, 1)
    assert {run.info.experiment_id for run in runs_of(store, "trial")} == {again.info.experiment_id}
    assert sorted(run.info.run_name for run in runs_of(store, "trial")) == ["random@0", "random@1"]
    assert "better" not in {run.data.tags["albench.digest"] for run in runs_of(store, "trial")}


def runs_of_experiment(store: Store, experiment: str) -> list[Any]:
    return list(client(store).search_runs([experiment], "tags.`albench.kind` = 'trial'"))


def test_an_idle_sync_asks_the_database_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, toy_trial(0))
    sync(store.root)

    def connect(*_: Any) -> None:
        raise AssertionError("the database was opened")

    monkeypatch.setattr(tracking, "MlflowTracker", connect)
    assert sync(store.root).unchanged == 1


def test_a_lock_that_another_process_holds_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, toy_trial(0))
    monkeypatch.setattr(tracking, "LOCK_SECONDS", 0.1)
    path = database(store).with_name("mlflow.db.lock")
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TrackerError, match=r"held the tracker's lock.*\n.*fuser"):
            sync(store.root)
    assert sync(store.root).written == 1
    assert path.stat().st_mode & 0o077 == 0 or path.stat().st_uid == os.getuid()


# ------------------------------------------------------------------------------------------ proxies


class Proxy(http.server.BaseHTTPRequestHandler):
    """The only way to http://tracker.invalid; 403 for anything else."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path.startswith("http://tracker.invalid:5000/") else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Proxy.asked.clear()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        yield address
        server.shutdown()


def test_a_tracker_behind_a_proxy_is_asked_through_it(proxy: str) -> None:
    tracking._check_reachable("http://tracker.invalid:5000")
    assert Proxy.asked == ["http://tracker.invalid:5000/health"]
    with pytest.raises(TrackerError, match=f"the proxy {proxy} answers 403") as caught:
        tracking._check_reachable("http://other.invalid")
    assert "add other.invalid to NO_PROXY" in str(caught.value)


def test_a_server_of_this_machine_is_reached_without_the_proxy(proxy: str) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    tracking._reach_directly(uri)
    assert "127.0.0.1" in os.environ["NO_PROXY"].split(",")
    with pytest.raises(TrackerError, match=r"no server answers: .*refused"):
        tracking._check_reachable(uri)
    assert Proxy.asked == []


def test_verdicts(store: Store, tmp_path: Path) -> None:
    finish(store, toy_trial(0))
    sync(store.root)
    figure = tmp_path / "curve.svg"
    figure.write_text("<svg/>")
    rows = [{"method": "random", "labelled": 5000, "verdict": "reproduced", "difference": 0.1}]
    for _ in range(2):
        publish_verdicts(
            None, "toy/one", "paper", "as_published", rows, {"accuracy": figure}, runs=store.root
        )
    (parent,) = runs_of(store, "cell")
    assert parent.data.tags["albench.verdict"] == "reproduced"
    assert parent.info.status == "FINISHED"
    files = (
        store.root
        / ".tracking"
        / "artifacts"
        / parent.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    )
    assert json.loads((files / "verdicts" / "verdicts.json").read_text())["data"] == [
        ["random", 5000, "reproduced", 0.1]
    ]
    assert (files / "verdicts" / "accuracy.svg").read_text() == "<svg/>"


# ---------------------------------------------------------------------------------- what goes wrong


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dead_server_is_given_up_at_once(store: Store) -> None:
    folder = finish(store, toy_trial(0))
    uri = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(TrackerError, match="no server answers") as caught:
        sync(store.root, uri)
    assert uri in str(caught.value)
    background = BackgroundMlflowSync(uri, every=0.01)
    background.watch([folder])
    background.close()
    assert time.monotonic() - start < patience(2)
    assert background.problem is not None
    assert "no server answers" in background.problem


def test_a_server_that_never_answers_does_not_hold_the_run(store: Store) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        background = BackgroundMlflowSync(f"http://127.0.0.1:{listener.getsockname()[1]}")
        background.watch([finish(store, toy_trial(0))])
        start = time.monotonic()
        background.close(seconds=0.5)
        assert time.monotonic() - start < patience(2)
    assert background.problem is not None


def test_a_locked_database_loses_nothing(store: Store) -> None:
    folder = finish(store, toy_trial(0))
    with sqlite3.connect(database(store), isolation_level=None) as other:
        other.execute("begin exclusive")
        background = BackgroundMlflowSync()
        background.watch([folder])
        start = time.monotonic()
        background.close(seconds=0.5)
        assert time.monotonic() - start < patience(3)
        assert background.problem is not None
        other.execute("rollback")
    sync(store.root)
    assert [run.info.status for run in runs_of(store, "trial")] == ["FINISHED"]


@pytest.mark.parametrize("uri", ["sqlite:////proc/none/mlflow.db", "nonsense://x", "./mlruns"])
def test_places_that_cannot_be_written(
    store: Store, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finish(store, toy_trial(0))
    with pytest.raises(TrackerError) as caught:
        sync(store.root, uri)
    assert uri in str(caught.value)
    assert "albench sync" in str(caught.value)


@pytest.mark.slow
def test_a_database_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    """A run that ends does not wait for ever for its tracker: the process goes in the middle of the
    migrations."""
    store = Store(tmp_path / "runs")
    finish(store, toy_trial(0))
    script = (
        "import sys, pathlib; from benchmark.tracking.mlflow import check; "
        "check(runs=pathlib.Path(sys.argv[1]))"
    )
    host = subprocess.Popen([sys.executable, "-c", script, str(store.root)])
    place, unfinished = database(store), database(store).with_name("mlflow.db.unfinished")
    try:
        wait_for(lambda: place.exists() and place.stat().st_size > 0)
        assert unfinished.exists(), "it ended before anything could happen"
    finally:
        host.kill()
        host.wait()
    assert sync(store.root).written == 1
    assert not unfinished.exists()
    assert sync(store.root).unchanged == 1, "a database that is whole is kept"


def test_two_hosts_may_initialise_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for seed in range(2):
        finish(store, toy_trial(seed))
    script = (
        "import sys, pathlib; from benchmark.tracking.mlflow import sync; "
        "print(sync(pathlib.Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(store.root)]
    hosts = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for host in hosts:
        said, complained = host.communicate(timeout=patience(120))
        assert host.returncode == 0, complained
        assert "problems=()" in said
    names = [row[0] for row in content(database(store))["runs"] if row[-1] == "active"]
    assert sorted(names) == ["random", "random@0", "random@1"]


# ----------------------------------------------------------------------------------------- a server


@pytest.fixture
def server(store: Store) -> Iterator[str]:
    """The embedded tracker behind the server that `albench ui` starts."""
    port = free_port()
    command = tracking.ui_argv(runs=store.root, port=port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    try:
        began = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() - began < patience(90), "the server did not come up"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(patience(20))


@pytest.mark.slow
def test_served_and_synced_over_http(store: Store, server: str, tmp_path: Path) -> None:
    finish(store, toy_trial(0))
    sync(store.root)
    (child,) = runs_of(store, "trial")

    def fetch(run_id: str) -> bytes:
        with urllib.request.urlopen(
            f"{server}/get-artifact?path=record.json&run_uuid={run_id}", timeout=10
        ) as answer:
            return bytes(answer.read())

    assert json.loads(fetch(child.info.run_id))["trial_id"] == trial_id(toy_trial(0)), (
        "written beside, read through the server"
    )

    other = Store(tmp_path / "elsewhere")
    finish(other, toy_trial(1))
    assert sync(other.root, server).written == 1
    assert sync(other.root, server).unchanged == 1
    (sent,) = (run for run in runs_of(store, "trial") if run.info.run_name == "random@1")
    assert json.loads(fetch(sent.info.run_id))["trial_id"] == trial_id(toy_trial(1)), (
        "sent to the server"
    )
    assert len(runs_of(store, "cell")) == 1


class Guarded(http.server.BaseHTTPRequestHandler):
    """Passes on what carries the right name and password, as a server behind a reverse proxy; 401
    for anything else."""

    behind: ClassVar[str] = ""
    right: ClassVar[str] = "Basic " + base64.b64encode(b"ann:s3cret").decode()

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = 401, b"who is it?"
        if self.headers.get("Authorization") == self.right:
            kept = {
                name: value
                for name, value in self.headers.items()
                if name in ("Content-Type", "Accept")
            }
            asked = urllib.request.Request(
                f"{self.behind}{self.path}", body or None, kept, method=self.command
            )
            try:
                with urllib.request.urlopen(asked, timeout=patience(30)) as found:
                    status, answer = found.status, found.read()
            except urllib.error.HTTPError as error:
                status, answer = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_a_server_that_asks_for_a_password(
    store: Store, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused without one, and no run is lost by it; synced with one, from the variables or from
    the address."""
    Guarded.behind = server
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Guarded) as guard:
        threading.Thread(target=guard.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{guard.server_address[1]}"
        other = Store(tmp_path / "elsewhere")
        finish(other, toy_trial(1))
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(TrackerError, match="401") as caught:
            sync(other.root, f"http://{place}")
        assert "MLFLOW_TRACKING_USERNAME" in caught.value.remedy
        with pytest.raises(TrackerError, match="401") as caught:
            sync(other.root, f"http://ann:wr0ng@{place}")
        assert "wr0ng" not in str(caught.value)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
        assert sync(other.root, f"http://{place}").written == 1
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name)
        finish(other, toy_trial(2))
        assert sync(other.root, f"http://ann:s3cret@{place}").written == 1
        assert sorted(run.info.run_name for run in runs_of(store, "trial")) == [
            "random@1",
            "random@2",
        ]
        guard.shutdown()
