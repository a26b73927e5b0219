"""Files are opened in one way where code from outside can write: tried here, and read from the
source that no other is used."""

from __future__ import annotations

import ast
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark import files
from benchmark.errors import StoreError
from benchmark.executors.jobs import tail_log
from benchmark.executors.ray import node
from benchmark.executors.ray.node import NodeSnapshot
from benchmark.runs import events, lock
from benchmark.runs.store import WORK, Store, check_record, has_state, output_folder
from benchmark.tracking.sync import RunSyncer
from tests.helpers.runs import ENVIRONMENT, finish, interrupt, say_started, toy_trial
from tests.tracking.test_sync import FakeTracker

ROOT = Path(__file__).parents[1] / "benchmark"
SECRET = b"TOP-SECRET"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the user outside of the run folder, which stays as it is."""
    path = tmp_path / "home" / "victim"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    yield path
    assert path.read_bytes() == SECRET
    assert [entry.name for entry in path.parent.iterdir()] == ["victim"]


# --------------------------------------------------------------------------------------- the source

GUARDED = [
    *(
        "runs/store.py",
        "runs/lock.py",
        "runs/events.py",
        "planning/plan.py",
        "api/verify.py",
        "worker.py",
    ),
    *(
        "tracking/mlflow.py",
        "tracking/sync.py",
        "tracking/run_history.py",
        "tracking/background.py",
    ),
    *("al/session.py", "al/state/training_cache.py", "al/state/checkpoint.py"),
    *(
        "al/datasets/cache.py",
        "al/datasets/loading.py",
        "cli/plan.py",
        "cli/run.py",
        "cli/progress.py",
    ),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "executors").rglob("*.py"))),
]
"""Modules that work in run folders or in the cache."""
OPENS = re.compile(
    r"(^|\.)(open|read_text|read_bytes|write_text|write_bytes|rglob|glob|touch|chown|copyfile|copy2|copytree|copy|load|loadtxt"
    r"|memmap|fromfile|NamedTemporaryFile|FileIO)$"
)
ELSEWHERE = {
    "runs/lock.py": ["Path('/proc/self/mounts').read_text"],
    "worker.py": ["path.read_text"],  # the trials that `--check` is given, by a pipe
    "tracking/sync.py": ["table.write_text"],  # in a temporary folder of its own
    "al/state/checkpoint.py": ["torch.load(io.BytesIO"],
    "al/datasets/cache.py": [
        "np.load(io.BytesIO",
        "np.memmap(file,",
        "os.open(folder, os.O_RDONLY)",
    ],
    "executors/docker/image.py": [
        "path.read_bytes()",
        "(root / 'benchmark').glob",
    ],  # the project's own files
    "executors/local/executor.py": [
        "Path('/sys/fs/cgroup/cpu.max').read_text",
        "Path('/proc/vmstat').read_text",
    ],
    "executors/ray/executor.py": ["shutil.copytree(PACKAGE"],
    "executors/ray/node.py": ["base.glob"],  # names only
}
"""What is opened there and is no file of a run: beginnings of calls."""
METHODS = (
    "files.",
    "store.open",
    "one.open",
    "datasets.load",
    "self.checkpoint.load",
    "progress.load",
    "executors.load",
)
"""Functions of ours whose names sound alike."""


@pytest.mark.parametrize("place", GUARDED)
def test_nothing_else_opens_files_of_runs(place: str) -> None:
    for found in ast.walk(ast.parse((ROOT / place).read_text(encoding="utf-8"))):
        if not isinstance(found, ast.Call) or not OPENS.search(name := ast.unparse(found.func)):
            continue
        said = ast.unparse(found)
        if (
            name.startswith(METHODS)
            or name in ("load", "write_bytes")
            or any(said.startswith(known) for known in ELSEWHERE.get(place, ()))
        ):
            continue
        pytest.fail(f"{place}:{found.lineno}: {said[:80]}: open it with benchmark/files.py")


# ----------------------------------------------------------------------------------- what is opened


def make_socket(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        listening.bind(path.name)
    finally:
        os.chdir(before)
        listening.close()


ODD: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": make_socket,
}


@pytest.mark.parametrize("kind", ODD)
def test_nothing_but_plain_files_is_opened_and_nothing_waits(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    ODD[kind](path)
    began = time.monotonic()
    for use in (
        files.read,
        files.open_appender,
        files.open_writer,
        lambda path: files.copy(path, tmp_path / "copied"),
    ):
        with pytest.raises(OSError) as caught:
            use(path)
        assert isinstance(caught.value, files.Refused), caught.value
    assert files.stat_file(path) is None
    assert files.list_names(tmp_path) == []
    assert time.monotonic() - began < 5
    assert list(events.read_events(path)) == []
    assert tail_log(path) == ()
    if kind != "folder":
        assert files.describe_irregular(tmp_path).startswith("x is a ")
        files.write(path, b"mine")  # what is written as a whole takes its place
        assert files.read(path) == b"mine"


def test_no_link_on_the_way_is_followed(tmp_path: Path, victim: Path) -> None:
    run = tmp_path / "run"
    (run / "state").mkdir(parents=True)
    (run / "state" / "victim").write_bytes(b"ours")
    assert files.read(run / "state" / "victim", base=run) == b"ours"
    (run / "other").symlink_to(victim.parent)
    for use in (
        files.read,
        files.open_appender,
        files.open_writer,
        lambda path, base: files.write(path, b"x", base=base),
    ):
        with pytest.raises(files.Refused, match="other is a link"):
            use(run / "other" / "victim", base=run)
    for path in (run / ".." / "home" / "victim", run / "state" / ".." / "other" / "victim"):
        with pytest.raises(files.Refused, match="outside"):
            files.read(path, base=run)
    assert files.list_files(run) == [run / "state" / "victim"]
    assert files.list_names(run / "other") == []
    files.remove(run / "other", base=run)
    assert not (run / "other").is_symlink()


def test_a_base_may_be_reached_by_links(tmp_path: Path) -> None:
    """Where the runs folder lies is the user's business."""
    (tmp_path / "real").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "real")
    files.write(tmp_path / "runs" / "x", b"1")
    assert files.read(tmp_path / "runs" / "x") == b"1"


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert files.read(path, 5) == b"12345"
    with pytest.raises(files.Refused, match="has 5 bytes, more than the 4"):
        files.read(path, 4)
    with path.open("r+b") as file:
        file.truncate(2**40)  # a file of a terabyte that takes no room
    began = time.monotonic()
    with pytest.raises(files.Refused):
        files.read(path)
    with pytest.raises(files.Refused):
        files.copy(path, tmp_path / "y")
    assert list(events.read_events(path)) == []
    assert tail_log(path) == ("\\x00" * 300,) or all(len(line) < 5000 for line in tail_log(path))
    assert time.monotonic() - began < 5


def test_an_event_that_never_ends_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.truncate(3 * events.LINE + 7)
    say_started(tmp_path, toy_trial())  # a torn line is closed first
    ((event, offset),) = events.read_events(path)
    assert event.trial_id and offset == path.stat().st_size


# ------------------------------------------------------------------- exchanged between look and use


@pytest.fixture
def exchanging(tmp_path: Path, victim: Path) -> Iterator[Path]:
    """A run folder where `sub`, a folder with a file `victim`, is a link to the victim's folder
    every other moment."""
    run, stop = tmp_path / "run", threading.Event()
    (run / "real").mkdir(parents=True)
    (run / "real" / "victim").write_bytes(b"ours")

    def work() -> None:
        while not stop.is_set():
            (run / "real").rename(run / "sub")
            (run / "sub").rename(run / "real")
            (run / "sub").symlink_to(victim.parent)
            (run / "sub").unlink()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield run
    stop.set()
    thread.join()


def test_a_folder_exchanged_for_a_link_all_the_time(exchanging: Path, victim: Path) -> None:
    owner, before = os.getuid(), (victim.stat().st_uid, victim.stat().st_ctime_ns)
    limit, seen = time.monotonic() + 3, set()
    while time.monotonic() < limit:
        try:
            seen.add(files.read(exchanging / "sub" / "victim", base=exchanging))
            with files.open_appender(exchanging / "sub" / "victim", base=exchanging) as file:
                assert os.fstat(file.fileno()).st_ino != victim.stat().st_ino
        except OSError:
            seen.add(b"")
        files.list_files(exchanging)
        files.describe_irregular(exchanging)
        files.change_owner(exchanging, os.getuid(), os.getgid(), owner=owner)
        with suppress(OSError):
            files.remove(exchanging / "sub" / "nothing", base=exchanging)
    assert seen <= {b"", b"ours"}
    assert b"" in seen
    assert (victim.stat().st_uid, victim.stat().st_ctime_ns) == before, (
        "nothing of it changed hands"
    )


# ---------------------------------------------------------------------------- what uses these files


def test_an_old_folder_with_links_is_as_safe(tmp_path: Path, victim: Path) -> None:
    """Containers of earlier versions could write to the whole run folder."""
    store = Store(tmp_path / "runs")
    folder = interrupt(store, toy_trial())
    for name in ("lease", "worker.log", "indices.npz"):
        (folder / name).symlink_to(victim)
    with pytest.raises(OSError), lock.lock_run(folder):
        pass
    assert lock.lock_owner(folder) == ""
    assert tail_log(folder / "worker.log") == ()
    tracker = FakeTracker()
    assert RunSyncer(lambda _: tracker).sync_run(folder).state == "interrupted"
    (run,) = [run for run in tracker.runs.values() if run.data.files]
    assert set(run.data.files) == {"trial.json", "events.jsonl"}


def test_what_a_container_wrote_is_found_in_its_part(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    (store.create(toy_trial(), ENVIRONMENT) / WORK).mkdir()
    folder = finish(store, toy_trial())
    assert sorted(path.name for path in folder.iterdir()) == ["trial.json", WORK]
    assert store.status(toy_trial(), ENVIRONMENT).state == "finished"
    assert len(store.records()) == 1
    tracker = FakeTracker()
    RunSyncer(lambda _: tracker).sync_run(folder)
    (run,) = [run for run in tracker.runs.values() if run.data.files]
    assert set(run.data.files) == {"trial.json", "events.jsonl", "record.json"}
    (folder / WORK / "state").mkdir()
    (folder / WORK / "state" / "cycle.state").write_bytes(b"")
    (folder / WORK / ".x.partial").write_bytes(b"")
    assert has_state(folder)
    assert set(store.clean()) == {folder / WORK / "state", folder / WORK / ".x.partial"}
    (folder / WORK / "there").symlink_to("/etc")
    with pytest.raises(ValueError, match="there is a link"):
        check_record(folder)


def test_the_part_of_a_container_is_no_link(tmp_path: Path, victim: Path) -> None:
    store = Store(tmp_path / "runs")
    folder = finish(store, toy_trial())
    (folder / WORK).symlink_to(victim.parent)
    assert output_folder(folder) == folder
    assert check_record(folder)


def test_a_container_that_was_ours_before_is_asked_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    folder = interrupt(store, toy_trial())
    (folder / "events.jsonl").unlink()
    os.mkfifo(folder / "events.jsonl")
    began = time.monotonic()
    assert store.status(toy_trial(), ENVIRONMENT).state == "resumable"
    tracker = FakeTracker()
    assert RunSyncer(lambda _: tracker).sync_run(folder).state is None
    assert time.monotonic() - began < 5


# ------------------------------------------------------------------------------ a node of a cluster


def sent(**changes: object) -> NodeSnapshot:
    plain = {"status": None, "starved": False, "appended": {}, "replaced": {}, "state": frozenset()}
    return NodeSnapshot(**plain | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "../../victim",
        "/etc/x",
        "lease",
        "worker.log",
        "trial.json",
        "state/../../x.state",
        "state/x",
        "state/.x.state",
        "state/a\n.state",
        "events.jsonl",
        "state//x.state",
        "state/a/b/c/d.state",
        "",
    ],
)
def test_a_node_sends_what_workers_leave_and_nothing_else(
    tmp_path: Path, victim: Path, name: str
) -> None:
    out = tmp_path / "home" / "out"
    with pytest.raises(StoreError, match="a node sends a file"):
        node.apply_snapshot(out, sent(replaced={name: b"theirs"}))
    assert not out.exists() or not list(out.iterdir())
    if name not in node.APPENDED:
        with pytest.raises(StoreError):
            node.apply_snapshot(out, sent(appended={name: b"theirs"}))
    if out.exists():
        out.rmdir()


def test_what_a_node_sends_goes_into_no_link(tmp_path: Path, victim: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "state").symlink_to(victim.parent)
    (out / "worker.log").symlink_to(victim)
    for look in (sent(replaced={"state/cycle.state": b"x"}), sent(appended={"worker.log": b"x"})):
        with pytest.raises(OSError):
            node.apply_snapshot(out, look)
    (out / "record.json").symlink_to(victim)
    node.apply_snapshot(out, sent(replaced={"record.json": b"theirs"}))
    assert (out / "record.json").read_bytes() == b"theirs" and not (
        out / "record.json"
    ).is_symlink()
    node.forget(out)
    assert not (out / "state").is_symlink()
