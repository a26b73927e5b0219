"""Weights of a network from a local file whose digest is pinned, whichever network it is."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark import files
from benchmark.al.networks.libraries import LibraryNetwork
from benchmark.errors import DataError, UsageError

LARGEST = 16 * 2**30
"""Most bytes of a file that is read."""
WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training programs put the tensors."""


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The named tensors of a file of torch or safetensors, on the CPU; nothing in it is executed.

    Raises DataError where the file is absent, has another digest, or holds anything but named
    tensors.
    """
    try:
        content = files.read(path, LARGEST)
    except OSError as error:
        raise DataError(
            f"no such weights: {error}", where=str(path), remedy="put the file that is pinned there"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"sha256 is {found[:16]}..., not {sha256[:16]}...",
            where=str(path),
            remedy="use the file that is pinned",
        )
    state = (
        _read_safetensors(path, content)
        if path.suffix == ".safetensors"
        else _read_torch(path, content)
    )
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise DataError(
            "holds something other than named tensors", where=str(path), remedy="save a state_dict"
        )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _read_safetensors(path: Path, content: bytes) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise UsageError(
            "reading .safetensors needs the package safetensors",
            where=str(path),
            remedy="install it, or save with torch",
        ) from error
    try:
        return load(content)
    except SafetensorError as error:
        raise DataError(
            f"not a safetensors file: {error}", where=str(path), remedy="save a state_dict"
        ) from error


def _read_torch(path: Path, content: bytes) -> object:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"not a weights file: {error}", where=str(path), remedy="save a state_dict"
        ) from error


def load_weights(made: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copy the tensors into a network. Of a library's network they have the library's names.

    A last linear layer for another number of classes keeps its random start, and so does one that
    the file lacks. Raises DataError unless the file has every other tensor in its shape and nothing
    of unknown name.
    """
    own = made.state_dict()
    places = library_names(made) if isinstance(made, LibraryNetwork) else {key: key for key in own}
    heads = {places[key] for key in own if key in _head_keys(made)}
    given = dict(state)
    if any(
        key not in given or given[key].shape != own[key_of].shape
        for key_of, key in places.items()
        if key in heads
    ):
        given = {key: value for key, value in given.items() if key not in heads}
    else:
        heads = set()
    wanted = {key: key_of for key_of, key in places.items() if key not in heads}
    absent = {key for key in wanted if key not in given and not key.endswith("num_batches_tracked")}
    unknown = set(given) - set(wanted)
    misshapen = {
        key for key in set(wanted) & set(given) if given[key].shape != own[wanted[key]].shape
    }
    for what, keys in (
        ("lacks", absent),
        ("has the unknown", unknown),
        ("has another shape for", misshapen),
    ):
        if keys:
            raise DataError(
                f"the weights file {what} {', '.join(sorted(keys)[:4])} ({len(keys)} in all)",
                where=name,
                remedy="use weights of this very network, saved as a state_dict",
            )
    made.load_state_dict({wanted[key]: value for key, value in given.items()}, strict=False)


def _head_keys(made: nn.Module) -> set[str]:
    """Names of the tensors of the last linear layer that the network has."""
    layers = [name for name, module in made.named_modules() if isinstance(module, nn.Linear)]
    place = "head" if isinstance(made, LibraryNetwork) else layers[-1] if layers else ""
    return {f"{place}.weight", f"{place}.bias"} & set(made.state_dict())


def library_names(made: LibraryNetwork) -> dict[str, str]:
    """The library's name of every tensor of its network, by the name that it has here."""
    return {
        key: key.removeprefix("trunk.")
        if key.startswith("trunk.")
        else f"{made.place}.{key.removeprefix('head.')}"
        for key in made.state_dict()
    }
