"""How files are opened in folders that code from outside can write to: run folders and the cache.

Code in a container, on a cluster's node or in a plug-in may leave anything under any name: a link
to a file of the host, a FIFO without a writer, a file of a terabyte that takes no room. So no link
is followed below a folder that is trusted (`base`), nothing but regular files is opened, no open
waits, and no more is read than was allowed. Folders are opened one after the other, each relative
to the one before, so that exchanging one for a link between look and use changes nothing.

tests/test_files.py holds that no other module opens a file there in another way.
"""

from __future__ import annotations

import errno
import importlib.resources
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SMALL = 64 * 2**20
"""Bytes of a record, a trial or another JSON file that are read at most."""
EVENTS = 512 * 2**20
"""Bytes of a file of events. A trial of a week that reports every second writes a fifth of it."""
STATE = 16 * 2**30
"""Bytes of a saved state or training."""
MANY = 10_000
"""Entries of a worker's folder that are looked at."""
_QUIET = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
}


class Refused(OSError):
    """Something that is not a plain file of bounded size, or is reached through a link."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.ELOOP, reason, str(path))


def open_fd(
    path: Path, flags: int = os.O_RDONLY, *, base: Path | None = None, mode: int = 0o644
) -> int:
    """Descriptor of a regular file; no link below `base` (its own folder) is followed. Raises
    Refused, OSError."""
    base = path.parent if base is None else base
    *folders, name = path.relative_to(base).parts
    if ".." in (*folders, name):
        raise Refused(path, "leads outside its folder")
    with _open_place(base, folders) as folder:
        there = (
            name if folder is not None else path
        )  # by its whole name where nothing lies between: faults name it so
        try:
            found = os.open(there, flags | _QUIET, mode, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
                raise Refused(path, f"is {_describe_kind(there, folder)}") from error
            raise type(error)(error.errno, error.strerror, str(path)) from error
    kind = os.fstat(found).st_mode
    if not stat.S_ISREG(kind):
        os.close(found)
        raise Refused(path, f"is {_KINDS.get(stat.S_IFMT(kind), 'no file')}")
    return found


def open_reader(path: Path, limit: int, *, base: Path | None = None) -> BinaryIO:
    """A regular file of at most `limit` bytes, open for reading. Raises Refused, OSError."""
    file = os.fdopen(open_fd(path, base=base), "rb")
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        file.close()
        raise Refused(path, f"has {size:,} bytes, more than the {limit:,} that are read")
    return file


def read(path: Path, limit: int = SMALL, *, base: Path | None = None) -> bytes:
    """Content of a regular file of at most `limit` bytes, also where it grows meanwhile. Raises
    Refused, OSError."""
    with open_reader(path, limit, base=base) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Refused(path, f"grew to more than the {limit:,} bytes that are read")
    return content


def open_appender(path: Path, *, base: Path | None = None) -> BinaryIO:
    """A regular file, made where it is missing, open for appending and reading. Raises Refused,
    OSError."""
    return os.fdopen(open_fd(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, base=base), "ab+")


def open_writer(path: Path, *, base: Path | None = None) -> BinaryIO:
    """A regular file, made or emptied. Raises Refused, OSError."""
    return os.fdopen(open_fd(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, base=base), "wb")


def write(path: Path, content: bytes, *, base: Path | None = None) -> None:
    """Write a file atomically and durably: readers see the old one or the new one. A link in its
    place is replaced."""
    base = path.parent if base is None else base
    *folders, name = path.relative_to(base).parts
    partial = path.with_name(f".{name}.{os.getpid()}.partial")
    with _open_place(base, folders) as folder:
        old, new = (partial.name, name) if folder is not None else (partial, path)
        try:
            with open_writer(partial, base=base) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(old, dir_fd=folder)


def copy(source: Path, target: Path, limit: int = EVENTS) -> None:
    """Copy a regular file to a new one. Raises Refused, OSError."""
    with open_reader(source, limit) as file, open_writer(target) as made:
        left = limit
        while left > 0 and (block := file.read(min(left, 2**20))):
            made.write(block)
            left -= len(block)


def stat_file(path: Path) -> os.stat_result | None:
    """Facts of a regular file, None if there is none: links are not files."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def is_folder(path: Path) -> bool:
    """Whether it is a folder and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def list_names(folder: Path, suffix: str = "") -> list[str]:
    """Names of the regular files in a folder that is no link; none where there is no such
    folder."""
    with (
        suppress(OSError),
        _open_folder(folder.parent, [folder.name]) as opened,
        os.scandir(opened) as entries,
    ):
        return sorted(
            entry.name
            for entry in entries
            if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False)
        )
    return []


def list_files(folder: Path, suffix: str = "") -> list[Path]:
    """Regular files at any depth below a folder; no link is followed on the way."""
    found = []
    for place, _, listed, opened in _walk(folder):
        for name in listed:
            with suppress(OSError):
                kind = os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode
                if name.endswith(suffix) and stat.S_ISREG(kind):
                    found.append(Path(place) / name)
    return sorted(found)


def describe_irregular(folder: Path) -> str:
    """The first entry below a folder that is neither a plain file nor a folder, in words; empty if
    there is none."""
    seen = 0
    for place, folders, listed, opened in _walk(folder):
        for name in (*folders, *listed):
            seen += 1
            if seen > MANY:
                return f"more than {MANY:,} entries"
            with suppress(OSError):
                kind = stat.S_IFMT(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)
                if kind not in (stat.S_IFREG, stat.S_IFDIR):
                    return (
                        f"{(Path(place) / name).relative_to(folder)} is "
                        f"{_KINDS.get(kind, 'no file')}"
                    )
    return ""


def remove(path: Path, *, base: Path) -> None:
    """Remove a file or link (not what it leads to), or a folder with all that is in it; what is not
    there is fine."""
    *folders, name = path.relative_to(base).parts
    with suppress(FileNotFoundError), _open_place(base, folders) as folder:
        there = name if folder is not None else path
        if stat.S_ISDIR(os.stat(there, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(there, ignore_errors=True, dir_fd=folder)
        else:
            os.unlink(there, dir_fd=folder)


def change_owner(folder: Path, uid: int, gid: int, *, owner: int = 0) -> None:
    """Give what `owner` has in a folder, itself included, to another user. No link is followed, and
    none changes hands."""
    for _, folders, listed, opened in _walk(folder):
        if os.fstat(opened).st_uid == owner:
            os.fchown(opened, uid, gid)
        for name in (*folders, *listed):
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=opened, follow_symlinks=False).st_uid == owner:
                    os.chown(name, uid, gid, dir_fd=opened, follow_symlinks=False)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Like os.fwalk, from a folder that is no link."""
    if is_folder(folder):
        yield from os.fwalk(folder, follow_symlinks=False)


@contextmanager
def _open_place(base: Path, below: list[str]) -> Iterator[int | None]:
    """Descriptor of a folder below `base`; None for `base` itself, which is reached by its name."""
    if not below:
        yield None
        return
    with _open_folder(base, below) as opened:
        yield opened


@contextmanager
def _open_folder(base: Path, below: list[str]) -> Iterator[int]:
    """Descriptor of a folder below `base`, each step relative to the one before."""
    opened = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below:
            try:
                further = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _QUIET, dir_fd=opened)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise Refused(
                        base.joinpath(*below), f"{name} is {_describe_kind(name, opened)}"
                    ) from error
                raise
            os.close(opened)
            opened = further
        yield opened
    finally:
        os.close(opened)


def _describe_kind(name: str | Path, folder: int | None) -> str:
    with suppress(OSError):
        return _KINDS.get(
            stat.S_IFMT(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode), "no folder"
        )
    return "no plain file"


def find_shipped(name: str) -> Path:
    """Where `suites`, `results` or `requirements.lock` lie for this installation: in the package
    when it was built as a wheel, beside it in a checkout. The path need not exist."""
    package = Path(str(importlib.resources.files("benchmark")))
    inside = package / "shipped"
    return (inside if inside.is_dir() else package.parent) / name
