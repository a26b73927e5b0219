"""A pretended CUDA device: real values on the CPU that torch and the project take for `cuda:0`.

A `Sim` is a tensor whose device is cuda:0 and whose values lie in a CPU tensor, so that operations
made of others take torch's CUDA branch (cuDNN's batch norm, autocast's CUDA lists, CUDA's
generator). A `World` sees every operation. It refuses what a device would refuse: tensors of two
devices, generators of the other device, kernels without a deterministic form, and, while a graph is
captured, waits, copies from the host and numbers of the host. It counts waits, operations and
kernel launches by line of the program. Kernels are the CPU's: nothing is learnt about CUDA's
rounding, speed or memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.simcuda import build

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
FREE = (
    "empty",
    "empty_like",
    "new_empty",
    "new_empty_strided",
    "empty_strided",
    "detach",
    "alias",
    "lift_fresh",
    "_to_copy",
)
LAUNCHES = {
    "convolution_backward": 2,
    "sort": 4,
    "argsort": 4,
    "topk": 2,
    "nonzero": 3,
    "native_dropout": 1,
    "std_mean": 1,
    "_log_softmax": 1,
    "randperm": 3,
    "cumsum": 2,
    "multinomial": 6,
    "bincount": 3,
    "index_put_": 2,
    "index_put": 3,
}
"""Kernels of an operation where it is not one; an estimate."""
REFUSED = frozenset(
    """adaptive_avg_pool2d_backward _adaptive_avg_pool2d_backward adaptive_max_pool2d_backward
    upsample_bilinear2d_backward upsample_bicubic2d_backward reflection_pad1d_backward
    reflection_pad2d_backward replication_pad2d_backward nll_loss2d_forward nll_loss2d_backward
    histc kthvalue grid_sampler_2d_backward max_unpool2d put_ _ctc_loss
    fractional_max_pool2d_backward avg_pool3d_backward
    max_pool3d_with_indices_backward""".split()  # noqa: SIM905
)
"""Without a deterministic kernel on CUDA, by torch's documentation of
`use_deterministic_algorithms`."""
WAITING = frozenset(
    {
        "_local_scalar_dense",
        "nonzero",
        "equal",
        "is_nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
    }
)


class Fault(RuntimeError):
    """What a CUDA device would refuse."""


class SimGenerator(torch.Generator):
    """A generator of the device."""

    known: ClassVar[dict[int, SimGenerator]] = {}
    """By address: operations are given another Python object for it."""

    def __init__(self, *_: Any) -> None:
        self.known[self._cdata] = self

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA


def of_device(generator: torch.Generator | None) -> bool:
    """Whether a generator is the device's."""
    return generator is not None and generator._cdata in SimGenerator.known


class Sim(Tensor):
    """A tensor of the device; `host` holds its values."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, real: Tensor) -> Sim:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=CUDA,
        )
        made.host = real
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert world is not None, "a tensor of the pretended device outlived it"
        return world.run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            made = self.detach().clone()
            if getattr(self, "_is_param", False):
                made = torch.nn.Parameter(made, self.requires_grad)
            elif self.requires_grad:
                made.requires_grad_()
            memo[id(self)] = made
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Sim({tuple(self.shape)}, {self.dtype})"


class Recording:
    """Operations of a captured graph, on fixed places."""

    def __init__(self) -> None:
        self.notes: list[tuple[Callable[[], Any], dict[int, Tensor]]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.made: set[int] = set()
        self.kept: list[Any] = []
        self.nodes: Counter[str] = Counter()


class World(TorchDispatchMode):
    """The device: what every operation meets, and what was counted."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do not have the compiler imported on the first operation."""
        return False

    def __init__(self, strict: bool = True) -> None:
        """`strict`: raise at a fault instead of noting it."""
        super().__init__()
        self.strict, self.faults = strict, Counter[str]()
        self.waits, self.operations, self.launches = Counter[str](), Counter[str](), Counter[str]()
        self.draws = Counter[str]()
        """Operations that draw from a generator of the device, whose numbers are not the CPU's."""
        self.sync_error = False
        self.generator = SimGenerator()
        self.recording: Recording | None = None
        self.graphs: list[Recording] = []

    def clear(self) -> None:
        """Count from zero."""
        for counter in (self.waits, self.operations, self.launches, self.draws):
            counter.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    # -------------------------------------------------------------------------------- one operation

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sims = [value for value in given if isinstance(value, Sim)]
        target = kwargs.get("device")
        to_device = target is not None and torch.device(target).type == "cuda"
        if not sims and not to_device:
            if of_device(kwargs.get("generator")):
                self.fault("a generator of the device for a tensor of the host")
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_", "_copy_from"):
            hosts = [value for value in given if not isinstance(value, Sim)]
            if to_device and not sims:
                self.copied("host to device")
            elif hosts and name == "copy_":
                self.copied("host to device" if isinstance(args[0], Sim) else "device to host")
            elif target is not None and not to_device:
                self.copied("device to host")
                return func(*_plain(args), **_plain(kwargs))
        else:
            self._check(func, name, given, sims, args, kwargs)
        return self._do(func, name, args, kwargs)

    def _check(
        self, func: Any, name: str, given: list[Tensor], sims: list[Sim], args: Any, kwargs: Any
    ) -> None:
        for value in given:
            if isinstance(value, Sim):
                continue
            if name in ("index", "index_put", "index_put_", "_index_put_impl_") and value.dtype in (
                torch.int64,
                torch.bool,
            ):
                self.copied("host to device")
            elif value.dim() == 0 and (
                torch.Tag.pointwise in func.tags or name.startswith(("_foreach", "fill"))
            ):
                if self.recording is not None:
                    self.fault(f"{name}: a number of the host is baked into a graph")
            else:
                self.fault(f"{name}: tensors of two devices")
        masks = name.startswith("index") and any(value.dtype == torch.bool for value in given[1:])
        if (
            name in WAITING
            or masks
            or (name == "repeat_interleave" and kwargs.get("output_size") is None)
        ):
            self.waited(name)
        if torch.are_deterministic_algorithms_enabled() and name in REFUSED:
            self.fault(f"{name} has no deterministic kernel")
        generator = kwargs.get("generator")
        if generator is not None and not of_device(generator):
            self.fault(f"{name}: a generator of the host for a tensor of the device")

    def _do(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        of = {
            id(value.host): value for value in tree_leaves((args, kwargs)) if isinstance(value, Sim)
        }
        plain_args, plain = _plain(args), _plain(kwargs)
        plain.pop("pin_memory", None)
        if "device" in plain:
            plain["device"] = torch.device("cpu")
        drawn = torch.Tag.nondeterministic_seeded in func.tags and plain.get("generator") is None
        if drawn or of_device(plain.get("generator")):
            self.draws[f"{_line()} {name}"] += 1
        kernel = KERNELS.get(func, func)

        def once() -> Any:
            with self._drawing() if drawn else nullcontext():
                return kernel(*plain_args, **plain)

        launches = 0 if func.is_view else self._launches(name, args, kwargs)
        recorded = self.recording is not None and not func.is_view
        found = self._record(once, plain_args, plain, name, launches) if recorded else once()
        if not func.is_view:
            where = _line()
            self.operations[where] += 1
            self.launches[where] += launches

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            same = of.get(id(value))
            return Sim(value) if same is None else same

        return tree_map(wrapped, found)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """The device's own generator in place of the host's."""
        host = torch.default_generator.get_state()
        torch.default_generator.set_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(host)

    def _launches(self, name: str, args: Any, kwargs: Any) -> int:
        if name.startswith(("_foreach", "_fused")):
            return foreach_launches(name, args, kwargs)
        if name == "_to_copy":
            return 1
        return 0 if name in FREE else LAUNCHES.get(name, 1)

    # ----------------------------------------------------------------------------- faults and waits

    def fault(self, what: str) -> None:
        """Something a device refuses."""
        self.faults[f"{_line()} {what}"] += 1
        if self.strict:
            raise Fault(f"{what} ({_line()})")

    def waited(self, what: str) -> None:
        """The host waits for the device."""
        self.waits[f"{_line()} {what}"] += 1
        if self.recording is not None:
            self.fault(f"a graph waits: {what}")
        elif self.sync_error:
            self.fault(f"a wait where none is allowed: {what}")

    def copied(self, what: str) -> None:
        """Pageable memory is copied, which waits."""
        self.waited(f"copy from {what}")

    # --------------------------------------------------------------------------------------- graphs

    def _record(
        self, once: Callable[[], Any], args: Any, kwargs: Any, name: str, launches: int
    ) -> Any:
        recording = self.recording
        assert recording is not None
        read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        for value in read:
            storage = value.untyped_storage()
            if storage.data_ptr() not in recording.made:
                recording.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        found = once()
        places = {value.untyped_storage().data_ptr() for value in read}
        fresh = {
            place: value
            for place, value in enumerate(tree_leaves(found))
            if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in places
        }
        recording.made |= {value.untyped_storage().data_ptr() for value in fresh.values()}
        recording.kept.append((found, read))
        if not name.startswith(("empty", "new_empty")):
            recording.notes.append((once, fresh))
        recording.nodes[name] += launches
        return found

    @contextmanager
    def capture(self, graph: Graph) -> Iterator[None]:
        """Operations are noted; at the end everything is as it was."""
        assert self.recording is None, "a capture inside a capture"
        drawn = self.generator.get_state()
        self.recording = graph.recording = Recording()
        try:
            yield
        finally:
            done, self.recording = self.recording, None
            self.generator.set_state(drawn)
            with torch._C._DisableTorchDispatch():
                for storage, content in done.before.values():
                    storage.copy_(content)
        self.graphs.append(done)


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    recording: Recording

    def replay(self) -> None:
        """The operations once more; what they make goes where it went."""
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            for once, fresh in self.recording.notes:
                again = tree_leaves(once())
                for place, value in fresh.items():
                    value.copy_(again[place])


def foreach_launches(name: str, args: Any, kwargs: Any) -> int:
    """Launches of a multi-tensor operation: chunks of 65,536 numbers, at most 320 blocks and so
    many tensors a launch (ATen/native/cuda/MultiTensorApply.cuh); one launch per tensor where the
    fast path does not take it."""
    lists = [
        value
        for value in (*args, *kwargs.values())
        if isinstance(value, list | tuple) and value and isinstance(value[0], Tensor)
    ]
    first = lists[0]
    if any(len(other) != len(first) for other in lists):
        return len(first)
    same = all(
        one.shape == two.shape and _strides(one) == _strides(two)
        for other in lists[1:]
        for one, two in zip(first, other, strict=True)
    )
    kinds = {value.dtype for value in first}
    if name not in ("_foreach_copy_",):
        kinds |= {value.dtype for other in lists for value in other}
    if not same or len(kinds) > 1:
        return len(first)
    depth = len(lists) + (0 if name.endswith("_") else 1)
    most, launches, tensors, blocks = {1: 110, 2: 64, 3: 48, 4: 36}.get(depth, 30), 0, 0, 0
    for value in first:
        chunks = -(-value.numel() // 65536)
        tensors += 1
        for _ in range(chunks):
            blocks += 1
            if blocks == 320:
                launches, blocks, tensors = launches + 1, 0, 1
        if tensors == most:
            launches, blocks, tensors = launches + 1, 0, 0
    return launches + bool(blocks)


# ----------------------------------------------------------------------- kernels that only CUDA has


def _cudnn_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    out, saved, inverse = aten.native_batch_norm(
        x, weight, bias, mean, var, training, momentum, eps
    )
    return out, saved, inverse, x.new_empty(0, dtype=torch.uint8)


def _cudnn_batch_norm_backward(
    x: Tensor,
    grad: Tensor,
    weight: Tensor,
    mean: Any,
    var: Any,
    saved: Any,
    inverse: Any,
    eps: float,
    _: Tensor,
) -> Any:
    return aten.native_batch_norm_backward(
        grad, x, weight, mean, var, saved, inverse, True, eps, [True, True, True]
    )


KERNELS = {
    aten.cudnn_batch_norm.default: _cudnn_batch_norm,
    aten.cudnn_batch_norm_backward.default: _cudnn_batch_norm_backward,
}


# --------------------------------------------------------------------------------------- torch.cuda

world: World | None = None
PROPERTIES = SimpleNamespace(
    name="Pretended GPU",
    major=9,
    minor=0,
    total_memory=80 * 2**30,
    multi_processor_count=132,
    uuid="GPU-0",
)


class Stream:
    """Everything happens at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, _: Stream) -> None: ...

    def synchronize(self) -> None:
        assert world is not None
        world.waited("synchronize")


class Device:
    """Stands for torch.cuda.device; a context manager that does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_generator = torch.Generator


class Generator(torch.Generator):
    """Stands for torch.Generator."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return SimGenerator() if torch.device(device).type == "cuda" else _generator(device)


def reason() -> str:
    """Why there is no pretended device here; empty where there is one."""
    return build.missing


@contextmanager
def pretended(strict: bool = True) -> Iterator[World]:
    """Code inside runs as on a machine with one CUDA device."""
    global world
    assert world is None and build.shim is not None
    torch._C._ensureCUDADeviceGuardSet()
    build.shim.albench_pretend(8)  # as many as torch's own stand-in for a device guard counts
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    made = World(strict)

    def manual_seed(seed: int) -> None:
        made.generator.manual_seed(seed)

    def sync_debug(mode: Any) -> None:
        made.sync_error = mode in ("error", 2)

    def nothing(*_: Any, **__: Any) -> None: ...

    def zero(*_: Any, **__: Any) -> int:
        return 0

    stand_ins: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": zero,
        "set_device": nothing,
        "_lazy_init": nothing,
        "is_initialized": lambda: True,
        "init": nothing,
        "device": Device,
        "Stream": Stream,
        "stream": Device,
        "current_stream": Stream,
        "CUDAGraph": Graph,
        "graph": lambda graph, pool=None, stream=None, **_: made.capture(graph),
        "graph_pool_handle": zero,
        "synchronize": lambda *_: made.waited("synchronize"),
        "manual_seed": manual_seed,
        "manual_seed_all": manual_seed,
        "get_device_properties": lambda *_: PROPERTIES,
        "get_device_name": lambda *_: PROPERTIES.name,
        "get_device_capability": lambda *_: (PROPERTIES.major, PROPERTIES.minor),
        "empty_cache": nothing,
        "is_bf16_supported": lambda *_, **__: True,
        "max_memory_allocated": zero,
        "memory_allocated": zero,
        "reset_peak_memory_stats": nothing,
        "set_sync_debug_mode": sync_debug,
        "get_sync_debug_mode": lambda: 2 * made.sync_error,
        "get_rng_state": lambda *_: made.generator.get_state(),
        "set_rng_state": lambda state, *_: made.generator.set_state(state),
    }
    inference = torch.inference_mode
    entered: list[Any] = []

    def enter(_: Any) -> None:
        entered.append(torch.no_grad())
        entered[-1].__enter__()

    with ExitStack() as stack:
        for name, value in stand_ins.items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        # Modules make new parameters on their way to the device: nothing of the host's can turn
        # into a `Sim`.
        stack.enter_context(patch.object(torch, "_has_compatible_shallow_copy_type", _compatible))
        # Tensors with values elsewhere cannot be inference tensors.
        stack.enter_context(patch.object(inference, "__enter__", enter))
        stack.enter_context(
            patch.object(inference, "__exit__", lambda _, *error: entered.pop().__exit__(*error))
        )
        world = made
        try:
            with made:
                yield made
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
            build.shim.albench_pretend(0)
            _forget()
            world = None


def _compatible(one: Tensor, other: Tensor) -> bool:
    return isinstance(one, Sim) == isinstance(other, Sim) and _shallow(one, other)


_shallow = torch._has_compatible_shallow_copy_type


def _forget() -> None:
    """Drop tensors of the device that the project keeps by device."""
    from benchmark.al.augmentation import images
    from benchmark.al.random import philox

    for cached in (philox._device_constants, philox._counter_layout):
        cached.cache_clear()
    images._uploaded.clear()


def _strides(value: Tensor) -> list[int]:
    """Of sides longer than one, whose strides CPU kernels choose otherwise than CUDA's."""
    return [step for size, step in zip(value.shape, value.stride(), strict=True) if size > 1]


def _plain(tree: Any) -> Any:
    return tree_map(lambda value: value.host if isinstance(value, Sim) else value, tree)


def _line() -> str:
    """Where in the project this happens."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/benchmark/" in path and "site-packages" not in path:
            return f"{path[path.rindex('/benchmark/') + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "backward"
