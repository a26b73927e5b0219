"""Reading pickles of plain containers, numbers, text and numpy arrays, and of nothing else.

A pickle is a program. This reader gives it no function but its own four, which build arrays from
bytes without numpy's own reconstruction code, so that a hostile file can neither run code nor reach
numpy's internals.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = frozenset(
    {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "int64", "uint8"}
)
LIMIT = 2**31
"""Largest array in bytes."""


class _Dtype:
    """Stands for numpy.dtype while a pickle is read."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: str | bytes, *_: object) -> None:
        self.kind, self.order = _as_text(kind), "="
        if self.kind not in KINDS:
            raise pickle.UnpicklingError(f"element type {self.kind!r} is not allowed")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">"}.get(_as_text(state[1]), "=")

    def real(self) -> np.dtype[Any]:
        return np.dtype(self.kind).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """Stands for numpy.ndarray while a pickle is read."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: Any, dtype: _Dtype, shape: Any, order: Any) -> None:
        content = _array_bytes(raw)
        self.values = np.frombuffer(content, dtype.real()).reshape(
            tuple(int(side) for side in shape), order="F" if order == "F" else "C"
        )


def _as_text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _array_bytes(raw: Any) -> bytes:
    """Content of an array. Python 2 wrote the bytes as text; latin-1 gives them back."""
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(content, bytes | bytearray) or len(content) > LIMIT:
        raise pickle.UnpicklingError(f"array content is a {type(raw).__name__} or too large")
    return bytes(content)


def _empty_array(*_: object) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.fill(raw, dtype, shape, order)
    return made


def _read_scalar(dtype: _Dtype, raw: Any) -> int | float:
    value: int | float = np.frombuffer(_array_bytes(raw), dtype.real())[0].item()
    return value


def _encode_text(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "bytes"):
        raise pickle.UnpicklingError(f"text encoding {encoding!r} is not allowed")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _empty_array,
    ("_codecs", "encode"): _encode_text,
    **{
        (f"{home}.multiarray", "_reconstruct"): _empty_array
        for home in ("numpy.core", "numpy._core")
    },
    **{(f"{home}.multiarray", "scalar"): _read_scalar for home in ("numpy.core", "numpy._core")},
    **{(f"{home}.numeric", "_frombuffer"): _from_buffer for home in ("numpy.core", "numpy._core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        # A pickle can set attributes of what it is given: it gets an object of its own each time.
        return lambda *arguments: allowed(*arguments)


def read(path: str | Path) -> dict[str, Any]:
    """The dictionary in a pickle file, keys as text, its arrays as numpy arrays (read-only).

    Raises pickle.UnpicklingError for anything else, a damaged file included.
    """
    try:
        with Path(path).open("rb") as file:
            content = _Reader(file, encoding="latin1").load()
    except (OSError, pickle.UnpicklingError):
        raise
    except Exception as error:  # damaged bytes make the reader fail in many ways
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a dictionary")
    return {
        _as_text(key): value.values if isinstance(value, _Array) else value
        for key, value in content.items()
    }
