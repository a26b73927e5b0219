"""The restricted unpickler reads what numpy writes and refuses everything that could act."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import unpickle


def _python2_array(values: np.ndarray) -> bytes:
    """Opcodes as Python 2 with protocol 2 wrote an array of bytes: text where Python 3 has
    bytes."""
    raw = values.tobytes()
    shape = b"(" + b"".join(b"J" + int(side).to_bytes(4, "little") for side in values.shape) + b"t"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + shape + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    return b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state


def _python2_batch(values: np.ndarray, labels: list[int]) -> bytes:
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + _python2_array(values) + b"U\x06labels" + numbers + b"u."


def test_python_2_pickles_as_published(tmp_path: Path) -> None:
    values = np.arange(512, dtype=np.uint8).reshape(2, 256)
    content = _python2_batch(values, [3, 7])
    oracle = pickle.loads(content, encoding="latin1")
    assert np.array_equal(oracle["data"], values), "the test's own writer must be right"
    (tmp_path / "batch").write_bytes(content)
    found = unpickle.read(tmp_path / "batch")
    assert np.array_equal(found["data"], values) and found["data"].dtype == np.uint8
    assert found["labels"] == [3, 7]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("keys", ["text", "bytes"])
def test_every_protocol(tmp_path: Path, protocol: int, keys: str) -> None:
    arrays: dict[str, Any] = {
        "data": np.arange(60, dtype=np.uint8).reshape(4, 15),
        "order": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "labels": [np.int64(4), 5],
        "names": [b"\xffcat", "dog"],
    }
    content = {key.encode() if keys == "bytes" else key: value for key, value in arrays.items()}
    (tmp_path / "p").write_bytes(pickle.dumps(content, protocol=protocol))
    found = unpickle.read(tmp_path / "p")
    assert np.array_equal(found["data"], arrays["data"]) and np.array_equal(
        found["order"], arrays["order"]
    )
    assert found["labels"] == [4, 5] and found["names"] == [b"\xffcat", "dog"]


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "payload",
    [
        _Call(os.system, "true"),
        _Call(eval, "1 + 1"),
        _Call(subprocess.check_call, ["true"]),
        _Call(getattr, "text", "join"),
        OrderedDict(a=1),
        np.array([OrderedDict()], dtype=object),
        Path("x"),
    ],
    ids=["system", "eval", "subprocess", "getattr", "class", "object array", "path"],
)
def test_code_is_refused(tmp_path: Path, payload: Any) -> None:
    for protocol in (0, 2, 4):
        (tmp_path / "p").write_bytes(pickle.dumps({"data": payload}, protocol=protocol))
        with pytest.raises(pickle.UnpicklingError):
            unpickle.read(tmp_path / "p")


def test_a_payload_that_would_act_does_not(tmp_path: Path) -> None:
    """The same bytes do act when Python's own reader gets them."""
    mark = tmp_path / "mark"
    content = pickle.dumps(_Call(os.mkdir, str(mark)))
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match=r"mkdir, which is not allowed"):
        unpickle.read(tmp_path / "p")
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros(9, np.uint8)})[:-20],
        b"\x80\x04cnumpy\nndarray\nK\x05\x85R.",
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\nK\x00\x85R"
        b"(K\x01J\xff\xff\xff\x7f\x85cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtbu.",
    ],
    ids=["empty", "text", "list", "cut off", "array alone", "shape beyond its bytes"],
)
def test_damaged_files_are_one_kind_of_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError):
        unpickle.read(tmp_path / "p")


def test_every_cut_and_many_flips_are_one_kind_of_error_or_harmless(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(2, 32)
    content = _python2_batch(values, [1, 2])
    damaged = [content[:size] for size in range(len(content))]
    damaged += [
        content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        for place in range(len(content))
    ]
    refused = 0
    for version in damaged:
        (tmp_path / "p").write_bytes(version)
        try:
            assert isinstance(unpickle.read(tmp_path / "p"), dict)
        except pickle.UnpicklingError:
            refused += 1
    assert refused >= len(content), "at least every cut is refused"
