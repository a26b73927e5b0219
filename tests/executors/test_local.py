"""Local execution with a fake worker: outcomes, deadlines, signals, leases, environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.executors.jobs import FailureKind, Job, JobOutcome, JobStarted, tail_log
from benchmark.executors.local import child
from benchmark.executors.local.executor import LocalExecutor, count_cores
from benchmark.runs import lock
from benchmark.runs.events import CycleFinished, EpochFinished, TrialStarted
from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from tests.executors import fake_worker as fake
from tests.helpers.runs import ENVIRONMENT, finish, toy_trial
from tests.helpers.waiting import patience, wait_for

WORKER = "tests.executors.fake_worker"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    return Store(tmp_path / "runs")


def make(store: Store, *seeds: int, **options: Any) -> list[Job]:
    return [
        Job(
            name=f"toy/one/random@{seed}",
            trial_id=trial_id(toy_trial(seed)),
            out=store.create(toy_trial(seed), ENVIRONMENT),
            data=store.root,
            cache=store.root,
            **{"device": "cpu", "precision": "fp32", "threads": 1} | options,
        )
        for seed in seeds
    ]


def execute(
    jobs: list[Job],
    *,
    isolate: bool = False,
    at_once: int = 4,
    limit: float | None = None,
    grace: float = 20.0,
) -> tuple[dict[int, JobOutcome], list[tuple[Job, Any]]]:
    told: list[tuple[Job, Any]] = []
    executor = LocalExecutor(isolate=isolate, worker=WORKER, grace=grace)
    deadline = None if limit is None else time.monotonic() + limit
    outcomes = executor.run(
        jobs,
        jobs_at_once=at_once,
        deadline=deadline,
        on_event=lambda job, event: told.append((job, event)),
    )
    assert [outcome.job for outcome in outcomes] == jobs
    return {int(outcome.job.name.rpartition("@")[2]): outcome for outcome in outcomes}, told


def state(store: Store, seed: int) -> str:
    return store.status(toy_trial(seed), ENVIRONMENT).state


@pytest.mark.parametrize("isolate", [False, True])
def test_each_kind_of_end(store: Store, isolate: bool) -> None:
    expected = {
        fake.FINE: ("finished", None),
        fake.FAILS: ("failed", FailureKind.program),
        fake.DIES: ("failed", FailureKind.program),
    }
    if not isolate:
        expected |= {
            fake.STARVES: ("failed", FailureKind.oom),
            fake.LIES: ("failed", FailureKind.program),
            fake.INVALID: ("failed", FailureKind.usage),
            fake.SEGFAULTS: ("failed", FailureKind.program),
        }
    outcomes, told = execute(make(store, *expected), isolate=isolate)
    assert {seed: (outcome.state, outcome.kind) for seed, outcome in outcomes.items()} == expected
    assert state(store, fake.FINE) == "finished"
    assert outcomes[fake.FAILS].message == "something broke"
    assert "it broke here" in outcomes[fake.FAILS].log
    assert outcomes[fake.DIES].message == "killed by signal 9"
    assert outcomes[fake.DIES].log[-1] == "about to die"
    assert state(store, fake.FAILS) == "failed"
    if not isolate:
        assert outcomes[fake.SEGFAULTS].message == "killed by signal 11"
        assert "without a valid record" in outcomes[fake.LIES].message

    fine = [event for job, event in told if job.name.endswith(f"@{fake.FINE}")]
    assert [type(event) for event in fine][:2] == [JobStarted, TrialStarted]
    assert [event.result.cycle for event in fine if isinstance(event, CycleFinished)] == [0, 1, 2]
    assert sum(isinstance(event, EpochFinished) for event in fine) == 3
    assert isinstance(fine[-1], JobOutcome)


def test_killed_worker_resumes_and_others_go_on(store: Store) -> None:
    slow, fine = make(store, fake.SLOW, fake.FINE)

    def kill_when_saved() -> None:
        wait_for((slow.out / "state" / "cycle.state").exists)
        os.kill(json.loads((slow.out / "seen.json").read_text())["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_saved)
    killer.start()
    outcomes, _ = execute([slow, fine])
    killer.join()
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].message) == (
        "failed",
        "killed by signal 9",
    )
    assert outcomes[fake.FINE].state == "finished"
    assert state(store, fake.SLOW) == "resumable"
    (slow.out / "state" / "cycle.state").write_text("2")  # past the slow part
    outcomes, told = execute([slow])
    assert outcomes[fake.SLOW].state == "finished"
    assert [event.result.cycle for _, event in told if isinstance(event, CycleFinished)] == [2], (
        "old events are not told again"
    )


def test_time_limit_stops_cleanly(store: Store) -> None:
    outcomes, _ = execute(make(store, fake.SLOW, fake.FINE), at_once=1, limit=patience(3.0))
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].kind) == ("stopped", None)
    assert state(store, fake.SLOW) == "resumable"
    assert (outcomes[fake.FINE].state, outcomes[fake.FINE].message) == (
        "stopped",
        "not started before the time limit",
    )
    assert state(store, fake.FINE) == "new"


def test_deaf_worker_is_killed_after_the_grace(store: Store) -> None:
    outcomes, _ = execute(make(store, fake.DEAF), limit=patience(3.0), grace=0.5)
    assert (outcomes[fake.DEAF].state, outcomes[fake.DEAF].kind) == ("failed", FailureKind.timeout)
    assert state(store, fake.DEAF) == "resumable"
    assert not lock.lock_owner(store.run_dir(toy_trial(fake.DEAF), ENVIRONMENT))


def interrupt_when(saved: Path, times: int) -> threading.Thread:
    def send() -> None:
        wait_for(saved.exists)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.4)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("isolate", [False, True])
def test_interrupt_saves_and_starts_nothing_more(store: Store, isolate: bool) -> None:
    jobs, before = make(store, fake.SLOW, fake.FINE), signal.getsignal(signal.SIGINT)
    sender = interrupt_when(jobs[0].out / "state" / "cycle.state", 1)
    outcomes, _ = execute(jobs, at_once=1, isolate=isolate)
    sender.join()
    assert {outcome.kind for outcome in outcomes.values()} == {FailureKind.cancelled}
    assert {outcome.state for outcome in outcomes.values()} == {"stopped"}
    assert state(store, fake.SLOW) == "resumable"
    assert outcomes[fake.FINE].message == "not started"
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_not_heard_by_what_is_being_started() -> None:
    with child.signals_blocked():
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(1)"], stdout=-1
        )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(patience(30)) == 0


def test_second_interrupt_kills(store: Store) -> None:
    jobs = make(store, fake.DEAF)
    sender = interrupt_when(jobs[0].out / "state" / "cycle.state", 2)
    outcomes, _ = execute(jobs)
    sender.join()
    assert outcomes[fake.DEAF].kind == FailureKind.cancelled
    assert "asked twice" in outcomes[fake.DEAF].message


@pytest.mark.parametrize("isolate", [False, True])
def test_held_lease_means_busy(store: Store, isolate: bool) -> None:
    (job,) = make(store, fake.FINE)
    with lock.lock_run(job.out):
        outcomes, _ = execute([job], isolate=isolate)
    assert outcomes[fake.FINE].kind == FailureKind.busy
    assert f"process {os.getpid()}" in outcomes[fake.FINE].message
    assert execute([job])[0][fake.FINE].state == "finished"


@pytest.mark.parametrize("isolate", [False, True])
def test_what_a_worker_is_given(store: Store, isolate: bool) -> None:
    (job,) = make(store, fake.FINE, allow_noncanonical=True)
    before = dict(os.environ)
    execute([job], isolate=isolate, limit=60)
    seen = json.loads((job.out / "seen.json").read_text())
    environ = seen["environ"]
    assert (environ["PYTHONHASHSEED"], environ["OMP_NUM_THREADS"], environ["TZ"]) == (
        "0",
        "1",
        "UTC",
    )
    assert environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert seen["argv"][:2] == [f"{job.out}/trial.json", str(job.out)]
    assert "--allow-noncanonical-data" in seen["argv"]
    assert "--fresh" not in seen["argv"]
    assert 50 < float(seen["argv"][seen["argv"].index("--time-limit") + 1]) <= 60
    assert seen["pid"] != os.getpid()
    assert tail_log(job.out / "worker.log")[0] == f"hello from {seen['pid']}"
    assert dict(os.environ) == before


def test_worker_in_another_environment_is_stopped_at_once(store: Store) -> None:
    outcomes, told = execute(make(store, fake.SLOW, env_id="f" * 64))
    assert not any(
        isinstance(event, CycleFinished) and event.result.cycle == 2 for _, event in told
    ), "it went on"
    assert outcomes[fake.SLOW].state == "failed"
    assert "not the planned one" in outcomes[fake.SLOW].message


def test_fresh_tells_only_new_events(store: Store) -> None:
    finish(store, toy_trial(fake.FINE))
    (job,) = make(store, fake.FINE, fresh=True)
    outcomes, told = execute([job])
    assert outcomes[fake.FINE].state == "finished"
    assert [event.result.cycle for _, event in told if isinstance(event, CycleFinished)] == [
        0,
        1,
        2,
    ]


def test_worker_that_cannot_be_imported(store: Store) -> None:
    executor = LocalExecutor(worker="tests.executors.no_such_worker", isolate=True)
    (job,) = make(store, fake.FINE)
    (outcome,) = executor.run([job], jobs_at_once=1, deadline=None, on_event=lambda *_: None)
    assert (outcome.state, outcome.kind) == ("failed", FailureKind.program)
    assert any("No module named" in line for line in outcome.log)


HOST = """
import sys
from pathlib import Path
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs.store import Store
from tests.executors.test_local import make
isolate = sys.argv[2] == "True"
jobs = make(Store(Path(sys.argv[1])), 1)
LocalExecutor(worker="tests.executors.fake_worker", isolate=isolate).run(
    jobs, jobs_at_once=1, deadline=None, on_event=lambda *_: None)
"""


@pytest.mark.parametrize("isolate", [False, True])
def test_workers_of_a_killed_host_save_and_end(store: Store, isolate: bool) -> None:
    folder = store.run_dir(toy_trial(fake.SLOW), ENVIRONMENT)
    host = subprocess.Popen([sys.executable, "-c", HOST, str(store.root), str(isolate)])
    try:
        wait_for(lambda: (folder / "state" / "cycle.state").exists())
    finally:
        host.kill()
        host.wait()
    # Its own pace is 30 s in the second cycle: ends before that only because it was asked to.
    wait_for(lambda: state(store, fake.SLOW) != "running")
    assert state(store, fake.SLOW) == "resumable"
    assert '"stopped"' in (folder / "events.jsonl").read_text().splitlines()[-1]


GROUP = """
import sys
from pathlib import Path
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs.store import Store
from tests.executors import fake_worker as fake
from tests.executors.test_local import make
jobs = make(Store(Path(sys.argv[1])), fake.SLOW, fake.STEADY, fake.FINE)
def say(job, event):
    print("TOLD", type(event).__name__, flush=True)
executor = LocalExecutor(worker="tests.executors.fake_worker", isolate=sys.argv[2] == "True")
ends = executor.run(jobs, jobs_at_once=2, deadline=None, on_event=say)
print("ENDS", *(f"{end.state}/{end.kind}/{end.message}" for end in ends), sep=chr(10), flush=True)
"""


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_signal_to_the_whole_group_is_a_clean_stop(
    store: Store, isolate: bool, late: float
) -> None:
    """As `timeout` and a closed terminal send it, at any moment of a worker's start."""
    host = subprocess.Popen(
        [sys.executable, "-c", GROUP, str(store.root), str(isolate)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdout is not None
    assert host.stdout.readline() == "TOLD JobStarted\n"
    time.sleep(late)
    os.killpg(host.pid, signal.SIGTERM)
    said, _ = host.communicate(timeout=patience(60))
    ends = said.split("ENDS\n")[1].splitlines()
    assert len(ends) == 3
    assert {tuple(end.split("/")[:2]) for end in ends} == {("stopped", "cancelled")}, ends
    assert not lock.lock_owner(store.run_dir(toy_trial(fake.SLOW), ENVIRONMENT))
    assert state(store, fake.SLOW) in ("new", "resumable")


def test_cores() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)
