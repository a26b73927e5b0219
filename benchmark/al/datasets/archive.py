"""Unpacking archives that may be hostile: plain files and folders only, inside one new folder,
within bounds."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from benchmark.errors import DataError

BLOCK = 1 << 20
NAME, PATH = 255, 3000
"""Bytes of a name and characters of a path that every file system holds, below a folder that may
itself be deep."""


@dataclass(frozen=True)
class Bounds:
    """How much may come out of one archive."""

    size: int = 4 * 2**30
    """Bytes of all files together."""
    members: int = 300_000


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive."""

    name: str
    folder: bool
    stream: IO[bytes] | None


def unpack(archive: Path, folder: Path, bounds: Bounds = Bounds()) -> None:
    """Write the members of a tar (plain, gz, bz2, xz) or zip archive below `folder`, which must not
    exist yet.

    Raises DataError for absolute names, `..`, links, devices, names that occur twice, encrypted or
    damaged members, and more than `bounds`. What was written until then is left for the caller to
    remove. Permissions and owners are not taken over.
    """
    folder.mkdir(parents=True)
    left, count = bounds.size, 0
    try:
        for member in _iterate_members(archive):
            count += 1
            if count > bounds.members:
                raise _archive_error(archive, f"it holds more than {bounds.members:,} members")
            target = folder / _safe_path(archive, member.name)
            if member.folder:
                target.mkdir(parents=True, exist_ok=True)
            elif member.stream is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                left = _copy_member(archive, member.stream, target, left)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        raise DataError(
            f"the archive is damaged: {error}", where=str(archive), remedy="fetch it again"
        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _archive_error(archive, "two members have the same name") from error


def _iterate_members(archive: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(archive) and archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                mode = info.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _archive_error(archive, f"{info.filename!r} is a link or a device")
                if info.is_dir():
                    yield Member(info.filename, folder=True, stream=None)
                else:
                    with opened.open(info) as stream:
                        yield Member(info.filename, folder=False, stream=stream)
        return
    with tarfile.open(archive) as packed:
        for entry in packed:
            if not entry.isreg() and not entry.isdir():
                raise _archive_error(archive, f"{entry.name!r} is a link or a device")
            yield Member(
                entry.name, entry.isdir(), None if entry.isdir() else packed.extractfile(entry)
            )


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        any(len(part.encode(errors="surrogateescape")) > NAME for part in path.parts)
        or len(name) > PATH
    ):
        raise _archive_error(archive, f"the name {name[:40]!r}... is longer than file systems hold")
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or (name[1:2] == ":")
    ):
        raise _archive_error(archive, f"{name!r} would be written outside its folder")
    return path


def _copy_member(archive: Path, stream: IO[bytes], target: Path, left: int) -> int:
    """Write one member; counts what comes out, which may be more than the archive announces."""
    with target.open("xb") as file:
        while block := stream.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise _archive_error(archive, "it unpacks to more than is allowed")
            file.write(block)
    return left


def _archive_error(archive: Path, reason: str) -> DataError:
    return DataError(
        f"the archive is refused: {reason}", where=str(archive), remedy="get it from its home page"
    )
