"""A worker without training: it does what its trial's seed says, and writes events as the real one
does."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import (
    CycleFinished,
    Environment,
    EpochFinished,
    TrialFailed,
    TrialFinished,
    TrialStopped,
)
from benchmark.runs.store import ENV_SHORT
from benchmark.spec.suite import Trial
from tests.helpers.runs import ENVIRONMENT, result, say_started, toy_record

FINE, SLOW, FAILS, DIES, STARVES, LIES, DEAF, INVALID, SEGFAULTS, STEADY, WOBBLY = range(11)
"""What seeds mean."""
PACE = 0.05
"""Seconds a cycle takes."""
HURRY = "hurry"
"""File in the runs folder with which a slow trial takes no longer than others. A fork server would
not see a variable."""
_stop = False


def main(argv: list[str]) -> int:
    """Like `benchmark.worker.main`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trial", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--time-limit", type=float, default=1e9)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--shared")
    for name in ("data", "cache", "device", "precision", "threads", "save-every"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--step", default="eager")
    parser.add_argument("--allow-noncanonical-data", action="store_true")
    options = parser.parse_args(argv)
    trial = Trial.model_validate_json(options.trial.read_bytes())
    print(f"hello from {os.getpid()}", flush=True)
    (options.out / "seen.json").write_text(
        json.dumps({"argv": argv, "environ": dict(os.environ), "pid": os.getpid()})
    )
    here = provenance.describe_environment(
        "cpu", options.precision, int(options.threads), options.step
    )
    env = ENVIRONMENT if options.out.name == ENVIRONMENT.env_id[:ENV_SHORT] else here
    return _run(trial, env, options.out, time.monotonic() + options.time_limit, options.fresh)


def _handler(*_: object) -> None:
    global _stop
    _stop = True


def _run(trial: Trial, env: Environment, out: Path, deadline: float, fresh: bool) -> int:
    if trial.seed == INVALID:
        events.append_event(
            out / "events.jsonl",
            TrialFailed(time=1.0, kind="UsageError", message="no such strategy"),
        )
        return 2
    signal.signal(signal.SIGTERM, signal.SIG_IGN if trial.seed == DEAF else _handler)
    state, said = out / "state" / "cycle.state", out / "events.jsonl"
    if fresh:
        for path in (state, said, out / "record.json"):
            path.unlink(missing_ok=True)
    first = int(state.read_text()) if state.exists() else 0
    say_started(out, trial, env)
    accuracy = 50.0 + (os.getpid() if trial.seed == WOBBLY else 0)
    pace = 0.6 if trial.seed in (STEADY, WOBBLY) else PACE
    for cycle in range(first, trial.protocol.acquisition.cycles):
        _happen(trial.seed, out)
        slow = 0.0 if (out.parents[1] / HURRY).exists() else 600.0
        until = time.monotonic() + (slow if trial.seed in (SLOW, DEAF) and cycle == 1 else pace)
        while time.monotonic() < until:
            if (_stop or time.monotonic() > deadline) and trial.seed != DEAF:
                events.append_event(
                    said, TrialStopped(time=time.time(), reason="signal" if _stop else "time_limit")
                )
                return 75
            time.sleep(0.01)
        events.append_event(
            said, EpochFinished(time=time.time(), cycle=cycle, epoch=1, epochs=1, loss=0.5)
        )
        done = CycleFinished(
            time=time.time(),
            result=result(trial, cycle, accuracy),
            seconds={"train": PACE},
            reused=False,
        )
        events.append_event(said, done)
        state.parent.mkdir(exist_ok=True)
        events.write_bytes(state, str(cycle + 1).encode())
    if trial.seed != LIES:
        record = toy_record(trial, env, accuracy=accuracy)
        events.write_record(out / "record.json", record)
        events.append_event(said, TrialFinished(time=time.time(), digest=record.digest))
    return 0


def _happen(seed: int, out: Path) -> None:
    if seed == FAILS:
        print("it broke here", file=sys.stderr)
        events.append_event(
            out / "events.jsonl",
            TrialFailed(time=1.0, kind="ValueError", message="something broke"),
        )
        sys.stdout.flush()
        sys.stderr.flush()
        raise SystemExit(3)
    if seed == DIES:
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == SEGFAULTS:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == STARVES:
        events.append_event(
            out / "events.jsonl",
            TrialFailed(time=1.0, kind="out_of_memory", message="CUDA out of memory"),
        )
        raise SystemExit(3)
    assert np.__name__
