"""How arithmetic is done: part of the environment, never of the protocol."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError


@dataclass(frozen=True)
class Numerics:
    """Device, precision and layout of a trial's arithmetic."""

    device: torch.device
    precision: str = "fp32"
    """`fp32`, `tf32`, `bf16`, or `fp64`, in which whole trainings can be compared with those of
    other programs: float32 trainings of equal programs part after some ten steps at a rate of 0.1,
    by rounding alone."""
    channels_last: bool = True
    step: str = "eager"
    """How a training step is made: `eager`, as written; `together`, labelled and unlabelled images
    in one batch of convolutions where an objective has both; `captured`, so and replayed as a CUDA
    graph."""

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def dtype(self) -> torch.dtype:
        """Type of images, weights and losses."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """Half precision for convolutions where chosen; losses and batch norm stay in fp32."""
        return (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision == "bf16"
            else nullcontext()
        )

    def number(self) -> Number:
        """A number that changes from step to step, where a step can read it."""
        # In `together` as in `captured`, so that both round alike.
        return Number(None if self.step == "eager" else self.device)

    def place(self, module: nn.Module) -> nn.Module:
        """The module on the device in the chosen type and layout."""
        return module.to(device=self.device, dtype=self.dtype, memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]


def promote_dtype(x: Tensor) -> Tensor:
    """`x` in the type losses are computed in: float32, or float64 where `x` is."""
    return x if x.dtype == torch.float64 else x.float()


class Number:
    """A number that changes from step to step: a plain one, or, where steps can be captured, one in
    a fixed place on the device."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.value: float | Tensor = (
            0.0 if device is None else torch.zeros((), dtype=torch.float64, device=device)
        )

    def set(self, value: float) -> None:
        """What steps read from now on. Waits for nothing."""
        if isinstance(self.value, Tensor):
            self.value.fill_(value)
        else:
            self.value = value

    def times(self, x: Tensor) -> Tensor:
        """The number, rounded to the type of `x`, times `x`."""
        return (self.value.to(x.dtype) if isinstance(self.value, Tensor) else self.value) * x


def prepare(
    device: str,
    precision: str,
    threads: int,
    step: str = "eager",
    memory_format: str = "channels_last",
) -> Numerics:
    """Set the process up for reproducible arithmetic and return how it is done. Call before any
    tensor work.

    `memory_format` is `channels_last` or `contiguous`.
    """
    torch.set_num_threads(threads)
    if device == "cpu":
        keep_pages()
    elif not torch.cuda.is_available():
        raise UsageError(
            f"device {device} was asked for, but torch sees none",
            remedy="use --device cpu, or repair the driver",
        )
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision in ("tf32", "tf32-conv")
    # The same switch as use_deterministic_algorithms(True), which would import the compiler: longer
    # than torch itself takes.
    torch.set_deterministic_debug_mode("error")
    # Filling every fresh tensor with NaN costs time and guards only against reading uninitialised
    # memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Numerics(torch.device(device), precision, memory_format == "channels_last", step)


def keep_pages() -> None:
    """Make glibc keep freed memory: page faults on large activations cost a fifth of a training
    step and more. -1 is "never give back"; any other number is at most 2 GiB, less than a step on
    large images uses."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)
    except (OSError, AttributeError):  # another C library: slower, not wrong
        return
