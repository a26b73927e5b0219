"""The worker's image on a real engine: built from the project's Dockerfile, equal to the local
executor, whatever happens.

Every fault is real: the container is killed, starved or stopped, the engine restarted, the host
process killed. What is compared is the digest of the record, over everything that was measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.executors.docker.engine import create
from benchmark.executors.docker.executor import ContainerExecutor
from benchmark.executors.docker.sandbox import NOBODY, Limits
from benchmark.executors.jobs import FailureKind, Job, JobOutcome
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, Environment, Record
from benchmark.runs.store import WORK, Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.load import find_suite
from tests.helpers.docker_host import Engine
from tests.helpers.waiting import patience

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
METHODS = ("random", "tod+cod")
MEMORY = 4 * 1024**3
EPOCHS = 80
EXPECTED_USER = NOBODY if os.geteuid() == 0 else (os.getuid(), os.getgid())


def albench(runs: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmark", "--runs", str(runs), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )


def records(runs: Path) -> dict[str, Record]:
    return {
        record.trial_id: record
        for folder in Store(runs).folders()
        for record in [check_record(folder)]
    }


def leftovers(engine: Engine) -> list[str]:
    return [
        found.name
        for found in engine.client.containers.list(all=True, filters={"label": "albench=1"})
    ]


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in folder.rglob("*")}


# ---------------------------------------------------------------------------------------- the image


def test_the_image(engine: Engine, worker_image: str) -> None:
    found = engine.client.images.get(worker_image)
    assert found.attrs["Config"]["User"] == "10001:10001"
    assert (
        found.labels["org.opencontainers.image.revision"].removesuffix("-dirty")
        == provenance.find_revision(ROOT).commit
    )
    told = engine.client.containers.run(
        worker_image,
        [
            "python",
            "-c",
            "import os, benchmark; print(sorted(os.listdir(os.path.dirname(benchmark.__file__))))",
        ],
        remove=True,
        network_mode="none",
        read_only=True,
    )
    inside = set(eval(told))
    assert inside - {"__pycache__"} == {
        "__init__.py",
        "al",
        "errors.py",
        "files.py",
        "runs",
        "spec",
        "text.py",
        "worker.py",
    }
    print(f"the worker's image has {found.attrs['Size'] / 1e9:.2f} GB")


def test_the_quickstart_equals_the_local_executors(
    engine: Engine, worker_image: str, tmp_path: Path
) -> None:
    chosen = [
        "run",
        "quickstart/digits",
        "--methods",
        ",".join(METHODS),
        "--seeds",
        "0",
        "--no-tracking",
    ]
    local = albench(tmp_path / "local", *chosen, "--executor", "local")
    assert local.returncode == 0, local.stderr
    address = {"DOCKER_HOST": engine.host, "ALBENCH_DOCKER_IMAGE": worker_image}
    docker = albench(tmp_path / "docker", *chosen, "--executor", "docker", **address)
    assert docker.returncode == 0, docker.stdout + docker.stderr
    ours, theirs = records(tmp_path / "local"), records(tmp_path / "docker")
    assert len(ours) == len(METHODS)
    assert {key: record.digest for key, record in theirs.items()} == {
        key: one.digest for key, one in ours.items()
    }
    (environment,) = {record.environment for record in theirs.values()}
    assert environment.image == worker_image
    assert not leftovers(engine)
    again = albench(tmp_path / "docker", *chosen, "--executor", "docker", **address)
    assert "nothing to do" in again.stdout


# ------------------------------------------------------------------------------------------- faults


@dataclass
class Scene:
    """One trial, its record when nothing happens, and a fresh runs folder."""

    engine: Engine
    image: str
    root: Path
    expected: str
    environment: Environment
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.root / "runs")

    def job(self, **changes: Any) -> Job:
        return job_of(self.store, self.environment, self.root / "cache", **changes)

    def executor(self, **options: Any) -> ContainerExecutor:
        plain: dict[str, Any] = {"limits": Limits(MEMORY), "image_id": self.image, "patience": 30.0}
        return create(client=self.engine.client, **plain | options)

    def run(self, job: Job, act: Callable[[], None] | None = None, **options: Any) -> JobOutcome:
        """How a job ends, where `act` happens when its second cycle is told."""
        pending = [] if act is None else [act]

        def watch(_: Job, event: Any) -> None:
            if isinstance(event, CycleFinished) and event.result.cycle == 1 and pending:
                pending.pop()()

        (end,) = self.executor(**options).run([job], jobs_at_once=1, deadline=None, on_event=watch)
        assert not pending, f"it ended before anything could happen: {end}"
        return end

    def container(self) -> Any:
        (found,) = self.engine.client.containers.list(filters={"label": "albench=1"})
        return found

    def goes_on(self, job: Job) -> None:
        """It is resumed, not repeated, and ends as if nothing had happened."""
        told: list[Any] = []
        (end,) = self.executor().run(
            [job], jobs_at_once=1, deadline=None, on_event=lambda _, event: told.append(event)
        )
        assert end.state == "finished", (end.message, end.log)
        self.is_equal(job)
        cycles = [event.result.cycle for event in told if isinstance(event, CycleFinished)]
        assert cycles[0] > 0, "finished cycles are not repeated"

    def is_equal(self, job: Job) -> None:
        assert check_record(job.out).digest == self.expected
        assert not leftovers(self.engine)
        assert owners(job.out / WORK) == owners(job.cache) == {EXPECTED_USER[0]}, (
            "what the worker wrote is the container's"
        )
        host = [path for path in job.out.iterdir() if path.name != WORK]
        assert {path.name for path in host} >= {"trial.json", "worker.log"}
        assert {path.lstat().st_uid for path in host} == {os.geteuid()}, (
            "a container cannot change what is the host's"
        )


def job_of(store: Store, environment: Environment, cache: Path, **changes: Any) -> Job:
    """The quickstart's random sampling with more epochs: long enough for things to happen."""
    suite = find_suite("quickstart/digits", ROOT / "suites")
    (trial,) = suite.trials(
        methods=["random"], seeds=[0], sets={"protocol.training.epochs": EPOCHS}
    )
    plain: dict[str, Any] = {
        "name": "quickstart/digits/random@0",
        "trial_id": trial_id(trial),
        "out": store.create(trial, environment),
        "data": ROOT / "data",
        "cache": cache,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "env_id": environment.env_id,
        "save_every": 0.5,
    }
    return Job(**plain | changes)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that the local executor's record has."""
    folder = tmp_path_factory.mktemp("local")
    job = job_of(Store(folder / "runs"), provenance.describe_environment("cpu"), folder / "cache")
    (end,) = LocalExecutor().run([job], jobs_at_once=1, deadline=None, on_event=lambda *_: None)
    assert end.state == "finished", (end.message, end.log)
    return check_record(job.out).digest


@pytest.fixture(scope="module")
def environment(engine: Engine, worker_image: str) -> Environment:
    return create(client=engine.client, image_id=worker_image).environment("cpu", "fp32", 1)


@pytest.fixture
def scene(
    engine: Engine, worker_image: str, tmp_path: Path, expected: str, environment: Environment
) -> Iterator[Scene]:
    made = Scene(engine, worker_image, tmp_path, expected, environment)
    yield made
    left = leftovers(engine)
    for name in left:
        engine.client.containers.get(name).remove(force=True)
    assert not left


def test_a_killed_container(scene: Scene) -> None:
    job = scene.job()
    end = scene.run(job, lambda: scene.container().kill())
    assert (end.state, end.kind, end.message) == (
        "failed",
        FailureKind.program,
        "killed by signal 9",
    )
    assert not leftovers(scene.engine)
    scene.goes_on(job)


def test_too_little_memory(scene: Scene) -> None:
    job = scene.job()
    end = scene.run(job, limits=Limits(96 * 1024**2))
    assert (end.state, end.kind) == ("failed", FailureKind.oom)
    assert not leftovers(scene.engine)
    assert scene.run(job).state == "finished"
    scene.is_equal(job)


def test_memory_that_ends_in_the_middle(scene: Scene) -> None:
    job = scene.job()
    fill = "dd if=/dev/zero of=/tmp/full bs=1M"  # its /tmp is memory, too
    end = scene.run(
        job, lambda: scene.container().exec_run(fill, detach=True), limits=Limits(1024**3)
    )
    assert (end.state, end.kind) == ("failed", FailureKind.oom)
    scene.goes_on(job)


def test_an_engine_restarted_in_the_middle(scene: Scene) -> None:
    if scene.engine.folder is None:
        pytest.skip("only an engine of our own may be restarted")

    def restart() -> None:
        scene.engine.stop()
        scene.engine.start()

    job = scene.job()
    end = scene.run(job, restart)
    assert end.state == "finished", (end.message, end.log)
    scene.is_equal(job)


def test_a_gpu_where_there_is_none(scene: Scene) -> None:
    if "nvidia" in scene.engine.client.info().get("Runtimes", {}):
        pytest.skip("this engine has GPUs")
    end = scene.run(scene.job(device="cuda"), gpus=["0"])
    assert (end.state, end.kind) == ("failed", FailureKind.gpu_lost)
    assert not leftovers(scene.engine)


def host(scene: Scene, runs: Path, *more: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own, on the trial of the scene."""
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "--runs",
        str(runs),
        "run",
        "quickstart/digits",
        "--methods",
        "random",
        "--seeds",
        "0",
        "--set",
        f"protocol.training.epochs={EPOCHS}",
        "--executor",
        "docker",
        "--no-tracking",
        *more,
    ]
    variables = {"DOCKER_HOST": scene.engine.host, "ALBENCH_DOCKER_IMAGE": scene.image}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_cycle(runs: Path, process: subprocess.Popen[str]) -> None:
    """Until any run has finished a cycle."""
    while process.poll() is None:
        found = [
            event
            for path in runs.glob(f"*/*/{WORK}/events.jsonl")
            for event, _ in events.read_events(path)
        ]
        if any(isinstance(event, CycleFinished) for event in found):
            return
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_is_ended(scene: Scene, tmp_path: Path, number: signal.Signals) -> None:
    runs = tmp_path / "cli"
    first = host(scene, runs)
    wait_for_cycle(runs, first)
    first.send_signal(number)
    rest, _ = first.communicate(timeout=patience())
    if number is signal.SIGTERM:
        assert first.returncode == 130, rest
        assert not leftovers(scene.engine)
    second = host(scene, runs)
    said, _ = second.communicate(timeout=patience(120))
    assert second.returncode == 0, said
    (record,) = records(runs).values()
    assert record.digest == scene.expected
    assert not leftovers(scene.engine)


def test_a_deadline(scene: Scene, tmp_path: Path) -> None:
    runs = tmp_path / "cli"
    first = host(scene, runs, "--time-limit", "6s")
    said, _ = first.communicate(timeout=patience(120))
    assert first.returncode == 3, said
    assert not leftovers(scene.engine)
    second = host(scene, runs)
    said, _ = second.communicate(timeout=patience(120))
    assert second.returncode == 0, said
    (record,) = records(runs).values()
    assert record.digest == scene.expected


def test_an_image_that_is_gone(scene: Scene) -> None:
    end = scene.run(replace(scene.job(), fresh=True), image_id="sha256:" + "0" * 64)
    assert (end.state, end.kind) == ("failed", FailureKind.image)
