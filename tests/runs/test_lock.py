"""Leases on file systems that several hosts share: no host's clock is believed, and who lost a
lease finds out."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from benchmark.executors.jobs import BUSY
from benchmark.executors.local import child
from benchmark.runs import events, lock
from benchmark.runs.store import Store
from tests.helpers.runs import ENVIRONMENT, interrupt, say_started, toy_trial
from tests.helpers.waiting import wait_for

FOREIGN = json.dumps({"host": "elsewhere", "pid": 17, "token": "t"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder on what counts as a shared file system; watching is short."""
    monkeypatch.setattr(lock, "on_network", lambda _: True)
    monkeypatch.setattr(lock, "WATCH", 0.5)
    return interrupt(Store(tmp_path / "runs"), toy_trial(0))


@pytest.mark.parametrize("skew", [-10_000.0, 301.0, 10_000.0])
def test_this_hosts_clock_is_not_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """A clock that is minutes ahead must not make a live lease look old (it did from 301 s on)."""
    (folder / "lease").write_text(FOREIGN)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    assert "elsewhere" in lock.lock_owner(folder)
    with pytest.raises(lock.RunLocked, match="elsewhere"), lock.lock_run(folder):
        pass
    assert (folder / "lease").read_text() == FOREIGN
    assert sorted(path.name for path in folder.iterdir()) == [
        "events.jsonl",
        "lease",
        "state",
        "trial.json",
    ]


def test_an_old_lease_that_is_touched_while_it_is_watched_is_alive(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other host's clock sets the times and is far behind, its lease looks old for
    ever."""
    monkeypatch.setattr(lock, "WATCH", 60.0)
    path = folder / "lease"
    path.write_text(FOREIGN)
    os.utime(path, (1e9, 1e9))
    stop = threading.Event()

    def beat() -> None:
        tick = 1e9
        while not stop.wait(0.05):
            tick += 1
            os.utime(path, (tick, tick))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(lock.RunLocked, match="elsewhere"), lock.lock_run(folder):
            pass
    finally:
        stop.set()
        thread.join()
    assert path.read_text() == FOREIGN


def test_an_old_lease_that_nobody_touches_is_taken_over(folder: Path) -> None:
    (folder / "lease").write_text(FOREIGN)
    os.utime(folder / "lease", (1e9, 1e9))
    with lock.lock_run(folder) as held:
        held.verify()
        assert json.loads((folder / "lease").read_text())["pid"] == os.getpid()
    assert (folder / "lease").read_text() == ""


def test_a_lost_lease_is_found_out_and_left_to_its_new_holder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    told = threading.Event()
    with lock.lock_run(folder, told.set) as held:
        (folder / "lease").write_text(FOREIGN)
        with pytest.raises(lock.LockLost, match="process 17 on elsewhere"):
            held.verify()
        wait_for(told.is_set)
    assert (folder / "lease").read_text() == FOREIGN, (
        "the first holder must not erase the second one's name"
    )


def test_beats_show_that_the_holder_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    path = folder / "lease"
    with lock.lock_run(folder):
        os.utime(path, (1e9, 1e9))
        wait_for(lambda: path.stat().st_mtime > 1e9)


def test_a_worker_that_was_suspended_writes_nothing_when_it_wakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is gone before the worker's next write, and no beat has told it: the write itself
    finds out."""
    monkeypatch.setattr(child, "_detach_from_terminal", lambda: None)
    monkeypatch.setattr(child, "_redirect_output", lambda log: None)
    monkeypatch.setattr(events, "before_write", events.before_write)
    before = (folder / "events.jsonl").read_bytes()

    class Worker:
        @staticmethod
        def main(argv: list[str]) -> int:
            (folder / "lease").write_text(FOREIGN)  # what happened while it slept
            for write in (
                lambda: say_started(folder, toy_trial(0), ENVIRONMENT),
                lambda: events.write_bytes(folder / "state" / "cycle.state", b"mine"),
            ):
                with pytest.raises(lock.LockLost):
                    write()
            return 0

    monkeypatch.setattr(child.importlib, "import_module", lambda name: Worker)
    assert child.main("worker", str(folder), []) == BUSY, (
        "whatever it says of its end, the folder is not its own"
    )
    assert (folder / "events.jsonl").read_bytes() == before
    assert (folder / "state" / "cycle.state").read_bytes() == b"toy"
    assert (folder / "lease").read_text() == FOREIGN
