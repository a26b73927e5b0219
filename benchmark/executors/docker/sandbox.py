"""What a trial's container may do and see, as arguments of the engine's API. Nothing here talks to
an engine.

No network, nothing writable but /out, /cache and its own /tmp, no rights, limits set, the caller's
user, the image by its id. It reads its trial from /in/trial.json and answers through files in /out,
which is `work/` of its run folder. Where code from outside takes part, /cache is read-only, and the
trial has a cache of its own below /out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark import files
from benchmark.errors import UsageError
from benchmark.executors.base import worker_environment
from benchmark.executors.jobs import Job, component_names_of, guard_cache, is_foreign
from benchmark.runs.gpus import CHOSEN_GPU
from benchmark.runs.store import WORK
from benchmark.spec.suite import Trial

LABEL = "albench"
"""Every container of ours has this label with the value 1, and others below it."""
ALIVE = ("created", "running", "paused", "restarting", "removing")
"""States of a container that has not ended."""
COMMAND = ("python", "-m", "benchmark.worker")
OUT = "/out"
NOBODY = (65534, 65534)
"""User and group of containers that root starts."""
LEAST_MEMORY = 64 * 1024**2
"""Bytes; importing torch takes more."""
OWN = ("/in", "/out", "/cache", "/data", "/tmp")  # noqa: S108
"""Places inside a container that are taken."""
BINDS = 64
"""Most files and folders that are bound for links in the data root."""
COPY = "put the files themselves there: `cp -rL`, `git annex unlock`, or DVC's `cache.type copy`"
MEMORY_SHARE = 0.9
"""Of the engine's memory, where no limit is given."""


@dataclass(frozen=True)
class Limits:
    """What a container gets: bytes of memory (no swap), cores (None: all), processes, shared memory
    and /tmp."""

    memory: int
    divided: bool = False
    """`memory` is for all containers that run at once, and each gets an equal part."""
    cpus: float | None = None
    pids: int = 1024
    shm: str = "1g"
    tmp: str = "4g"


@dataclass(frozen=True)
class ContainerSettings:
    """What is the same for all containers of an executor: image id, user and group, limits."""

    image: str
    user: tuple[int, int]
    limits: Limits
    command: tuple[str, ...] = COMMAND

    def shared_by(self, containers: int) -> ContainerSettings:
        """The place where so many containers run at once."""
        if not self.limits.divided:
            return self
        return replace(
            self, limits=replace(self.limits, memory=self.limits.memory // max(1, containers))
        )


def container_options(
    place: ContainerSettings, gpu: str | None, threads: int, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Arguments of `containers.create` that hold for every container. `gpu` is an index or UUID."""
    uid, gid = place.user
    limits = place.limits
    capabilities = ["gpu", "compute", "utility"]
    cpus = {} if limits.cpus is None else {"nano_cpus": int(limits.cpus * 1e9)}
    gpus = (
        {}
        if gpu is None
        else {"device_requests": [{"device_ids": [gpu], "capabilities": [capabilities]}]}
    )
    return (
        cpus
        | gpus
        | {
            "image": place.image,
            "detach": True,
            "init": True,  # without it a stop takes seconds and kills
            "user": f"{uid}:{gid}",
            "network_mode": "none",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": limits.pids,
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,
            "shm_size": limits.shm,
            # The mode of a tmpfs is that of the image's folder, so the owner is said; compiled
            # kernels need exec.
            "tmpfs": {"/tmp": f"rw,exec,size={limits.tmp},uid={uid},gid={gid}"},  # noqa: S108
            "working_dir": "/tmp",  # noqa: S108
            "environment": container_environment(place.image, threads)
            | ({} if gpu is None else chosen_gpu(gpu)),
            "use_config_proxy": False,
            "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
            "labels": {LABEL: "1", **{f"{LABEL}.{k}": v for k, v in labels.items()}},
        }
    )


def container_environment(image: str, threads: int) -> dict[str, str]:
    """Variables of a container: the user need not exist in the image, so its home and name are
    said."""
    own = {"HOME": "/tmp", "USER": "albench", "LOGNAME": "albench", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108
    return worker_environment(threads) | own | {"ALBENCH_IMAGE": image}


def chosen_gpu(gpu: str) -> dict[str, str]:
    """By which the worker checks that torch computes on the GPU that was meant; an index is the
    host's and says nothing."""
    return {CHOSEN_GPU: gpu} if gpu.startswith(("GPU-", "MIG-")) else {}


def worker_command(place: ContainerSettings, job: Job, time_limit: float | None) -> list[str]:
    """What runs: the worker, with folders as the container sees them."""
    _, *rest = guard_cache(job, OUT).argv(time_limit, out=OUT, data="/data", cache="/cache")
    if job.device.startswith("cuda"):  # the one GPU it is given is its first
        rest[rest.index("--device") + 1] = "cuda"
    return [*place.command, "/in/trial.json", *rest]


def list_mounts(job: Job, trial: Trial) -> list[dict[str, Any]]:
    """Folders of a job. Sources must exist: unlike volumes, missing ones are refused instead of
    made (as root)."""
    bound = [
        _bind_mount(job.out / "trial.json", "/in/trial.json"),
        _bind_mount(job.out / WORK, OUT, writable=True),
        _bind_mount(job.cache, "/cache", writable=not is_foreign(trial)),
    ]
    if job.data.is_dir():
        bound.append(_bind_mount(job.data, "/data"))
        bound += [_bind_mount(source, target) for source, target in list_links(job.data)]
    return bound + [_bind_mount(Path(file), file) for file in list_plugins(trial)]


def command_identity(command: Sequence[str]) -> list[str]:
    """A command without its time limit and without --fresh, which is history once it runs."""
    rest = [word for word in command if word != "--fresh"]
    place = rest.index("--time-limit") if "--time-limit" in rest else len(rest)
    return rest[:place] + rest[place + 2 :]


def _bind_mount(source: Path, target: str, *, writable: bool = False) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source.resolve()),
        "Target": target,
        "ReadOnly": not writable,
    }


@functools.cache
def list_links(data: Path) -> tuple[tuple[Path, str], ...]:
    """Where links anywhere in the data root lead (DVC, git-annex, datalad): what to bind, and its
    place as the links name it from /data. Inside a container they would dangle. Raises UsageError
    where that cannot be done.

    Stores of many files are bound as whole folders.
    """
    found: dict[str, Path] = {}
    _collect_links(data.resolve(), PurePosixPath("/data"), found, set())
    return tuple(
        (source, str(target))
        for target, source in sorted(_merge_sources(found, data.resolve()).items())
    )


def _collect_links(
    folder: Path, seen: PurePosixPath, found: dict[str, Path], walked: set[Path]
) -> None:
    """Adds what links below a folder name that is not below /data; `seen` is the folder as the
    container names it.

    Raises UsageError for a link to where a container has its own folders, before what it leads to
    is walked: `/`, say.
    """
    if folder in walked:
        return
    walked.add(folder)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if not entry.is_symlink():
                if entry.is_dir():
                    _collect_links(path, seen / entry.name, found, walked)
                continue
            named = PurePosixPath(os.path.normpath(seen / path.readlink()))
            if path.exists() and not named.is_relative_to("/data"):
                if any(PurePosixPath(own).is_relative_to(named) for own in OWN):
                    raise UsageError(
                        f"a link leads to {path.resolve()}, which a container has at the place of "
                        "its own folders",
                        where=str(path),
                        remedy=COPY,
                    )
                found[str(named)] = path.resolve()
                if path.is_dir():
                    _collect_links(path.resolve(), named, found, walked)


def _merge_sources(found: Mapping[str, Path], data: Path) -> dict[PurePosixPath, Path]:
    """At most BINDS sources that hold all of these, by their places: many files of one folder
    become that folder."""
    here = {PurePosixPath(target): source for target, source in found.items()}
    while len(here) > BINDS:
        movable = [target for target, source in here.items() if source.name == target.name]
        depth = max((len(target.parts) for target in movable), default=0)
        merged = {
            target: source
            for target, source in here.items()
            if target not in movable or len(target.parts) < depth
        }
        for target in movable:
            if len(target.parts) == depth:
                origin = here[target].parent
                if merged.setdefault(target.parent, origin) != origin or _is_too_much(
                    target.parent, origin, data
                ):
                    movable = []
        if not movable:
            raise UsageError(
                f"{len(found)} files of the data root are links to other places, more than a "
                "container can be given",
                where=str(data),
                remedy=COPY,
            )
        here = merged
    return {
        target: source
        for target, source in here.items()
        if not any(
            above in here and here[above] / target.relative_to(above) == source
            for above in target.parents
        )
    }


def _is_too_much(place: PurePosixPath, origin: Path, data: Path) -> bool:
    """Whether a folder holds more than a store of data: the data root itself, somebody's home, a
    first folder of the system."""
    return (
        data.is_relative_to(origin) or Path.home().is_relative_to(origin) or len(place.parts) <= 2
    )


def list_plugins(trial: Trial) -> list[str]:
    """Files of components from outside the project, which a container sees at the same place."""
    named = (name.rpartition(":")[0] for _, name in component_names_of(trial) if ":" in name)
    return sorted({file for file in named if file.endswith(".py")})


def container_user(override: str | None, *, rootless: bool = False) -> tuple[int, int]:
    """Who works in the container: as asked (`uid:gid`), else the caller, and uid 65534 where the
    caller is root.

    In a rootless engine root inside is the caller outside. Raises UsageError.
    """
    if override:
        uid, _, gid = override.partition(":")
        if not (uid.isdigit() and (gid or uid).isdigit()):
            raise UsageError(
                f"'{override}' is not uid:gid",
                where="ALBENCH_DOCKER_USER",
                remedy="say it in numbers",
            )
        return int(uid), int(gid or uid)
    if rootless:
        return 0, 0
    return NOBODY if os.geteuid() == 0 else (os.getuid(), os.getgid())


def chown_to_container_user(folder: Path, user: tuple[int, int]) -> None:
    """Where root runs the host side: give what root owns in a folder to the container's user."""
    if os.geteuid() != 0 or user[0] == 0:
        return
    files.change_owner(folder, *user)


def memory_limit(text: str | None, total: int) -> int:
    """Bytes from `12g`, `512m` or a number; without, a share of the engine's memory. Raises
    UsageError."""
    if not text:
        return int(total * MEMORY_SHARE)
    units = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
    number, unit = (text[:-1], text[-1].lower()) if text[-1].lower() in units else (text, "b")
    try:
        found = int(float(number) * units[unit])
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is not an amount of memory",
            where="ALBENCH_DOCKER_MEMORY",
            remedy="say it as 12g or 800m",
        ) from None
    if found < LEAST_MEMORY:
        raise UsageError(
            f"{text} is too little memory for a worker",
            where="ALBENCH_DOCKER_MEMORY",
            remedy="give at least 64m, say 12g",
        )
    return found


def cpu_limit(text: str | None, there: int) -> float | None:
    """Cores from a number; None, all, without. `there` is how many the engine has. Raises
    UsageError."""
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.01 <= found <= there:
        raise UsageError(
            f"'{text}' is no number of cores between 0.01 and the engine's {there}",
            where="ALBENCH_DOCKER_CPUS",
            remedy="give such a number, or nothing for all of them",
        )
    return found
