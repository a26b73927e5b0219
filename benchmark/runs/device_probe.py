"""What torch says of the GPUs of this process, and whether each computes.

`python -m benchmark.runs.device_probe` prints it as JSON.

A process of its own asks, as torch takes long to import and a CUDA context takes memory: see
`benchmark.runs.gpus`.
"""

from __future__ import annotations

import sys
import warnings

import torch

from benchmark.runs.gpus import Answer, Gpu

SIDE = 64
"""Rows and columns of the matrices that are multiplied to see whether a device computes."""


def ask_torch() -> Answer:
    """What torch sees, in its own order. Never raises: what goes wrong is part of the answer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        warned = " ".join(" ".join(str(one.message) for one in caught).split())
    devices = (
        [_describe_device(index) for index in range(torch.cuda.device_count())] if available else []
    )
    return Answer(
        torch=torch.__version__,
        cuda=torch.version.cuda or "",
        cudnn=_cudnn_version() if torch.version.cuda else "",
        architectures=_wheel_architectures(),
        gpus=tuple(gpu for gpu, _ in devices),
        faults=tuple(fault for _, fault in devices),
        warning=warned,
    )


def _describe_device(index: int) -> tuple[Gpu, str]:
    """A device, and what goes wrong when it computes (empty: nothing)."""
    found = torch.cuda.get_device_properties(index)
    gpu = Gpu(
        uuid=str(getattr(found, "uuid", "")),
        name=found.name,
        driver="",
        capability=f"{found.major}.{found.minor}",
        multiprocessors=int(getattr(found, "multi_processor_count", 0)),
        memory=int(getattr(found, "total_memory", 0)),
    )
    try:
        ones = torch.ones(SIDE, SIDE, device=f"cuda:{index}")
        total = float((ones @ ones).sum())
    except Exception as error:
        return gpu, (str(error).strip().splitlines() or [type(error).__name__])[0]
    expected = float(SIDE**3)
    return (
        gpu,
        ""
        if total == expected
        else f"a product of matrices of ones sums to {total}, not to {expected}",
    )


def _wheel_architectures() -> tuple[str, ...]:
    """What the wheel has kernels for (`sm_90`), also where there is no device."""
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: "")()
    return tuple((flags or "").split())


def _cudnn_version() -> str:
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return "" if version is None else str(version)


if __name__ == "__main__":
    print(ask_torch().model_dump_json())
    sys.exit(0)
