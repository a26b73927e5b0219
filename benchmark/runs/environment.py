"""What runs: the environment of a trial, the digest of the code, the revision, the packages. Never
imports torch.

The host computes the environment to know where results belong, the worker to say what ran; both get
the same answer. `python -m benchmark.runs.environment` prints it as JSON, for hosts that cannot see
the machine (a container, a cluster node).
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from benchmark.errors import AlbenchError, UsageError
from benchmark.runs import gpus
from benchmark.runs.code_digest import code_digest
from benchmark.runs.events import Environment, Precision, Step
from benchmark.runs.gpus import Gpu, Survey
from benchmark.runs.variables import numeric_variables
from benchmark.spec.base import Spec

MemoryFormat = Literal["contiguous", "channels_last"]
MEMORY_FORMATS: Mapping[tuple[str, Precision], MemoryFormat] = {}
"""Layout of images and convolution weights by device and precision, where it is not channels_last.
It is part of the environment's identity. On a CPU channels_last is the faster one
(docs/performance.md); GPUs were not measured, and the rows NCHW and NHWC of tests/bench/gpu_rows.py
decide."""
PACKAGE = Path(__file__).parents[1]
QUERY_SECONDS = 20.0
"""git may wait for a lock or a dead network folder; after this long nothing is known of the
revision."""
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torchvision", "Pillow")
"""Distributions whose arithmetic can decide picks or pixels, beside torch."""

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
    (
        "AVX512_CORE_AMX",
        _AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"},
    ),
)
"""Instruction sets of oneDNN (its documented names for ONEDNN_MAX_CPU_ISA), least first."""


class Revision(Spec):
    """State of the project's source: commit (empty outside a repository) and whether files differ
    from it."""

    commit: str
    dirty: bool


def describe_environment(
    device: str,
    precision: Precision = "fp32",
    threads: int = 1,
    step: Step = "eager",
    *,
    image: str = "",
    memory_format: MemoryFormat | None = None,
    compiled: bool = False,
    survey: Survey | None = None,
    gpu: Gpu | None = None,
) -> Environment:
    """The environment of a trial on this machine. `device` is `auto`, `cpu`, `cuda` or `cuda:N`.

    `survey` is what is known of the GPUs (None: they are asked), `gpu` the one that is meant (None:
    `device` says which); `memory_format` None is that of MEMORY_FORMATS. Raises UsageError for
    other names and for a step that the device cannot do, DeviceMissing for a GPU that cannot be
    used.
    """
    chosen = resolve_device(device)
    check_step(step, chosen)
    kind, _, index = chosen.partition(":")
    versions = library_versions()
    if kind == "cuda":
        known = gpus.survey_gpus() if survey is None else survey
        gpu = gpu or gpus.find_gpu(int(index or 0), known)
        model = gpu.name
        isa = gpu.capability
        driver = gpu.driver
        multiprocessors = gpu.multiprocessors
        versions |= {"cudnn": known.cudnn} if known.cudnn else {}
    else:
        model, isa, driver, multiprocessors = (*describe_cpu(), "", 0)
    return Environment(
        code=loaded_code(),
        python=platform.python_version(),
        torch=torch_version(),
        libraries=versions,
        device=kind,
        device_model=model,
        isa=isa,
        driver=driver,
        multiprocessors=multiprocessors,
        variables=numeric_variables(kind),
        threads=threads,
        precision=precision,
        step=step,
        memory_format=memory_format or MEMORY_FORMATS.get((kind, precision), "channels_last"),
        compiled=compiled,
        deterministic=True,
        image=image,
    )


def resolve_device(name: str) -> str:
    """`auto` becomes `cuda` where torch can use a GPU, else `cpu`; other names are checked and
    returned."""
    if name == "auto":
        return "cuda" if gpus.usable_gpus() else "cpu"
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


# ----------------------------------------------------------------------------------------- hardware


def describe_cpu(text: str | None = None, env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Model and instruction sets of the processor. `text` is the content of /proc/cpuinfo (None:
    read it).

    The instruction sets are the ones torch and oneDNN choose kernels by, after their own limits in
    `env`.
    """
    fields = _first_processor(_read_text("/proc/cpuinfo") if text is None else text)
    name = (
        fields.get("model name")
        or fields.get("CPU part")
        or platform.processor()
        or platform.machine()
    )
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    if not flags & {"sse2"}:
        return ", ".join([name, *numbers]), " ".join(
            [platform.machine(), *sorted(flags & {"asimd", "sve", "sve2", "bf16"})]
        )
    aten = _highest_level(ATEN, flags, env.get("ATEN_CPU_CAPABILITY", ""))
    onednn = _highest_level(
        ONEDNN, flags, env.get("ONEDNN_MAX_CPU_ISA") or env.get("DNNL_MAX_CPU_ISA") or ""
    )
    return ", ".join([name, *numbers]), f"{aten}/{onednn}"


def _first_processor(text: str) -> dict[str, str]:
    block = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _highest_level(levels: tuple[tuple[str, set[str]], ...], flags: set[str], limit: str) -> str:
    names = [name for name, _ in levels]
    allowed = levels[: names.index(limit.upper()) + 1] if limit.upper() in names else levels
    return [name for name, needed in allowed if needed <= flags][-1]


# ----------------------------------------------------------------------------------------- software


@functools.cache
def loaded_code() -> str:
    """The code digest when this process first asked: files edited later are not what it runs."""
    return code_digest()


def library_versions() -> dict[str, str]:
    """Versions of LIBRARIES, of those that are installed."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name.lower()] = importlib.metadata.version(name)
    return found


def torch_version() -> str:
    """Version of torch with its build (`2.9.0+cu128`), without importing it; empty if it is not
    installed."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return ""
    built = re.search(
        r"^__version__ = '([^']+)'",
        _read_text(str(Path(found.origin).with_name("version.py"))),
        re.MULTILINE,
    )
    return built[1] if built else importlib.metadata.version("torch")


def find_revision(root: Path = PACKAGE.parent) -> Revision:
    """The commit of the project's source; from ALBENCH_REVISION where there is no repository (an
    image). `unknown` where there is one that git does not read."""
    commit = _git_revision(root, "rev-parse", "HEAD")
    if commit is None and (root / ".git").exists():
        return Revision(commit="unknown", dirty=False)
    if commit is None:
        return Revision(commit=os.environ.get("ALBENCH_REVISION", ""), dirty=False)
    return Revision(commit=commit, dirty=_git_revision(root, "status", "--porcelain") != "")


def list_packages() -> dict[str, str]:
    """Installed distributions and their versions."""
    found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {name: version for name, version in sorted(found.items()) if name}


def _git_revision(root: Path, *arguments: str) -> str | None:
    # The folder may be another user's (a container in a CI, sudo): its code runs already, so git
    # may read it, without its hooks.
    trusted = ["-c", f"safe.directory={root.resolve()}", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *trusted, *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=QUERY_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main(argv: list[str] | None = None) -> int:
    """Print the environment of this machine as JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmark.runs.environment", description="Print the environment as JSON."
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", default="eager", choices=get_args(Step))
    options = parser.parse_args(argv)
    image = os.environ.get("ALBENCH_IMAGE", "")
    try:
        found = describe_environment(
            options.device, options.precision, options.threads, options.step, image=image
        )
    except AlbenchError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return int(error.exit_code)
    print(found.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
