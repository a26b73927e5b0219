"""Keeps a view of run folders up to date in a thread that can neither stop nor delay the run it
watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self

from benchmark.errors import StoreError
from benchmark.text import clean_line
from benchmark.tracking.run_history import SyncedRun

EVERY, LONGEST = 2.0, 60.0
"""Seconds between looks, and at most after failures."""
CLOSE_SECONDS = 30.0


class Syncable(Protocol):
    """What is kept up to date."""

    def sync_run(self, run_dir: Path, *, live: bool = False) -> SyncedRun:
        """Bring it up to one run folder."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class BackgroundSync:
    """Calls `sync_run` for every watched folder now and then. Never raises into the run; `problem`
    says what is wrong.

    `make` builds the view inside the thread; after a failure it is built again, later and later.
    """

    def __init__(self, make: Callable[[], Syncable], *, every: float = EVERY) -> None:
        self.problem: str | None = None
        self._make, self._every = make, every
        self._view: Syncable | None = None
        self._folders: dict[Path, None] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, run_dirs: Iterable[Path]) -> None:
        """Watch these folders too; the thread begins with the first ones."""
        with self._lock:
            self._folders |= dict.fromkeys(run_dirs)
        if self._thread is None and self._folders:
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Bring everything up to date and end; after so many seconds leave the rest to `albench
        sync`."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.problem = (
                f"the tracker was not up to date after {seconds:g} s; `albench sync` does the rest"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        pause, last = 0.0, False
        while not last:
            last = self._stop.wait(pause)
            try:
                self.problem = self._round(last)
                pause = self._every
            except Exception as error:  # any error of a tracker or its library
                self.problem, self._view = clean_line(str(error)) or type(error).__name__, None
                pause = min(max(2 * pause, self._every), LONGEST)

    def _round(self, last: bool) -> str | None:
        """One look at every folder; what was wrong with single ones."""
        self._view = view = self._view or self._make()
        problem = None
        with self._lock:
            folders = list(self._folders)
        for folder in folders:
            try:
                done = view.sync_run(folder, live=not last).state == "finished"
            except StoreError as error:
                problem, done = str(error), False
            if done:
                with self._lock:
                    self._folders.pop(folder, None)
            time.sleep(0)  # the run comes first
        if last:
            view.close()
        return problem
