"""Trials on a Ray cluster: the one RAY_ADDRESS names, or one of this machine's own. What is done on
a node is in node.py.

Each trial is an actor with its share of cores and GPU. Events, saved state and the record come back
through Ray itself, so nodes need no shared storage; a node that is lost costs what its worker did
since the last state that came back. The code travels with the trial: a node needs the project's
packages and this version of ray.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.errors import AlbenchError, ExecutorError, UsageError
from benchmark.executors import jobs
from benchmark.executors.base import GRACE, JobLoop, OnEvent, Running
from benchmark.executors.jobs import FailureKind, Job, JobOutcome
from benchmark.executors.ray import node
from benchmark.executors.ray.node import Node
from benchmark.runs.environment import PACKAGE, check_step
from benchmark.runs.events import Environment, Precision, Step
from benchmark.runs.lock import LockLost, RunLock, RunLocked, lock_run

LOOK = 1.0
"""Seconds between looks at one trial."""
LIVES = 3
"""Nodes that a trial may lose before it counts as failed."""
ANSWER_SECONDS = 180.0
"""A node may take so long to report its environment: the code travels there first."""
KILL_SECONDS = 10.0
LONGEST_FOLDER = 40
"""Characters of a temporary folder below which Ray's sockets
(`ray/session_<date>_<pid>/sockets/plasma_store`) keep under the system's 107."""
REMEDY = (
    "see `ray status`; RAY_ADDRESS names the cluster, without it one is started on this machine"
)
SAME = "give all nodes the same Python, ray and requirements.lock"


class RayExecutor:
    """Runs jobs on a Ray cluster. See `Executor`."""

    name = "ray"

    def __init__(
        self, *, share: float = 1.0, data: str = "", cache: str = "", grace: float = GRACE
    ) -> None:
        """`share` is the part of a GPU that a trial gets; `data` and `cache` are folders on the
        nodes (empty: the host's data root, and a cache below the node's temporary folder)."""
        self.share, self.data, self.cache, self.grace = share, data, cache, grace
        self._equal: list[str] | None = None
        self._remotes: dict[Path, Remote] = {}

    def environment(
        self, device: str, precision: Precision, threads: int, step: Step = "eager"
    ) -> Environment:
        """What the nodes say of themselves; where they differ, the most common answer, and only
        those nodes are used.

        Raises ExecutorError where no node can do it.
        """
        able = self._able(device)
        if device == "auto":
            device = "cuda" if self._able("cuda") else "cpu"
            able = self._able(device)
        check_step(step, device)
        if not able:
            raise ExecutorError(
                f"no node of the cluster has what device {device} needs", remedy=REMEDY
            )
        ask = ray.remote(node.describe)
        asked = {
            ask.options(
                num_cpus=0,
                num_gpus=self._gpus(device),
                scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False),
            ).remote(_worker_device(device), precision, threads, step): name
            for name in able
        }
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        said: dict[str, str] = {}
        problem = "no answer"
        for reference in answered:
            try:
                said[asked[reference]] = ray.get(reference)
            except RayError as error:
                problem = _error_text(error)
        if not said:
            raise ExecutorError(f"no node reported its environment: {problem}", remedy=SAME)
        ((common, count),) = Counter(said.values()).most_common(1)
        if count < len(able):
            print(
                f"ray: {len(able) - count} of {len(able)} nodes differ or are silent and are not "
                "used",
                file=sys.stderr,
            )
            self._equal = [name for name, answer in said.items() if answer == common]
        return Environment.model_validate_json(common)

    def slots(self, device: str, threads: int) -> int:
        """Trials that the cluster can run at once."""
        usable = [
            found["Resources"]
            for found in ray.nodes()
            if found["Alive"] and self._usable(found["NodeID"])
        ]
        if device.startswith("cuda"):
            return max(1, sum(int(found.get("GPU", 0) / self.share) for found in usable))
        return max(1, sum(int(found.get("CPU", 0) / threads) for found in usable))

    def run(
        self, jobs: Sequence[Job], *, jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        """See `Executor.run`."""
        try:
            return JobLoop(self._start, self._judge, on_event, self.grace)(
                jobs, jobs_at_once, deadline
            )
        finally:
            for remote in self._remotes.values():  # only after an error of ours
                remote.discard()
            self._remotes.clear()

    def _start(self, job: Job, time_limit: float | None) -> Running:
        held = ExitStack()
        try:
            lock = held.enter_context(lock_run(job.out))
            if not self._able(job.device):
                raise ExecutorError(
                    f"no node of the cluster has what device {job.device} needs", remedy=REMEDY
                )
            if job.fresh:
                node.forget(job.out)
            remote = Remote(self, job, held, lock)
        except (AlbenchError, RayError, OSError) as error:
            held.close()
            remote = Remote.ended(self, job, _failure_kind(error), _error_text(error))
        self._remotes[job.out] = remote
        return remote

    def _judge(self, job: Job, status: int) -> JobOutcome:
        remote = self._remotes.pop(job.out)
        return remote.verdict or jobs.outcome_of(
            job, status, out_of_memory=status == -signal.SIGKILL and remote.starved
        )

    def actor(self, job: Job) -> Any:
        """A worker for a job, wherever there is room."""
        where = (
            {}
            if self._equal is None
            else {"label_selector": {"ray.io/node-id": f"in({','.join(self._equal)})"}}
        )
        made = ray.remote(Node).options(
            num_cpus=job.threads,
            num_gpus=self._gpus(job.device),
            max_restarts=0,
            max_task_retries=0,
            **where,
        )
        return made.remote(job, node.read_files(job.out), self.data, self.cache, share=self.share)

    def _able(self, device: str) -> list[str]:
        kind = "GPU" if device.startswith("cuda") else "CPU"
        found = [one for one in ray.nodes() if one["Alive"] and one["Resources"].get(kind, 0) > 0]
        return [str(one["NodeID"]) for one in found]

    def _usable(self, name: str) -> bool:
        return self._equal is None or name in self._equal

    def _gpus(self, device: str) -> float:
        return self.share if device.startswith("cuda") else 0


class Remote:
    """A job under way on some node. See `Running`."""

    def __init__(self, executor: RayExecutor, job: Job, held: ExitStack, lock: RunLock) -> None:
        self.where, self.starved = "the cluster", False
        self.verdict: JobOutcome | None = None
        self._executor, self._job, self._held, self._lives = executor, job, held, LIVES
        self._lock = lock
        self._status: int | None = None
        self._next, self._killed = 0.0, 0.0
        self._asked = self._seen = False
        self._look: Any = None
        self._actor = executor.actor(job)

    @classmethod
    def ended(cls, executor: RayExecutor, job: Job, kind: FailureKind, message: str) -> Remote:
        """A job that could not be started."""
        remote = cls.__new__(cls)
        remote.where, remote.starved = "nowhere", False
        remote._status, remote.verdict = -1, JobOutcome(job, "failed", kind, message)
        return remote

    def poll(self) -> int | None:
        """See `Running.poll`. Never waits: what a node has not answered yet is looked for the next
        time."""
        if self._status is not None:
            return self._status
        if self._killed and time.monotonic() - self._killed > KILL_SECONDS:
            self._seen = False  # it does not answer
            return self._end(-signal.SIGKILL)
        if self._look is None:
            if time.monotonic() < self._next:
                return None
            self._next, self._look = time.monotonic() + LOOK, self._actor.look.remote()
        if not ray.wait([self._look], timeout=0)[0]:
            return None
        try:
            look: node.NodeSnapshot = ray.get(self._look)
        except RayError as error:
            self._seen = False
            return self._lost(error)
        self._look, self._seen, self.starved = None, True, look.starved
        try:
            self._lock.verify()
            node.apply_snapshot(self._job.out, look)
        except LockLost as error:
            # This process was suspended: the folder is another host's, so nothing is written there.
            self.verdict = JobOutcome(self._job, "failed", FailureKind.busy, error.message)
            return self._end(-1)
        except (AlbenchError, OSError) as error:
            return self._fail(FailureKind.program, _error_text(error))
        return None if look.status is None else self._end(look.status)

    def stop(self) -> None:
        """See `Running.stop`."""
        self._asked = True
        if self._status is not None:
            return
        if self._seen:
            self._actor.stop.remote()
        else:  # it waits for room, or has just begun: there is nothing new to save
            self._end(-signal.SIGTERM)

    def kill(self) -> None:
        """See `Running.kill`."""
        if self._status is None:
            self._killed = self._killed or time.monotonic()
            self._actor.kill.remote()

    def discard(self) -> None:
        """End it at once."""
        if self._status is None:
            self._end(-signal.SIGTERM)

    def _lost(self, error: RayError) -> int | None:
        """The node does not answer any more: another one goes on from the state that came back
        last."""
        kind = _failure_kind(error)
        if kind is not FailureKind.daemon:
            return self._fail(kind, f"the node cannot run the worker: {_error_text(error)}")
        if self._killed or self._asked:
            return self._end(-signal.SIGKILL if self._killed else -signal.SIGTERM)
        self._lives -= 1
        if self._lives == 0:
            return self._fail(
                kind,
                f"{LIVES} nodes were lost; the state that came back last is kept: "
                f"{_error_text(error)}",
            )
        with suppress(RayError):
            ray.kill(self._actor)
        self._look = None
        self._actor = self._executor.actor(self._job)
        return None

    def _fail(self, kind: FailureKind, message: str) -> int:
        self.verdict = JobOutcome(
            self._job, "failed", kind, message, jobs.tail_log(self._job.out / "worker.log")
        )
        return self._end(-1)

    def _end(self, status: int) -> int:
        self._status = status
        with suppress(RayError, GetTimeoutError):
            if self._seen:
                ray.get(self._actor.close.remote(), timeout=KILL_SECONDS)
        with suppress(RayError):
            ray.kill(self._actor)
        self._held.close()
        return status


def create() -> RayExecutor:
    """See `benchmark.executors.load`. ALBENCH_RAY_{GPU_SHARE,DATA,CACHE} say what a trial gets and
    where nodes have things.

    Raises ExecutorError.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            with tempfile.TemporaryDirectory(prefix="albench-code-") as code:
                # As a working folder, the code as it is now comes before what a node has installed.
                shutil.copytree(
                    PACKAGE, Path(code) / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")
                )
                ray.init(
                    runtime_env={"working_dir": code},
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **_short_folder(),
                )
        except Exception as error:  # ray raises bare ones where a cluster does not come up
            raise ExecutorError(
                f"the cluster cannot be reached: {_error_text(error)}", remedy=REMEDY
            ) from error
    share = _parse_gpu_share(os.environ.get("ALBENCH_RAY_GPU_SHARE"))
    return RayExecutor(
        share=share,
        data=os.environ.get("ALBENCH_RAY_DATA", ""),
        cache=os.environ.get("ALBENCH_RAY_CACHE", ""),
    )


def _parse_gpu_share(text: str | None) -> float:
    """The part of a GPU for each trial, above 0 and at most 1. Raises UsageError."""
    try:
        share = float(text or 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(
            f"'{text}' is not a part of a GPU",
            where="ALBENCH_RAY_GPU_SHARE",
            remedy="0.5 for two trials on each",
        )
    return share


def _short_folder() -> dict[str, str]:
    """Where a cluster of this machine puts its sockets, if the usual place makes their names too
    long."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if os.environ.get("RAY_ADDRESS") or len(usual) <= LONGEST_FOLDER:
        return {}
    return {"_temp_dir": "/tmp/ray"}  # noqa: S108


def _worker_device(device: str) -> str:
    """A worker's one GPU is its first, whichever it is to the node."""
    return device.partition(":")[0]


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, RunLocked):
        return FailureKind.busy
    if isinstance(error, RuntimeEnvSetupError | RayTaskError):
        return FailureKind.image
    created = isinstance(error, RayActorError) and "creation task" in str(error)
    return FailureKind.image if created else FailureKind.daemon


def _error_text(error: Exception) -> str:
    text = error.message if isinstance(error, AlbenchError) else str(error).strip()
    lines = text.splitlines() or [type(error).__name__]
    return lines[-1][:300] if isinstance(error, RayTaskError) else " ".join(lines)[:300]
