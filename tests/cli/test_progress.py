"""Progress: lines from events, estimates from work that is done and left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.cli.progress import Mode, Progress, TrialLine
from benchmark.executors.jobs import FailureKind, Job, JobOutcome, JobStarted
from benchmark.planning.plan import Plan, PlannedTrial
from benchmark.planning.workload import estimate_workload
from benchmark.runs.events import CycleFinished, EpochFinished, TrialStarted
from benchmark.spec.identity import trial_id
from benchmark.spec.suite import MethodCost
from benchmark.text import format_duration
from tests.helpers.runs import ENVIRONMENT, result, toy_trial


def planned(seed: int, seconds: float | None = None, done: int = 0) -> PlannedTrial:
    trial = toy_trial(seed)
    return PlannedTrial(
        trial=trial,
        trial_id=trial_id(trial),
        state="resumable" if done else "new",
        cycles_done=done,
        work=estimate_workload(trial.protocol, MethodCost(scoring=1)),
        seconds=seconds,
    )


def job(seed: int) -> Job:
    trial = toy_trial(seed)
    return Job(f"toy/one/random@{seed}", trial_id(trial), Path(), Path(), Path(), "cpu", "fp32", 1)


def start(time: float, cycle: int = 0, epoch: int = 0) -> TrialStarted:
    return TrialStarted(time=time, trial_id="t", env_id="e", cycle=cycle, epoch=epoch)


def cycle(number: int, time: float) -> CycleFinished:
    return CycleFinished(time=time, result=result(toy_trial(), number), seconds={}, reused=False)


def screen(mode: Mode, *trials: PlannedTrial, at_once: int = 1) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    plan = Plan(environment=ENVIRONMENT, data=(), allow_noncanonical=False, trials=trials)
    console = Console(file=out, width=200, force_terminal=mode == "live", highlight=False)
    return Progress(plan, mode, console, at_once), out


def test_estimate_follows_work_not_cycles() -> None:
    line = TrialLine("x", planned(0))
    sizes = [part.forward_equivalents for part in line.planned.work]
    assert sizes[0] < sizes[1] < sizes[2], "later cycles train on more images"
    assert line.seconds_left() is None
    for event in (JobStarted("here"), start(100.0), cycle(0, 110.0)):
        line.take(event)
    assert line.seconds_left() == pytest.approx(10.0 * (sizes[1] + sizes[2]) / sizes[0])
    line.take(EpochFinished(time=115.0, cycle=1, epoch=100, epochs=200))
    assert line.seconds_left() == pytest.approx(
        15.0 * (sizes[1] / 2 + sizes[2]) / (sizes[0] + sizes[1] / 2)
    )
    line.take(JobOutcome(job(0), "finished"))
    assert line.seconds_left() == 0


def test_resumed_trials_count_only_what_they_do() -> None:
    line = TrialLine("x", planned(0, done=1))
    sizes = [part.forward_equivalents for part in line.planned.work]
    line.take(start(100.0, cycle=1, epoch=100))
    line.take(EpochFinished(time=110.0, cycle=1, epoch=200, epochs=200))
    assert line.seconds_left() == pytest.approx(10.0 * sizes[2] / (sizes[1] / 2))


def test_a_clock_that_jumps_back_gives_no_estimate() -> None:
    line = TrialLine("x", planned(0, seconds=7.0))
    line.take(JobStarted("here"))
    line.take(start(100.0))
    line.take(cycle(0, 50.0))
    assert line.seconds_left() == 7.0


def test_the_run_is_estimated_from_what_is_seen() -> None:
    progress, _ = screen("none", planned(0), planned(1), planned(2), at_once=2)
    assert progress.seconds_left() is None
    for event in (JobStarted("here"), start(0.0), cycle(0, 1.0), cycle(1, 2.0), cycle(2, 60.0)):
        progress(job(0), event)
    progress(job(0), JobOutcome(job(0), "finished"))
    assert progress.seconds_left() == pytest.approx(60.0), "two more, side by side"
    progress(job(1), JobOutcome(job(1), "failed"))
    progress(job(2), JobOutcome(job(2), "failed"))
    assert progress.seconds_left() == 0


def test_earlier_trials_give_the_first_estimate() -> None:
    progress, _ = screen("none", planned(0, 30.0), planned(1, 50.0))
    assert progress.seconds_left() == 80
    progress, _ = screen("none", planned(0, 30.0), planned(1, None))
    assert progress.seconds_left() is None


def test_plain_lines() -> None:
    progress, out = screen("plain", planned(0))
    now = 0.0
    progress.clock = lambda: now
    with progress:
        progress(job(0), JobStarted("process 4711"))
        progress(job(0), start(100.0))
        for epoch, at in ((50, 10.0), (100, 20.0), (150, 95.0)):
            now = at
            progress(job(0), EpochFinished(time=100 + at, cycle=0, epoch=epoch, epochs=200))
        now = 106.0
        progress(job(0), cycle(0, 200.0))
        progress(job(0), cycle(1, 201.0))
        failed = JobOutcome(
            job(0),
            "failed",
            FailureKind.oom,
            "out of [memory]",
            ("out of [memory]", "line one", "[red]line two"),
        )
        progress(job(0), failed)
    lines = out.getvalue().splitlines()
    assert len(lines) == 6, lines
    assert "cycle 1/3" in lines[0]
    assert "75 %" in lines[1], "one line a minute about epochs"
    assert "cycle 2/3" in lines[2], "cycles in quick succession share a line"
    assert "5000 labels  50.00 %" in lines[2]
    assert lines[3].startswith("failed    toy/one/random@0 (oom)")
    assert "out of [memory]" in lines[3]
    assert lines[5].endswith("| [red]line two")


def test_quiet() -> None:
    progress, out = screen("none", planned(0))
    with progress:
        progress(job(0), start(0.0))
        progress(job(0), JobOutcome(job(0), "failed", FailureKind.program, "x"))
    assert out.getvalue() == ""


def test_live_view() -> None:
    progress, out = screen("live", planned(0), planned(1))
    with progress:
        progress(job(0), JobStarted("here"))
        progress(job(0), start(100.0))
        progress(job(0), cycle(0, 110.0))
        console = Console(file=io.StringIO(), width=160)
        console.print(progress.table())
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        progress(job(0), JobOutcome(job(0), "finished"))
    heads, running, whole = shown.splitlines()
    assert heads.split()[0] == "toy/one", "what is the same for all is said once"
    assert running.startswith("random@0")
    assert "2/3" in running
    assert "50.00 %" in running
    assert "1 running" in whole
    assert "1 waiting" in whole
    assert "finished" in out.getvalue()


def test_a_running_trial_shows_what_it_does() -> None:
    """Images per second are the plan's count of a cycle's images by the share of its epochs and the
    worker's clock."""
    line = TrialLine("x", planned(0))
    for event in (JobStarted("here"), start(100.0)):
        line.take(event)
    assert line.images_per_second() is None
    line.take(EpochFinished(time=101.0, cycle=0, epoch=50, epochs=200, loss=2.0))
    line.take(EpochFinished(time=111.0, cycle=0, epoch=150, epochs=200, loss=0.5))
    work = line.planned.work[0]
    assert line.images_per_second() == pytest.approx((work.labelled + work.unlabelled) * 0.5 / 10.0)
    speed = f"{(work.labelled + work.unlabelled) / 20:,.0f}"
    assert line.cells()[:4] == ("1/3", "150/200", "0.5", speed)
    assert f"cycle 1/3  75 %  epoch 150/200  loss 0.5  {speed} images/s" in line.describe()
    line.take(cycle(0, 120.0))
    assert line.images_per_second() is None
    assert line.cells()[:5] == ("2/3", "", "", "", "5,000")


def test_a_stage_before_the_first_cycle_has_its_name() -> None:
    line = TrialLine("x", planned(0))
    for event in (JobStarted("here"), start(100.0)):
        line.take(event)
    line.take(EpochFinished(time=101.0, cycle=0, epoch=3, epochs=12, loss=1.5, stage="pretext"))
    assert line.cells()[:4] == ("pretext 25%", "3/12", "1.5", "")


def test_the_live_view_fits_eighty_columns() -> None:
    progress, _ = screen("none", planned(0))
    progress.console = Console(file=io.StringIO(), width=80)
    for event in (JobStarted("here"), start(100.0), cycle(0, 110.0)):
        progress(job(0), event)
    for epoch, at in ((50, 111.0), (150, 121.0)):
        progress(job(0), EpochFinished(time=at, cycle=1, epoch=epoch, epochs=200, loss=0.25))
    progress.console.print(progress.table())
    shown = progress.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(shown) == 3 and max(map(len, shown)) <= 80
    assert "150/200" in shown[1] and "0.25" in shown[1] and "50.00 %" in shown[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (120, "2 min"),
        (7200, "2.0 h"),
        (172800, "2.0 d"),
        (5969, "99 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
