"""Jobs, how they end, and how an end is read from an exit status and the files it left."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from benchmark import files, text
from benchmark.al.registry import DATA_LIBRARIES, TABLES
from benchmark.runs.events import TrialFailed
from benchmark.runs.store import check_record, last_event
from benchmark.spec.data import Data
from benchmark.spec.suite import Component, Trial
from benchmark.spec.training import Model

FINISHED, USAGE, FAILED, BUSY, STOPPED = 0, 2, 3, 69, 75
"""Exit statuses of a worker; BUSY is returned when the run folder is in use."""
LOG_LINES = 15
"""Last lines of a worker's log that are shown with a failure."""


LOG_BYTES = 20_000
"""Bytes from the end of a log in which these are looked for."""


class FailureKind(StrEnum):
    """Why a trial has no record."""

    program = "program"
    """The worker reported an error, or exited without reporting one."""
    usage = "usage"
    """The trial cannot be built as it is asked for: a component or its parameters are wrong."""
    oom = "oom"
    timeout = "timeout"
    """It did not stop in time and was killed."""
    gpu_lost = "gpu_lost"
    image = "image"
    daemon = "daemon"
    cancelled = "cancelled"
    """The user stopped it, or it never started."""
    busy = "busy"
    """Another process works on this trial."""


@dataclass(frozen=True)
class Job:
    """One trial to execute: `out` holds trial.json and receives everything else. Paths are the
    host's."""

    name: str
    """For people: `tod/cifar10/random@0`."""
    trial_id: str
    out: Path
    data: Path
    cache: Path
    device: str
    precision: str
    threads: int
    step: str = "eager"
    env_id: str = ""
    """The planned environment; a worker that finds itself in another one is stopped (empty:
    any)."""
    allow_noncanonical: bool = False
    fresh: bool = False
    save_every: float | None = None
    """Seconds between saves inside a cycle (None: the worker's own)."""
    private: str = ""
    """Folder of a cache of its own, as the worker sees it; `cache` is then only read. For trials
    with code from outside."""

    def argv(
        self, time_limit: float | None = None, *, out: str = "", data: str = "", cache: str = ""
    ) -> list[str]:
        """Arguments of `benchmark.worker`; the folders may be named as a container sees them."""
        folder = out or str(self.out)
        arguments = [
            f"{folder}/trial.json",
            folder,
            "--data",
            data or str(self.data),
            "--cache",
            self.private or cache or str(self.cache),
        ]
        arguments += ["--shared", cache or str(self.cache)] if self.private else []
        arguments += [
            "--device",
            self.device,
            "--precision",
            self.precision,
            "--threads",
            str(self.threads),
        ]
        arguments += [] if self.step == "eager" else ["--step", self.step]
        if time_limit is not None:
            arguments += ["--time-limit", f"{max(time_limit, 0.001):.3f}"]
        if self.save_every is not None:
            arguments += ["--save-every", f"{self.save_every:g}"]
        arguments += ["--allow-noncanonical-data"] if self.allow_noncanonical else []
        return arguments + (["--fresh"] if self.fresh else [])


@dataclass(frozen=True)
class JobStarted:
    """A job has begun."""

    where: str
    """For people: `process 4711`."""


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended. `stopped` means cleanly, with its state saved."""

    job: Job
    state: Literal["finished", "stopped", "failed"]
    kind: FailureKind | None = None
    message: str = ""
    log: tuple[str, ...] = ()
    """The last lines of its output, where it failed."""
    never_started: bool = False


def is_foreign(trial: Trial) -> bool:
    """Whether code from outside the project takes part in a trial: it must not write what other
    trials read."""
    data = trial.protocol.data
    # A folder of the user's own, or a library's files, and no code of the user's.
    own = data.layout == "class_folders" or data.name.partition(":")[0] in DATA_LIBRARIES
    parts: list[Component | Data | Model] = [
        trial.strategy,
        trial.objective,
        data,
        *trial.protocol.networks(),
    ]
    return any(part.code is not None for part in parts) or any(
        name not in TABLES[kind]
        for kind, name in component_names_of(trial)
        if not (own and kind == "datasets")
    )


def component_names_of(trial: Trial) -> list[tuple[str, str]]:
    """Kind, as in the registry, and name of everything that a trial looks up by name."""
    return [
        ("strategies", trial.strategy.name),
        ("objectives", trial.objective.name),
        ("datasets", trial.protocol.data.name),
        *(("networks", model.name) for model in trial.protocol.networks()),
    ]


def guard_cache(job: Job, out: str = "") -> Job:
    """The job, with a cache of its own beside its state where code from outside takes part in it.
    `out` is its folder as the worker sees it. The trial is read from the run folder: no caller has
    to repeat it."""
    try:
        trial = Trial.model_validate_json(files.read(job.out / "trial.json"))
    except (OSError, ValueError):
        return job  # not a trial: the worker refuses it before it opens a cache
    return replace(job, private=f"{out or job.out}/state/cache") if is_foreign(trial) else job


def outcome_of(job: Job, status: int, *, out_of_memory: bool = False) -> JobOutcome:
    """The outcome of a job from its exit status and the files it left."""
    log = tail_log(job.out / "worker.log")
    if status == FINISHED:
        try:
            check_record(job.out)
        except (FileNotFoundError, ValueError) as error:
            return JobOutcome(
                job,
                "failed",
                FailureKind.program,
                f"exit status 0 without a valid record: {error}",
                log,
            )
        return JobOutcome(job, "finished")
    if status == STOPPED:
        return JobOutcome(job, "stopped", None, "stopped with its state saved")
    if status == BUSY:
        return JobOutcome(
            job,
            "failed",
            FailureKind.busy,
            log[-1] if log else "another process works on this trial",
        )
    if status < 0 and out_of_memory:
        return JobOutcome(
            job, "failed", FailureKind.oom, "killed by the kernel, which was out of memory", log
        )
    if status < 0:
        return JobOutcome(job, "failed", FailureKind.program, f"killed by signal {-status}", log)
    last = last_event(job.out)
    if status in (USAGE, FAILED) and isinstance(last, TrialFailed):
        kind = FailureKind.usage if status == USAGE else classify(f"{last.kind}: {last.message}")
        in_log = last.message.strip() in "\n".join(
            log
        )  # an error of ours: the log says nothing more
        return JobOutcome(
            job, "failed", kind, last.message, () if in_log and kind is FailureKind.usage else log
        )
    return JobOutcome(
        job, "failed", classify("\n".join(log)), f"ended with exit status {status}", log
    )


_GPU_LOST = re.compile(
    r"^gpu_lost: |DeviceMissing"
    r"|Failed to initialize NVML|CUDA error: unknown|GPU is lost|fallen off the bus|CUDA error: "
    r"uncorrectable ECC"
    r"|no CUDA-capable device|CUDA driver initialization failed",
    re.IGNORECASE,
)
_OOM = re.compile(
    r"out_of_memory|out of memory|OutOfMemoryError|MemoryError|DefaultCPUAllocator: can't allocate",
    re.IGNORECASE,
)


def classify(text: str) -> FailureKind:
    """Kind of failure from what a program said."""
    if _GPU_LOST.search(text):
        return FailureKind.gpu_lost
    return FailureKind.oom if _OOM.search(text) else FailureKind.program


def tail_log(path: Path, lines: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log; empty if there is none."""
    try:
        with os.fdopen(files.open_fd(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            said = file.read(LOG_BYTES).decode(errors="replace")
    except OSError:
        return ()
    return tuple(
        text.clean_text(line) for line in said.rstrip().split("\n")[-lines:] if said.strip()
    )
