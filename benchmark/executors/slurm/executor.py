"""Trials as jobs of a Slurm cluster, through submitit. What is done on a node is in task.py.

The trials of a run are one job array, of which --jobs tasks run at once at most. A job that reaches
its time, or is preempted, saves its state and goes back into the queue; one that Slurm loses is
submitted again. Run folder, data and project must lie on storage that all nodes share.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import DelayedSubmission, clean_env

from benchmark import files
from benchmark.errors import AlbenchError, ExecutorError, StoreError, UsageError
from benchmark.executors import jobs
from benchmark.executors.base import GRACE, JobLoop, OnEvent, Running
from benchmark.executors.jobs import STOPPED, FailureKind, Job, JobOutcome
from benchmark.executors.local.executor import WORKER, count_cores
from benchmark.executors.ray.node import forget
from benchmark.executors.slurm.task import Description, Task
from benchmark.runs.environment import check_step
from benchmark.runs.events import Environment, Precision, Step
from benchmark.runs.lock import RunLocked, lock_run

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
"""Slurm's commands that are used, by submitit and here."""
AT_ONCE = 256
"""Tasks of an array that may run at once by default: Slurm decides how many do."""
LARGEST_ARRAY = 1000
"""Tasks of one array; Slurm's default limit, MaxArraySize, is one more."""
LOOK, ASKED_LOOK = 15.0, 2.0
"""Seconds between questions to Slurm's accounting, and after a job was asked to stop."""
LAG = 30.0
"""Seconds that a file of a node may take to be seen here, on network file systems."""
REQUEUE_SECONDS = 120.0
"""Seconds after which a preempted job that is not in the queue again was not put back."""
LIVES = 10
"""Times that a trial is submitted again before it counts as failed."""
TIMEOUTS = 1000
"""Times that a job may go back into the queue at the end of its time."""
SIGNAL_SECONDS = 90
"""Seconds before the end of its time at which Slurm asks a job to save its state."""
MINUTES = 240
PROBE_MINUTES = 10
ANSWER_SECONDS = 3600.0
"""A node may take so long to report its environment: the question waits in the queue."""
KILL_SECONDS = 10.0
GONE = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT", "REVOKED", "DEADLINE")
"""States of jobs that the cluster ended, and not their program."""
NOT_OVER = (
    *("UNKNOWN", "READY", "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"),
)
"""States of jobs that may still run or are running. UNKNOWN: the accounting has no line yet."""
REFUSED = (FailedJobError, FailedSubmissionError, RuntimeError, ValueError, OSError)
"""What a submission that does not succeed raises, errors of sbatch among them."""
REMEDY = "see `sinfo`, `squeue --me` and ALBENCH_SLURM_OPTIONS (docs/slurm.md)"


class RequeuedTask(Task):
    """A task that submitit puts back into the queue when its time is over."""

    def checkpoint(self) -> DelayedSubmission:
        """What is to be done by the job when it starts again."""
        self.save()
        again = RequeuedTask(self.job, self.status, self.until, self.worker, self.patience)
        return DelayedSubmission(again)


class SlurmExecutor:
    """Runs jobs as tasks of job arrays. See `Executor`."""

    name = "slurm"

    def __init__(
        self,
        folder: Path,
        *,
        cluster: str = "slurm",
        minutes: int = MINUTES,
        options: Sequence[str] = (),
        worker: str = WORKER,
        grace: float = GRACE + LAG,
        look: float = LOOK,
        lag: float = LAG,
    ) -> None:
        """`folder` receives scripts and logs of the jobs, on shared storage; `minutes` is the time
        of a job; `options` are further ones of sbatch, `--KEY=VALUE` or `--KEY`. `cluster` is
        submitit's: slurm, or local for processes of this machine."""
        self.folder, self.cluster, self.minutes = folder, cluster, minutes
        self.options, self.worker = parse_options(options), worker
        self.grace, self.look, self.lag = grace, look, lag
        self._at_once, self._asked_slurm = AT_ONCE, -math.inf
        self._waiting: list[SlurmTask] = []
        self._tasks: dict[Path, SlurmTask] = {}

    def environment(
        self, device: str, precision: Precision, threads: int, step: Step = "eager"
    ) -> Environment:
        """What a node says of itself, in a job of its own that waits in the queue like any other.

        Raises ExecutorError where no node can do it, UsageError for the device `auto`: Slurm gives
        what is asked for.
        """
        if device == "auto":
            raise UsageError(
                "Slurm gives a job what it asks for, so the device must be named",
                where="--device",
                remedy="--device cpu or --device cuda",
            )
        check_step(step, device)
        folder = self._new_folder()
        answer = folder / "environment.json"
        ask = Description(answer, _worker_device(device), precision, threads, step)
        try:
            (job,) = self.submit([ask], device, threads, PROBE_MINUTES, folder)
        except REFUSED as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExecutorError(
                f"no job can be submitted: {_error_text(error)}", remedy=REMEDY
            ) from error
        print(
            f"slurm: job {job.job_id} reads the environment of a node, when it starts",
            file=sys.stderr,
        )
        try:
            content = self._wait_for_answer(job, answer)
        finally:
            self.cancel(job)
        shutil.rmtree(folder, ignore_errors=True)
        return Environment.model_validate_json(content)

    def slots(self, device: str, threads: int) -> int:
        """Tasks of the array that may run at once; processes of this machine: as there are
        cores."""
        return AT_ONCE if self.cluster == "slurm" else max(1, count_cores() // threads)

    def run(
        self, jobs: Sequence[Job], *, jobs_at_once: int, deadline: float | None, on_event: OnEvent
    ) -> list[JobOutcome]:
        """See `Executor.run`. All jobs are in the queue at once; Slurm starts `jobs_at_once` of
        them."""
        self._at_once, folder = jobs_at_once, self._new_folder()
        queued = LARGEST_ARRAY if self.cluster == "slurm" else jobs_at_once

        def start(job: Job, time_limit: float | None) -> Running:
            return self._start(job, time_limit, folder)

        ends = JobLoop(start, self._judge, on_event, self.grace)(jobs, queued, deadline)
        shutil.rmtree(folder, ignore_errors=True)
        return ends

    def submit(
        self,
        calls: Sequence[Callable[[], object]],
        device: str,
        threads: int,
        minutes: int,
        folder: Path,
    ) -> list[Any]:
        """submitit's jobs for these calls: one array where there are several. Raises what is in
        REFUSED."""
        gpus = 1 if device.startswith("cuda") else 0
        made = submitit.AutoExecutor(
            folder=folder,
            cluster=self.cluster,
            slurm_max_num_timeout=TIMEOUTS,
        )
        made.update_parameters(
            name="albench",
            timeout_min=minutes,
            cpus_per_task=threads,
            **({"gpus_per_node": gpus} if gpus else {}),
            slurm_array_parallelism=self._at_once,
            slurm_signal_delay_s=SIGNAL_SECONDS,
            # Slurm 22.05 and newer do not hand the batch job's cores on to its steps.
            slurm_srun_args=[f"--cpus-per-task={threads}"],
            slurm_additional_parameters={"requeue": True, **self.options},
        )
        # A run inside an allocation does not hand its own resources on.
        with clean_env(), made.batch():
            return [made.submit(call) for call in calls]

    def submit_waiting(self) -> None:
        """Submit everything that was started since the last call, as one array."""
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        first = batch[0]
        try:
            made = self.submit(
                [one.task for one in batch],
                first.job.device,
                first.job.threads,
                self._minutes(first.task.until),
                first.folder,
            )
        except REFUSED as error:
            for one in batch:
                one.refuse(f"it cannot be submitted: {_error_text(error)}")
            return
        for one, job in zip(batch, made, strict=True):
            one.accept(job)

    def submit_again(self, one: SlurmTask) -> None:
        """Put a job that the cluster has ended into the queue again."""
        self._waiting.append(one)

    def state(self, job: Any, *, asked: bool) -> str:
        """Slurm's word for a job, such as RUNNING, from accounting that is asked seldom and for all
        jobs together."""
        if self.cluster != "slurm":
            return str(job.state)
        since = time.monotonic() - self._asked_slurm
        now = since >= (min(ASKED_LOOK, self.look) if asked else self.look)
        if now:
            self._asked_slurm = time.monotonic()
        state = str(job.watcher.get_state(job.job_id, mode="force" if now else "cache"))
        return state.split(" ")[0].rstrip("+").upper()  # CANCELLED by 1000

    def ask_to_stop(self, job: Any) -> None:
        """Take a job out of the queue; where it runs, have its state saved first."""
        if self.cluster == "slurm":
            _run_command("scancel", "--state=PENDING", job.job_id)
            _run_command("scancel", "--signal=TERM", job.job_id)
        elif job.state == "RUNNING":
            os.kill(int(job.job_id), signal.SIGTERM)  # its controller hands it on

    def cancel(self, job: Any) -> None:
        """End a job at once; one that has ended is left alone."""
        if self.cluster == "slurm":
            _run_command("scancel", job.job_id)
        elif job.state == "RUNNING":
            job.cancel(check=False)

    def _start(self, job: Job, time_limit: float | None, folder: Path) -> Running:
        until = None if time_limit is None else time.time() + time_limit
        there = replace(job, device=_worker_device(job.device), fresh=False)
        task = RequeuedTask(there, folder / f"{uuid.uuid4().hex}.status", until, self.worker)
        one = SlurmTask(self, job, task, folder)
        self._tasks[job.out] = one
        try:
            with lock_run(job.out):  # somebody else may work there; then the queue is spared
                if job.fresh:
                    forget(job.out)
        except RunLocked as error:
            one.refuse(error.message, FailureKind.busy)
            return one
        self._waiting.append(one)
        return one

    def _judge(self, job: Job, status: int) -> JobOutcome:
        one = self._tasks.pop(job.out)
        return one.verdict or jobs.outcome_of(job, status, out_of_memory=one.starved)

    def _minutes(self, until: float | None) -> int:
        """The time of a job: as set, and not longer than the run's limit and the saving need."""
        if until is None:
            return self.minutes
        needed = max(until - time.time(), 0) + GRACE + SIGNAL_SECONDS
        return min(self.minutes, math.ceil(needed / 60))

    def _new_folder(self) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.lstat().st_uid != os.getuid() or not files.is_folder(self.folder):
            raise StoreError(
                "belongs to somebody else, or is a link",
                where=str(self.folder),
                remedy="name a folder of your own with ALBENCH_SLURM_FOLDER",
            )
        made = self.folder / uuid.uuid4().hex
        made.mkdir(mode=0o700)
        return made

    def _wait_for_answer(self, job: Any, answer: Path) -> bytes:
        give_up, over = time.monotonic() + ANSWER_SECONDS, math.inf
        while time.monotonic() < min(give_up, over + self.lag):
            if files.stat_file(answer) is not None:
                return files.read(answer)
            if over == math.inf and self.state(job, asked=False) not in NOT_OVER:
                over = time.monotonic()
            time.sleep(0.2)
        said = jobs.tail_log(Path(job.paths.stderr))
        why = said[-1] if said else f"its job is {self.state(job, asked=False).lower()}"
        raise ExecutorError(f"no node reported its environment: {why}", remedy=REMEDY)


class SlurmTask:
    """A job under way somewhere. See `Running`."""

    def __init__(self, executor: SlurmExecutor, job: Job, task: RequeuedTask, folder: Path) -> None:
        self.where, self.starved = "the queue of Slurm", False
        self.job, self.task, self.folder = job, task, folder
        self.verdict: JobOutcome | None = None
        self._executor, self._lives = executor, LIVES
        self._submitted: Any = None
        self._status: int | None = None
        self._asked, self._over, self._killed = False, math.inf, math.inf

    def accept(self, submitted: Any) -> None:
        """It is in the queue."""
        self._submitted, self._over = submitted, math.inf
        if self._asked:
            self._executor.ask_to_stop(submitted)

    def refuse(self, message: str, kind: FailureKind = FailureKind.daemon) -> None:
        """It is not, and will not be."""
        self._fail(kind, message)

    def poll(self) -> int | None:
        """See `Running.poll`."""
        if self._status is None and self._submitted is None:
            self._executor.submit_waiting()
        if self._status is not None or self._submitted is None:
            return self._status
        code = self._read_status()
        if code is not None and not self._was_preempted(code):
            return self._end(code)
        now = time.monotonic()
        if now - self._killed > KILL_SECONDS:
            return self._end(-signal.SIGKILL)
        state = self._executor.state(self._submitted, asked=self._asked)
        if state in NOT_OVER:
            self._over = math.inf  # Slurm has put it back into the queue
            return None
        self._over = min(self._over, now)
        if now - self._over < self._patience(state, code):
            return None
        return self._conclude(state, code)

    def stop(self) -> None:
        """See `Running.stop`."""
        if self._asked or self._status is not None:
            return
        self._asked = True
        if self._submitted is None:
            self._end(-signal.SIGTERM)
        else:
            self._executor.ask_to_stop(self._submitted)

    def kill(self) -> None:
        """See `Running.kill`."""
        if self._status is None:
            self._killed = min(self._killed, time.monotonic())
            if self._submitted is None:
                self._end(-signal.SIGKILL)
            else:
                self._executor.cancel(self._submitted)

    def _patience(self, state: str, code: int | None) -> float:
        """Seconds for which a job that is over may still leave a status, or be queued again."""
        if self._asked:
            return 0.0 if code is not None else min(ASKED_LOOK, self._executor.lag)
        if state == "PREEMPTED":
            return REQUEUE_SECONDS
        return 0.0 if code is not None else self._executor.lag

    def _conclude(self, state: str, code: int | None) -> int | None:
        """What follows from a job that Slurm says is over, with the exit status it left, if any."""
        if self._killed < math.inf:
            return self._end(-signal.SIGKILL)
        if self._asked:
            return self._end(-signal.SIGTERM if code is None else code)
        if state == "CANCELLED":
            self.verdict = JobOutcome(self.job, "stopped", None, "cancelled in Slurm")
            return self._end(STOPPED)
        if state == "OUT_OF_MEMORY":
            self.starved = True
            return self._end(-signal.SIGKILL)
        if code is None and state not in GONE:
            log = jobs.tail_log(Path(self._submitted.paths.stderr))
            return self._fail(FailureKind.program, f"its job ended as {state}", log)
        self._lives -= 1
        if self._lives == 0:
            message = f"Slurm ended it {LIVES} times, as {state} at last; its saved state is kept"
            return self._fail(FailureKind.daemon, message)
        self._submitted = None
        files.remove(self.task.status, base=self.folder)
        self._executor.submit_again(self)
        return None

    def _was_preempted(self, code: int) -> bool:
        """Whether it was asked to stop by somebody else than this run."""
        until = self.task.until
        late = until is not None and time.time() > until - 1
        return code in (STOPPED, -signal.SIGTERM) and not self._asked and not late

    def _read_status(self) -> int | None:
        try:
            return int(files.read(self.task.status))
        except (OSError, ValueError):
            return None

    def _fail(self, kind: FailureKind, message: str, log: tuple[str, ...] = ()) -> int:
        self.verdict = JobOutcome(self.job, "failed", kind, message, log)
        return self._end(-1)

    def _end(self, status: int) -> int:
        self._status = status
        return status


def create() -> SlurmExecutor:
    """See `benchmark.executors.load`. ALBENCH_SLURM_{CLUSTER,FOLDER,MINUTES,OPTIONS} say how jobs
    are submitted. Raises ExecutorError where Slurm's commands are missing, UsageError."""
    cluster = os.environ.get("ALBENCH_SLURM_CLUSTER") or "slurm"
    if cluster not in ("slurm", "local"):
        raise UsageError(
            f"'{cluster}' is neither slurm nor local",
            where="ALBENCH_SLURM_CLUSTER",
            remedy="leave it unset on a cluster",
        )
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if cluster == "slurm" and missing:
        raise ExecutorError(
            f"executor 'slurm' is not available: {', '.join(missing)} not found in PATH",
            remedy="run it where jobs are submitted, or use --executor local",
        )
    folder = os.environ.get("ALBENCH_SLURM_FOLDER") or "~/.albench/slurm"
    minutes = os.environ.get("ALBENCH_SLURM_MINUTES") or str(MINUTES)
    if not minutes.isdecimal() or int(minutes) < 5:
        raise UsageError(
            f"'{minutes}' is not a number of minutes, 5 at least",
            where="ALBENCH_SLURM_MINUTES",
            remedy=f"{MINUTES} for four hours",
        )
    return SlurmExecutor(
        Path(folder).expanduser().resolve(),
        cluster=cluster,
        minutes=int(minutes),
        options=shlex.split(os.environ.get("ALBENCH_SLURM_OPTIONS", "")),
    )


def parse_options(options: Sequence[str]) -> dict[str, str | bool]:
    """Options of sbatch by name. Raises UsageError for other words than `--KEY=VALUE` and
    `--KEY`."""
    found: dict[str, str | bool] = {}
    for option in options:
        name, given, value = option.removeprefix("--").partition("=")
        if not option.startswith("--") or not name or (given and not value):
            raise UsageError(
                f"'{option}' is not an option of sbatch",
                where="ALBENCH_SLURM_OPTIONS",
                remedy='"--partition=gpu --account=NAME --mem=16G"',
            )
        found[name] = value if given else True
    return found


def _worker_device(device: str) -> str:
    """A worker's one GPU is its first, whichever it is to the node."""
    return device.partition(":")[0]


def _run_command(*words: str) -> None:
    """Run one of Slurm's commands; what it says of jobs that are over is of no use."""
    try:
        subprocess.run(words, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"slurm: {words[0]} failed: {error}", file=sys.stderr)


def _error_text(error: Exception) -> str:
    text = error.message if isinstance(error, AlbenchError) else str(error).strip()
    return " ".join(text.splitlines())[:300] or type(error).__name__
