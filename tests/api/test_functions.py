"""The verbs as functions: typed values, errors of ours, nothing printed. Trials run in a fake
worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmark
import benchmark.api.plan as planning
from benchmark import PlanOptions, ReportOptions, RunOptions, VerifyOptions, Workspace
from benchmark.api.check import BAD, check_strategy
from benchmark.api.compare import regress, worst_code
from benchmark.api.data import data_names
from benchmark.api.status import clean
from benchmark.api.suites import list_suites, schema_is_current, write_schema
from benchmark.errors import AlbenchError, Exit, SuiteError, UsageError
from benchmark.executors.local import executor as local
from benchmark.planning.plan import DataStatus, data_key
from benchmark.runs import environment as provenance
from benchmark.runs import picks
from benchmark.runs.events import Record
from benchmark.runs.picks import LabelledSet
from benchmark.verdicts.determinism import Level
from benchmark.verdicts.measurements import COLUMNS
from tests.executors import fake_worker as fake
from tests.helpers.runs import ENVIRONMENT, SUITE, write_suite

ROOT = Path(__file__).parents[2]
PRESENT = DataStatus(name="digits", present=True, digest="d" * 64, canonical=True, note="")
ABSENT = DataStatus(name="digits", present=False, digest=None, canonical=False, note="put it there")
QUICK = RunOptions(device="cpu", jobs=4, tracking=False)


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Workspace]:
    """A toy suite, data that are there, and the fake worker. Afterwards: nothing was printed."""
    write_suite(tmp_path / "suites")
    monkeypatch.setattr(local, "WORKER", "tests.executors.fake_worker")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(provenance, "describe_environment", lambda *_, **__: ENVIRONMENT)
    data_are(monkeypatch, PRESENT)
    yield Workspace(tmp_path / "suites", tmp_path / "runs", tmp_path)
    assert capsys.readouterr() == ("", "")


def data_are(monkeypatch: pytest.MonkeyPatch, status: DataStatus) -> None:
    monkeypatch.setattr(
        planning,
        "data_statuses",
        lambda asked, _: {data_key(item.trial.protocol.data): status for item in asked},
    )


def test_defaults_of_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = Workspace()
    assert (shipped.suites, shipped.results) == (ROOT / "suites", ROOT / "results")
    assert (shipped.runs, shipped.data, shipped.cache) == (
        Path("runs"),
        Path("data"),
        Path("runs/.cache"),
    )
    (tmp_path / "suites").mkdir()
    assert Workspace(runs="elsewhere").suites == Path("suites")
    assert Workspace(runs="elsewhere").cache == Path("elsewhere/.cache")


def test_plan(workspace: Workspace) -> None:
    plan = benchmark.plan("toy/one@0", workspace, PlanOptions(device="cpu"))
    assert [planned.trial.method_name for planned in plan.trials] == [
        "random",
        "entropy",
        "random+cod",
    ]
    assert not workspace.runs.exists(), "planning writes nothing"
    selection = benchmark.select("toy/one", methods=["entropy"], seeds=[3, 4])
    assert [
        (one.trial.method_name, one.trial.seed)
        for one in benchmark.plan(selection, workspace).trials
    ] == [
        ("entropy", 3),
        ("entropy", 4),
    ]
    only = PlanOptions(device="cpu", only=["toy/one/none"])
    assert benchmark.plan(["toy/one/random", "toy/one/entropy"], workspace, only).trials == ()


@pytest.mark.parametrize(
    ("selectors", "words"),
    [
        ("toy/two", "did you mean toy/one"),
        ("toy/one@x", "0,1,2 or 0-4"),
        ("a/b/c/d", "tod/cifar10/random@0,1"),
    ],
)
def test_selectors_that_name_nothing(workspace: Workspace, selectors: str, words: str) -> None:
    for function in (
        benchmark.plan,
        benchmark.run,
        benchmark.compare,
        benchmark.report,
        benchmark.verify,
        regress,
    ):
        with pytest.raises(UsageError, match=words):
            function(selectors, workspace)
    assert issubclass(UsageError, AlbenchError)


def test_run_then_nothing_to_do(workspace: Workspace) -> None:
    events: list[object] = []
    result = benchmark.run(
        "toy/one/random@0,9", workspace, QUICK, on_event=lambda _, event: events.append(event)
    )
    assert (dict(result.ends), result.waiting, result.exit_code) == ({"finished": 2}, 0, Exit.OK)
    assert len(events) > 4
    again = benchmark.run("toy/one/random@0,9", workspace, QUICK)
    assert (again.outcomes, again.is_complete, again.exit_code) == ((), True, Exit.OK)


def test_failures_are_values(workspace: Workspace) -> None:
    result = benchmark.run(f"toy/one/random@{fake.FAILS},{fake.STEADY}", workspace, QUICK)
    assert dict(result.ends) == {"failed": 1, "finished": 1}
    assert "something broke" in result.failed[0].message + "".join(result.failed[0].log)
    assert result.exit_code is Exit.NOT_MEASURED


def test_runs_without_data_and_empty_ones_are_not_measured(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = benchmark.run(
        "toy/one/random@0", workspace, RunOptions(device="cpu", only=["x/y"], tracking=False)
    )
    assert (empty.plan.trials, empty.exit_code) == ((), Exit.NOT_MEASURED)
    data_are(monkeypatch, ABSENT)
    blocked = benchmark.run("toy/one/random@0", workspace, QUICK)
    assert (blocked.waiting, blocked.exit_code) == (1, Exit.NOT_MEASURED)
    assert "put it there" in blocked.plan.trials[0].note


def test_records_and_status(workspace: Workspace) -> None:
    assert list(benchmark.records(workspace=workspace).columns) == list(COLUMNS)
    benchmark.run(
        "toy/one@0,9",
        workspace,
        RunOptions(device="cpu", jobs=4, tracking=False, only=["toy/one/random"]),
    )
    benchmark.run("toy/one/entropy@0", workspace, QUICK)
    frame = benchmark.records(workspace=workspace)
    assert len(frame) == 3 * 3, "three trials of three cycles"
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert set(frame["labelled"]) == {10, 20, 30}
    assert len(benchmark.records("toy/one/random@9", workspace)) == 3
    assert benchmark.records("toy/two", workspace).empty
    runs = benchmark.status("toy/one/random", workspace)
    assert {(run.trial.seed, run.status.state) for run in runs} == {
        (0, "finished"),
        (9, "finished"),
    }
    assert all(run.last is not None and run.last.result.labelled == 30 for run in runs)
    refused = []
    path = runs[0].folder / "record.json"
    path.write_text(path.read_text().replace("51.0", "99.0"))
    assert len(benchmark.records(workspace=workspace, on_refused=refused.append)) == 2 * 3
    assert [one.path for one in refused] == [path]
    (comparison,) = benchmark.compare("toy/one/random", workspace)
    assert [one.path for one in comparison.refused] == [path]


def test_compare_report_publish_and_results(workspace: Workspace, tmp_path: Path) -> None:
    (empty,) = benchmark.report("toy/one", workspace, ReportOptions(out=tmp_path / "out")).suites
    assert (list(empty.files), empty.command) == ([], "albench run toy/one")
    benchmark.run("toy/one/random@0,9", workspace, QUICK)
    (comparison,) = benchmark.compare("toy/one/random", workspace)
    assert (comparison.suite.id, len(comparison.records)) == ("toy/one", 2)
    assert comparison.judgement.exit_code in Exit
    written = benchmark.report("toy/one", workspace, ReportOptions(out=tmp_path / "out"))
    assert written.exit_code is Exit.OK
    assert written.files and all(path.is_file() for path in written.files)
    with pytest.raises(UsageError, match="exclude each other"):
        benchmark.report("toy/one", workspace, ReportOptions(out=tmp_path, publish=True))
    assert benchmark.results(workspace=workspace).empty
    benchmark.report("toy/one", workspace, ReportOptions(publish=True))
    frame = benchmark.results("toy/one/random@9", workspace)
    assert list(frame["labelled"]) == [10, 20, 30]
    assert frame.equals(benchmark.records("toy/one/random@9", workspace))
    assert benchmark.picks("toy/two", workspace).empty
    (regression,) = regress("toy/one", workspace)
    assert regression.exit_code is Exit.OK


def test_labelled_sets_are_published_beside_the_measurements(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(runs: Path, record: Record) -> LabelledSet:
        if record.trial.seed == 9:
            raise ValueError("its index file is damaged")
        sizes = tuple(cycle.labelled for cycle in record.cycles)
        return LabelledSet(
            record.trial_id,
            record.env_id,
            record.trial.method_name,
            0,
            sizes,
            np.arange(sizes[-1])[::-1],
        )

    monkeypatch.setattr(picks, "read_labelled", held)
    benchmark.run("toy/one/random@0,9", workspace, QUICK)
    benchmark.report("toy/one", workspace, ReportOptions(publish=True))
    frame = benchmark.picks("toy/one", workspace)
    assert list(frame["index"]) == list(range(29, -1, -1))
    assert list(frame["cycle"]) == [-1] * 10 + [0] * 10 + [1] * 10
    assert set(frame["seed"]) == {0}, "a trial without a sound index file is left out"
    assert benchmark.picks("toy/one/entropy", workspace).empty
    (sets,) = picks.read_picks(workspace.results / "toy" / "one" / picks.FILE)
    picks.write_picks(
        workspace.results / "toy" / "one" / picks.FILE,
        [sets, replace(sets, trial_id="f" * 64, indices=sets.indices[::-1])],
    )
    benchmark.report("toy/one", workspace, ReportOptions(publish=True))
    assert len(benchmark.picks("toy/one", workspace)) == 30, (
        "sets of trials that are no longer committed go"
    )


def test_numbers_of_ones_own_are_judged(tmp_path: Path) -> None:
    rows = [
        f"random,{seed},{labelled},{50 + seed}" for seed in range(3) for labelled in (2_000, 4_000)
    ]
    table = tmp_path / "own.csv"
    table.write_text("method,seed,labelled,value\n" + "\n".join(rows) + "\n")
    found = benchmark.judge(
        table, "bal/cifar10-small", Workspace(ROOT / "suites", results=ROOT / "results")
    )
    assert (found.suite.id, len(found.measurements)) == ("bal/cifar10-small", 6)
    assert found.exit_code == found.judgement.exit_code
    with pytest.raises(UsageError, match="two tables"):
        benchmark.judge(table, "bal/cifar10-small", by_seed=True)


def test_the_worst_code_counts() -> None:
    assert worst_code([Exit.OK, Exit.INCONCLUSIVE]) is Exit.INCONCLUSIVE
    assert worst_code([Exit.NOT_MEASURED, Exit.INCONCLUSIVE, Exit.OK]) is Exit.NOT_MEASURED
    assert worst_code([Exit.DISCREPANCY, Exit.NOT_MEASURED]) is Exit.DISCREPANCY


def test_verify(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmark.api.verify as verification

    real = verification.verify_trials
    monkeypatch.setattr(
        verification,
        "verify_trials",
        lambda *given, **options: real(*given, **options, worker=local.WORKER),
    )
    options = VerifyOptions(device="cpu")
    steady = benchmark.verify(f"toy/one/random@{fake.STEADY}", workspace, options)
    assert (steady.is_reached, steady.exit_code) == (True, Exit.OK)
    wobbly = benchmark.verify(f"toy/one/random@{fake.WOBBLY}", workspace, options)
    assert (wobbly.is_reached, wobbly.exit_code) == (False, Exit.DISCREPANCY)
    lax = VerifyOptions(device="cpu", level=Level.STATISTICAL)
    assert benchmark.verify(f"toy/one/random@{fake.WOBBLY}", workspace, lax).is_reached
    data_are(monkeypatch, ABSENT)
    lines: list[str] = []
    blocked = benchmark.verify("toy/one", workspace, options, report=lines.append)
    assert (list(blocked.results), blocked.exit_code) == ([], Exit.NOT_MEASURED)
    assert len(lines) == len(blocked.blocked) > 0
    assert not workspace.runs.exists()


def test_check(workspace: Workspace) -> None:
    assert [one.name for one in benchmark.check((), workspace, quick=True) if not one.is_good] == [
        "schema.json"
    ]
    assert not schema_is_current(workspace)
    write_schema(workspace)
    assert schema_is_current(workspace)
    assert all(one.is_good for one in benchmark.check("toy/one", workspace, quick=True))
    write_suite(workspace.suites, "toy/two", SUITE.replace("epochs = 4", "epochs = 0"))
    bad = {one.name: one for one in benchmark.check((), workspace, quick=True)}["toy/two"]
    assert (bad.is_good, bad.findings[0][0]) == (False, BAD)
    with pytest.raises(SuiteError, match="epochs"):
        benchmark.load_suite("toy/two", workspace)
    with pytest.raises(UsageError, match="did you mean"):
        benchmark.check("toy/three", workspace, quick=True)


def test_suites_and_data(workspace: Workspace) -> None:
    assert list(list_suites("toy", workspace)) == ["toy/one"]
    assert benchmark.load_suite("toy/one", workspace).id == "toy/one"
    assert data_names(["toy/*", "cifar10"], workspace) == ["digits", "cifar10"]
    for wrong in (
        lambda: list_suites("none", workspace),
        lambda: data_names(["cifar11"], workspace),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_clean(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="no runs folder"):
        clean(workspace)
    workspace.runs.mkdir()
    left = workspace.runs / ".probe.1.partial"
    left.write_text("x")
    assert left in clean(workspace, dry_run=True).removed
    assert left.exists()
    clean(workspace)
    assert not left.exists()


def test_the_contract_of_a_strategy(workspace: Workspace) -> None:
    assert all(finding.result != "FAILED" for finding in check_strategy("random"))
    with pytest.raises(AlbenchError):
        check_strategy("gone.py:Mine")
