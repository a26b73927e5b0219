"""The faults: each one meets a fresh bench, does its harm at a drawn moment, and leaves the bench
to be recovered.

A fault returns how many finished cycles must survive it (None: it destroyed saved work itself,
which may be repeated).
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmark.executors.base import JobLoop
from benchmark.executors.jobs import BUSY, FINISHED, Job, outcome_of
from benchmark.runs import lock
from benchmark.runs.store import check_record
from benchmark.spec.identity import trial_id
from benchmark.tracking.background import BackgroundSync
from tests.faults.fault_bench import Bench, Violation, on_step, wait
from tests.helpers.waiting import patience

Fault = Callable[[Bench, random.Random], int | None]


# ---------------------------------------------------------------------------------------- processes


def worker_killed_at_a_write(bench: Bench, rng: random.Random) -> int | None:
    """SIGKILL just before one change to the file system."""
    at = rng.randint(1, bench.steps)
    bench.run(lambda: on_step(bench, lambda _: os.kill(os.getpid(), signal.SIGKILL), at=at))
    return bench.told()


def worker_killed_at_any_time(bench: Bench, rng: random.Random) -> int | None:
    """SIGKILL from outside, computing or writing."""
    process = bench.start()
    time.sleep(rng.uniform(0, bench.duration))
    os.kill(process, signal.SIGKILL)
    wait(process)
    return bench.told()


def worker_killed_inside_a_write(bench: Bench, rng: random.Random) -> int | None:
    """The kernel ends it in the middle of a file that grows beyond a drawn size: a part of the
    bytes is written."""
    size = int(2 ** rng.uniform(4, 17))
    bench.run(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    return bench.told()


def worker_asked_to_stop(bench: Bench, rng: random.Random) -> int | None:
    """SIGTERM, as a host sends it."""
    process = bench.start()
    time.sleep(rng.uniform(0, bench.duration))
    os.kill(process, signal.SIGTERM)
    wait(process)
    return bench.told()


def worker_killed_twice(bench: Bench, rng: random.Random) -> int | None:
    """Killed, and killed again while it resumes."""
    worker_killed_at_a_write(bench, rng)
    return worker_killed_at_a_write(bench, rng)


class _Forked:
    """A worker of the bench, for the executors' own loop."""

    def __init__(self, process: int) -> None:
        self.where, self._process, self._status = f"process {process}", process, None

    def poll(self) -> int | None:
        if self._status is None:
            done, status = os.waitpid(self._process, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if done else None
        return self._status

    def stop(self) -> None:
        os.kill(self._process, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)


def _host(bench: Bench, on_event: Callable[..., None] = lambda *_: None) -> int:
    """Fork a host that drives one worker; its process number."""
    job = Job(
        "x",
        trial_id(bench.trial),
        bench.out,
        bench.folder,
        bench.cache,
        "cpu",
        "fp32",
        1,
        bench.environment.env_id,
    )
    process = os.fork()
    if process:
        return process
    os.environ["ALBENCH_HOST_PID"] = str(os.getpid())
    (outcome,) = JobLoop(lambda *_: _Forked(bench.start()), outcome_of, on_event)([job], 1, None)
    os._exit(0 if outcome.state == "finished" else 3)


def host_killed(bench: Bench, rng: random.Random) -> int | None:
    """SIGKILL of the host process; its worker hears of it and stops with its state saved."""
    process = _host(bench)
    time.sleep(rng.uniform(0.05, bench.duration))
    os.kill(process, signal.SIGKILL)
    wait(process)
    _until_free(bench)
    return bench.told()


def host_interrupted(bench: Bench, rng: random.Random) -> int | None:
    """Ctrl-C of the host, once or twice."""
    process = _host(bench)
    for _ in range(rng.choice([1, 2])):
        time.sleep(rng.uniform(0.05, bench.duration / 2))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)
    wait(process)
    _until_free(bench)
    return bench.told()


def _until_free(bench: Bench) -> None:
    until = time.monotonic() + patience(30)
    while bench.out.exists() and lock.lock_owner(bench.out):
        if time.monotonic() > until:
            raise Violation("the worker outlives its host")
        time.sleep(0.01)


def tracker_killed(bench: Bench, rng: random.Random) -> int | None:
    """A tracking server in a process of its own is killed while a run is synced to it, and comes
    back later."""
    path = str(bench.folder / "socket")
    server = _serve(path)
    seen: list[int] = []

    class View:
        def sync_run(self, run_dir: Path, *, live: bool = False) -> object:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1)
                link.connect(path)
                link.sendall(str(bench.told()).encode())
                seen.append(int(link.recv(16)))
            return None

        def close(self) -> None: ...

    background = BackgroundSync(View, every=0.02)
    background.watch([bench.out])
    process = bench.start()
    time.sleep(rng.uniform(0, bench.duration / 2))
    os.kill(server, signal.SIGKILL)
    wait(server)
    if wait(process) != FINISHED:
        raise Violation("a dead tracker stopped a run")
    again = _serve(path)
    try:
        until = time.monotonic() + patience(20)
        while not (seen and seen[-1] == len(bench.trial.protocol.acquisition.labelled())):
            if time.monotonic() > until:
                raise Violation(
                    "the view is not brought up to date after the tracker is back: "
                    f"{background.problem}"
                )
            time.sleep(0.02)
        background.close(5)
    finally:  # it holds the campaign's output open: left behind, a reader of it would wait for ever
        os.kill(again, signal.SIGKILL)
        wait(again)
    return bench.told()


def _serve(path: str) -> int:
    Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(8)
    process = os.fork()
    if process:
        listening.close()
        return process
    while True:
        with suppress(OSError):
            link, _ = listening.accept()
            link.sendall(link.recv(16))
            link.close()


# --------------------------------------------------------------------------------------------- disk


def disk_full(bench: Bench, rng: random.Random) -> int | None:
    """From a drawn moment on nothing can be opened for writing, renamed or made: no space left."""
    return _failing(bench, rng, errno.ENOSPC)


def folders_read_only(bench: Bench, rng: random.Random) -> int | None:
    """From a drawn moment on the file system is read-only."""
    return _failing(bench, rng, errno.EROFS)


def input_output_error(bench: Bench, rng: random.Random) -> int | None:
    """One call fails, the next ones succeed: a bad sector, a hiccup of a network file system."""
    return _failing(bench, rng, errno.EIO, once=True)


def _failing(bench: Bench, rng: random.Random, code: int, once: bool = False) -> int | None:
    at = rng.randint(1, bench.steps)

    def fail(number: int) -> None:
        if not once or number == at:
            raise OSError(code, os.strerror(code))

    status = bench.run(lambda: on_step(bench, fail, at=at))
    if status == FINISHED:
        check_record(bench.out)
    return bench.told()


def write_cut_short(bench: Bench, rng: random.Random) -> int | None:
    """Writes beyond a drawn size fail half-way, as on a full disk: the kernel's limit on file
    sizes."""
    size = int(2 ** rng.uniform(4, 17))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    bench.run(limit)
    return bench.told()


def folder_vanishes(bench: Bench, rng: random.Random) -> int | None:
    """The state, the whole run folder or the shared cache is removed under the worker's feet."""
    target = rng.choice([bench.out / "state", bench.out, bench.cache])
    at = rng.randint(1, bench.steps)

    def vanish(number: int) -> None:
        if number == at:
            shutil.rmtree(target, ignore_errors=True)

    bench.run(lambda: on_step(bench, vanish, at=at))
    return bench.told() if target == bench.cache else None


# ------------------------------------------------------------------------------------------- damage


def file_torn(bench: Bench, rng: random.Random) -> int | None:
    """A file of an interrupted run or of the cache loses its end."""
    return _damaged(bench, rng, lambda content: content[: rng.randrange(len(content))])


def file_emptied(bench: Bench, rng: random.Random) -> int | None:
    """A file is there and empty, as after a power cut without fsync."""
    return _damaged(bench, rng, lambda _: b"")


def bit_flipped(bench: Bench, rng: random.Random) -> int | None:
    """One bit of a file is another."""

    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return _damaged(bench, rng, flip)


def file_removed(bench: Bench, rng: random.Random) -> int | None:
    """A file is gone."""
    return _damaged(bench, rng, lambda _: None)


def _damaged(
    bench: Bench, rng: random.Random, change: Callable[[bytes], bytes | None]
) -> int | None:
    if rng.random() < 0.3:
        bench.run()
    else:
        worker_killed_at_a_write(bench, rng)
    told = bench.told()
    files = [
        path
        for path in sorted(bench.folder.rglob("*"))
        if path.is_file() and path.stat().st_size and path.name != "worker.log"
    ]
    files = [path for path in files if path.suffix != ".lock"]
    kinds = sorted({path.suffix for path in files})
    if not kinds:
        return told
    kind = rng.choice(kinds)  # all kinds of files alike, however many there are of each
    path = rng.choice([path for path in files if path.suffix == kind])
    changed = change(path.read_bytes())
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    if path.parent == bench.out / "state" and path.stem == "cycle":
        return told - 1  # the state before it is still there
    return told if bench.cache in path.parents or path.parent.name == "state" else None


def record_damaged(bench: Bench, rng: random.Random) -> int | None:
    """One bit of a finished record is another: it must be refused, or say the same."""
    bench.run()
    path = bench.out / "record.json"
    changed = bytearray(path.read_bytes())
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(changed))
    with suppress(ValueError):
        accepted = check_record(bench.out)
        assert bench.expected is not None
        times = {"seconds": accepted.seconds, "finished": accepted.finished}
        if accepted != bench.expected.model_copy(update=times):
            raise Violation("a record with a flipped bit was accepted")
    return None


# ------------------------------------------------------------------------------- clock, other hosts


def clock_jumps(bench: Bench, rng: random.Random) -> int | None:
    """The wall clock jumps by up to a year, mostly back, at a drawn moment; then the worker is
    killed."""
    at, by = rng.randint(1, bench.steps - 1), rng.uniform(-3e7, 1e7)
    stop = rng.randint(at, bench.steps)
    true = time.time

    def jump(number: int) -> None:
        time.time = lambda: true() + by
        if number >= stop:
            os.kill(os.getpid(), signal.SIGKILL)

    bench.run(lambda: on_step(bench, jump, at=at))
    return bench.told()


def two_workers_on_one_run(bench: Bench, rng: random.Random) -> int | None:
    """A second worker is started on a run folder while the first works there; then the first one is
    killed."""
    first = bench.start()
    time.sleep(rng.uniform(0.3, 0.6) * bench.duration)
    held = bool(lock.lock_owner(bench.out))
    status = bench.run()
    if held and status not in (BUSY, FINISHED):
        raise Violation(f"a second worker ended with {status}")
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    wait(first)
    return bench.told()


def two_hosts_on_one_store(bench: Bench, rng: random.Random) -> int | None:
    """Another host, which cannot see this one's lock, comes to a run folder on a network file
    system: it must keep off while the first is alive, and take over once it has been silent for
    long."""
    process = bench.start(_far_away)
    until = time.monotonic() + patience(10)
    while not (bench.out / "lease").exists() or not (bench.out / "lease").read_text().startswith(
        "{"
    ):
        if time.monotonic() > until:
            raise Violation("no lease was signed")
        time.sleep(0.005)
    time.sleep(rng.uniform(0, bench.duration / 2))
    network = lambda: setattr(lock, "on_network", lambda _path: True)  # noqa: E731
    blind = lambda: setattr(lock, "_try_lock", lambda *_: True)  # noqa: E731
    status = bench.run(network, blind)
    alive = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    if alive and status != BUSY:
        raise Violation(f"another host entered a run folder in use: exit status {status}")
    os.kill(process, signal.SIGKILL)
    wait(process)
    path = bench.out / "lease"
    then = time.time() - lock.STALE - 1
    os.utime(path, (then, then))
    briefly = lambda: setattr(lock, "WATCH", 0.5)  # noqa: E731
    if bench.run(network, blind, briefly) != FINISHED:
        raise Violation("a run folder whose holder has been silent for long is not taken over")
    return bench.told()


def _far_away() -> None:
    socket.gethostname = lambda: "elsewhere"


def shared_training_interrupted(bench: Bench, rng: random.Random) -> int | None:
    """Of two trials that share their first training one is killed; the other takes over, and both
    end right."""
    other = replace(bench, trial=bench.trial.model_copy(update={"profile": "other"}), expected=None)
    shutil.rmtree(bench.cache / "trainings", ignore_errors=True)
    first, second = bench.start(), other.start()
    time.sleep(rng.uniform(0.1, 1) * bench.duration)
    os.kill(first, signal.SIGKILL)
    wait(first)
    if wait(second) != FINISHED:
        raise Violation("a trial that waited for a killed one did not finish")
    assert bench.expected is not None
    if check_record(other.out).digest != bench.expected.digest:
        raise Violation("two trials with one question gave two answers")
    return bench.told()


FAULTS: dict[str, tuple[str, Fault]] = {
    fault.__name__: (family, fault)
    for family, faults in {
        "process killed": (
            worker_killed_at_a_write,
            worker_killed_at_any_time,
            worker_killed_inside_a_write,
            worker_asked_to_stop,
            worker_killed_twice,
            host_killed,
            host_interrupted,
            tracker_killed,
        ),
        "disk": (
            disk_full,
            folders_read_only,
            input_output_error,
            write_cut_short,
            folder_vanishes,
        ),
        "damage": (file_torn, file_emptied, bit_flipped, file_removed, record_damaged),
        "clock": (clock_jumps,),
        "several at once": (
            two_workers_on_one_run,
            two_hosts_on_one_store,
            shared_training_interrupted,
        ),
    }.items()
    for fault in faults
}
"""Every kind of fault with its family."""
