"""What runs: the environment of a trial, the digest of the code, the revision, the packages. Never imports torch.

The host computes the environment to know where results belong, the worker to say what ran; both get the same answer.
`python -m benchmark.provenance` prints it as JSON, for hosts that cannot see the machine (a container, a cluster node).
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from benchmark.errors import ExecutorError, UsageError
from benchmark.events import Environment, Precision, Step
from benchmark.spec.models import Spec

PACKAGE = Path(__file__).parent
QUERY_SECONDS = 20.0
"""nvidia-smi hangs when a driver is broken; after this long the machine counts as having no GPU."""

_AVX2 = {"avx", "avx2", "fma"}
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
ATEN: tuple[tuple[str, set[str]], ...] = (("DEFAULT", set()), ("AVX2", _AVX2), ("AVX512", _AVX512))
"""Kernel sets of torch and the processor flags they need, least first."""
ONEDNN: tuple[tuple[str, set[str]], ...] = (
    ("DEFAULT", set()),
    ("SSE41", {"sse4_1"}),
    ("AVX", {"avx"}),
    ("AVX2", _AVX2),
    ("AVX512_CORE", _AVX512),
    ("AVX512_CORE_VNNI", _AVX512 | {"avx512_vnni"}),
    ("AVX512_CORE_BF16", _AVX512 | {"avx512_vnni", "avx512_bf16"}),
    ("AVX512_CORE_FP16", _AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16"}),
    ("AVX512_CORE_AMX", _AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}),
)
"""Instruction sets of oneDNN (its documented names for ONEDNN_MAX_CPU_ISA), least first."""


class Gpu(Spec):
    """One graphics processor as the driver names it."""

    uuid: str
    name: str
    driver: str
    capability: str


class Revision(Spec):
    """State of the project's source: commit (empty outside a repository) and whether files differ from it."""

    commit: str
    dirty: bool


def environment(
    device: str,
    precision: Precision = "fp32",
    threads: int = 1,
    step: Step = "eager",
    *,
    image: str = "",
    memory_format: Literal["contiguous", "channels_last"] = "channels_last",
    compiled: bool = False,
) -> Environment:
    """The environment of a trial on this machine. `device` is `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises UsageError for other names and for a step that the device cannot do, ExecutorError for a GPU that the driver does
    not list.
    """
    chosen = resolve_device(device)
    check_step(step, chosen)
    kind, _, index = chosen.partition(":")
    if kind == "cuda":
        listed = gpus()
        place = int(index or 0)
        if place >= len(listed):
            raise ExecutorError(
                f"device {chosen} was asked for, but the driver lists {len(listed)} GPUs",
                remedy="use --device cpu, or mend the driver (`nvidia-smi` must list the GPU)",
            )
        gpu = listed[place]
        model, isa, driver = gpu.name, gpu.capability, gpu.driver
    else:
        model, isa, driver = (*cpu(), "")
    return Environment(
        code=loaded_code(), python=platform.python_version(), torch=torch_version(), device=kind, device_model=model,
        isa=isa, driver=driver, threads=threads, precision=precision, step=step, memory_format=memory_format,
        compiled=compiled, deterministic=True, image=image,
    )  # fmt: skip


def resolve_device(name: str) -> str:
    """`auto` becomes `cuda` where the driver lists a GPU, else `cpu`; other names are checked and returned."""
    if name == "auto":
        return "cuda" if gpus() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"no device '{name}'", remedy="use auto, cpu, cuda or cuda:N")
    return name


def check_step(step: Step, device: str) -> None:
    """Raise UsageError where the device cannot make such steps."""
    if step == "captured" and device == "cpu":
        raise UsageError(
            "--step captured: steps are captured as CUDA graphs, and this is a CPU",
            remedy="use --step together, which computes the same, or --device cuda",
        )


# ---------------------------------------------------------------------------------------------------------- hardware


def cpu(text: str | None = None, env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Model and instruction sets of the processor. `text` is the content of /proc/cpuinfo (None: read it).

    The instruction sets are the ones torch and oneDNN choose kernels by, after their own limits in `env`.
    """
    fields = _first_processor(_read("/proc/cpuinfo") if text is None else text)
    name = fields.get("model name") or fields.get("CPU part") or platform.processor() or platform.machine()
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    if not flags & {"sse2"}:
        return ", ".join([name, *numbers]), " ".join(
            [platform.machine(), *sorted(flags & {"asimd", "sve", "sve2", "bf16"})]
        )
    aten = _best(ATEN, flags, env.get("ATEN_CPU_CAPABILITY", ""))
    onednn = _best(ONEDNN, flags, env.get("ONEDNN_MAX_CPU_ISA") or env.get("DNNL_MAX_CPU_ISA") or "")
    return ", ".join([name, *numbers]), f"{aten}/{onednn}"


def _first_processor(text: str) -> dict[str, str]:
    block = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _best(levels: tuple[tuple[str, set[str]], ...], flags: set[str], limit: str) -> str:
    names = [name for name, _ in levels]
    allowed = levels[: names.index(limit.upper()) + 1] if limit.upper() in names else levels
    return [name for name, needed in allowed if needed <= flags][-1]


@cache
def gpus() -> tuple[Gpu, ...]:
    """GPUs that this process may use, in the order torch counts them; empty without a working driver."""
    command = ["nvidia-smi", "--query-gpu=uuid,name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in row] for row in csv.reader(done.stdout.splitlines()) if len(row) == 4]
    listed = [
        Gpu(uuid=uuid, name=name, driver=driver, capability=capability) for uuid, name, driver, capability in rows
    ]
    return _visible(listed, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _visible(listed: list[Gpu], wanted: str | None) -> tuple[Gpu, ...]:
    """What CUDA_VISIBLE_DEVICES leaves: as in CUDA, the list ends at the first entry that names no GPU."""
    if wanted is None:
        return tuple(listed)
    chosen: list[Gpu] = []
    for entry in wanted.split(","):
        name = entry.strip()
        if name.isdigit():
            found = listed[int(name) : int(name) + 1]
        else:
            found = [gpu for gpu in listed if name and (gpu.uuid.startswith(name) or name.startswith("MIG-"))][:1]
        if not found:
            break
        chosen += found
    return tuple(chosen)


# ---------------------------------------------------------------------------------------------------------- software


def code_digest(root: Path = PACKAGE) -> str:
    """sha256 (hex) over names and contents of the source files that can move a number: `al` and the worker."""
    total = hashlib.sha256()
    for path in sorted([*(root / "al").rglob("*.py"), root / "worker.py"]):
        if path.is_file() and not path.name.startswith("."):  # nor what macOS and editors leave beside them
            content = path.read_bytes()
            total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


@functools.cache
def loaded_code() -> str:
    """The code digest when this process first asked: files edited later are not what it runs."""
    return code_digest()


def torch_version() -> str:
    """Version of torch with its build (`2.9.0+cu128`), without importing it; empty if it is not installed."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return ""
    built = re.search(r"^__version__ = '([^']+)'", _read(str(Path(found.origin).with_name("version.py"))), re.MULTILINE)
    return built[1] if built else importlib.metadata.version("torch")


def revision(root: Path = PACKAGE.parent) -> Revision:
    """The commit of the project's source; from ALBENCH_REVISION where there is no repository (an image). `unknown` where there
    is one that git does not read."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None and (root / ".git").exists():
        return Revision(commit="unknown", dirty=False)
    if commit is None:
        return Revision(commit=os.environ.get("ALBENCH_REVISION", ""), dirty=False)
    return Revision(commit=commit, dirty=_git(root, "status", "--porcelain") != "")


def packages() -> dict[str, str]:
    """Installed distributions and their versions."""
    found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {name: version for name, version in sorted(found.items()) if name}


def _git(root: Path, *arguments: str) -> str | None:
    # The folder may be another user's (a container in a CI, sudo): its code runs already, so git may read it, without its hooks.
    trusted = ["-c", f"safe.directory={root.resolve()}", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *trusted, *arguments], capture_output=True, text=True, timeout=QUERY_SECONDS, check=True  # noqa: S607
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main(argv: list[str] | None = None) -> int:
    """Print the environment of this machine as JSON."""
    parser = argparse.ArgumentParser(prog="benchmark.provenance", description="Print the environment as JSON.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", default="eager", choices=get_args(Step))
    options = parser.parse_args(argv)
    image = os.environ.get("ALBENCH_IMAGE", "")
    print(environment(options.device, options.precision, options.threads, options.step, image=image).model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
