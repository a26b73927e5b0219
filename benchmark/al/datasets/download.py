"""Downloads with a checksum that continue where they were interrupted."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.al.datasets import digest
from benchmark.al.datasets.digest import Progress
from benchmark.al.datasets.source import Published
from benchmark.errors import DataError

BLOCK = 1 << 18
SECONDS = 60.0
"""Silence after which a connection counts as lost."""
LIMIT = 8 * 2**30
"""Largest file whose size is not known beforehand."""
_NETWORK = (urllib.error.URLError, http.client.HTTPException, OSError)


def download(file: Published, urls: tuple[str, ...], folder: Path, progress: Progress) -> Path:
    """The file in `folder`, fetched from the first mirror that gives it; nothing is done when it is
    there already.

    An unfinished download is kept as `<name>.partial` and continued. Raises DataError when no
    mirror answers, or when the content has another checksum.
    """
    target = folder / file.name
    if target.exists():
        _verify_digest(target, file, urls)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{file.name}.partial")
    failures = []
    for url in urls:
        try:
            _fetch_from(url, file, partial, progress)
            break
        except _NETWORK as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
    else:
        kept = partial.stat().st_size if partial.exists() else 0
        raise DataError(
            f"{file.name} could not be downloaded: {'; '.join(failures)}",
            where=str(folder),
            remedy=(
                f"run the same command again, it continues after the {kept:,} bytes that are "
                f"there; or put {file} there"
            ),
        )
    try:
        _verify_digest(partial, file, urls)
    except DataError:
        partial.unlink()
        raise
    partial.rename(target)
    return target


def _fetch_from(url: str, file: Published, partial: Path, progress: Progress) -> None:
    """Continue until the file is complete; a lost connection is taken up again as long as that
    brings something."""
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _continue_download(url, file, partial, progress)
            return
        except _NETWORK as error:
            refused = isinstance(error, urllib.error.HTTPError)
            if refused or not partial.exists() or partial.stat().st_size <= before:
                raise


def _continue_download(url: str, file: Published, partial: Path, progress: Progress) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if file.size is not None and have >= file.size:
        return
    headers = {"User-Agent": "albench", "Accept-Encoding": "identity"} | (
        {"Range": f"bytes={have}-"} if have else {}
    )
    try:
        response = _open_address(url, headers)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing comes after what is there: the checksum decides
        raise
    with response:
        resumes = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumes and not str(response.headers.get("Content-Range", "")).startswith(
            f"bytes {have}-"
        ):
            raise http.client.HTTPException("the server continues at another place")
        have = have if resumes else 0
        announced = int(response.headers.get("Content-Length") or 0)
        total = file.size or (have + announced if announced else 0)
        _receive_bytes(response, partial, have, total, file.name, progress)


def _receive_bytes(
    response: http.client.HTTPResponse,
    partial: Path,
    have: int,
    total: int,
    name: str,
    progress: Progress,
) -> None:
    with partial.open("ab" if have else "wb") as out:
        while block := response.read(BLOCK):
            out.write(block)
            have += len(block)
            progress(name, have, total)
            if have > (total or LIMIT):
                return  # too long to be the file: the checksum decides
    if have < total:
        raise http.client.HTTPException(f"the connection ended after {have:,} of {total:,} bytes")


def _open_address(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"not a web address: {url}")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310
    return answer


def _verify_digest(path: Path, file: Published, urls: tuple[str, ...]) -> None:
    found = digest.digest_file(path, "md5")
    if found != file.md5:
        raise DataError(
            f"{file.name} has md5 {found} and {path.stat().st_size:,} bytes, expected is {file}",
            where=str(path),
            remedy=(
                f"remove it and fetch it again from {urls[0]}; if it stays so, a proxy or the "
                "server sends something else"
            ),
        )
