"""A real Ray cluster of nodes on this machine: equal to the local executor, also when a node dies
in the middle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ExecutorError
from benchmark.executors.jobs import FailureKind, Job
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs import environment as provenance
from benchmark.runs.events import CycleFinished, Environment
from benchmark.runs.store import Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.load import find_suite
from tests.helpers.waiting import wait_for

if not os.environ.get("ALBENCH_REQUIRE_RAY"):  # where it is required, a missing ray is an error
    pytest.importorskip(
        "ray", reason="ray is an optional extra: uv pip install -r requirements-ray.lock"
    )

import ray
from ray.cluster_utils import Cluster

from benchmark.executors.ray.executor import RayExecutor, create

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

ROOT = Path(__file__).parents[2]
EPOCHS = 24


def job(folder: Path, method: str, environment: Environment, **changes: Any) -> Job:
    suite = find_suite("quickstart/digits", ROOT / "suites")
    (trial,) = suite.trials(methods=[method], seeds=[0], sets={"protocol.training.epochs": EPOCHS})
    plain: dict[str, Any] = {
        "name": f"quickstart/digits/{method}@0",
        "trial_id": trial_id(trial),
        "data": folder / "data",
        "out": Store(folder / "runs").create(trial, environment),
        "cache": folder / "cache",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "env_id": environment.env_id,
        "save_every": 0.5,
    }
    return Job(**plain | changes)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without work and two nodes for one trial each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = made.address
    try:
        yield made
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def executor(cluster: Cluster) -> RayExecutor:
    return create()


@pytest.fixture(scope="module")
def environment(executor: RayExecutor) -> Environment:
    return executor.environment("auto", "fp32", 1)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the local executor's records, by trial."""
    folder = tmp_path_factory.mktemp("local")
    jobs = [
        job(folder, method, provenance.describe_environment("cpu")) for method in ("random", "tod")
    ]
    ends = LocalExecutor().run(jobs, jobs_at_once=2, deadline=None, on_event=lambda *_: None)
    assert [end.state for end in ends] == ["finished"] * 2, ends
    return {one.trial_id: check_record(one.out).digest for one in jobs}


def execute(
    executor: RayExecutor, chosen: list[Job], act: Callable[[], None] | None = None
) -> tuple[Any, list[int]]:
    """How jobs end, where `act` happens in a thread once each has told its second cycle; and the
    cycles that were told."""
    told: dict[str, list[int]] = {one.trial_id: [] for one in chosen}
    threads: list[threading.Thread] = []

    def watch(this: Job, event: Any) -> None:
        if isinstance(event, CycleFinished):
            told[this.trial_id].append(event.result.cycle)
            if act is not None and not threads and all(len(cycles) > 1 for cycles in told.values()):
                threads.append(threading.Thread(target=act))
                threads[0].start()

    ends = executor.run(chosen, jobs_at_once=len(chosen), deadline=None, on_event=watch)
    assert act is None or threads, f"it ended before anything could happen: {ends}"
    for thread in threads:
        thread.join()
    return ends, sorted(cycle for cycles in told.values() for cycle in cycles)


def digests(jobs: list[Job]) -> dict[str, str]:
    return {one.trial_id: check_record(one.out).digest for one in jobs}


def test_what_the_nodes_are(executor: RayExecutor, environment: Environment) -> None:
    assert environment == provenance.describe_environment("cpu")
    assert executor.slots("cpu", 1) == 2


def test_a_gpu_where_there_is_none(
    executor: RayExecutor, environment: Environment, tmp_path: Path
) -> None:
    if ray.cluster_resources().get("GPU"):
        pytest.skip("this cluster has GPUs")
    with pytest.raises(ExecutorError, match="cuda"):
        executor.environment("cuda", "fp32", 1)
    ((end,), _) = execute(executor, [job(tmp_path, "random", environment, device="cuda")])
    assert (end.state, end.kind) == ("failed", FailureKind.daemon)
    assert "cuda" in end.message


def test_a_trial_that_cannot_be_built(
    executor: RayExecutor, environment: Environment, tmp_path: Path
) -> None:
    one = job(tmp_path, "random", environment)
    path = one.out / "trial.json"
    path.write_text(path.read_text().replace('"name": "random"', '"name": "no_such"', 1))
    ((end,), _) = execute(executor, [one])
    assert (end.state, end.kind) == ("failed", FailureKind.usage)
    assert "no_such" in end.message


def test_stopped_and_resumed(
    executor: RayExecutor, environment: Environment, expected: dict[str, str], tmp_path: Path
) -> None:
    one = job(tmp_path, "random", environment)

    def watch(_: Job, event: Any) -> None:
        if isinstance(event, CycleFinished) and event.result.cycle == 0:
            executor._remotes[one.out].stop()

    ends = executor.run([one], jobs_at_once=1, deadline=None, on_event=watch)
    assert (ends[0].state, ends[0].kind) == ("stopped", None), ends
    assert list((one.out / "state").iterdir()), "what it saved came back"
    ((end,), cycles) = execute(executor, [one])
    assert end.state == "finished", (end.message, end.log)
    assert 0 not in cycles, "finished cycles are not repeated"
    assert digests([one]).items() <= expected.items()


def test_a_node_that_is_killed(
    cluster: Cluster,
    executor: RayExecutor,
    environment: Environment,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    chosen = [job(tmp_path, method, environment) for method in ("random", "tod")]
    lost = cluster.list_all_nodes()[-1]
    ends, cycles = execute(
        executor, chosen, lambda: cluster.remove_node(lost, allow_graceful=False)
    )
    assert [end.state for end in ends] == ["finished"] * 2, ends
    assert digests(chosen) == expected
    assert cycles == sorted([*range(5), *range(5)]), "no finished cycle was repeated"
    # the head may learn of the loss after the trials have ended
    wait_for(lambda: executor.slots("cpu", 1) == 1)
    assert not (chosen[0].out / "state").exists() or not list((chosen[0].out / "state").iterdir())


def test_a_node_process_that_is_killed_too_often(
    executor: RayExecutor, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.executors.ray.executor.LIVES", 1)
    one = job(tmp_path, "random", environment)

    def watch(_: Job, event: Any) -> None:
        if isinstance(event, CycleFinished) and event.result.cycle == 0:
            ray.kill(executor._remotes[one.out]._actor)

    (end,) = executor.run([one], jobs_at_once=1, deadline=None, on_event=watch)
    assert (end.state, end.kind) == ("failed", FailureKind.daemon)
    assert list((one.out / "state").iterdir()), "what came back is kept"
