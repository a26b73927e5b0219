"""Results that several processes need and one makes: addressed by content, guarded by a lock the
kernel frees."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmark import files
from benchmark.al.learner import TrainingInterrupted
from benchmark.al.state.checkpoint import decode, encode
from benchmark.runs.events import write_bytes
from benchmark.spec.identity import SHORT

POLL = 0.2
"""Seconds between looks at a lock that another process holds."""
TrainingState = dict[str, Any]


@contextmanager
def cached_training(
    folder: Path | None,
    key: str,
    must_stop: Callable[[], bool] = lambda: False,
    source: Path | None = None,
) -> Iterator[tuple[TrainingState | None, Callable[[TrainingState], None]]]:
    """The state under `key` in `folder`, if any, and a function that publishes ours; nothing is
    shared without a folder.

    A second trial waits until the first one is done or dead. A damaged state counts as none. Raises
    Pause when it is time to stop while waiting. `source` is a folder of others that is only read:
    what is there is not made again.
    """
    found = None if source is None else _load_training(source / f"{key_prefix(key)}.state", key)
    if found is not None:
        yield found, lambda _: None
        return
    if folder is None:
        yield None, lambda _: None
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key_prefix(key)}.state"
    with files.open_writer(path.with_suffix(".lock")) as lock:
        _wait_for_lock(lock, must_stop)
        yield (
            _load_training(path, key),
            lambda made: write_bytes(path, encode({"key": key, **made})),
        )


def _load_training(path: Path, key: str) -> TrainingState | None:
    try:
        state = decode(files.read(path, files.STATE))
    except OSError:
        return None
    return state if state is not None and state.get("key") == key else None


def key_prefix(key: str) -> str:
    """The part of a key that is in file names."""
    return key[: 2 * SHORT]


def _wait_for_lock(lock: IO[bytes], must_stop: Callable[[], bool]) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A blocking call would not notice that it is time to stop, and a pretext stage takes
            # hours.
            if must_stop():
                raise TrainingInterrupted from None
            time.sleep(POLL)
