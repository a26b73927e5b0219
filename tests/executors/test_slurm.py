"""Slurm through submitit: its local mode and stand-ins for Slurm's commands, with a worker that
does what seeds say; at the end a real trial, equal to the local executor's."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ExecutorError, UsageError
from benchmark.executors.jobs import BUSY, FINISHED, STOPPED, FailureKind, Job, JobOutcome
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs import environment as provenance
from benchmark.runs.events import CycleFinished
from benchmark.runs.lock import lock_run
from benchmark.runs.store import Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.load import find_suite
from tests.executors import fake_worker as fake
from tests.helpers import fake_slurm
from tests.helpers.runs import ENVIRONMENT, toy_trial
from tests.helpers.waiting import patience, wait_for

if not os.environ.get("ALBENCH_REQUIRE_SLURM"):  # where it is required, its absence is an error
    pytest.importorskip(
        "submitit",
        reason="submitit is an optional extra: uv pip install -r requirements-slurm.lock",
    )

import submitit

from benchmark.executors.slurm import executor as slurm
from benchmark.executors.slurm import task
from benchmark.executors.slurm.executor import RequeuedTask, SlurmExecutor, create, parse_options
from benchmark.executors.slurm.task import Task

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

ROOT = Path(__file__).parents[2]
WORKER = "tests.executors.fake_worker"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Store(tmp_path / "runs")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of jobs of stand-ins for Slurm's commands, which are first in PATH."""
    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    # submitit remembers finished jobs by number, and every stand-in begins at the same one.
    submitit.SlurmJob.watcher.clear()
    return tmp_path / "slurm" / "jobs"


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


def executor(tmp_path: Path, which: str = "slurm", **options: Any) -> SlurmExecutor:
    settings: dict[str, Any] = {"worker": WORKER, "look": 0.2, "lag": patience(2.0)}
    return SlurmExecutor(tmp_path / "folder", cluster=which, **settings | options)


def execute(
    made: SlurmExecutor,
    jobs: list[Job],
    *,
    at_once: int = 4,
    limit: float | None = None,
    act: Callable[[], object] = lambda: None,
) -> tuple[dict[int, JobOutcome], list[Any]]:
    told: list[Any] = []
    acting = threading.Thread(target=act)
    acting.start()
    ends = made.run(
        jobs,
        jobs_at_once=at_once,
        deadline=None if limit is None else time.monotonic() + limit,
        on_event=lambda _, event: told.append(event),
    )
    acting.join()
    assert [end.job for end in ends] == jobs
    return {int(end.job.name.rpartition("@")[2]): end for end in ends}, told


def is_saved(job: Job) -> bool:
    """Whether the slow worker is in its slow part."""
    return (job.out / "state" / "cycle.state").exists()


def hurry(job: Job) -> None:
    (job.out.parents[1] / fake.HURRY).touch()


def test_each_kind_of_end(store: Store, cluster: Path, tmp_path: Path) -> None:
    expected = {
        fake.FINE: ("finished", None),
        fake.FAILS: ("failed", FailureKind.program),
        fake.DIES: ("failed", FailureKind.program),
        fake.STARVES: ("failed", FailureKind.oom),
        fake.LIES: ("failed", FailureKind.program),
        fake.INVALID: ("failed", FailureKind.usage),
    }
    made = executor(tmp_path, options=["--partition=short"])
    outcomes, told = execute(made, make(store, *expected), at_once=3)
    assert {seed: (end.state, end.kind) for seed, end in outcomes.items()} == expected
    assert outcomes[fake.FAILS].message == "something broke"
    assert "it broke here" in outcomes[fake.FAILS].log
    assert sum(isinstance(event, CycleFinished) for event in told) >= 3

    jobs = fake_slurm.jobs(cluster)
    assert [job.name for job in jobs] == [f"100_{index}" for index in range(6)], "one array"
    script = (jobs[0] / "script").read_text()
    for line in (
        "#SBATCH --array=0-5%3",
        "#SBATCH --requeue",
        "#SBATCH --partition=short",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --time=240",
        "#SBATCH --signal=USR2@90",
    ):
        assert line in script.splitlines(), line
    assert "gpus" not in script
    assert not list((tmp_path / "folder").iterdir()), "scripts and logs are gone"


def test_a_worker_has_the_same_variables_as_a_local_one(
    store: Store, cluster: Path, tmp_path: Path
) -> None:
    (job,) = make(store, fake.FINE)
    seen = []
    for made in (executor(tmp_path), LocalExecutor(isolate=True, worker=WORKER)):
        made.run([job], jobs_at_once=1, deadline=None, on_event=lambda *_: None)
        said = json.loads((job.out / "seen.json").read_text())
        own = re.compile("SLURM|SUBMITIT|FAKE_|_$|SHLVL|OLDPWD|PWD|COLUMNS|LINES|ALBENCH_HOST_PID")
        seen.append({k: v for k, v in said["environ"].items() if not own.match(k)})
    assert seen[0] == seen[1]


def test_time_limit(store: Store, cluster: Path, tmp_path: Path) -> None:
    slow, fine = make(store, fake.SLOW, fake.FINE)
    limit = patience(8.0)
    outcomes, _ = execute(executor(tmp_path), [slow, fine], limit=limit)
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].kind) == ("stopped", None)
    assert store.status(toy_trial(fake.SLOW), ENVIRONMENT).state == "resumable"
    words = json.loads((slow.out / "seen.json").read_text())["argv"]
    assert 0 < float(words[words.index("--time-limit") + 1]) <= limit
    script = (fake_slurm.jobs(cluster)[0] / "script").read_text()
    (minutes,) = re.findall(r"^#SBATCH --time=(\d+)$", script, re.MULTILINE)
    assert limit + 150 <= int(minutes) * 60 <= limit + 150 + 60, "room to save, and not more"
    wait_for(lambda: all(fake_slurm.state(job) != "RUNNING" for job in fake_slurm.jobs(cluster)))
    hurry(slow)
    outcomes, told = execute(executor(tmp_path), [slow])
    assert outcomes[fake.SLOW].state == "finished"
    assert [one.result.cycle for one in told if isinstance(one, CycleFinished)] == [1, 2]


def test_a_limit_that_passes_in_the_queue(store: Store, cluster: Path, tmp_path: Path) -> None:
    (cluster.parent / "hold").touch()
    (fine,) = make(store, fake.FINE)
    outcomes, _ = execute(executor(tmp_path), [fine], limit=1.0)
    assert outcomes[fake.FINE].state == "stopped"
    (job,) = fake_slurm.jobs(cluster)
    assert fake_slurm.state(job) == "CANCELLED"
    assert not (fine.out / "seen.json").exists()


def test_the_end_of_a_jobs_time_requeues_it(store: Store, cluster: Path, tmp_path: Path) -> None:
    """Slurm sends USR2; the job saves its state, and the same job goes on from it."""
    (slow,) = make(store, fake.SLOW)

    def time_is_over() -> None:
        wait_for(lambda: is_saved(slow))
        hurry(slow)
        fake_slurm.send(fake_slurm.jobs(cluster)[0], signal.SIGUSR2)

    outcomes, told = execute(executor(tmp_path), [slow], act=time_is_over)
    assert outcomes[fake.SLOW].state == "finished", outcomes
    assert [one.result.cycle for one in told if isinstance(one, CycleFinished)] == [0, 1, 2]
    (job,) = fake_slurm.jobs(cluster)
    assert (job / "restarts").read_text() == "1"


def test_preempted_with_time_to_save(store: Store, cluster: Path, tmp_path: Path) -> None:
    """Slurm sends TERM, the job ends before it is killed: it is submitted again."""
    (slow,) = make(store, fake.SLOW)

    def preempt() -> None:
        wait_for(lambda: is_saved(slow))
        hurry(slow)
        fake_slurm.send(fake_slurm.jobs(cluster)[0], signal.SIGTERM)

    outcomes, told = execute(executor(tmp_path), [slow], act=preempt)
    assert outcomes[fake.SLOW].state == "finished", outcomes
    assert [one.result.cycle for one in told if isinstance(one, CycleFinished)] == [0, 1, 2]
    assert [job.name for job in fake_slurm.jobs(cluster)] == ["100", "101"]


@pytest.mark.parametrize(
    ("fate", "state", "kind", "submitted"),
    [
        ("NODE_FAIL", "finished", None, 2),
        ("OUT_OF_MEMORY", "failed", FailureKind.oom, 1),
        ("CANCELLED by 1000", "stopped", None, 1),
    ],
)
def test_killed_by_the_cluster(
    store: Store,
    cluster: Path,
    tmp_path: Path,
    fate: str,
    state: str,
    kind: FailureKind | None,
    submitted: int,
) -> None:
    (slow,) = make(store, fake.SLOW)

    def kill() -> None:
        wait_for(lambda: is_saved(slow))
        hurry(slow)
        (job,) = fake_slurm.jobs(cluster)
        fake_slurm.put(job / "fate", fate)
        seen = json.loads((slow.out / "seen.json").read_text())
        fake_slurm.send(job, signal.SIGKILL)
        os.kill(seen["pid"], signal.SIGKILL)

    outcomes, _ = execute(executor(tmp_path), [slow], act=kill)
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].kind) == (state, kind), outcomes
    assert len(fake_slurm.jobs(cluster)) == submitted


def test_lost_too_often(
    store: Store, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LIVES", 1)
    (slow,) = make(store, fake.SLOW)

    def preempt() -> None:
        wait_for(lambda: is_saved(slow))
        fake_slurm.send(fake_slurm.jobs(cluster)[0], signal.SIGTERM)

    outcomes, _ = execute(executor(tmp_path), [slow], act=preempt)
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].kind) == ("failed", FailureKind.daemon)
    assert is_saved(slow)


def test_what_sbatch_refuses(store: Store, cluster: Path, tmp_path: Path) -> None:
    (cluster.parent / "refuse").touch()
    outcomes, _ = execute(executor(tmp_path), make(store, fake.FINE, fake.FAILS))
    for end in outcomes.values():
        assert (end.state, end.kind) == ("failed", FailureKind.daemon)
        assert "Invalid account" in end.message
    with pytest.raises(ExecutorError, match="Invalid account"):
        executor(tmp_path).environment("cpu", "fp32", 1)


def test_a_folder_in_use_is_not_queued(store: Store, cluster: Path, tmp_path: Path) -> None:
    (fine,) = make(store, fake.FINE)
    with lock_run(fine.out):
        outcomes, _ = execute(executor(tmp_path), [fine])
    assert (outcomes[fake.FINE].state, outcomes[fake.FINE].kind) == ("failed", FailureKind.busy)
    assert not fake_slurm.jobs(cluster)


def test_the_environment_of_a_node(cluster: Path, tmp_path: Path, store: Store) -> None:
    made = executor(tmp_path)
    assert made.environment("cpu", "fp32", 2) == provenance.describe_environment("cpu", "fp32", 2)
    with pytest.raises(UsageError, match="device must be named"):
        made.environment("auto", "fp32", 1)


def test_a_gpu_is_asked_for(store: Store, cluster: Path, tmp_path: Path) -> None:
    (fine,) = make(store, fake.FINE, device="cuda:1")
    execute(executor(tmp_path), [fine])
    script = (fake_slurm.jobs(cluster)[0] / "script").read_text()
    assert "#SBATCH --gpus-per-node=1" in script.splitlines()
    words = json.loads((fine.out / "seen.json").read_text())["argv"]
    assert words[words.index("--device") + 1] == "cuda", "its one GPU is its first"


# ------------------------------------------------------------------------------------- on the node


def run_task(job: Job, tmp_path: Path, **options: Any) -> tuple[int, str]:
    status = tmp_path / "status"
    code = Task(job, status, worker=WORKER, **options)()
    return code, status.read_text()


def test_a_finished_trial_is_not_done_again(store: Store, tmp_path: Path) -> None:
    (fine,) = make(store, fake.FINE)
    assert run_task(fine, tmp_path) == (FINISHED, "0")
    (fine.out / "seen.json").unlink()
    assert run_task(fine, tmp_path) == (FINISHED, "0")
    assert not (fine.out / "seen.json").exists()


def test_no_worker_starts_after_the_limit(store: Store, tmp_path: Path) -> None:
    (fine,) = make(store, fake.FINE)
    assert run_task(fine, tmp_path, until=time.time() - 1) == (STOPPED, "75")
    assert not (fine.out / "seen.json").exists()


def test_a_restarted_job_waits_for_the_lock_of_the_node_that_died(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fine,) = make(store, fake.FINE)
    monkeypatch.setattr(task, "BEAT", 0.01)
    held = lock_run(fine.out)
    held.__enter__()
    assert run_task(fine, tmp_path) == (BUSY, "69"), "a job that starts first does not wait"
    monkeypatch.setenv(task.RESTARTS, "1")

    def free() -> None:
        wait_for(lambda: "in use" in (fine.out / "worker.log").read_text().partition("\n")[2])
        held.__exit__(None, None, None)

    freeing = threading.Thread(target=free)
    freeing.start()
    assert run_task(fine, tmp_path, patience=patience()) == (FINISHED, "0")
    freeing.join()


# ------------------------------------------------------------------------------ submitit's own mode


def test_submitits_local_mode(store: Store, tmp_path: Path) -> None:
    (fine, fails) = make(store, fake.FINE, fake.FAILS)
    outcomes, _ = execute(executor(tmp_path, "local"), [fine, fails], at_once=1)
    assert (outcomes[fake.FINE].state, outcomes[fake.FAILS].state) == ("finished", "failed")


def test_submitits_local_mode_stops_and_resumes(store: Store, tmp_path: Path) -> None:
    (slow,) = make(store, fake.SLOW)
    outcomes, _ = execute(executor(tmp_path, "local"), [slow], limit=patience(8.0))
    assert (outcomes[fake.SLOW].state, outcomes[fake.SLOW].kind) == ("stopped", None), outcomes
    assert is_saved(slow)
    hurry(slow)
    outcomes, _ = execute(executor(tmp_path, "local"), [slow])
    assert outcomes[fake.SLOW].state == "finished"


def test_submitits_local_mode_requeues(store: Store, tmp_path: Path) -> None:
    (slow,) = make(store, fake.SLOW)
    made = executor(tmp_path, "local")

    def interrupt() -> None:
        wait_for(lambda: is_saved(slow))
        hurry(slow)
        controller = int(made._tasks[slow.out]._submitted.job_id)
        children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGUSR2)  # as submitit's controller does at the end

    outcomes, told = execute(made, [slow], act=interrupt)
    assert outcomes[fake.SLOW].state == "finished", outcomes
    assert [one.result.cycle for one in told if isinstance(one, CycleFinished)] == [0, 1, 2]


def test_a_real_trial_equals_the_local_executors(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBENCH_SLURM_FOLDER", str(tmp_path / "folder"))
    made = create()
    environment = made.environment("cpu", "fp32", 1)
    suite = find_suite("quickstart/digits", ROOT / "suites")
    (trial,) = suite.trials(methods=["random"], seeds=[0], sets={"protocol.training.epochs": 2})
    digests = []
    for name, each in (("slurm", made), ("local", LocalExecutor())):
        job = Job(
            name="quickstart/digits/random@0",
            trial_id=trial_id(trial),
            data=tmp_path / "data",
            out=Store(tmp_path / name).create(trial, environment),
            cache=tmp_path / name / "cache",
            device="cpu",
            precision="fp32",
            threads=1,
            env_id=environment.env_id,
        )
        (end,) = each.run([job], jobs_at_once=1, deadline=None, on_event=lambda *_: None)
        assert end.state == "finished", (end.message, end.log)
        digests.append(check_record(job.out).digest)
    assert digests[0] == digests[1]


def test_the_lines_of_the_page(cluster: Path, tmp_path: Path) -> None:
    """docs/slurm.md, executed as it stands where the stand-ins are."""
    page = (ROOT / "docs" / "slurm.md").read_text()
    ((lines),) = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = f'set -eu\nalbench() {{ "{sys.executable}" -m benchmark "$@"; }}\n{lines}'
    variables = {
        "ALBENCH_RUNS": str(tmp_path / "runs"),
        "ALBENCH_DATA": str(tmp_path / "data"),
        "ALBENCH_SLURM_FOLDER": str(tmp_path / "folder"),
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run, status = done.stdout[: done.stdout.rindex("finished")], done.stdout
    assert "slurm, 2 at a time" in run
    assert "2 finished" in status
    array = [job for job in fake_slurm.jobs(cluster) if "_" in job.name]
    assert [fake_slurm.state(job) for job in array] == ["COMPLETED"] * 2
    script = (array[0] / "script").read_text()
    for line in ("--array=0-1%2", "--partition=short", "--mem=4G", "--time=63"):
        assert f"#SBATCH {line}" in script.splitlines(), line
    assert len(list((tmp_path / "runs").glob("*/*/record.json"))) == 2


# ----------------------------------------------------------------------------------------- settings


def test_settings(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBENCH_SLURM_FOLDER", str(tmp_path / "there"))
    monkeypatch.setenv("ALBENCH_SLURM_MINUTES", "30")
    monkeypatch.setenv("ALBENCH_SLURM_OPTIONS", '--mem=8G --exclusive --comment="two words"')
    made = create()
    assert (made.folder, made.minutes, made.cluster) == (tmp_path / "there", 30, "slurm")
    assert made.options == {"mem": "8G", "exclusive": True, "comment": "two words"}
    for name, value in (
        ("ALBENCH_SLURM_MINUTES", "1h"),
        ("ALBENCH_SLURM_MINUTES", "4"),
        ("ALBENCH_SLURM_OPTIONS", "mem=8G"),
        ("ALBENCH_SLURM_OPTIONS", "--mem="),
        ("ALBENCH_SLURM_CLUSTER", "cloud"),
    ):
        with monkeypatch.context() as changed, pytest.raises(UsageError) as raised:
            changed.setenv(name, value)
            create()
        assert raised.value.where == name
    assert parse_options([]) == {}


def test_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match="sbatch, srun, sacct, scancel, scontrol not found"):
        create()


def test_a_task_can_be_sent(store: Store, tmp_path: Path) -> None:
    """What submitit pickles is found again by a process that has only the project."""
    (fine,) = make(store, fake.FINE)
    again = pickle.loads(pickle.dumps(RequeuedTask(fine, tmp_path / "status", worker=WORKER)))
    assert (again.job, again.status, again.worker) == (fine, tmp_path / "status", WORKER)
