"""Where faults are injected: a real trial, small enough for hundreds of runs, in processes forked
from this one.

This process imports the worker and never computes anything itself, so that a fork is safe and costs
milliseconds. Everything a fault meets is the real thing: `benchmark.worker` under its lease, the
store, the shared cache.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.executors.jobs import FINISHED
from benchmark.executors.local import child
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, Environment, Record, TrialStarted
from benchmark.runs.store import Store, check_record
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Trial
from benchmark.verdicts.determinism import find_divergence
from tests.helpers.waiting import patience

SUITES = Path(__file__).parents[2] / "suites"
SMALL: dict[str, Any] = {
    "protocol.acquisition.cycles": 3,
    "protocol.acquisition.candidates": 120,
    "protocol.training.epochs": 2,
    "protocol.training.schedule.milestones": [1],
    "protocol.models.0.params": {"width": 4, "heads": 2},
}
METHODS = ("random", "tod+cod", "coreset")
LONGEST = 60.0
"""Seconds on an idle machine after which a worker counts as hanging."""
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
"""Audited calls, besides opening for writing, that change a file system."""


class Violation(Exception):
    """A promise that a fault has broken."""


@dataclass
class Bench:
    """A store, a cache and a trial in a folder of their own."""

    folder: Path
    trial: Trial
    environment: Environment
    expected: Record | None = None
    """What the uninterrupted trial gave."""
    duration: float = 1.0
    """Seconds that took."""
    steps: int = 0
    """Changes to the file system that took."""

    @property
    def store(self) -> Store:
        return Store(self.folder / "runs")

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        return self.store.run_dir(self.trial, self.environment)

    @property
    def argv(self) -> list[str]:
        places = [
            str(self.out / "trial.json"),
            str(self.out),
            "--data",
            str(self.folder),
            "--cache",
            str(self.cache),
        ]
        return [*places, "--device", "cpu", "--save-every", "0"]

    def start(self, *faults: Callable[[], None]) -> int:
        """Fork a worker with these faults in it; its process number."""
        with suppress(
            Exception
        ):  # as a host does; a folder that cannot be made is the worker's to report
            self.store.prepare()
            self.store.create(self.trial, self.environment)
        process = os.fork()
        if process:
            return process
        status = 70
        try:
            for fault in faults:
                fault()
            status = child.main("benchmark.worker", str(self.out), self.argv)
        except BaseException as error:
            if not isinstance(error, SystemExit):
                with suppress(OSError):
                    traceback.print_exc()
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def run(self, *faults: Callable[[], None]) -> int:
        """Run a worker to its end; its exit status, negative for the signal that ended it."""
        return wait(self.start(*faults))

    # ------------------------------------------------------------------------------------- promises

    def told(self) -> int:
        """Cycles that the events call done."""
        done = {
            e.result.cycle
            for e, _ in events.read_events(self.out / "events.jsonl")
            if isinstance(e, CycleFinished)
        }
        return len(done)

    def starts(self) -> list[int]:
        """Cycle at which each worker began."""
        return [
            e.cycle
            for e, _ in events.read_events(self.out / "events.jsonl")
            if isinstance(e, TrialStarted)
        ]

    def look(self) -> str:
        """State of the run as the store sees it now. Raises Violation if it believes a record that
        is not the expected one."""
        status = self.store.status(self.trial, self.environment)
        if status.record is not None:
            self.demand_equal(status.record)
        return status.state

    def demand_equal(self, record: Record) -> None:
        """Raises Violation unless everything that was measured or names what was measured is as it
        must be."""
        if self.expected is None:
            return
        # When it was, how long it took, and who came first to a training that several share, may
        # differ.
        free = {"seconds": record.seconds, "finished": record.finished, "reused": record.reused}
        expected = self.expected.model_copy(update=free)
        if record != expected:
            parts = [
                name
                for name in Record.model_fields
                if getattr(record, name) != getattr(expected, name)
            ]
            place = str(find_divergence(record, expected) or "")
            raise Violation(
                "a record was accepted that differs from the uninterrupted trial's: "
                f"{', '.join(parts)} {place}"
            )

    def recover(self, at_least: int | None = None) -> None:
        """Run until finished, as a user would, and hold the outcome to the promises.

        `at_least`: cycles that must not be trained again (None: the fault destroyed saved work,
        which may be repeated).
        """
        before = len(self.starts())
        for _ in range(4):
            if self.look() == "finished":
                break
            status = self.run()
        else:
            raise Violation(
                "not finished after four runs: exit status "
                f"{status}\n{tail(self.out / 'worker.log')}"
            )
        begun = self.starts()[before:]
        if at_least is not None and begun and begun[0] < at_least:
            raise Violation(f"{at_least} cycles were finished, and it went on at cycle {begun[0]}")
        record = check_record(self.out)
        self.demand_equal(record)
        results = [
            e.result
            for e, _ in events.read_events(self.out / "events.jsonl")
            if isinstance(e, CycleFinished)
        ]
        if self.expected is not None:
            wanted = {result.cycle: result for result in self.expected.cycles}
            if (
                not all(result == wanted.get(result.cycle) for result in results)
                and at_least is not None
            ):
                raise Violation("an event tells of another outcome than the record")


def make(root: Path, method: str) -> Bench:
    """A bench whose trial has been run once without a fault; its cache is kept as the one that all
    faults start from."""
    (trial,) = find_suite("quickstart/digits", SUITES).trials(
        methods=[method], seeds=[0], sets=SMALL
    )
    bench = Bench(root / "whole", trial, provenance.describe_environment("cpu", "fp32", 1))
    bench.folder.mkdir(parents=True)
    counter = bench.folder / "steps"
    begin = time.monotonic()
    if (
        bench.run(
            lambda: on_step(bench, lambda number: counter.write_text(str(number)), every=True)
        )
        != FINISHED
    ):
        raise SystemExit(f"the trial does not run at all:\n{tail(bench.out / 'worker.log')}")
    bench.duration, bench.steps = time.monotonic() - begin, int(counter.read_text())
    bench.expected = check_record(bench.out)
    return bench


def fresh(bench: Bench, folder: Path, shared: bool) -> Bench:
    """The same trial in a folder of its own; `shared`: with decoded images and the first training
    in the cache."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if shared:
        shutil.copytree(bench.cache, folder / "cache")
    return replace(bench, folder=folder)


def on_step(bench: Bench, act: Callable[[int], None], every: bool = False, at: int = 0) -> None:
    """From now on in this process: `act(number)` before each change to the bench's files, or before
    the one numbered `at`.

    What `act` raises comes out of the call that would have changed the file.
    """
    root, count, busy = str(bench.folder), 0, False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, busy
        if busy or not changes(event, arguments, root):
            return
        count += 1
        if every or count >= at:
            busy = True
            try:
                act(count)
            finally:
                busy = False

    sys.addaudithook(hook)


def changes(event: str, arguments: tuple[Any, ...], root: str) -> bool:
    """Whether an audited call would change something below `root`."""
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        writing = (
            any(letter in mode for letter in "wax+")
            if isinstance(mode, str)
            else bool(flags & (os.O_WRONLY | os.O_RDWR))
        )
        return (
            writing
            and str(arguments[0]).startswith(root)
            and not str(arguments[0]).endswith("worker.log")
        )
    return event in WRITES and str(arguments[0]).startswith(root)


def wait(process: int) -> int:
    """Exit status of a child, negative for a signal. Raises Violation if it hangs."""
    began = time.monotonic()
    while time.monotonic() - began < patience(LONGEST):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise Violation(f"a worker hung for {time.monotonic() - began:.0f} s")


def tail(path: Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-8:])
    except OSError:
        return "(no log)"
