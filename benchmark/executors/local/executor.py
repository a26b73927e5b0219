"""Trials as processes of this machine.

On CPU they are forked from one server process that has imported the worker once: importing torch
takes as long as a small trial. On CUDA, and with `isolate`, each is a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.errors import ExecutorError
from benchmark.executors import jobs as outcomes
from benchmark.executors.base import GRACE, JobLoop, OnEvent, Running, worker_environment
from benchmark.executors.gpus import GpuPool
from benchmark.executors.jobs import Job, JobOutcome, guard_cache
from benchmark.executors.local import child
from benchmark.runs import environment as provenance
from benchmark.runs.events import Environment, Precision, Step
from benchmark.runs.gpus import CHOSEN_GPU, NAMES

WORKER = "benchmark.worker"
SLOW_IMPORTS = ("sklearn.datasets", "sklearn.cluster", "scipy.optimize")
"""What a worker imports only when it reads digits, finds clusters or solves for a probe."""
_served: tuple[str, int] | None = None
"""Worker and threads the fork server of this process was started for; there is one per process."""


class LocalExecutor:
    """Runs jobs as local processes."""

    name = "local"

    def __init__(
        self,
        *,
        isolate: bool = False,
        worker: str = WORKER,
        grace: float = GRACE,
        gpus: GpuPool | None = None,
    ) -> None:
        self.isolate, self.worker, self.grace = isolate, worker, grace
        self.gpus = gpus or GpuPool()

    def environment(
        self, device: str, precision: Precision, threads: int, step: Step = "eager"
    ) -> Environment:
        """See `Executor.environment`."""
        chosen = provenance.resolve_device(device)
        provenance.check_step(step, chosen)
        if chosen == "cpu":
            return provenance.describe_environment(chosen, precision, threads, step)
        card = self.gpus.card(self.gpus.ids(chosen)[0])
        if card is None:
            raise ExecutorError(
                f"{NAMES} names a GPU that torch cannot use on this machine",
                remedy="see `albench doctor` and `nvidia-smi -L`",
            )
        return provenance.describe_environment("cuda", precision, threads, step, gpu=card)

    def slots(self, device: str, threads: int) -> int:
        """As many as there are cores for; one on each GPU."""
        return max(1, count_cores() // threads) if device == "cpu" else self.gpus.slots(device)

    def run(
        self, jobs: Sequence[Job], *, jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        """See `Executor.run`."""
        before = kernel_kills()

        def judge(job: Job, status: int) -> JobOutcome:
            starved = status == -signal.SIGKILL and kernel_kills() > before
            return outcomes.outcome_of(job, status, out_of_memory=starved)

        drive = JobLoop(self._start, judge, on_event, self.grace)
        return drive(jobs, jobs_at_once, deadline)

    def _start(self, job: Job, time_limit: float | None) -> Running:
        argv = guard_cache(job).argv(time_limit)
        if not self.isolate and job.device == "cpu":
            # The server cannot import the worker, or the system refuses its socket (a long TMPDIR)
            # or its pipes: a process of its own needs neither, and says why where the worker itself
            # is at fault.
            with suppress(EOFError, OSError):
                return Forked(self.worker, job, argv)
        gpu = self.gpus.take(job.device)
        if gpu is None:
            return Spawned(self.worker, job, argv)
        argv[argv.index("--device") + 1] = "cuda"  # the one GPU it is given is its first
        try:
            return Spawned(self.worker, job, argv, one_gpu(gpu), lambda: self.gpus.give_back(gpu))
        except BaseException:
            self.gpus.give_back(gpu)
            raise


def create() -> LocalExecutor:
    """See `benchmark.executors.load`."""
    return LocalExecutor(worker=WORKER)


class Forked:
    """A child of the fork server."""

    def __init__(self, worker: str, job: Job, argv: list[str]) -> None:
        global _served
        if _served not in (None, (worker, job.threads)):
            raise ConnectionError("the fork server of this process serves another setting")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([worker, *SLOW_IMPORTS])
        with _with_environment(worker_env(job.threads)), child.signals_blocked():
            _served = (worker, job.threads)
            self._process = context.Process(
                target=child.run_and_exit, args=(worker, str(job.out), argv), daemon=True
            )
            self._process.start()
        self.where = f"process {self._process.pid}"

    def poll(self) -> int | None:
        return self._process.exitcode

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


class Spawned:
    """A process of its own."""

    def __init__(
        self,
        worker: str,
        job: Job,
        argv: list[str],
        variables: Mapping[str, str] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        """`variables` come to the worker's own; `at_end` is called once when it has ended."""
        self._at_end = at_end
        command = [
            sys.executable,
            "-m",
            "benchmark.executors.local.child",
            worker,
            str(job.out),
            *argv,
        ]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **worker_env(job.threads), **(variables or {})},
            stdin=subprocess.DEVNULL,
            # From its first moment, signals to the host's process group do not reach it.
            start_new_session=True,
        )
        self.where = f"process {self._process.pid}"

    def poll(self) -> int | None:
        status = self._process.poll()
        if status is not None and self._at_end is not None:
            at_end, self._at_end = self._at_end, None
            at_end()
        return status

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def one_gpu(uuid: str) -> dict[str, str]:
    """Variables under which a worker sees one GPU only, and checks that torch computes on it."""
    return {"CUDA_VISIBLE_DEVICES": uuid, CHOSEN_GPU: uuid}


def worker_env(threads: int) -> dict[str, str]:
    """Variables of a local worker: it finds the project as this process does."""
    root = str(Path(__file__).parents[3])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = os.pathsep.join(dict.fromkeys(entry for entry in paths if entry))
    return worker_environment(threads) | {"PYTHONPATH": path, "ALBENCH_HOST_PID": str(os.getpid())}


def count_cores() -> int:
    """Processor cores this process may use, after affinity and control groups."""
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def kernel_kills() -> int:
    """Processes the kernel has killed for memory since it booted."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@contextmanager
def _with_environment(values: dict[str, str]) -> Iterator[None]:
    """The fork server takes its environment from this process when it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
