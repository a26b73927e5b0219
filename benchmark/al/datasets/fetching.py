"""Getting a data set from its public home into the data root."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.al.datasets.archive import unpack
from benchmark.al.datasets.catalogue import official_format
from benchmark.al.datasets.digest import Progress
from benchmark.al.datasets.download import download
from benchmark.al.datasets.source import DatasetFormat, Download
from benchmark.errors import DataError

FOLDER = ".downloads"
"""Below the data root: unfinished downloads and unpacked archives on their way. An archive put
there is used."""


def fetch(name: str, root: Path, progress: Progress) -> None:
    """Download a data set, check it, unpack it. Nothing is done when it is there; nothing that is
    there is replaced.

    `progress(file, bytes done, bytes in all or 0)` is called on the way. Raises DataError for an
    unknown name, when no mirror answers, when a checksum differs, when an archive is refused, or
    when something else is in the place.
    """
    kind = official_format(name)
    try:
        if _is_present(kind, root):
            return
        with _lock_data_root(root / FOLDER):
            for item in kind.origin.downloads:
                _get_item(item, root, progress)
        _is_present(kind, root, surely=True)
    except OSError as error:
        raise DataError(
            f"{name} cannot be stored: {error.strerror or error}",
            where=str(error.filename or root),
            remedy="free space there, or choose another data root",
        ) from error


def _is_present(kind: DatasetFormat, root: Path, surely: bool = False) -> bool:
    """Whether the published data are there, or any where none can be downloaded. Raises DataError
    when others are, or when `surely` and they are not."""
    try:
        files = kind.files(root)
    except DataError:
        if surely or not kind.origin.downloads:
            raise
        return False
    if kind.origin.downloads and (reason := kind.differs(files)):
        raise DataError(
            f"{kind.origin.name} is there, but it is not the published data: {reason}",
            where=str(root / kind.origin.place),
            remedy="move it away and fetch again; nothing was changed",
        )
    return True


def _get_item(item: Download, root: Path, progress: Progress) -> None:
    target, folder = root / item.makes, root / FOLDER
    if not item.unpack:
        if not target.exists():
            found = download(item.file, item.urls, folder, progress)
            target.parent.mkdir(parents=True, exist_ok=True)
            found.rename(target)
        return
    if target.exists():
        raise DataError(
            f"{item.makes} is there, but incomplete",
            where=str(target),
            remedy="move it away and fetch again",
        )
    archive = download(item.file, item.urls, folder, progress)
    _unpack_item(item, archive, target, folder / f"{item.file.name}.unpacked")
    archive.unlink()


def _unpack_item(item: Download, archive: Path, target: Path, partial: Path) -> None:
    """Unpack beside, then rename: the target is whole or absent."""
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unpack(archive, partial)
        made = partial
        if item.inner is not None:
            unpack(_path_inside(partial, item.inner, archive), partial / "inner")
            made = partial / "inner"
        target.parent.mkdir(parents=True, exist_ok=True)
        _path_inside(made, target.name, archive).rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _path_inside(folder: Path, name: str, archive: Path) -> Path:
    if not (folder / name).exists():
        raise DataError(
            f"the archive holds no {name}", where=str(archive), remedy="get it from its home page"
        )
    return folder / name


@contextmanager
def _lock_data_root(folder: Path) -> Iterator[None]:
    """One fetch at a time in a data root; the kernel frees the lock when its holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
