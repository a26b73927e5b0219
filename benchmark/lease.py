"""Who works in a run folder: a lock of the kernel (flock), so that `kill -9` frees it.

On network file systems, where a lock may be seen by one host only, the holder also touches the file, and a recent touch
by another host counts as held.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from benchmark import files, text
from benchmark.errors import StoreError

BEAT, STALE = 30.0, 300.0
"""Seconds between touches of a lease, and the age after which another host's lease no longer counts."""
NETWORK = ("nfs", "cifs", "smb", "fuse", "lustre", "ceph", "gpfs", "beegfs", "9p", "afs")
"""Beginnings of file system types that several hosts may share."""
SIGNED = 4096
"""Bytes of a signature at most."""
ATTEMPTS, PAUSE = 10, 0.05
"""Tries to lock, and seconds between them: `holder` locks for an instant to look."""


class Busy(StoreError):
    """Another process works in this run folder."""


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Be the only one to work in a run folder. Raises Busy if somebody else is; freed when the process dies."""
    path = folder / "lease"
    with os.fdopen(files.open_fd(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+") as file:
        if not _lock(file):
            raise Busy(f"in use by {_owner(path)}", where=str(folder), remedy="wait for it, or stop it")
        if owner := _remote_holder(path):
            raise Busy(
                f"in use by {owner}", where=str(folder), remedy=f"wait, or try again {STALE:.0f} s after it has died"
            )
        _sign(file)
        stop = threading.Event()
        threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
        try:
            yield
        finally:
            stop.set()
            with suppress(OSError):
                file.truncate(0)


def _lock(file: IO[str]) -> bool:
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE)
    return False


def holder(folder: Path) -> str:
    """Who works in a run folder, in words; empty if nobody does."""
    path = folder / "lease"
    try:
        with os.fdopen(files.open_fd(path, os.O_RDWR), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ""
    except BlockingIOError:
        return _owner(path)
    except OSError:  # a read-only store: nobody can work there
        return ""
    return _remote_holder(path)


def _sign(file: IO[str]) -> None:
    with suppress(OSError):  # a full disk: the lock holds without a name on it
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(path, follow_symlinks=False)
        except OSError:
            return


def _signature(path: Path) -> dict[str, Any]:
    try:
        signed = json.loads(files.read(path, SIGNED))
    except (OSError, ValueError, RecursionError):
        return {}
    return signed if isinstance(signed, dict) else {}


def _owner(path: Path) -> str:
    signed = _signature(path)
    if not {"pid", "host"} <= set(signed):
        return "another process"
    return text.line(f"process {signed['pid']} on {signed['host']}")


def _remote_holder(path: Path) -> str:
    """Another host whose lock this one may not see: it signed the lease, and touched it not long ago."""
    signed = _signature(path)
    if not signed or signed.get("host") == socket.gethostname() or not on_network(path):
        return ""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return ""
    return f"{_owner(path)}, {age:.0f} s ago" if age < STALE else ""


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Whether a path lies on a file system that other hosts may share. `mounts` is the content of /proc/self/mounts."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    rows = [line.split() for line in mounts.splitlines()]
    resolved = str(path.resolve())
    over = [(row[1], row[2]) for row in rows if len(row) > 2 and (resolved + "/").startswith(row[1].rstrip("/") + "/")]
    kind = max(enumerate(over), key=lambda entry: (len(entry[1][0]), entry[0]), default=(0, ("", "")))[1][1]
    return kind.startswith(NETWORK)
