"""A cluster node's side of a trial: the local worker beside us, and its exit status in a file. No
submitit here.

Run folder, data, cache and project lie on storage that all nodes share, so the worker works in the
run folder itself, and holds its lock there as a local one does.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import files
from benchmark.executors.base import POLL
from benchmark.executors.jobs import BUSY, FINISHED, STOPPED, Job, guard_cache
from benchmark.executors.local.executor import WORKER, Spawned
from benchmark.runs import environment as provenance
from benchmark.runs.events import Precision, Step
from benchmark.runs.lock import BEAT, STALE, WATCH
from benchmark.runs.store import check_record

RESTARTS = "SLURM_RESTART_COUNT"
"""Variable by which Slurm says how often a job was put back into the queue."""
LOCK_PATIENCE = STALE + WATCH + 2 * BEAT
"""Seconds after which the lock of a node that died counts no more, whichever node looks."""


@dataclass
class Task:
    """One trial on the node where it is called."""

    job: Job
    status: Path
    """File that receives the worker's exit status."""
    until: float | None = None
    """Time of day, in seconds since 1970, at which the run's time limit ends."""
    worker: str = WORKER
    patience: float = LOCK_PATIENCE
    _running: Spawned | None = field(default=None, init=False)
    _asked: bool = field(default=False, init=False)

    def __call__(self) -> int:
        """Run the worker to its end; its exit status, also in the file. SIGTERM (Slurm before it
        preempts, `scancel`) asks the worker to save its state first."""
        files.remove(self.status, base=self.status.parent)  # of an earlier start of this job
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            code = self._work()
        finally:
            signal.signal(signal.SIGTERM, before)
        files.write(self.status, str(code).encode())
        return code

    def save(self) -> None:
        """Ask the worker to save its state, and wait until it has ended."""
        self._ask()
        while self._running is not None and self._running.poll() is None:
            time.sleep(POLL)

    def _ask(self, *_: object) -> None:
        self._asked = True
        if self._running is not None:
            self._running.stop()

    def _work(self) -> int:
        if self._is_finished():  # the job was put back into the queue as it ended
            return FINISHED
        # A node that died still has its name on the lock; Slurm starts the job elsewhere at once.
        restarted = os.environ.get(RESTARTS, "0") != "0"
        give_up = time.monotonic() + (self.patience if restarted else 0)
        while True:
            left = None if self.until is None else self.until - time.time()
            if self._asked or (left is not None and left <= 0):
                return STOPPED
            self._running = Spawned(self.worker, self.job, guard_cache(self.job).argv(left))
            if self._asked:  # between the look above and the start
                self._running.stop()
            while (code := self._running.poll()) is None:
                time.sleep(POLL)
            if code != BUSY or time.monotonic() >= give_up:
                return code
            time.sleep(min(BEAT, self.patience))

    def _is_finished(self) -> bool:
        with suppress(FileNotFoundError, ValueError):
            check_record(self.job.out)
            return True
        return False


@dataclass
class Description:
    """The environment of trials on the node where it is called."""

    answer: Path
    """File that receives it, as JSON."""
    device: str
    precision: Precision
    threads: int
    step: Step = "eager"

    def __call__(self) -> None:
        """Raises ExecutorError where the node has no such device."""
        found = provenance.describe_environment(
            self.device, self.precision, self.threads, self.step
        )
        files.write(self.answer, found.model_dump_json().encode())
