"""Who works in a run folder: a lock that the kernel frees when its holder dies for any reason.

On network file systems, where a lock may be seen by one host only, the holder also touches the
file. Whether a touch is recent is asked of the file system: against the time of a file touched
there now, never against this host's clock. An old lock of another host is watched before it is
taken over, as its host's clock may set the times. Each touch, and each write of a worker, first
makes sure that the lock is still the holder's own: one that was suspended finds out when it wakes.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from benchmark import files, text
from benchmark.errors import StoreError

BEAT, STALE = 30.0, 300.0
"""Seconds between touches of a lock, and the age after which another host's lock no longer
counts."""
WATCH = 2.5 * BEAT
"""Seconds for which another host's old lock is watched for a touch before it is taken over."""
NETWORK = ("nfs", "cifs", "smb", "fuse", "lustre", "ceph", "gpfs", "beegfs", "9p", "afs")
"""Beginnings of file system types that several hosts may share."""
SIGNED = 4096
"""Bytes of a signature at most."""
ATTEMPTS, PAUSE = 10, 0.05
"""Tries to lock, and seconds between them: `holder` locks for an instant to look."""
WAIT = "wait for it, or stop it"


class RunLocked(StoreError):
    """Another process works in this run folder."""


class LockLost(RunLocked):
    """The lock was ours: another host has taken it over in the meantime."""


class RunLock:
    """A lock that is held. `verify` before each write."""

    def __init__(self, path: Path, file: IO[str], shared: bool) -> None:
        self._path, self._file, self._shared = path, file, shared
        self._text = json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        )
        self._signed = False
        with suppress(OSError):  # a full disk: the lock holds without a name on it
            file.truncate(0)
            file.write(self._text)
            file.flush()
            self._signed = True

    def verify(self) -> None:
        """Raises Taken if the lock is not ours any more. Reads nothing where the kernel's lock is
        visible to all hosts."""
        if self._shared and self._signed and not self.is_ours():
            raise LockLost(
                f"taken over by {_describe_owner(self._path)}",
                where=str(self._path.parent),
                remedy="nothing was lost: it goes on there",
            )

    def is_ours(self) -> bool:
        """Whether the file says what we signed, as it lies there now: opened again, as network file
        systems cache old content."""
        try:
            return files.read(self._path, SIGNED).decode() == self._text
        except (OSError, ValueError):
            return False

    def beat(self) -> None:
        """Show that the holder lives."""
        with suppress(OSError):
            os.utime(self._file.fileno())

    def release(self) -> None:
        """Leave the file unsigned, unless somebody else has signed it."""
        if not self._signed or self.is_ours():
            with suppress(OSError):
                self._file.truncate(0)


@contextmanager
def lock_run(folder: Path, on_taken: Callable[[], None] = lambda: None) -> Iterator[RunLock]:
    """Be the only one to work in a run folder. Raises Busy if somebody else is; freed when the
    process dies.

    `on_taken` is called once, in a thread, when another host has taken the lock over.
    """
    path = folder / "lease"
    with os.fdopen(files.open_fd(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+") as file:
        if not _try_lock(file, path):
            raise RunLocked(f"in use by {_describe_owner(path)}", where=str(folder), remedy=WAIT)
        shared = on_network(path)
        if owner := shared and (_remote_holder(path) or _touched_while_watched(path)):
            raise RunLocked(
                f"in use by {owner}",
                where=str(folder),
                remedy=f"wait, or try again {STALE:.0f} s after it has died",
            )
        lock, stop = RunLock(path, file, shared), threading.Event()
        threading.Thread(
            target=_beat_until_stopped, args=(lock, stop, on_taken), daemon=True
        ).start()
        try:
            yield lock
        finally:
            stop.set()
            lock.release()


def _try_lock(file: IO[str], path: Path) -> bool:
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError as error:  # NFS without its lock daemon, some FUSE file systems
            raise StoreError(
                f"this file system does not lock files: {error.strerror}",
                where=str(path),
                remedy="mount it with locks, or name a folder on another disk with --runs",
            ) from error
    return False


def lock_owner(folder: Path) -> str:
    """Who works in a run folder, in words; empty if no process does."""
    path = folder / "lease"
    try:
        with os.fdopen(files.open_fd(path, os.O_RDWR), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ""
    except BlockingIOError:
        return _describe_owner(path)
    except OSError:  # a read-only store: no process can work there
        return ""
    return _remote_holder(path)


def _beat_until_stopped(lock: RunLock, stop: threading.Event, on_taken: Callable[[], None]) -> None:
    while not stop.wait(BEAT):
        try:
            lock.verify()
        except LockLost:
            on_taken()
            return
        lock.beat()


def _read_signature(path: Path) -> dict[str, Any]:
    try:
        signed = json.loads(files.read(path, SIGNED))
    except (OSError, ValueError, RecursionError):
        return {}
    return signed if isinstance(signed, dict) else {}


def _describe_owner(path: Path) -> str:
    signed = _read_signature(path)
    if not {"pid", "host"} <= set(signed):
        return "another process"
    return text.clean_line(f"process {signed['pid']} on {signed['host']}")


def _is_foreign(path: Path) -> bool:
    """Whether another host, whose lock this one may not see, has signed the lock."""
    signed = _read_signature(path)
    return bool(signed) and signed.get("host") != socket.gethostname()


def _remote_holder(path: Path) -> str:
    """Another host that signed the lock and touched it not long ago, by the file system's own
    clock."""
    if not _is_foreign(path) or not on_network(path):
        return ""
    age = _seconds_since_touched(path)
    return f"{_describe_owner(path)}, {max(age, 0.0):.0f} s ago" if age < STALE else ""


def _seconds_since_touched(path: Path) -> float:
    """Seconds since a file was touched, against a file that is touched beside it now; infinite if
    it is gone."""
    probe = path.with_name(f".lease.{uuid.uuid4().hex}.partial")
    try:
        probe_fd = files.open_fd(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            os.utime(probe_fd)  # as a beat does
            now = os.fstat(probe_fd).st_mtime
        finally:
            os.close(probe_fd)
    except OSError:  # a read-only view of the folder has this host's clock only
        now = time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    try:
        return now - path.stat().st_mtime
    except OSError:
        return float("inf")


def _touched_while_watched(path: Path) -> str:
    """Another host that touches its lock after all: some file systems let the writing host's clock
    set the times."""
    if not _is_foreign(path):
        return ""
    before, until = path.stat().st_mtime_ns, time.monotonic() + WATCH
    while time.monotonic() < until:
        time.sleep(min(PAUSE, WATCH))
        if path.stat().st_mtime_ns != before:
            return _describe_owner(path)
    return ""


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Whether a path lies on a file system that other hosts may share. `mounts` is the content of
    /proc/self/mounts."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    rows = [line.split() for line in mounts.splitlines()]
    resolved = str(path.resolve())
    over = [
        (row[1], row[2])
        for row in rows
        if len(row) > 2 and (resolved + "/").startswith(row[1].rstrip("/") + "/")
    ]
    kind = max(
        enumerate(over), key=lambda entry: (len(entry[1][0]), entry[0]), default=(0, ("", ""))
    )[1][1]
    return kind.startswith(NETWORK)
