"""How an end is read: exit statuses, words of a worker, command lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.executors.base import JobLoop
from benchmark.executors.jobs import FailureKind, Job, JobOutcome, classify, outcome_of, tail_log
from benchmark.runs.store import Store
from tests.helpers.runs import fail, finish, toy_trial


def job(out: Path) -> Job:
    return Job(
        "toy/one/random@0",
        "0" * 64,
        out,
        Path("/data"),
        Path("/cache"),
        device="cuda:1",
        precision="bf16",
        threads=4,
        fresh=True,
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", FailureKind.oom),
        ("out_of_memory: ", FailureKind.oom),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
            FailureKind.oom,
        ),
        ("Failed to initialize NVML: Unknown Error", FailureKind.gpu_lost),
        ("RuntimeError: CUDA error: unknown error", FailureKind.gpu_lost),
        ("ValueError: shapes differ", FailureKind.program),
        ("", FailureKind.program),
    ],
)
def test_classification(text: str, kind: FailureKind) -> None:
    assert classify(text) is kind


def test_statuses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    good = job(finish(store, toy_trial(0)))
    bad = job(fail(store, toy_trial(1), message="CUDA error: unknown error"))
    assert outcome_of(good, 0) == JobOutcome(good, "finished")
    assert outcome_of(bad, 0).state == "failed"
    assert outcome_of(bad, 75) == JobOutcome(bad, "stopped", None, "stopped with its state saved")
    assert outcome_of(bad, 3).kind is FailureKind.gpu_lost
    assert outcome_of(bad, 69).kind is FailureKind.busy
    assert outcome_of(bad, -9).message == "killed by signal 9"
    assert outcome_of(bad, -9, out_of_memory=True).kind is FailureKind.oom
    (bad.out / "worker.log").write_text("MemoryError\n")
    assert (outcome_of(bad, 1).kind, outcome_of(bad, 1).log) == (FailureKind.oom, ("MemoryError",))


def test_arguments_as_a_container_sees_them() -> None:
    argv = job(Path("/host/out")).argv(90, out="/out", data="/data", cache="/cache")
    assert argv == [
        "/out/trial.json",
        "/out",
        "--data",
        "/data",
        "--cache",
        "/cache",
        "--device",
        "cuda:1",
        "--precision",
        "bf16",
        "--threads",
        "4",
        "--time-limit",
        "90.000",
        "--fresh",
    ]
    captured = replace(job(Path("/host/out")), step="captured").argv()
    assert captured[captured.index("--step") + 1] == "captured"
    assert job(Path("/host/out")).argv(-1)[-2] == "0.001", "a limit that has passed is not no limit"


def test_long_logs_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_bytes(b"\xff" + "\n".join(f"line {number}" for number in range(100_000)).encode())
    assert tail_log(path, 2) == ("line 99998", "line 99999")
    assert tail_log(tmp_path / "none") == ()


def test_a_job_that_cannot_start_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = finish(Store(tmp_path), toy_trial(0))

    class Done:
        where = "nowhere"

        def poll(self) -> int:
            return 0

        def stop(self) -> None: ...

        def kill(self) -> None: ...

    bad, good = job(tmp_path), job(folder)

    def start(this: Job, _: float | None) -> Done:
        if this is bad:
            raise OSError("no more processes")
        return Done()

    outcomes = JobLoop(start, outcome_of, lambda *_: None)([bad, good], 1, None)
    assert [(outcome.state, outcome.kind) for outcome in outcomes] == [
        ("failed", FailureKind.program),
        ("finished", None),
    ]


def test_an_error_of_ours_stops_what_runs(tmp_path: Path) -> None:
    stopped = []

    class Endless:
        where = "nowhere"

        def poll(self) -> None:
            return None

        def stop(self) -> None:
            stopped.append(True)

        def kill(self) -> None: ...

    def broken(*_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        JobLoop(lambda *_: Endless(), outcome_of, broken)([job(tmp_path)], 1, None)
    assert stopped == [True]
