"""Target models trained apart, from the store to the committed table and back, as the command line
is called."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from benchmark.cli import invoke
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, Environment, TrialFinished
from benchmark.runs.store import Store
from benchmark.spec.load import find_suite
from benchmark.spec.selectors import Selection, Selector
from benchmark.verdicts.measurements import read_results
from tests.helpers.runs import ENVIRONMENT, say_started, toy_record

SUITES = Path(__file__).parents[2] / "suites"
ELSEWHERE = ENVIRONMENT.model_copy(update={"torch": "2.10.0"})


def fill(runs: Path) -> None:
    """Every part of three trials with the published numbers and some scatter, the smallest models
    in another environment."""
    suite = find_suite("diam/mnist", SUITES)
    published = {
        row.metric: row.value
        for row in suite.reported
        if (row.method, row.labelled) == ("random", 3000)
    }
    store = Store(runs)
    for profile, item in suite.suite.profiles.items():
        members = item.set.get("protocol.members")
        if not item.part or members is None:
            continue
        env: Environment = ELSEWHERE if profile == "smallest" else ENVIRONMENT
        chosen = Selection([Selector("diam/mnist")], profile=profile, seeds=(0, 1, 2))
        for asked in chosen.trials(SUITES):
            trial = asked.trial.model_copy(update={"data_digest": "d" * 64})
            own = {
                f"accuracy/model{place}": published[f"accuracy/model{place}"]
                + 0.1 * (trial.seed - 1)
                for place in members
            }
            record = toy_record(trial, env)
            metrics = own | {
                "accuracy": fmean(own.values()),
                "spread/models": pstdev(own.values()),
                "loss/last": 0.5,
            }
            (cycle,) = record.cycles
            cycle = cycle.model_copy(
                update={"labelled": 3000, "metrics": metrics, "labelled_digest": "e" * 64}
            )
            record = record.model_copy(update={"cycles": (cycle,)})
            folder = store.create(trial, env)
            say_started(folder, trial, env)
            events.append_event(
                folder / "events.jsonl",
                CycleFinished(time=2.0, result=cycle, seconds={"train": 1.0}, reused=False),
            )
            events.write_json(folder / "record.json", record)
            file = hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()
            events.append_event(
                folder / "events.jsonl", TrialFinished(time=3.0, digest=record.digest, file=file)
            )


def test_parts_are_judged_published_and_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "runs")

    def albench(*arguments: str, runs: str = "runs") -> str:
        places = [
            "--suites",
            str(SUITES),
            "--results",
            str(tmp_path / "results"),
            "--runs",
            str(tmp_path / runs),
        ]
        assert invoke([*places, *arguments]) == 0
        return capsys.readouterr().out

    said = albench("compare", "diam/mnist", "--profile", "first")
    assert "1 reproduced" in said
    assert "put together from trials of single target models" in said
    assert "in 2 environments" in said.replace("\n", " ")
    assert "albench run" not in said, "nothing is missing"

    albench("report", "diam/mnist", "--profile", "first", "--publish", "--no-tracking")
    folder = tmp_path / "results/diam/mnist"
    rows = read_results(folder / "records.csv")
    assert len(rows) == 11 * 3
    assert not any(row.profile == "first" for row in rows), "the table holds what was run"
    page = json.loads((folder / "first.as_published/verdicts.json").read_text())
    assert len(page["environments"]) == 2

    albench(
        "report", "diam/mnist", "--profile", "first", "--committed", "--no-tracking", runs="empty"
    )
    again = json.loads(
        (tmp_path / "report/diam/mnist/first.as_published/verdicts.json").read_text()
    )
    assert again == page
    assert "accuracy/model" not in (folder / "first.as_published/report.md").read_text()
