"""Trials in containers of a Docker engine on this machine. Talks to the engine; what is done there
is in containers.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker import errors

from benchmark.errors import ExecutorError
from benchmark.executors.base import GRACE
from benchmark.executors.docker import image, sandbox
from benchmark.executors.docker.executor import (
    PATIENCE,
    ContainerExecutor,
    ContainerNotFound,
    EngineUnavailable,
    Found,
    StartFailed,
    State,
)
from benchmark.executors.docker.sandbox import ContainerSettings, Limits
from benchmark.executors.gpus import GpuPool
from benchmark.executors.jobs import FailureKind
from benchmark.text import clean_line

API_SECONDS, ANSWER_SECONDS = 30, 120
"""Seconds for a request to the engine, and for a container that is asked something."""
AWAY = (requests.RequestException, errors.DockerException)
START_REMEDY = "start the engine, join its group, name it with DOCKER_HOST, or use --executor local"
IMAGE_REMEDY = "name one with ALBENCH_DOCKER_IMAGE, or let `--executor docker` build one"
GPU_REMEDY = "install the NVIDIA container toolkit and restart the engine, or use --device cpu"


class DockerEngine:
    """See `containers.Engine`."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def answers(self) -> bool:
        with suppress(*AWAY):
            return bool(self.client.ping())
        return False

    def start(self, options: dict[str, Any]) -> str:
        made = None
        try:
            made = self.client.containers.create(**options)
            made.start()
        except BaseException as error:
            with suppress(*AWAY):
                if made is not None:
                    made.remove(force=True, v=True)  # a start that fails leaves a container
            if isinstance(error, AWAY):
                raise _start_failure(error) from error
            raise
        return str(made.id)

    def state(self, container: str) -> State:
        with _name_engine_errors():
            found = self.client.api.inspect_container(container)["State"]
        return State(str(found["Status"]), int(found["ExitCode"]), bool(found.get("OOMKilled")))

    def signal(self, container: str, name: str) -> None:
        with _name_engine_errors():
            self.client.api.kill(container, name)

    def stop(self, container: str, seconds: int) -> None:
        with _name_engine_errors():
            self.client.api.stop(container, timeout=seconds)

    def remove(self, container: str) -> None:
        with _name_engine_errors():
            self.client.api.remove_container(container, force=True, v=True)

    def log(
        self, container: str, lines: int | str = "all", *, stderr: bool = True, stdout: bool = True
    ) -> bytes:
        with _name_engine_errors():
            return bytes(self.client.api.logs(container, stdout=stdout, stderr=stderr, tail=lines))

    def ask(self, options: dict[str, Any]) -> tuple[int, str, str]:
        container = self.start(options)
        try:
            with _name_engine_errors():
                status = int(self.client.api.wait(container, timeout=ANSWER_SECONDS)["StatusCode"])
            said = [
                self.log(container, stdout=out, stderr=not out).decode(errors="replace")
                for out in (True, False)
            ]
            return status, said[0], said[1]
        finally:
            with suppress(EngineUnavailable, ContainerNotFound):
                self.remove(container)

    def list(self, labels: dict[str, str]) -> list[Found]:
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        with _name_engine_errors():
            found = self.client.containers.list(all=True, filters=filters, ignore_removed=True)
            return [
                Found(
                    str(one.id),
                    str(one.name),
                    str(one.status),
                    dict(one.labels),
                    str(one.attrs["Image"]),
                    tuple(one.attrs["Config"]["Cmd"] or ()),
                )
                for one in found
            ]


@contextmanager
def _name_engine_errors() -> Iterator[None]:
    try:
        yield
    except errors.NotFound as error:
        raise ContainerNotFound(_error_text(error)) from error
    except AWAY as error:
        raise EngineUnavailable(_error_text(error), remedy=START_REMEDY) from error


def _error_text(error: Exception) -> str:
    text = getattr(error, "explanation", None) or str(error)
    return clean_line(str(text))


def _start_failure(error: Exception) -> StartFailed:
    """Kind and words for a container that could not be started."""
    text = _error_text(error)
    if isinstance(error, errors.ImageNotFound):
        return StartFailed(FailureKind.image, f"the image is gone: {text}", remedy=IMAGE_REMEDY)
    if "select device driver" in text or "nvidia" in text.lower():
        return StartFailed(FailureKind.gpu_lost, f"no GPU in containers: {text}", remedy=GPU_REMEDY)
    if "executable file not found" in text or "exec format error" in text:
        return StartFailed(
            FailureKind.image, f"the image cannot run the worker: {text}", remedy=IMAGE_REMEDY
        )
    return StartFailed(
        FailureKind.daemon, f"the engine does not start it: {text}", remedy=START_REMEDY
    )


def create(
    *,
    build: bool = True,
    gpus: Sequence[str] | None = None,
    user: tuple[int, int] | None = None,
    limits: Limits | None = None,
    image_id: str | None = None,
    command: Sequence[str] = sandbox.COMMAND,
    client: Any = None,
    grace: float = GRACE,
    patience: float = PATIENCE,
) -> ContainerExecutor:
    """See `benchmark.executors.load`. What is None comes from
    ALBENCH_DOCKER_{IMAGE,BASE,NETWORK,MEMORY,CPUS,USER} and ALBENCH_GPUS (`0,1` or UUIDs). With
    `build` False an image must be there already. Raises ExecutorError."""
    with _raise_executor_error("the engine does not answer", START_REMEDY):
        client = client or docker.from_env(timeout=API_SECONDS)
        info = client.info()
    with _raise_executor_error("the image cannot be used", IMAGE_REMEDY):
        chosen = image_id or _find_or_build_image(client, build)
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    place = ContainerSettings(
        chosen,
        user or sandbox.container_user(os.environ.get("ALBENCH_DOCKER_USER"), rootless=rootless),
        limits
        or _divide_limits(int(info["MemTotal"]), int(info.get("NCPU") or os.cpu_count() or 1)),
        tuple(command),
    )
    return ContainerExecutor(
        "docker", DockerEngine(client), place, GpuPool(gpus), grace=grace, patience=patience
    )


@dataclass(frozen=True)
class Condition:
    """What an engine has: its version, where it keeps images (as it sees it), whether it gives GPUs
    to containers, and the image of this code (empty: none)."""

    version: str
    folder: str
    gpus: bool
    image: str


def engine_condition() -> Condition:
    """The engine as it is; nothing is built or started. Raises ExecutorError."""
    with _raise_executor_error("the engine does not answer", START_REMEDY):
        client = docker.from_env(timeout=API_SECONDS)
        info = client.info()
        devices = info.get("DiscoveredDevices") or ()
        gpus = "nvidia" in info.get("Runtimes", {}) or any(
            "nvidia" in str(device) for device in devices
        )
        try:
            found = _find_or_build_image(client, build=False)
        except ExecutorError:
            found = ""
    return Condition(str(info["ServerVersion"]), str(info["DockerRootDir"]), gpus, found)


def _find_or_build_image(client: Any, build: bool) -> str:
    named = os.environ.get("ALBENCH_DOCKER_IMAGE")
    if named:
        return str(client.images.get(named).id)
    found = image.find(client)
    if found is not None:
        return found
    if not build:
        raise ExecutorError("there is no image of this code", remedy=IMAGE_REMEDY)
    _say("building the worker's image: once for this code, and later builds reuse its packages")
    base, network = os.environ.get("ALBENCH_DOCKER_BASE"), os.environ.get("ALBENCH_DOCKER_NETWORK")
    return image.build(client, _say, base=base, network=network)


def _divide_limits(total: int, cores: int) -> Limits:
    asked = os.environ.get("ALBENCH_DOCKER_MEMORY")
    cpus = sandbox.cpu_limit(os.environ.get("ALBENCH_DOCKER_CPUS"), cores)
    return Limits(sandbox.memory_limit(asked, total), divided=not asked, cpus=cpus)


@contextmanager
def _raise_executor_error(message: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except AWAY as error:
        raise ExecutorError(f"{message}: {_error_text(error)}", remedy=remedy) from error


_say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731


def main(argv: list[str] | None = None) -> int:
    """Build the image of the code as it is, and print its id."""
    parser = argparse.ArgumentParser(
        prog="benchmark.executors.docker.engine", description="Build the worker's image."
    )
    parser.add_argument(
        "--base", default=os.environ.get("ALBENCH_DOCKER_BASE"), help="base image, best by digest"
    )
    parser.add_argument(
        "--network", default=os.environ.get("ALBENCH_DOCKER_NETWORK"), help="network of the build"
    )
    options = parser.parse_args(argv)
    try:
        with _raise_executor_error("the engine does not answer", START_REMEDY):
            client = docker.from_env(timeout=API_SECONDS)
            print(image.build(client, _say, base=options.base, network=options.network))
    except ExecutorError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
