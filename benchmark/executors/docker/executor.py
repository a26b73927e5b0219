"""Trials in containers of any engine, under the contract of sandbox.py.

A container that outlives its host process goes on; the next run of the same trial takes it over.
The lock of a run folder is held by the host process, so containers without a holder can be
distinguished from those of another run, and only they are removed.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from benchmark import files
from benchmark.errors import AlbenchError, ExecutorError, Exit
from benchmark.executors import jobs
from benchmark.executors.base import GRACE, JobLoop, OnEvent, Running
from benchmark.executors.docker import sandbox
from benchmark.executors.docker.sandbox import ALIVE, LABEL, ContainerSettings
from benchmark.executors.gpus import GpuPool
from benchmark.executors.jobs import FINISHED, STOPPED, FailureKind, Job, JobOutcome
from benchmark.executors.local.executor import count_cores
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import Environment, Precision, Step, TrialStopped
from benchmark.runs.lock import LockLost, RunLock, RunLocked, lock_owner, lock_run
from benchmark.runs.store import WORK, last_event, output_folder
from benchmark.spec.suite import Trial

LOOK = 0.25
"""Seconds between looks at one container."""
PATIENCE = 60.0
"""Seconds an engine may be away (a restart) before its containers are given up."""
STOP_SECONDS = 10
LOG_LINES = 2000
"""Last lines of a container's output that are kept in worker.log."""
AGAIN = (FailureKind.gpu_lost, FailureKind.daemon)
"""Failures of the machine and not of the trial: such a trial is started once more."""


class EngineUnavailable(ExecutorError):
    """The engine does not answer, or cannot do it."""


class ContainerNotFound(ExecutorError):
    """There is no such container."""


class StartFailed(ExecutorError):
    """A container that did not start; nothing of it is left."""

    def __init__(self, kind: FailureKind, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind


@dataclass(frozen=True)
class State:
    """A container as the engine sees it."""

    status: str
    exit_code: int
    out_of_memory: bool


@dataclass(frozen=True)
class Found:
    """A container that was there already."""

    id: str
    name: str
    status: str
    labels: dict[str, str]
    image: str
    command: tuple[str, ...]


class Engine(Protocol):
    """What is needed of an engine. Raises EngineAway, and Gone for containers that are not
    there."""

    def answers(self) -> bool:
        """Whether it is there."""
        ...

    def start(self, options: dict[str, Any]) -> str:
        """Id of a container that has started. Raises Unstartable and leaves nothing."""
        ...

    def ask(self, options: dict[str, Any]) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a short container, which is removed."""
        ...

    def state(self, container: str) -> State:
        """Its state now."""
        ...

    def signal(self, container: str, name: str) -> None:
        """Send a signal to what runs in it."""
        ...

    def stop(self, container: str, seconds: int) -> None:
        """Ask it to end, and end it after so many seconds."""
        ...

    def remove(self, container: str) -> None:
        """Remove it, running or not."""
        ...

    def log(self, container: str, lines: int) -> bytes:
        """The last lines of its output."""
        ...

    def list(self, labels: dict[str, str]) -> list[Found]:
        """All containers with these labels, in any state."""
        ...


class ContainerExecutor:
    """Runs jobs as containers. See `Executor`."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        place: ContainerSettings,
        gpus: GpuPool,
        *,
        grace: float = GRACE,
        patience: float = PATIENCE,
    ) -> None:
        self.name, self.engine, self.place, self.gpus = name, engine, place, gpus
        self.grace, self.patience = grace, patience
        self._at_once = 1
        self._environments: dict[tuple[str, str, int, str], Environment] = {}
        self._containers: dict[Path, Container] = {}

    def environment(
        self, device: str, precision: Precision, threads: int, step: Step = "eager"
    ) -> Environment:
        """What a container says of itself; starting one also shows that image, engine and GPU work.
        Raises ExecutorError."""
        chosen = (
            "cuda" if device == "auto" and self.gpus.names else provenance.resolve_device(device)
        )
        provenance.check_step(step, chosen)
        key = (chosen, precision, threads, step)
        if key not in self._environments:
            gpu = self.gpus.take(chosen)
            try:
                self._environments[key] = self._ask(gpu, precision, threads, step)
            finally:
                self.gpus.give_back(gpu)
        return self._environments[key]

    def slots(self, device: str, threads: int) -> int:
        """As many as there are cores for; one on each GPU."""
        return max(1, count_cores() // threads) if device == "cpu" else self.gpus.slots(device)

    def run(
        self, jobs: Sequence[Job], *, jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        """See `Executor.run`. Infrastructure failures are retried once before they are reported."""
        with suppress(EngineUnavailable):
            self.sweep()
        self._at_once = min(jobs_at_once, len(jobs))
        withheld: dict[int, JobOutcome] = {}

        def first(job: Job, event: Any) -> None:
            if isinstance(event, JobOutcome) and event.kind in AGAIN:
                withheld[id(job)] = event
            else:
                on_event(job, event)

        began = time.time()
        ends = self._drive(jobs, jobs_at_once, deadline, first)
        if not withheld:
            return ends
        failed = [job for job in jobs if id(job) in withheld]
        cancelled = any(end.kind is FailureKind.cancelled for end in ends)
        if (
            cancelled
            or (deadline is not None and time.monotonic() >= deadline)
            or not self._returns()
        ):
            for job in failed:
                on_event(job, withheld[id(job)])
            return ends
        again = [replace(job, fresh=job.fresh and not _begun_since(job, began)) for job in failed]
        later = self._drive(again, jobs_at_once, deadline, on_event)
        second = {id(job): replace(end, job=job) for job, end in zip(failed, later, strict=True)}
        return [second.get(id(job), end) for job, end in zip(jobs, ends, strict=True)]

    def sweep(self, *, running: bool = False) -> list[str]:
        """Remove this user's containers that no process of this machine holds, with `running` also
        those still at work; returns their names. Never touches others. Raises EngineAway."""
        removed = []
        for found in self._ours():
            out = found.labels.get(f"{LABEL}.out", "")
            if (out and lock_owner(Path(out))) or (
                found.status in ALIVE and found.status != "created" and not running
            ):
                continue
            self._discard(found, Path(out) if out else None)
            removed.append(found.name)
        return removed

    # -------------------------------------------------------------------------------- one container

    def _drive(
        self, chosen: Sequence[Job], jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        try:
            return JobLoop(self._start, self._judge, on_event, self.grace)(
                chosen, jobs_at_once, deadline
            )
        finally:
            for container in self._containers.values():  # only after an error of ours
                container.discard()
            self._containers.clear()

    def _start(self, job: Job, time_limit: float | None) -> Running:
        held = ExitStack()
        try:
            lock = held.enter_context(lock_run(job.out))
            gpu = self.gpus.take(job.device)
            held.callback(self.gpus.give_back, gpu)
            started = self._orphan_for(job, time_limit) or self._begin(job, time_limit, gpu)
            container = Container(job, self.engine, started, held, self.patience, lock)
        except (AlbenchError, OSError) as error:
            held.close()
            container = Container.ended(job, self.engine, _failure_kind(error), str(error))
        self._containers[job.out] = container
        return container

    def _begin(self, job: Job, time_limit: float | None, gpu: str | None) -> str:
        job.cache.mkdir(parents=True, exist_ok=True)
        trial = Trial.model_validate_json(files.read(job.out / "trial.json"))
        (job.out / WORK).mkdir(exist_ok=True)
        for folder in (job.out / WORK, *(() if jobs.is_foreign(trial) else (job.cache,))):
            sandbox.chown_to_container_user(folder, self.place.user)
        labels = {
            "trial": job.trial_id,
            "env": job.out.name,
            "out": str(job.out),
            **_owner_labels(),
        }
        options = sandbox.container_options(
            self.place.shared_by(self._at_once), gpu, job.threads, labels
        )
        return self.engine.start(
            options
            | {
                "command": sandbox.worker_command(self.place, job, time_limit),
                "mounts": sandbox.list_mounts(job, trial),
                "name": f"albench-{job.trial_id[:12]}-{uuid.uuid4().hex[:8]}",
            }
        )

    def _orphan_for(self, job: Job, time_limit: float | None) -> str | None:
        """The container that still works on this very job for a host process that is gone; others
        of it are ended."""
        wanted = sandbox.command_identity(sandbox.worker_command(self.place, job, time_limit))
        for found in self._ours(out=str(job.out)):
            same = (
                found.image == self.place.image
                and sandbox.command_identity(found.command) == wanted
            )
            if found.status == "running" and same and not job.fresh:
                return found.id
            self._discard(found, job.out)
        return None

    def _discard(self, found: Found, out: Path | None) -> None:
        with suppress(ContainerNotFound):
            if found.status == "running":
                self.engine.stop(found.id, STOP_SECONDS)
            if out is not None:
                save_log(self.engine, found.id, out)
            self.engine.remove(found.id)

    def _ours(self, **labels: str) -> list[Found]:
        whose = {name: value for name, value in _owner_labels().items() if name != "lease"}
        named = {f"{LABEL}.{name}": value for name, value in (whose | labels).items()}
        return self.engine.list({LABEL: "1"} | named)

    def _ask(self, gpu: str | None, precision: Precision, threads: int, step: Step) -> Environment:
        device = "cpu" if gpu is None else "cuda"
        asked = ["--device", device, "--precision", precision, "--threads", str(threads)]
        asked += [] if step == "eager" else ["--step", step]
        options = sandbox.container_options(
            self.place, gpu, threads, {"out": "", **_owner_labels()}
        )
        status, said, complaint = self.engine.ask(
            options | {"command": ["python", "-m", "benchmark.runs.environment", *asked]}
        )
        if status == Exit.NOT_MEASURED and complaint.strip():  # it works, and says what is missing
            message, _, remedy = complaint.strip().splitlines()[-1].partition(" -> ")
            raise ExecutorError(f"in a container: {message}", where=self.place.image, remedy=remedy)
        try:
            return Environment.model_validate_json(
                said.strip().splitlines()[-1] if said.strip() else ""
            )
        except ValidationError as error:
            last = (
                complaint.strip().splitlines()[-1] if complaint.strip() else f"exit status {status}"
            )
            raise ExecutorError(
                f"the image did not report its environment: {last}",
                where=self.place.image,
                remedy="use an image built from this project's Dockerfile",
            ) from error

    def _returns(self) -> bool:
        """Whether the engine is there, or comes back while there is patience."""
        limit = time.monotonic() + self.patience
        while not self.engine.answers():
            if time.monotonic() > limit:
                return False
            time.sleep(LOOK)
        return True

    def _judge(self, job: Job, status: int) -> JobOutcome:
        container = self._containers.pop(job.out)
        if container.verdict is not None:
            return container.verdict
        log = jobs.tail_log(job.out / "worker.log")
        if status != FINISHED and (
            container.outage or (status == STOPPED and container.stopped_by_others())
        ):
            message = (
                f"the engine or somebody else ended the container (status {status}); the state it "
                "saved last is kept"
            )
            return JobOutcome(job, "failed", FailureKind.daemon, message, log)
        if status in (126, 127):
            return JobOutcome(
                job,
                "failed",
                FailureKind.image,
                f"the image cannot run the worker (status {status})",
                log,
            )
        end = jobs.outcome_of(job, status, out_of_memory=container.out_of_memory)
        return (
            replace(end, message=self._starved())
            if end.kind is FailureKind.oom and container.out_of_memory
            else end
        )

    def _starved(self) -> str:
        limit = self.place.limits.memory / 2**30
        return (
            f"killed: it needed more than its container's {limit:.2f} GiB of memory "
            "(ALBENCH_DOCKER_MEMORY sets the limit)"
        )


class Container:
    """A job under way in a container, which is removed as soon as it has ended, also after an
    error."""

    def __init__(
        self,
        job: Job,
        engine: Engine,
        container: str,
        held: ExitStack,
        patience: float,
        lock: RunLock | None = None,
    ) -> None:
        self.where = f"container {container[:12]}" if container else "no container"
        self.verdict: JobOutcome | None = None
        self.out_of_memory = self.outage = self._asked = False
        self._job = job
        self._engine = engine
        self._id = container
        self._held = held
        self._patience = patience
        self._lock = lock
        self._status: int | None = None
        self._next, self._away_since = 0.0, 0.0

    @classmethod
    def ended(cls, job: Job, engine: Engine, kind: FailureKind, message: str) -> Container:
        """A job that could not be started."""
        container = cls(job, engine, "", ExitStack(), 0.0)
        container.verdict, container._status = JobOutcome(job, "failed", kind, message), -1
        return container

    def poll(self) -> int | None:
        """See `Running.poll`."""
        if self._status is not None or time.monotonic() < self._next:
            return self._status
        self._next = time.monotonic() + LOOK
        try:
            if self._lock is not None:
                self._lock.verify()
            state = self._engine.state(self._id)
        except LockLost as error:
            # This process was suspended: the folder is another host's, so nothing is written there.
            with suppress(EngineUnavailable, ContainerNotFound):
                self._engine.remove(self._id)
            return self._end(-1, FailureKind.busy, error.message)
        except ContainerNotFound:
            kind = FailureKind.daemon if self.outage else FailureKind.cancelled
            return self._end(-1, kind, "the container was removed by somebody else")
        except EngineUnavailable as error:
            return self._wait(error)
        if state.status in ALIVE:
            self._away_since = 0.0
            return None
        self.out_of_memory = state.out_of_memory
        try:
            self._remove()
        except ContainerNotFound:
            pass
        except EngineUnavailable as error:  # it ended because the engine does
            return self._wait(error)
        return self._end(128 - state.exit_code if state.exit_code > 128 else state.exit_code)

    def stop(self) -> None:
        """See `Running.stop`."""
        self._asked = True
        with suppress(EngineUnavailable, ContainerNotFound):
            self._engine.signal(self._id, "SIGTERM")

    def kill(self) -> None:
        """See `Running.kill`."""
        with suppress(EngineUnavailable, ContainerNotFound):
            self._engine.signal(self._id, "SIGKILL")

    def discard(self) -> None:
        """End it and remove it."""
        if self._status is None:
            with suppress(EngineUnavailable, ContainerNotFound):
                self._engine.stop(self._id, STOP_SECONDS)
                self._remove()
            self._end(-1)

    def stopped_by_others(self) -> bool:
        """Whether it was neither us who asked it to stop nor its own time limit."""
        last = last_event(self._job.out)
        return not self._asked and not (
            isinstance(last, TrialStopped) and last.reason == "time_limit"
        )

    def _wait(self, error: EngineUnavailable) -> int | None:
        self.outage = True
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since < self._patience:
            return None
        return self._end(-1, FailureKind.daemon, f"the engine is gone: {error.message}")

    def _end(self, status: int, kind: FailureKind | None = None, message: str = "") -> int:
        self._status = status
        if kind is not None:
            self.verdict = JobOutcome(self._job, "failed", kind, message)
        self._held.close()
        return status

    def _remove(self) -> None:
        save_log(self._engine, self._id, self._job.out)
        self._engine.remove(self._id)


def save_log(engine: Engine, container: str, out: Path) -> None:
    """Append the end of a container's output to the log of its run. Raises EngineAway, Gone."""
    said = engine.log(container, LOG_LINES)
    with suppress(OSError), files.open_appender(out / "worker.log") as file:
        file.write(said)


def _owner_labels() -> dict[str, str]:
    """Labels that distinguish our containers from those of other users and machines."""
    host = socket.gethostname()
    return {"user": str(os.getuid()), "host": host, "lease": f"{host}/{os.getpid()}"}


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, RunLocked):
        return FailureKind.busy
    return error.kind if isinstance(error, StartFailed) else FailureKind.daemon


def _begun_since(job: Job, moment: float) -> bool:
    """Whether a worker has begun a new file of events since then, and so has forgotten what was
    before."""
    first = next(iter(events.read_events(output_folder(job.out) / "events.jsonl")), None)
    return first is not None and first[0].time >= moment
