"""Around a local worker: its session, its log, its lock. `python -m benchmark.executors.local.child
WORKER OUT ARGUMENTS...`

The child dies with its parent in an orderly way: it is asked to stop, saves its state, and ends.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

from benchmark import files
from benchmark.errors import StoreError
from benchmark.executors.jobs import BUSY, FAILED
from benchmark.runs import events
from benchmark.runs.lock import RunLocked, lock_run

PR_SET_PDEATHSIG = 1
ASKED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that ask a host to end. Its whole process group may get them, by Ctrl-C, `timeout` or a
closed terminal."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes started in here ignore the signals ASKED until they install handlers: a fork server
    that died of them takes the children's exit statuses with it."""
    resource_tracker.ensure_running()  # its own start lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(worker: str, out: str, argv: list[str]) -> int:
    """Run `worker.main(argv)` with its output in `out`/worker.log and the lock of `out` held; its
    exit status."""
    _detach_from_terminal()
    _redirect_output(Path(out) / "worker.log")
    try:
        with lock_run(Path(out), lambda: os.kill(os.getpid(), signal.SIGTERM)) as lock:
            events.before_write = lock.verify
            status = importlib.import_module(worker).main(argv)
            lock.verify()  # the folder may have been taken over: then this end does not count
    except RunLocked as error:
        print(f"in use: {error.message}", file=sys.stderr)
        status = BUSY
    except StoreError as error:
        print(error, file=sys.stderr)
        status = FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    return int(status)


def run_and_exit(worker: str, out: str, argv: list[str]) -> None:
    """`main` for a process object: leaves with the exit status."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.exit(main(worker, out, argv))


def _exit_with_parent() -> None:
    """The fork server outlives a killed host; the host's end of this pipe does not."""
    host = multiprocessing.parent_process()
    if host is not None:
        multiprocessing.connection.wait([host.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _detach_from_terminal() -> None:
    """Ctrl-C of the terminal is the host's business; the host asks with SIGTERM, also when it
    dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the signal by which the host stops it
    with suppress(PermissionError):  # already the leader of its own session
        os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)  # the fork server was started `shielded`
    with suppress(OSError, AttributeError):  # not Linux: an orphan finishes its trial instead
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1 and os.environ.get("ALBENCH_HOST_PID", "1") != "1":
        sys.exit(BUSY)


def _redirect_output(log: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    handle = files.open_fd(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
