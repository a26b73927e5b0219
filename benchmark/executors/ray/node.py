"""A cluster node's side of a trial: a worker beside us, in a folder of its own, and what it leaves,
bit by bit. No ray here.

Nothing is shared with the host but what is handed over: `look` says what is new, state first read
after the events that may name it, so that a host always has at least the state that its events
name.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import files
from benchmark.errors import StoreError
from benchmark.executors.jobs import Job, guard_cache
from benchmark.executors.local.executor import WORKER, Spawned, kernel_kills
from benchmark.runs import environment as provenance
from benchmark.runs.events import Precision, Step
from benchmark.runs.gpus import MEMORY_SHARE
from benchmark.runs.lock import lock_owner

APPENDED = ("events.jsonl", "worker.log")
"""Files of a run folder that only grow; others are replaced."""
KEPT = ("trial.json", "events.jsonl")
"""What a worker goes on from, besides state/."""
LEFT = ("record.json", "indices.npz")
"""What a worker leaves at its end."""
STATE = r"state/([\w-]+/){0,2}[\w-]+(\.previous)?\.state"
"""Names of saved states."""
PIECE = 2**31
"""Bytes of one file that are sent at once at most."""
STALE = 3600.0
"""Seconds after which a folder without a holder is a dead node's."""


@dataclass(frozen=True)
class NodeSnapshot:
    """What is new since the last look; `status` is the worker's exit status once it has ended."""

    status: int | None
    starved: bool
    """The node's kernel has killed for memory since it began."""
    appended: Mapping[str, bytes]
    replaced: Mapping[str, bytes]
    state: frozenset[str]
    """Files that state/ has now; others are gone."""


class Node:
    """Runs one job's worker on this machine."""

    def __init__(
        self,
        job: Job,
        contents: Mapping[str, bytes],
        data: str,
        cache: str,
        worker: str = WORKER,
        share: float = 1.0,
    ) -> None:
        """`contents` go into the run folder first; `data` and `cache` are this machine's (empty:
        the host's, and one of ours); `share` is the part of a GPU's memory that the worker may
        take, as others have the rest."""
        base = Path(tempfile.gettempdir()) / f"albench-ray-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if base.lstat().st_uid != os.getuid() or not files.is_folder(base):
            raise StoreError(
                "belongs to somebody else",
                where=str(base),
                remedy="set TMPDIR to a folder of your own",
            )
        _remove_abandoned(base)
        self._out = base / uuid.uuid4().hex / job.out.name
        own = Path(cache) if cache else base / "cache"
        own.mkdir(parents=True, exist_ok=True)
        write_files(self._out, contents)
        self._told = {name: len(contents.get(name, b"")) for name in APPENDED}
        self._stamps = {name: _file_stamp(self._out / name) for name in contents}
        self._kills = kernel_kills()
        plain = job.device.partition(":")[0]  # the one GPU it is given is its first
        here = replace(
            job, out=self._out, cache=own, data=Path(data) if data else job.data, device=plain
        )
        if guard_cache(
            here
        ).private:  # beside the trainings of others, so that the next node process goes on from it
            here = replace(here, private=str(own / "private" / job.trial_id))
        limits = {MEMORY_SHARE: f"{share:g}"} if share < 1 and plain == "cuda" else {}
        self._worker = Spawned(worker, here, here.argv(None), limits)

    def look(self) -> NodeSnapshot:
        """What is new. The status is asked first: after it, nothing changes."""
        status = self._worker.poll()
        appended = {name: text for name in APPENDED if (text := self._rest(name))}
        state = {
            path.relative_to(self._out).as_posix() for path in _complete_files(self._out / "state")
        }
        replaced = {
            name: content
            for name in [*sorted(state), *LEFT]
            if (content := self._changed(name)) is not None
        }
        return NodeSnapshot(
            status, kernel_kills() > self._kills, appended, replaced, frozenset(state)
        )

    def stop(self) -> None:
        """Ask the worker to save its state and end."""
        self._worker.stop()

    def kill(self) -> None:
        """End the worker at once."""
        self._worker.kill()

    def close(self) -> None:
        """Forget the folder."""
        shutil.rmtree(self._out.parent, ignore_errors=True)

    def _rest(self, name: str) -> bytes:
        with suppress(OSError), os.fdopen(files.open_fd(self._out / name), "rb") as file:
            file.seek(self._told[name])
            text = file.read(PIECE)
            self._told[name] += len(text)
            return text
        return b""

    def _changed(self, name: str) -> bytes | None:
        with suppress(OSError):
            stamp = _file_stamp(self._out / name)
            if stamp != self._stamps.get(name):
                content = files.read(
                    self._out / name, PIECE, base=self._out
                )  # files are replaced as a whole: never half of one
                self._stamps[name] = stamp
                return content
        return None


def describe(device: str, precision: Precision, threads: int, step: Step = "eager") -> str:
    """The environment of trials on this machine, as JSON. Raises ExecutorError where it has no such
    device."""
    image = os.environ.get("ALBENCH_IMAGE", "")
    return provenance.describe_environment(
        device, precision, threads, step, image=image
    ).model_dump_json()


def read_files(out: Path) -> dict[str, bytes]:
    """Content of a run folder's files that a worker goes on from, by name."""
    found = [*(out / name for name in KEPT), *_complete_files(out / "state")]
    return {
        path.relative_to(out).as_posix(): files.read(path, PIECE, base=out)
        for path in found
        if files.stat_file(path) is not None
    }


def write_files(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a run folder, each as a whole. Raises StoreError for names that no worker
    has."""
    for name in contents:
        if name not in (*KEPT, *LEFT) and not re.fullmatch(STATE, name):
            raise StoreError(f"a node sends a file that no worker writes: {name!r}", where=str(out))
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        place = out
        for part in Path(name).parts[:-1]:
            place /= part
            place.mkdir(exist_ok=True)
        files.write(out / name, content, base=out)


def apply_snapshot(out: Path, look: NodeSnapshot) -> None:
    """Bring a run folder up to a look: the state before the events that name it, the record before
    the event of its end."""
    if odd := sorted(set(look.replaced) & {*KEPT} | set(look.appended) - {*APPENDED}):
        raise StoreError(f"a node sends a file that is not its own: {odd[0]!r}", where=str(out))
    write_files(out, look.replaced)
    for path in _complete_files(out / "state"):
        if path.relative_to(out).as_posix() not in look.state:
            files.remove(path, base=out)
    for name, text in look.appended.items():
        with files.open_appender(out / name) as file:
            file.write(text)


def forget(out: Path) -> None:
    """What earlier runs of a trial left in its folder."""
    for name in ("state", "events.jsonl", *LEFT):
        files.remove(out / name, base=out)


def _complete_files(folder: Path) -> Iterator[Path]:
    """Files below a folder, without those that are being written."""
    return (path for path in files.list_files(folder) if not path.name.startswith("."))


def _file_stamp(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remove_abandoned(base: Path) -> None:
    """Folders of trials whose node process died before it could clear up."""
    for folder in base.glob("*/*"):
        old = time.time() - folder.lstat().st_mtime > STALE
        if folder.parent.name != "cache" and old and not lock_owner(folder):
            shutil.rmtree(folder.parent, ignore_errors=True)
