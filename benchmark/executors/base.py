"""What every executor shares: its interface, and the loop that starts jobs and keeps the deadline.

The loop is ours because libraries' own timeouts leave work running behind one's back. Results come
through files only.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from benchmark import files
from benchmark.errors import ExecutorError
from benchmark.executors.jobs import FINISHED, FailureKind, Job, JobOutcome, JobStarted, tail_log
from benchmark.runs import events
from benchmark.runs.events import Environment, Precision, Step, TrialStarted
from benchmark.runs.store import output_folder
from benchmark.runs.variables import fixed_variables

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask this process to end."""
POLL = 0.1
"""Seconds between looks at what runs."""
GRACE = 60.0
"""Seconds a worker has to save its state after it was asked to stop; then it is killed."""
OnEvent = Callable[[Job, Any], None]
"""Called with `JobStarted`, every event of the worker, and the `JobOutcome` of each job."""


class Executor(Protocol):
    """Executes jobs somewhere."""

    name: str

    def environment(
        self, device: str, precision: Precision, threads: int, step: Step = "eager"
    ) -> Environment:
        """The environment that trials will have there."""
        ...

    def slots(self, device: str, threads: int) -> int:
        """How many trials it runs at once by default."""
        ...

    def run(
        self, jobs: Sequence[Job], *, jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        """Execute all jobs, some at a time, and say how each ended, in their order.

        `deadline` is on `time.monotonic()`'s clock: after it nothing starts, and what runs is
        stopped with its state saved. Ctrl-C does the same. Never raises for a job that fails.
        """
        ...


class Running(Protocol):
    """A job under way."""

    where: str

    def poll(self) -> int | None:
        """Exit status, or None while it runs. Negative: killed by that signal."""
        ...

    def stop(self) -> None:
        """Ask it to save its state and end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@dataclass
class _RunningJob:
    job: Job
    running: Running
    offset: int
    asked: float | None = None
    """When it was asked to stop."""
    killed: bool = False
    odd: str = ""
    """What it left in the place of its events: nothing that it says can be believed."""
    elsewhere: bool = False
    """It runs in another environment than planned, so its results would be filed under the wrong
    one."""


@dataclass
class JobLoop:
    """Runs jobs through `start`, tails their events, keeps the deadline, and survives Ctrl-C with
    everything saved.

    The first Ctrl-C (or SIGTERM, SIGHUP) asks the workers to stop, the second kills them. Signals
    that the caller had ignored (`nohup`, background jobs of scripts) stay ignored.
    """

    start: Callable[[Job, float | None], Running]
    judge: Callable[[Job, int], JobOutcome]
    on_event: OnEvent
    grace: float = GRACE
    _entries: list[_RunningJob] = field(default_factory=list)
    _outcomes: dict[int, JobOutcome] = field(default_factory=dict)
    _signals: int = 0

    def __call__(
        self, jobs: Sequence[Job], jobs_at_once: int, deadline: float | None
    ) -> list[JobOutcome]:
        """Outcomes of all jobs, in their order."""
        waiting = deque(jobs)
        with self._listening():
            try:
                while waiting or self._entries:
                    late = deadline is not None and time.monotonic() >= deadline
                    while waiting and (late or self._signals):
                        self._end(_never_started(waiting.popleft(), cancelled=self._signals > 0))
                    while waiting and len(self._entries) < jobs_at_once and not self._signals:
                        self._launch(waiting.popleft(), deadline)
                    self._look(late)
                    time.sleep(POLL if self._entries else 0)
            finally:
                for entry in self._entries:  # only after an error of ours
                    entry.running.stop()
        return [self._outcomes[id(job)] for job in jobs]

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Count signals instead of being interrupted at any place; only a main thread can."""

        def count(*_: object) -> None:
            self._signals += 1

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in ASKED}
        heard = {
            number: handler
            for number, handler in before.items()
            if handler not in (signal.SIG_IGN, None)
        }
        try:
            for number in heard:
                signal.signal(number, count)
            yield
        finally:
            for number, handler in heard.items():
                signal.signal(number, handler)

    def _launch(self, job: Job, deadline: float | None) -> None:
        before = files.stat_file(output_folder(job.out) / "events.jsonl")
        offset = 0 if before is None else before.st_size  # skip events written by earlier workers
        try:
            running = self.start(job, None if deadline is None else deadline - time.monotonic())
        except ExecutorError as error:
            self._end(
                JobOutcome(job, "failed", FailureKind.daemon, f"could not be started: {error}")
            )
            return
        except OSError as error:
            message = (
                f"this machine could not start it: {error}; check `ulimit -u`, `ulimit -n`, memory "
                "and TMPDIR"
            )
            self._end(JobOutcome(job, "failed", FailureKind.program, message))
            return
        self._entries.append(_RunningJob(job, running, offset))
        self.on_event(job, JobStarted(running.where))

    def _look(self, late: bool) -> None:
        for entry in list(self._entries):
            status = entry.running.poll()
            self._tail(entry)
            if status is not None:
                self._entries.remove(entry)
                self._end(self._outcome(entry, status))
            elif entry.asked is None and (late or self._signals):
                entry.asked = time.monotonic()
                entry.running.stop()
            elif entry.asked is not None and not entry.killed and self._grace_expired(entry.asked):
                entry.killed = True
                entry.running.kill()

    def _grace_expired(self, asked: float) -> bool:
        return self._signals > 1 or time.monotonic() - asked > self.grace

    def _tail(self, entry: _RunningJob) -> None:
        path = output_folder(entry.job.out) / "events.jsonl"
        try:
            with files.open_reader(path, files.EVENTS) as file:
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            size = 0
        except OSError as error:
            if not entry.odd:
                entry.odd = f"its events cannot be read: {path.name} {error.strerror}"
                entry.running.kill()
            return
        if size < entry.offset:  # --fresh begins a new file
            entry.offset = 0
        for event, offset in events.read_events(path, entry.offset):
            entry.offset = offset
            self.on_event(entry.job, event)
            if isinstance(event, TrialStarted) and entry.job.env_id not in ("", event.env_id):
                entry.elsewhere = True
                entry.running.kill()

    def _outcome(self, entry: _RunningJob, status: int) -> JobOutcome:
        if entry.odd:
            return JobOutcome(
                entry.job,
                "failed",
                FailureKind.program,
                entry.odd,
                tail_log(entry.job.out / "worker.log"),
            )
        if entry.elsewhere:
            message = (
                "the worker's environment is not the planned one: the code or the machine has "
                "changed; run again"
            )
            return JobOutcome(entry.job, "failed", FailureKind.program, message)
        kind = FailureKind.cancelled if self._signals else None
        if entry.killed and status != FINISHED:
            message = (
                f"did not stop within {self.grace:.0f} s" if self._signals < 2 else "asked twice"
            )
            return JobOutcome(
                entry.job,
                "failed",
                kind or FailureKind.timeout,
                f"killed: {message}; the state it saved last is kept",
            )
        if (entry.asked is not None or self._signals) and status == -signal.SIGTERM:
            return JobOutcome(
                entry.job, "stopped", kind, "ended before it had anything new to save"
            )
        outcome = self.judge(entry.job, status)
        return replace(outcome, kind=kind) if outcome.state == "stopped" else outcome

    def _end(self, outcome: JobOutcome) -> None:
        self._outcomes[id(outcome.job)] = outcome
        self.on_event(outcome.job, outcome)


def _never_started(job: Job, *, cancelled: bool) -> JobOutcome:
    kind = FailureKind.cancelled if cancelled else None
    return JobOutcome(
        job,
        "stopped",
        kind,
        "not started" + ("" if cancelled else " before the time limit"),
        never_started=True,
    )


def worker_environment(threads: int) -> dict[str, str]:
    """Variables under which every worker runs, wherever it runs."""
    return {
        **fixed_variables(threads),
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
