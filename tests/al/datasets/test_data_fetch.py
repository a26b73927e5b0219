"""Fetching: checksums, resumption, mirrors, unpacking, and never touching what is there. Against a
server of our own."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmark.al import registry
from benchmark.al.datasets import SOURCES, fetch
from benchmark.al.datasets.caltech import CALTECH101
from benchmark.al.datasets.download import download
from benchmark.al.datasets.mnist import KMNIST
from benchmark.al.datasets.source import Download, Published
from benchmark.errors import DataError


@dataclass
class Site:
    """Files to serve, and how badly."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    """Bytes after which the coming answers break off."""
    asked: list[str] = field(default_factory=list)
    """`<name> <range>` of every request."""


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            name, wanted = self.path[1:], self.headers.get("Range", "")
            found.asked.append(f"{name} {wanted}".strip())
            content = found.files.get(name)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted[len("bytes=") : -1]) if wanted and found.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = start + found.cut.pop(0) if found.cut else len(content)
            self.wfile.write(content[start:stop])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def _published(name: str, content: bytes, sized: bool = True) -> Published:
    return Published(name, hashlib.md5(content).hexdigest(), len(content) if sized else None)


def _quiet(*_: Any) -> None:
    pass


CONTENT = bytes((place * 7 + place // 256) % 256 for place in range(1_000_000))


# ----------------------------------------------------------------------------------------- download


@pytest.mark.parametrize("sized", [True, False])
def test_download_reports_progress(site: Site, tmp_path: Path, sized: bool) -> None:
    site.files["a"] = CONTENT
    seen: list[tuple[str, int, int]] = []
    file = _published("a", CONTENT, sized)
    path = download(file, (f"{site.address}/a",), tmp_path, lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("a", len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    download(file, (f"{site.address}/a",), tmp_path, _quiet)
    assert site.asked == ["a"], "what is there is not downloaded again"


@pytest.mark.parametrize("sized", [True, False])
def test_an_earlier_attempt_is_continued(site: Site, tmp_path: Path, sized: bool) -> None:
    site.files["a"] = CONTENT
    (tmp_path / "a.partial").write_bytes(CONTENT[:300_000])
    path = download(_published("a", CONTENT, sized), (f"{site.address}/a",), tmp_path, _quiet)
    assert path.read_bytes() == CONTENT and site.asked == ["a bytes=300000-"]
    assert not (tmp_path / "a.partial").exists()


@pytest.mark.parametrize("sized", [True, False])
def test_a_lost_connection_is_taken_up_again(site: Site, tmp_path: Path, sized: bool) -> None:
    site.files["a"], site.cut = CONTENT, [400_000, 200_000]
    path = download(_published("a", CONTENT, sized), (f"{site.address}/a",), tmp_path, _quiet)
    assert path.read_bytes() == CONTENT
    assert site.asked == ["a", "a bytes=400000-", "a bytes=600000-"]


def test_a_connection_that_brings_nothing_is_given_up_and_what_is_there_kept(
    site: Site, tmp_path: Path
) -> None:
    site.files["a"], site.cut = CONTENT, [400_000, 0]
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet)
    assert (
        "400,000 bytes" in caught.value.remedy
        and (tmp_path / "a.partial").read_bytes() == CONTENT[:400_000]
    )
    assert (
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet).read_bytes()
        == CONTENT
    )


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.files["a"], site.ranges = CONTENT, False
    (tmp_path / "a.partial").write_bytes(b"something else" * 1000)
    assert (
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet).read_bytes()
        == CONTENT
    )


@pytest.mark.parametrize("sized", [True, False])
def test_a_complete_part_is_only_checked(site: Site, tmp_path: Path, sized: bool) -> None:
    site.files["a"] = CONTENT
    (tmp_path / "a.partial").write_bytes(CONTENT)
    assert (
        download(
            _published("a", CONTENT, sized), (f"{site.address}/a",), tmp_path, _quiet
        ).read_bytes()
        == CONTENT
    )


def test_another_checksum_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    site.files["a"] = CONTENT[:-1] + b"?"
    with pytest.raises(DataError, match=r"expected is a \(1,000,000 bytes, md5") as caught:
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet)
    assert hashlib.md5(site.files["a"]).hexdigest() in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_wrong_part_is_found_by_the_checksum(site: Site, tmp_path: Path) -> None:
    site.files["a"] = CONTENT
    (tmp_path / "a.partial").write_bytes(b"?" * 1000)
    with pytest.raises(DataError, match="expected is"):
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet)
    assert (
        download(_published("a", CONTENT), (f"{site.address}/a",), tmp_path, _quiet).read_bytes()
        == CONTENT
    )


def test_an_endless_answer_is_cut(site: Site, tmp_path: Path) -> None:
    site.files["a"] = CONTENT * 5
    seen: list[int] = []
    with pytest.raises(DataError, match="expected is"):
        download(
            _published("a", CONTENT),
            (f"{site.address}/a",),
            tmp_path,
            lambda _, done, __: seen.append(done),
        )
    assert max(seen) < 2 * len(CONTENT)


def test_the_second_mirror(site: Site, tmp_path: Path) -> None:
    site.files["b"] = CONTENT
    urls = (f"{site.address}/gone", "http://127.0.0.1:1/b", f"{site.address}/b")
    assert download(_published("a", CONTENT), urls, tmp_path, _quiet).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"gone: .*Not Found.*127.0.0.1:1/b: ") as caught:
        download(_published("c", CONTENT), urls[:2], tmp_path, _quiet)
    assert hashlib.md5(CONTENT).hexdigest() in caught.value.remedy


def test_only_web_addresses(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(DataError, match="not a web address"):
        download(_published("a", CONTENT), (f"file://{tmp_path}/secret",), tmp_path, _quiet)


# -------------------------------------------------------------------------------------------- fetch


def _tree() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("a", "b"):
            for number in range(2):
                info = tarfile.TarInfo(f"101_ObjectCategories/{name}/image_{number}.jpg")
                info.size = 3
                archive.addfile(info, io.BytesIO(b"jpg"))
    return buffer.getvalue()


def _zipped(inner: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner)
        archive.writestr("caltech-101/Annotations.tar", b"not wanted")
    return buffer.getvalue()


@pytest.fixture
def caltech(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Serve an archive as if it were the published Caltech-101 of 4 images in 2 classes."""

    def serve(content: bytes, sent: bytes | None = None) -> None:
        site.files["caltech-101.zip"] = sent or content
        old = CALTECH101.origin.downloads[0]
        new = replace(
            old,
            file=_published("caltech-101.zip", content),
            urls=(f"{site.address}/caltech-101.zip",),
        )
        kind = replace(
            CALTECH101, origin=replace(CALTECH101.origin, downloads=(new,)), classes=2, images=4
        )
        monkeypatch.setattr(registry, "find_dataset", {"caltech101": kind}.__getitem__)

    return serve


def test_fetch_unpacks_an_archive_in_an_archive(site: Site, tmp_path: Path, caltech: Any) -> None:
    caltech(_zipped(_tree()))
    root = tmp_path / "root"
    fetch("caltech101", root, _quiet)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    images = {
        f"caltech101/101_ObjectCategories/{name}/image_{n}.jpg" for name in "ab" for n in range(2)
    }
    assert found == images | {".downloads/lock"}
    fetch("caltech101", root, _quiet)
    assert site.asked == ["caltech-101.zip"], "the second time nothing is downloaded"


def test_an_archive_that_was_put_there_is_used(site: Site, tmp_path: Path, caltech: Any) -> None:
    caltech(_zipped(_tree()))
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "caltech-101.zip").write_bytes(site.files["caltech-101.zip"])
    fetch("caltech101", tmp_path, _quiet)
    assert (
        site.asked == [] and (tmp_path / "caltech101/101_ObjectCategories/b/image_1.jpg").exists()
    )


def test_a_checksum_that_differs_unpacks_nothing(tmp_path: Path, caltech: Any) -> None:
    content = _zipped(_tree())
    caltech(content, sent=content[:-1] + b"?")
    with pytest.raises(DataError, match="expected is"):
        fetch("caltech101", tmp_path, _quiet)
    assert not (tmp_path / "caltech101").exists()


@pytest.mark.parametrize("inner", [b"no archive", b""], ids=["damaged", "empty"])
def test_a_bad_inner_archive_leaves_nothing(tmp_path: Path, caltech: Any, inner: bytes) -> None:
    caltech(_zipped(inner))
    with pytest.raises(DataError):
        fetch("caltech101", tmp_path, _quiet)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"lock", "caltech-101.zip"}


def test_what_is_there_is_never_replaced(site: Site, tmp_path: Path, caltech: Any) -> None:
    caltech(_zipped(_tree()))
    image = tmp_path / "caltech101/101_ObjectCategories/mine/image_0.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"mine")
    with pytest.raises(
        DataError, match="it is not the published data: 1 images in 1 object classes"
    ):
        fetch("caltech101", tmp_path, _quiet)
    image.rename(image.with_suffix(".txt"))
    with pytest.raises(DataError, match="is there, but incomplete"):
        fetch("caltech101", tmp_path, _quiet)
    assert image.with_suffix(".txt").read_bytes() == b"mine" and site.asked == []


def test_single_files_are_fetched_where_they_are_missing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"f{place}.gz": bytes([place]) * 99 for place in range(4)}
    site.files = files
    published = tuple(_published(name, content) for name, content in files.items())
    downloads = tuple(
        Download(
            file, (f"{site.address}/{file.name}",), makes=f"KMNIST/raw/{file.name}", unpack=False
        )
        for file in published
    )
    kind = replace(KMNIST, origin=replace(KMNIST.origin, downloads=downloads), published=published)
    monkeypatch.setattr(registry, "find_dataset", {"kmnist": kind}.__getitem__)
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "f1.gz").write_bytes(files["f1.gz"])
    (folder / "f2.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"the md5 of f2.gz is not the published one"):
        fetch("kmnist", tmp_path, _quiet)
    assert (
        sorted(site.asked) == ["f0.gz", "f3.gz"] and (folder / "f2.gz").read_bytes() == b"damaged"
    )
    (folder / "f2.gz").unlink()
    fetch("kmnist", tmp_path, _quiet)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set 'imagenet'"):
        fetch("imagenet", tmp_path, _quiet)


def test_every_source_says_where_it_is_from() -> None:
    assert set(SOURCES) == {
        "cifar10",
        "cifar100",
        "svhn",
        "caltech101",
        "caltech256",
        "tiny_imagenet",
        "mnist",
        "kmnist",
        "digits",
    }
    for name, origin in SOURCES.items():
        assert origin.home.startswith("http") and (origin.downloads or name == "digits")
        for item in origin.downloads:
            assert len(item.file.md5) == 32 and all(url.startswith("http") for url in item.urls)
