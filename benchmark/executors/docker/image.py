"""The worker's image: found by what is in it, or built from the project's own Dockerfile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import ExecutorError
from benchmark.runs.environment import PACKAGE, find_revision
from benchmark.text import clean_line

CONTENT = "albench.content"
"""Label of an image: digest of what it was built from."""
NAME = "albench-worker"
ROOT = PACKAGE.parent
FILES = ("Dockerfile", ".dockerignore", "requirements-uv.lock", "requirements-worker.lock")
CODE = (
    "__init__.py",
    "runs/code_digest.py",
    "runs/device_probe.py",
    "errors.py",
    "runs/events.py",
    "files.py",
    "runs/gpus.py",
    "runs/environment.py",
    "text.py",
    "runs/variables.py",
    "worker.py",
    "al/**/*.py",
    "spec/**/*.py",
)
"""What is in the image of `benchmark/`, as in .dockerignore."""
BUILD_SECONDS = 3600
"""A step may be silent for so long."""
TAIL = 20
"""Lines of a failed build that are shown."""


def content_digest(root: Path = ROOT) -> str:
    """sha256 (hex) over everything the worker's image is built from, apart from the base. Raises
    ExecutorError."""
    missing = [name for name in FILES if not (root / name).is_file()]
    if missing:
        raise ExecutorError(
            f"the image cannot be built here: no {', '.join(missing)} in {root}",
            remedy="work in a clone of the project, or name an image with ALBENCH_DOCKER_IMAGE",
        )
    total = hashlib.sha256()
    for path in [*(root / name for name in FILES), *code_files(root)]:
        content = path.read_bytes()
        total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def code_files(root: Path = ROOT) -> list[Path]:
    """Source files that are in the image, sorted."""
    found = {path for pattern in CODE for path in (root / "benchmark").glob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def find(client: Any, root: Path = ROOT) -> str | None:
    """Id of the newest image built from these very files, or None."""
    images = client.images.list(filters={"label": f"{CONTENT}={content_digest(root)}"})
    newest = max(images, key=lambda image: image.attrs.get("Created", ""), default=None)
    return None if newest is None else str(newest.id)


def build(
    client: Any,
    say: Callable[[str], None],
    *,
    base: str | None = None,
    network: str | None = None,
    root: Path = ROOT,
) -> str:
    """Build the image and return its id; `say` gets a line for every step. Raises ExecutorError."""
    content = content_digest(root)
    source = find_revision(root)
    arguments = {"REVISION": source.commit + "-dirty" * source.dirty} | (
        {"BASE": base} if base else {}
    )
    stream = client.api.build(
        path=str(root),
        target="worker",
        tag=f"{NAME}:{content[:12]}",
        buildargs=arguments,
        labels={CONTENT: content},
        network_mode=network,
        rm=True,
        forcerm=True,
        decode=True,
        timeout=BUILD_SECONDS,
    )
    built = ""
    lines: list[str] = []
    for kind, text in _read_messages(stream):
        if kind == "id":
            built = text
        elif kind == "error":
            log = "".join(f"\n  | {clean_line(said)}" for said in lines[-TAIL:])
            raise ExecutorError(
                f"the image could not be built: {clean_line(text)}{log}",
                remedy=_build_remedy(text, lines),
            )
        else:
            lines.append(text)
            if text.startswith("Step "):
                say(text)
    return built


def _build_remedy(error: str, lines: list[str]) -> str:
    """What to do about a build that failed, by what was said: where it stood, and whether the
    network was missing."""
    said = "\n".join([*lines[-TAIL:], error])
    steps = [step for step in lines if step.startswith("Step ")]
    if not steps or " : FROM" in steps[-1]:
        return (
            "give a base that this machine has with ALBENCH_DOCKER_BASE: without a registry, "
            "`tests/docker/make_base.sh` makes one (see the head of the Dockerfile)"
        )
    if _NO_NETWORK.search(said):
        return "the build has no network: ALBENCH_DOCKER_NETWORK=host gives it this machine's"
    return "read the lines above; `python -m benchmark.executors.docker.engine` builds it again"


_NO_NETWORK = re.compile(
    r"name resolution|Could not resolve|dns error|Network is unreachable|No route to "
    r"host|connection failed|"
    r"Temporary failure|Connection refused|client error \(Connect\)|Max retries|NewConnectionError",
    re.IGNORECASE,
)


def _read_messages(stream: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for part in stream:
        if "error" in part:
            yield "error", str(part["error"]).strip()
        elif "ID" in part.get("aux", {}):
            yield "id", str(part["aux"]["ID"])
        else:
            yield from (
                ("line", line) for line in str(part.get("stream", "")).splitlines() if line.strip()
            )
