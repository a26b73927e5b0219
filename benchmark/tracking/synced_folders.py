"""What the last `sync` left in a tracker, so that a run folder that is untouched since costs a look
at its files' times.

A mark says which files were seen and what the tracker then held. Losing the marks loses nothing but
time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.runs import events

FILES = ("trial.json", "events.jsonl", "record.json")
"""Files of a run folder that a tracker's view is made from."""
FORMAT = 3


@dataclass(frozen=True)
class SyncedFolder:
    """One run folder as it was synced."""

    suite: str
    files: tuple[tuple[int, int], ...]
    """Time of change (nanoseconds) and size of each of FILES; (0, 0) for one that is not there."""
    seal: str
    """Digest of what the tracker held of it afterwards."""


class SyncedFolders:
    """What is remembered of one tracker, kept in a file. `stamp` shows whether the tracker itself
    has changed; empty if that is unknown without asking it."""

    def __init__(self, path: Path, stamp: Callable[[], str]) -> None:
        self._path, self._stamp = path, stamp
        self._marks: dict[str, SyncedFolder] = {}
        tracker = ""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            held: dict[str, Any] = json.loads(path.read_bytes())
            if held["format"] == FORMAT:
                for name, mark in held["folders"].items():
                    seen = tuple((int(time), int(size)) for time, size in mark["files"])
                    self._marks[name] = SyncedFolder(str(mark["suite"]), seen, str(mark["seal"]))
                tracker = str(held["tracker"])
        self.untouched = bool(tracker) and tracker == stamp()
        """The tracker has not been written to since."""

    def get(self, folder: Path) -> SyncedFolder | None:
        """The mark of a folder whose files are as they were, or None."""
        mark = self._marks.get(_mark_name(folder))
        return mark if mark is not None and mark.files == stamp_files(folder) else None

    def put(self, folder: Path, mark: SyncedFolder | None) -> None:
        """Remember a folder, or forget it."""
        if mark is None:
            self._marks.pop(_mark_name(folder), None)
        else:
            self._marks[_mark_name(folder)] = mark

    def save(self) -> None:
        """Write the file. Where that cannot be done, the next time is slower."""
        folders = {name: asdict(mark) for name, mark in self._marks.items()}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            events.write_bytes(
                self._path,
                json.dumps(
                    {"format": FORMAT, "tracker": self._stamp(), "folders": folders}
                ).encode(),
            )


def stamp_files(folder: Path) -> tuple[tuple[int, int], ...]:
    """Times and sizes of a run folder's files, as in `SyncedFolder.files`."""
    found = []
    for name in FILES:
        try:
            seen = (folder / name).stat()
            found.append((seen.st_mtime_ns, seen.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _mark_name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
