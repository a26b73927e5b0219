"""Hostile and damaged archives are refused, and nothing is ever written outside the folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.al.datasets.archive import Bounds, unpack
from benchmark.errors import DataError

Item = tuple[str, bytes]


def _tar(path: Path, *items: Item | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for item in items:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
            else:
                info = tarfile.TarInfo(item[0])
                info.size = len(item[1])
                archive.addfile(info, io.BytesIO(item[1]))
    return path


def _zip(path: Path, *items: Item | tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in items:
            archive.writestr(name, content)
    return path


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _zip_link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def _outside(tmp_path: Path) -> set[str]:
    return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} - {"out"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(tmp_path: Path, mode: str) -> None:
    folder = tarfile.TarInfo("set/empty")
    folder.type = tarfile.DIRTYPE
    unpack(
        _tar(tmp_path / "a.tar", ("set/a.txt", b"one"), ("./set/deep/b", b""), folder, mode=mode),
        tmp_path / "out",
    )
    assert (tmp_path / "out/set/a.txt").read_bytes() == b"one" and (
        tmp_path / "out/set/deep/b"
    ).read_bytes() == b""
    assert (tmp_path / "out/set/empty").is_dir()


def test_zip(tmp_path: Path) -> None:
    unpack(_zip(tmp_path / "a.zip", ("set/", b""), ("set/a.txt", b"one" * 9)), tmp_path / "out")
    assert (tmp_path / "out/set/a.txt").read_bytes() == b"one" * 9


ATTACKS: dict[str, Callable[[Path], Path]] = {
    "tar ..": lambda p: _tar(p / "a.tar", ("../evil", b"x")),
    "tar deep ..": lambda p: _tar(p / "a.tar", ("set/../../evil", b"x")),
    "tar absolute": lambda p: _tar(p / "a.tar", (f"{p}/evil", b"x")),
    "tar backslash": lambda p: _tar(p / "a.tar", ("..\\evil", b"x")),
    "tar drive": lambda p: _tar(p / "a.tar", ("C:evil", b"x")),
    "tar link then write": lambda p: _tar(
        p / "a.tar", _special("set", tarfile.SYMTYPE, ".."), ("set/evil", b"x")
    ),
    "tar link": lambda p: _tar(p / "a.tar", _special("evil", tarfile.SYMTYPE, "/etc/passwd")),
    "tar hard link": lambda p: _tar(
        p / "a.tar", ("a", b"x"), _special("evil", tarfile.LNKTYPE, "../a.tar")
    ),
    "tar pipe": lambda p: _tar(p / "a.tar", _special("evil", tarfile.FIFOTYPE)),
    "tar device": lambda p: _tar(p / "a.tar", _special("evil", tarfile.CHRTYPE)),
    "tar twice": lambda p: _tar(p / "a.tar", ("a", b"x"), ("a", b"y")),
    "tar file as folder": lambda p: _tar(p / "a.tar", ("a", b"x"), ("a/b", b"y")),
    "zip ..": lambda p: _zip(p / "a.zip", ("../evil", b"x")),
    "zip absolute": lambda p: _zip(p / "a.zip", (f"{p}/evil", b"x")),
    "zip link": lambda p: _zip(p / "a.zip", _zip_link("set", ".."), ("set/evil", b"x")),
    "tar bomb": lambda p: _tar(p / "a.tar", ("zeros", bytes(2_000_000))),
    "tar bomb in parts": lambda p: _tar(
        p / "a.tar", *((f"z{n}", bytes(200_000)) for n in range(9))
    ),
    "zip bomb": lambda p: _zip(p / "a.zip", ("zeros", bytes(2_000_000))),
    "many members": lambda p: _tar(p / "a.tar", *((f"{n}", b"") for n in range(101))),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(tmp_path: Path, attack: str) -> None:
    archive = ATTACKS[attack](tmp_path)
    before = _outside(tmp_path)
    with pytest.raises(DataError, match="the archive is refused") as caught:
        unpack(archive, tmp_path / "out", Bounds(size=1_000_000, members=100))
    assert caught.value.where == str(archive)
    assert {name for name in _outside(tmp_path) if not name.startswith("out/")} == before
    assert (
        sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
        <= 1_000_000
    )
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]


def test_a_zip_that_lies_about_its_size_is_bounded_or_damaged(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", ("zeros", bytes(2_000_000)))
    content = path.read_bytes()
    assert content.count((2_000_000).to_bytes(4, "little")) == 2
    path.write_bytes(
        content.replace((2_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    )
    with pytest.raises(DataError):
        unpack(path, tmp_path / "out", Bounds(size=1_000_000))
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*")) <= 1_000_000


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_damaged_archives(tmp_path: Path, kind: str) -> None:
    noise = bytes((place * place * 31 + place // 7) % 251 for place in range(60_000))
    path = (
        _tar(tmp_path / "a.tar.gz", ("a", noise))
        if kind == "tar"
        else _zip(tmp_path / "a.zip", ("a", noise))
    )
    content = path.read_bytes()
    for number, version in enumerate(
        [
            b"",
            b"<html>not found</html>",
            content[: len(content) // 2],
            content[:300] + b"\0\xff" + content[302:],
        ]
    ):
        path.write_bytes(version)
        with pytest.raises(DataError, match="damaged"):
            unpack(path, tmp_path / f"out{number}")
