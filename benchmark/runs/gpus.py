"""The GPUs of this machine: what the driver lists, what torch can use, and what is in the way.
Never imports torch.

nvidia-smi says what is there; only torch, asked in a process of its own, says what computes.
Everybody who asks about GPUs (`doctor`, `--device auto`, the pool of an executor, containers,
cluster nodes, the worker) asks here. The order is PCI's.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from benchmark.errors import ExecutorError
from benchmark.runs.variables import FIXED_NUMBERS
from benchmark.spec.base import Spec

QUERY_SECONDS = 20.0
"""nvidia-smi hangs when a driver is broken; after this long the machine counts as having no GPU."""
PROBE_SECONDS = 120.0
"""torch's import and a first CUDA context, on a cold disk."""
BRANCHES = {11: 450, 12: 525, 13: 580}
"""Oldest driver branch for a wheel of each major version of CUDA (NVIDIA, "CUDA Compatibility",
minor version compatibility)."""
TRACES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")
"""What an NVIDIA driver leaves where it is loaded, without or with nvidia-smi."""
CHOSEN_GPU, MEMORY_SHARE = "ALBENCH_CHOSEN_GPU", "ALBENCH_GPU_MEMORY_SHARE"
"""Variables in which an executor gives a worker the UUID of its GPU, and what part of its memory it
may take."""
NAMES = "ALBENCH_GPUS"
"""Variable that names the GPUs to use, by index or UUID."""
INSTALL = "install NVIDIA's driver until `nvidia-smi` lists one, or use --device cpu"


class Gpu(Spec):
    """One graphics processor, or one MIG slice of it."""

    uuid: str
    """As CUDA_VISIBLE_DEVICES takes it: `GPU-...` or `MIG-...`."""
    name: str
    """torch's name where torch was asked (it names the profile of a slice), else the driver's."""
    driver: str
    capability: str
    multiprocessors: int = 0
    memory: int = 0
    """Bytes."""

    @property
    def kind(self) -> tuple[str, str, str, int]:
        """What equal cards have in common."""
        return self.name, self.driver, self.capability, self.multiprocessors


class Answer(Spec):
    """What one process with torch says; see `benchmark.runs.device_probe`."""

    torch: str = ""
    cuda: str = ""
    """Version of CUDA that the wheel was built with; empty for a wheel without CUDA."""
    cudnn: str = ""
    architectures: tuple[str, ...] = ()
    """What the wheel has kernels for: `sm_75`, ..."""
    gpus: tuple[Gpu, ...] = ()
    faults: tuple[str, ...] = ()
    """For each GPU what went wrong when it computed; empty where nothing did."""
    warning: str = ""
    """torch's own words where it sees no device."""


class Problem(Spec):
    """Why a GPU cannot be used, and what to do about it."""

    text: str
    remedy: str


class Survey(Spec):
    """What is known of the GPUs of this machine, in the order of their PCI addresses."""

    listed: tuple[Gpu, ...] = ()
    """As the driver lists them, slices in place of the GPUs that are cut up."""
    usable: tuple[Gpu, ...] = ()
    """Those that torch sees and that compute, in the order in which torch counts them."""
    problems: tuple[Problem, ...] = ()
    cudnn: str = ""


class DeviceMissing(ExecutorError):
    """There is no such GPU, or it cannot compute. A fault of the machine, never of the command."""


@cache
def survey_gpus() -> Survey:
    """The GPUs that this process may use; torch is asked once, and only where there is a driver."""
    listed = list_driver()
    if not listed:
        if not any(Path(trace).exists() for trace in TRACES):
            return Survey()
        return judge_answers((), [ask_torch(None)])
    visible = _visible_gpus(listed, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if any(gpu.uuid.startswith("MIG-") for gpu in visible):  # a process sees one slice at most
        with ThreadPoolExecutor(4) as pool:
            return judge_answers(visible, list(pool.map(ask_torch, [gpu.uuid for gpu in visible])))
    return judge_answers(visible, [ask_torch(None)])


def usable_gpus() -> tuple[Gpu, ...]:
    """GPUs that compute, in the order in which torch counts them."""
    return survey_gpus().usable


def survey_from(answer: Answer) -> Survey:
    """The survey of a process that has torch itself: no other process is started to ask."""
    return judge_answers(
        _visible_gpus(list_driver(), os.environ.get("CUDA_VISIBLE_DEVICES")), [answer]
    )


def find_gpu(index: int, found: Survey | None = None) -> Gpu:
    """The GPU that torch counts as `index`. Raises DeviceMissing, with what is in its way."""
    known = survey_gpus() if found is None else found
    if index < len(known.usable):
        return known.usable[index]
    raise missing_gpu(f"cuda:{index}", known)


def missing_gpu(device: str, found: Survey) -> DeviceMissing:
    """The error for a device that is not there."""
    count = len(found.usable)
    found_by_torch = (
        f"device {device} was asked for, but "
        f"{f'only {count} of its kind can be used' if count else 'none can be used'}"
    )
    if found.problems:
        return DeviceMissing(
            f"{found_by_torch}: {found.problems[0].text}", remedy=found.problems[0].remedy
        )
    return DeviceMissing(
        f"{found_by_torch}: the driver lists {len(found.listed)} GPUs", remedy=INSTALL
    )


# --------------------------------------------------------------------------------------- the driver


def list_driver() -> tuple[Gpu, ...]:
    """What nvidia-smi lists, MIG slices in place of their GPUs; empty without a working driver."""
    text = _nvidia_smi("--query-gpu=uuid,name,driver_version,compute_cap", "--format=csv,noheader")
    rows = [
        [cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if len(row) == 4
    ]
    cards = [
        Gpu(uuid=uuid, name=name, driver=driver, capability=capability)
        for uuid, name, driver, capability in rows
    ]
    slices = _parse_slices(_nvidia_smi("-L")) if cards else {}
    listed: list[Gpu] = []
    for card in cards:
        parts = slices.get(card.uuid, ())
        listed += [
            card.model_copy(update={"uuid": uuid, "name": f"{card.name} {name}"})
            for name, uuid in parts
        ]
        listed += [] if parts else [card]
    return tuple(listed)


def _nvidia_smi(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=QUERY_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _parse_slices(text: str) -> dict[str, list[tuple[str, str]]]:
    """Name (`MIG 1g.10gb`) and UUID of the slices of each GPU, from `nvidia-smi -L`."""
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in text.splitlines():
        if whole := re.match(r"GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)", line):
            card = whole[1]
        elif part := re.match(r"\s+(MIG \S+)\s+Device\s+\d+: \(UUID: (MIG-[^)\s]+)\)", line):
            found.setdefault(card, []).append((part[1], part[2]))
    return found


def _visible_gpus(listed: Sequence[Gpu], wanted: str | None) -> tuple[Gpu, ...]:
    """What CUDA_VISIBLE_DEVICES leaves: as in CUDA, the list ends at the first entry that names no
    GPU."""
    if wanted is None:
        return tuple(listed)
    chosen: list[Gpu] = []
    for entry in wanted.split(","):
        name = entry.strip()
        if name.isdigit():
            found = list(listed[int(name) : int(name) + 1])
        else:
            found = [gpu for gpu in listed if name and gpu.uuid.startswith(name)][:1]
        if not found:
            break
        chosen += found
    return tuple(chosen)


# -------------------------------------------------------------------------------------------- torch


def ask_torch(uuid: str | None) -> Answer:
    """What torch says in a process of its own, of one GPU or slice (None: of all that this process
    may use)."""
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "CUDA_DEVICE_ORDER": FIXED_NUMBERS["CUDA_DEVICE_ORDER"]}
    env["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    if uuid is not None:
        env["CUDA_VISIBLE_DEVICES"] = uuid
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmark.runs.device_probe"],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            env=env,
            stdin=subprocess.DEVNULL,
        )
        lines = done.stdout.strip().splitlines()
        return Answer.model_validate_json(lines[-1] if lines else "")
    except ValidationError:
        lines = done.stderr.strip().splitlines()
        return Answer(
            warning=lines[-1] if lines else f"it ended with exit status {done.returncode}"
        )
    except subprocess.TimeoutExpired:
        return Answer(warning=f"it did not answer within {PROBE_SECONDS:.0f} s")
    except OSError as error:
        return Answer(warning=str(error))


def judge_answers(listed: Sequence[Gpu], answers: Sequence[Answer]) -> Survey:
    """What can be used, and why the rest cannot. `answers` is one for all of `listed`, or one for
    each."""
    usable: list[Gpu] = []
    problems: list[Problem] = []
    each = len(answers) == len(listed) > 1 or any(gpu.uuid.startswith("MIG-") for gpu in listed)
    for number, answer in enumerate(answers):
        asked = listed[number : number + 1] if each else listed
        if not answer.gpus:
            problems.append(_explain_unseen(asked, answer))
        for place, (gpu, fault) in enumerate(zip(answer.gpus, answer.faults, strict=True)):
            known = _listed_gpu(gpu, asked, place)
            whole = known.model_copy(
                update={
                    "name": gpu.name,
                    "capability": gpu.capability,
                    "multiprocessors": gpu.multiprocessors,
                    "memory": gpu.memory,
                }
            )
            problem = _explain_fault(whole, fault, answer)
            if problem is None:
                usable.append(whole)
            else:
                problems.append(problem)
    cudnn = next((answer.cudnn for answer in answers if answer.cudnn), "")
    unique = tuple(dict.fromkeys((problem.text, problem.remedy) for problem in problems))
    return Survey(
        listed=tuple(listed),
        usable=tuple(usable),
        cudnn=cudnn,
        problems=tuple(Problem(text=text, remedy=remedy) for text, remedy in unique),
    )


def _listed_gpu(gpu: Gpu, listed: Sequence[Gpu], place: int) -> Gpu:
    """The driver's line of a GPU that torch sees: by UUID, else by place in PCI's order; torch's
    own where there is none."""
    bare = _bare_uuid(gpu.uuid)
    for known in listed:
        if bare and _bare_uuid(known.uuid) == bare:
            return known
    if place < len(listed):
        return listed[place]
    return gpu.model_copy(update={"uuid": f"GPU-{bare}" if bare else str(place)})


def _bare_uuid(uuid: str) -> str:
    """A UUID without the driver's prefix, which torch does not give."""
    return re.sub(r"^(GPU|MIG)-", "", uuid).lower()


def _explain_unseen(listed: Sequence[Gpu], answer: Answer) -> Problem:
    """Why torch sees no device although there is a driver."""
    names = ", ".join(sorted({gpu.name for gpu in listed})) or "a GPU"
    driver = next((gpu.driver for gpu in listed if gpu.driver), "")
    needed = needed_branch(answer.cuda)
    if not answer.torch:
        return Problem(
            text=f"torch could not be asked about {names}: {answer.warning}",
            remedy="run `make setup`, or use --device cpu",
        )
    if not answer.cuda:
        return Problem(
            text=f"torch {answer.torch} is a build without CUDA, so {names} cannot be used",
            remedy="install the locked packages with `make setup`, or use --device cpu",
        )
    if driver and needed and _driver_branch(driver) < needed:
        return Problem(
            text=f"driver {driver} is too old for torch {answer.torch}: CUDA {answer.cuda} needs "
            f"branch {needed} or newer, so {names} cannot be used",
            remedy=f"install NVIDIA driver {needed} or newer, or use --device cpu",
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None and not listed:
        return Problem(
            text="CUDA_VISIBLE_DEVICES hides every GPU", remedy="unset it, or use --device cpu"
        )
    words = f": {answer.warning}" if answer.warning else ""
    return Problem(
        text=f"the driver lists {names}, but torch {answer.torch} sees no device{words}",
        remedy="repair or restart the driver (a reboot after an update), or use --device cpu",
    )


def _explain_fault(gpu: Gpu, fault: str, answer: Answer) -> Problem | None:
    """Why a GPU that torch sees cannot be used."""
    if answer.architectures and not _has_kernels(gpu.capability, answer.architectures):
        lists = ", ".join(answer.architectures)
        return Problem(
            text=f"torch {answer.torch} has no kernels for {gpu.name}: its compute capability is "
            f"{gpu.capability}, the wheel has {lists}",
            remedy="install a build of torch for this GPU, or use another one or --device cpu",
        )
    if fault:
        return Problem(
            text=f"{gpu.name} does not compute: {fault}",
            remedy=(
                "see `nvidia-smi` for other programs on it and for errors of its memory, or use "
                "--device cpu"
            ),
        )
    return None


def _has_kernels(capability: str, architectures: Sequence[str]) -> bool:
    """Whether a wheel runs on a GPU: binaries run on later minor versions of their major one, PTX
    on all later ones."""
    major, minor = (int(part) for part in capability.split("."))
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if found is None:
            continue
        have = int(found[2]), int(found[3])
        if found[4] == "a":
            fits = have == (major, minor)
        elif found[1] == "compute":
            fits = have <= (major, minor)
        else:
            fits = have[0] == major and have[1] <= minor
        if fits:
            return True
    return False


def needed_branch(cuda: str) -> int:
    """The oldest driver branch for a wheel's version of CUDA; 0 where it is not known."""
    major = cuda.partition(".")[0]
    return BRANCHES.get(int(major), 0) if major.isdigit() else 0


def _driver_branch(driver: str) -> int:
    major = driver.partition(".")[0]
    return int(major) if major.isdigit() else 0
