"""What an adapter of golden vectors needs. Every module of this folder is imported by `discover`;
each registers functions:

    @adapter("01_tod_uncertainty")
    def uncertainty(inputs, expected, tolerance, npz, case): ...

`inputs` is the case's dictionary with arrays as numpy arrays, `expected` the same as an `Expected`
that remembers what was read, `tolerance` the file's dictionary of texts, `npz` the arrays beside
the file, `case` the whole case (also remembered). What an adapter does not read fails the case,
unless the format's README exempts the name. Behaviour follows the inputs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

EXEMPT = re.compile(r"^(derived_|numeric_|entropy_intended_|informational)|_own_count$")
"""Fields that the format's README allows to leave unread."""

NPZ = re.compile(r"^npz(?: array)? \"?(\w+)\"?")
"""How inputs refer to an array beside the file."""


class Expected(Mapping[str, Any]):
    """A case's dictionary that knows which of its entries were read, in depth."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {name: _wrap(decode(value)) for name, value in content.items()}
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self._content[name]
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def unread(self) -> list[str]:
        """Dotted paths of entries that were not read and are not exempt."""
        found = []
        for name, value in self._content.items():
            if EXEMPT.search(name):
                continue
            if name not in self._read:
                found.append(name)
            else:
                found += [f"{name}.{path}" for path in _unread(value)]
        return found


def _wrap(value: Any) -> Any:
    """Dictionaries remember what is read; lists of whole numbers are lists, however the file stores
    them."""
    if isinstance(value, dict):
        return Expected(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        return value.tolist()
    return [_wrap(item) for item in value] if isinstance(value, list) else value


def _unread(value: Any) -> list[str]:
    if isinstance(value, Expected):
        return value.unread()
    if isinstance(value, list):
        return [f"{place}.{path}" for place, item in enumerate(value) for path in _unread(item)]
    return []


def decode(value: Any) -> Any:
    """Stored arrays anywhere inside become numpy arrays of their dtype."""
    if isinstance(value, dict):
        if set(value) == {"dtype", "shape", "data"}:
            return np.array(value["data"], dtype=value["dtype"]).reshape(value["shape"])
        return {name: decode(item) for name, item in value.items()}
    return [decode(item) for item in value] if isinstance(value, list) else value


def referenced(text: str, npz: Mapping[str, np.ndarray]) -> np.ndarray:
    """The array that an input such as `npz array feat_n240` refers to."""
    found = NPZ.match(text)
    assert found, f"not a reference to an array: {text!r}"
    return npz[found.group(1)]


def tensor(value: Any) -> torch.Tensor:
    """A torch copy of a stored array."""
    return torch.from_numpy(np.array(value))


# --------------------------------------------------------------------------------------- comparison

NUMBER = r"([0-9.]+(?:e-?[0-9]+)?)"


def bounds(text: str) -> tuple[float, float]:
    """(absolute, relative) tolerance out of a text such as `rel 2e-4 + abs 2e-6`. A bare number is
    absolute."""
    absolute, relative = re.search(rf"\babs {NUMBER}", text), re.search(rf"\brel {NUMBER}", text)
    if absolute is None and relative is None:
        absolute = re.search(NUMBER, text)
    assert absolute or relative, f"no tolerance in {text!r}"
    return (float(absolute.group(1)) if absolute else 0.0), (
        float(relative.group(1)) if relative else 0.0
    )


def part(text: str, word: str) -> str:
    """The clause of a tolerance text that names `word`: `abs 1e-10 (loss), abs 1e-12 (gradients)`
    for loss and gradients.

    A text of one clause that names nothing holds for everything.
    """
    clauses = re.split(r"[,;] ", text)
    found = [clause for clause in clauses if word in clause]
    if not found and len(clauses) == 1:
        return text
    assert len(found) == 1, f"{len(found)} clauses for {word!r} in {text!r}"
    return found[0]


def clause(tolerance: Any, word: str, otherwise: str) -> str:
    """The clause for a field of a file whose tolerance is one text; `otherwise` where that text
    refers to the README.

    `main_steps and test_loss rel 1e-6; scores rel 1e-6`: a clause names its fields before its
    bound.
    """
    text = (
        tolerance
        if isinstance(tolerance, str)
        else "; ".join(f"{name} {value}" for name, value in tolerance.items())
    )
    for some in re.split(r"; ", text):
        if re.search(rf"\b{word}\b", some) and re.search(rf"\b(abs|rel) {NUMBER}", some):
            return some
    return otherwise


def numbers(value: Any) -> np.ndarray:
    """Anything numeric as float64."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float64)


MEASURED: list[tuple[int, float]] = []
"""Every comparison made: how many numbers, and the largest difference relative to the largest of
them."""


def measure(actual: np.ndarray, expected: np.ndarray) -> None:
    """Remember how far two arrays of one shape are apart."""
    finite = np.isfinite(expected) & np.isfinite(actual)
    if finite.any():
        scale = float(np.abs(expected[finite]).max()) or 1.0
        MEASURED.append(
            (int(finite.sum()), float(np.abs(actual[finite] - expected[finite]).max()) / scale)
        )


def close(actual: Any, expected: Any, text: str) -> None:
    """Assert equal shapes and closeness within a tolerance text; a NaN equals a NaN."""
    absolute, relative = bounds(text)
    actual, expected = numbers(actual), numbers(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    measure(actual, expected)
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute, equal_nan=True)


def close_to_scale(actual: Any, expected: Any, text: str) -> None:
    """Assert that the largest error is within a relative tolerance of the largest expected
    magnitude."""
    _, relative = bounds(text)
    actual, expected = numbers(actual), numbers(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    measure(actual, expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


ENDS = re.compile(r"^(?P<what>.*_)?(?P<end>first|last)_(?P<count>\d+)(?P<rest>_of_each_\w+)?$")
"""Fields that hold so many of the first or last entries of a list: `picked_first_20`,
`first_12_of_each_batch`."""


STARTS = re.compile(r"^(?P<what>.*)_first_(?P<count>\d+)$")
"""Fields that hold the first columns of a matrix."""


def check_starts(values: torch.Tensor, expected: Expected, what: str, text: str) -> int:
    """Compare the first columns of `values` (rows, columns) with every field `<what>_first_<n>`, or
    `<what>`, that is given.

    The error is measured against the largest magnitude of all columns. Returns how many fields
    there were.
    """
    found, (_, relative) = 0, bounds(text)
    for name in expected:
        match = STARTS.match(name)
        if name != what and (match is None or match["what"] != what):
            continue
        found += 1
        wanted = numbers(expected[name])
        some = numbers(values)[
            :, : wanted.shape[1]
        ]  # the name does not always say that only the first columns are given
        assert match is None or wanted.shape[1] == int(match["count"]), name
        assert some.shape == wanted.shape, f"{name}: shape {some.shape} instead of {wanted.shape}"
        measure(some, wanted)
        scale = float(np.abs(numbers(values)).max())
        np.testing.assert_allclose(some, wanted, rtol=0, atol=relative * scale, err_msg=name)
    return found


def check_ends(rows: Any, expected: Expected, what: str, text: str | None = None) -> int:
    """Compare the first and last entries of `rows` with every field `<what>_first_<n>` or
    `<what>_last_<n>` that is given.

    Exactly, or within a tolerance text. Returns how many fields there were.
    """
    found = 0
    for name in expected:
        match = ENDS.match(name)
        if match is None or (match["what"] or "").rstrip("_") != what or match["rest"]:
            continue
        count, found = int(match["count"]), found + 1
        some = rows[:count] if match["end"] == "first" else rows[len(rows) - count :]
        if text is None:
            assert [int(value) for value in some] == list(expected[name]), name
        else:
            close(some, expected[name], text)
    return found


def given(expected: Expected, name: str, found: Any) -> None:
    """Assert that a value is the expected one, where the case gives it."""
    if name in expected:
        assert found == expected[name], name


def float_kind(array: np.ndarray) -> str:
    """`float64` or `float32`: the key of a tolerance that differs by type."""
    name = np.asarray(array).dtype.name
    assert name in ("float64", "float32"), name
    return name


def contains(picked: Any, expected: Expected) -> None:
    """Assert a pick with ties: everything in must_contain, and rest_count of rest_from, nothing
    else."""
    chosen = {int(p) for p in picked}
    must = set(expected["must_contain"])
    rest = set(expected["rest_from"])
    assert len(chosen) == len(picked) == len(must) + expected["rest_count"]
    assert must <= chosen
    assert chosen - must <= rest


# ----------------------------------------------------------------------------------------- networks


def fill(shape: list[int], place: int, rule: Mapping[str, Any], bias: bool) -> torch.Tensor:
    """The deterministic weights of the format's README, for the tensor at `place` of the canonical
    list."""
    count = int(np.prod(shape))
    i = np.arange(count, dtype=np.int64)
    values = np.sin(((i * i + rule["mul"] * place) % rule["mod"]).astype(np.float64))
    amplitude = 0.02 if bias else 2 / np.sqrt(count / shape[0])
    return torch.from_numpy((amplitude * values).reshape(shape))


def load_canonical(
    network: torch.nn.Module,
    canonical: list[Any],
    rule: Mapping[str, Any],
    rename: Callable[[str], str] = str,
) -> None:
    """Fill every tensor of the list into the parameter of that name; batch norm keeps its initial
    1, 0, 0, 1.

    Fails unless list and network name the same convolution and linear parameters.
    """
    parameters = dict(network.named_parameters())
    norms = {
        f"{name}.{kind}"
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
        for kind in ("weight", "bias")
    }
    names = [rename(name) for _, name, _ in canonical]
    assert sorted(names) == sorted(set(parameters) - norms)
    with torch.no_grad():
        for name, (place, _, shape) in zip(names, canonical, strict=True):
            assert list(parameters[name].shape) == list(shape), name
            parameters[name].copy_(fill(shape, place, rule, name.endswith("bias")))


def wave(height: int, width: int, batch: int, rule: Mapping[str, Any]) -> torch.Tensor:
    """The deterministic input images (batch, 3, height, width) of the format's README."""
    ramp = rule["x_step"] * np.arange(3 * height * width)
    rows = [
        np.sin(ramp + rule["x_batch_shift"] * b).reshape(3, height, width) for b in range(batch)
    ]
    return torch.from_numpy(np.stack(rows))


def statistics(value: torch.Tensor) -> dict[str, Any]:
    """Shape, mean, standard deviation (n in the denominator) and largest magnitude of a feature
    map."""
    return {
        "shape": list(value.shape),
        "mean": float(value.mean()),
        "std": float(value.std(correction=0)),
        "abs_max": float(value.abs().max()),
    }


def check_map(value: torch.Tensor, expected: Expected, text: str) -> None:
    """Assert shape and statistics of a feature map; the error is measured against its largest
    magnitude."""
    found, (_, relative) = statistics(value), bounds(text)
    assert found["shape"] == expected["shape"]
    scale = expected["abs_max"]
    for name in ("mean", "std", "abs_max"):
        assert abs(found[name] - expected[name]) <= relative * scale, name


# ------------------------------------------------------------------------------------- registration

Check = Callable[
    [Mapping[str, Any], Expected, Mapping[str, Any], Mapping[str, np.ndarray], Expected], None
]
REGISTRY: dict[str, Check] = {}


def adapter(*items: str) -> Callable[[Check], Check]:
    """Register a function for golden files by their `item`."""

    def register(check: Check) -> Check:
        for item in items:
            assert item not in REGISTRY, f"two adapters for {item}"
            REGISTRY[item] = check
        return check

    return register


def discover() -> dict[str, Check]:
    """Import every module of this folder and return the adapters by item."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            importlib.import_module(f"{__name__}.{path.stem}")
    return REGISTRY
