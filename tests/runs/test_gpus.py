"""GPUs by a driver that is a script and a torch that answers from a table: message, slots and
identity of each machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import worker
from benchmark.api import doctor
from benchmark.api.check import GOOD, HINT
from benchmark.api.plan import advised_device
from benchmark.api.workspace import Workspace
from benchmark.errors import ExecutorError, Exit
from benchmark.executors import jobs
from benchmark.executors.gpus import GpuPool
from benchmark.executors.local.executor import LocalExecutor, Spawned
from benchmark.runs import environment as provenance
from benchmark.runs import gpus
from benchmark.runs.device_probe import ask_torch
from benchmark.runs.gpus import Answer, DeviceMissing, Gpu, Survey
from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from benchmark.spec.load import load_suite
from benchmark.spec.selectors import Selection, parse_selector
from tests.helpers.runs import ENVIRONMENT, toy_trial

WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
H100, RTX, T400 = "NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", "NVIDIA T400"
LINES = {
    "h100": f"GPU-aaaa, {H100}, 580.65, 9.0",
    "h100 too": f"GPU-bbbb, {H100}, 580.65, 9.0",
    "4090": f"GPU-cccc, {RTX}, 580.65, 8.9",
    "t400": f"GPU-dddd, {T400}, 580.65, 7.5",
}
MIG = f"""GPU 0: {H100} (UUID: GPU-aaaa)
  MIG 1g.10gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
"""


def seen(uuid: str, name: str, capability: str = "9.0", multiprocessors: int = 132) -> Gpu:
    """A device as torch describes it: its UUID has no prefix."""
    return Gpu(
        uuid=uuid,
        name=name,
        driver="",
        capability=capability,
        multiprocessors=multiprocessors,
        memory=80 << 30,
    )


def answer(*found: Gpu, faults: Sequence[str] = (), **changes: str) -> Answer:
    plain = {"torch": "2.15.0+cu132", "cuda": "13.2", "cudnn": "91900"} | changes
    return Answer(
        **plain, architectures=WHEEL, gpus=found, faults=tuple(faults) or ("",) * len(found)
    )


Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes this machine one whose driver says `lines` (and `slices` to -L), and whose torch
    answers `told` by UUID."""
    gpus.survey_gpus.cache_clear()
    for name in ("CUDA_VISIBLE_DEVICES", gpus.NAMES, gpus.CHOSEN_GPU):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "TRACES", ())
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(*lines: str, slices: str = "", told: Answer | dict[str | None, Answer]) -> None:
        gpus.survey_gpus.cache_clear()
        (tmp_path / "rows").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "slices").write_text(slices)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(
            f'#!/bin/sh\ncase "$1" in -L) cat {tmp_path}/slices;; *) cat {tmp_path}/rows;; esac\n'
        )
        tool.chmod(0o755)
        monkeypatch.setattr(
            gpus, "ask_torch", lambda uuid: told if isinstance(told, Answer) else told[uuid]
        )

    return make


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    gpus.survey_gpus.cache_clear()


def said() -> list[str]:
    return [f"{one.kind} {one}" for one in doctor.examine(doctor.check_device)[1:]]


def test_no_driver_no_question(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes seconds to import: on a machine without a driver nobody asks it."""
    machine(told={})
    assert gpus.survey_gpus() == Survey()
    assert provenance.resolve_device("auto") == "cpu"
    with pytest.raises(DeviceMissing, match="the driver lists 0 GPUs"):
        provenance.describe_environment("cuda")


def test_an_old_driver(machine: Machine) -> None:
    machine(
        f"GPU-cccc, {RTX}, 550.54.14, 8.9",
        told=answer(warning="The NVIDIA driver on your system is too old"),
    )
    (line,) = said()
    assert (
        line.startswith(HINT)
        and "driver 550.54.14 is too old" in line
        and "branch 580 or newer" in line
    )
    assert provenance.resolve_device("auto") == "cpu"
    with pytest.raises(DeviceMissing, match="needs branch 580") as wrong:
        LocalExecutor().environment("cuda", "fp32", 1)
    assert (
        wrong.value.exit_code is Exit.NOT_MEASURED
        and "install NVIDIA driver 580" in wrong.value.remedy
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (answer(warning="CUDA unknown error"), "sees no device: CUDA unknown error"),
        (answer(cuda="", torch="2.15.0+cpu"), "a build without CUDA"),
        (Answer(warning="No module named 'torch'"), "could not be asked"),
        (
            answer(seen("aaaa", H100), faults=["CUDA error: out of memory"]),
            "does not compute: CUDA error: out of memory",
        ),
    ],
)
def test_a_card_that_cannot_be_used(machine: Machine, told: Answer, words: str) -> None:
    machine(LINES["h100"], told=told)
    (line,) = said()
    assert line.startswith(HINT) and words in line and H100 in line
    assert provenance.resolve_device("auto") == "cpu"
    with pytest.raises(DeviceMissing, match="none can be used"):
        GpuPool().ids("cuda")


@pytest.mark.parametrize(
    ("capability", "names", "fits"),
    [
        ("7.0", WHEEL, False),
        ("7.5", WHEEL, True),
        ("8.6", WHEEL, True),
        ("8.9", WHEEL, True),
        ("9.0", WHEEL, True),
        ("10.3", WHEEL, True),
        ("11.0", WHEEL, False),
        ("12.1", WHEEL, True),
        ("12.1", ("compute_90",), True),
        ("9.0", ("sm_90a",), True),
        ("8.9", ("sm_90a",), False),
    ],
)
def test_kernels_of_a_wheel(capability: str, names: Sequence[str], fits: bool) -> None:
    assert gpus._has_kernels(capability, names) is fits


def test_a_card_without_kernels(machine: Machine) -> None:
    machine(
        "GPU-eeee, NVIDIA Tesla V100, 580.65, 7.0",
        told=answer(seen("eeee", "Tesla V100", "7.0", 80)),
    )
    (line,) = said()
    assert "no kernels for Tesla V100" in line and "7.0" in line and "sm_75" in line
    assert gpus.usable_gpus() == ()


def test_two_equal_cards(machine: Machine) -> None:
    machine(LINES["h100"], LINES["h100 too"], told=answer(seen("aaaa", H100), seen("bbbb", H100)))
    assert [line.split()[0] for line in said()] == [GOOD, GOOD]
    here = LocalExecutor()
    assert here.slots("cuda", 4) == 2 and here.slots("cuda:1", 4) == 1
    env = here.environment("cuda", "tf32", 4)
    assert env == here.environment("cuda:1", "tf32", 4) == here.environment("auto", "tf32", 4)
    assert (env.device, env.device_model, env.isa, env.driver) == ("cuda", H100, "9.0", "580.65")
    assert (env.multiprocessors, env.libraries["cudnn"]) == (132, "91900")
    assert [here.gpus.take("cuda") for _ in range(4)] == ["GPU-aaaa", "GPU-bbbb"] * 2
    assert provenance.describe_environment("cuda", step="captured").step == "captured"


def test_two_unlike_cards(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In PCI's order the small one is first; which is meant is asked, and never guessed."""
    machine(
        LINES["t400"],
        LINES["4090"],
        told=answer(seen("dddd", T400, "7.5", 6), seen("cccc", RTX, "8.9", 128)),
    )
    assert any("these GPUs differ" in line and "--device cuda:0" in line for line in said())
    here = LocalExecutor()
    with pytest.raises(ExecutorError, match="these GPUs differ") as asked:
        here.environment("cuda", "fp32", 4)
    assert "ALBENCH_GPUS" in asked.value.remedy
    env = here.environment("cuda:1", "fp32", 4)
    assert (env.device_model, env.isa, env.multiprocessors) == (RTX, "8.9", 128)
    assert here.environment("cuda:0", "fp32", 4).device_model == T400
    assert here.gpus.take("cuda:1") == "GPU-cccc" and here.slots("cuda:1", 4) == 1
    monkeypatch.setenv(gpus.NAMES, "1")
    assert LocalExecutor().environment("cuda", "fp32", 4) == env


def test_slices(machine: Machine) -> None:
    """A slice is what torch computes on: its name, its multiprocessors; a process sees one, so each
    is asked alone."""
    small, large = f"{H100} MIG 1g.10gb", f"{H100} MIG 3g.40gb"
    told = {
        "MIG-1111": answer(seen("1111", small, "9.0", 16)),
        "MIG-2222": answer(seen("2222", large, "9.0", 60)),
    }
    machine(LINES["h100"], slices=MIG, told=told)
    assert [(gpu.uuid, gpu.name, gpu.multiprocessors) for gpu in gpus.usable_gpus()] == [
        ("MIG-1111", small, 16),
        ("MIG-2222", large, 60),
    ]
    here = LocalExecutor()
    with pytest.raises(ExecutorError, match=r"1g\.10gb.*3g\.40gb"):
        here.slots("cuda", 4)
    env = here.environment("cuda:1", "fp32", 4)
    assert (env.device_model, env.multiprocessors) == (large, 60)
    assert here.gpus.take("cuda:1") == "MIG-2222"
    machine(LINES["h100"], told=answer(seen("aaaa", H100)))
    assert here.environment("cuda", "fp32", 4).env_id != env.env_id, "a slice is not the whole card"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["GPU-bbbb"]),
        ("1,0", ["GPU-bbbb", "GPU-aaaa"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("", []),
        ("0,7,1", ["GPU-aaaa"]),
    ],
)
def test_visible_cards(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine(
        LINES["h100"], LINES["h100 too"], told=answer(*(seen(uuid[4:], H100) for uuid in expected))
    )
    assert [gpu.uuid for gpu in gpus.survey_gpus().listed] == expected
    assert [gpu.uuid for gpu in gpus.usable_gpus()] == expected


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nexec sleep 30\n", "not a program"]
)
def test_a_broken_driver_means_cpu(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    machine(told={})
    monkeypatch.setattr(gpus, "QUERY_SECONDS", 0.2)
    (tmp_path / "nvidia-smi").write_text(script)
    assert provenance.resolve_device("auto") == "cpu"


def test_torch_is_asked_in_a_process_of_its_own() -> None:
    """Here it answers of itself; where there is no GPU, it says for what the wheel has kernels all
    the same."""
    here, there = ask_torch(), gpus.ask_torch(None)
    assert there == here and there.torch == provenance.torch_version()
    assert len(there.gpus) == len(there.faults)
    assert bool(there.cuda) == bool(there.architectures)
    assert (
        gpus.needed_branch("13.2") == 580
        and gpus.needed_branch("12.8") == 525
        and gpus.needed_branch("") == 0
    )


# --------------------------------------------------------------------------------------- the worker


def run_worker(store: Store, tmp_path: Path, device: str) -> tuple[int, jobs.JobOutcome]:
    trial = toy_trial(0)
    out = store.create(trial, ENVIRONMENT)
    status = worker.main(
        [
            str(out / "trial.json"),
            str(out),
            "--data",
            str(tmp_path),
            "--cache",
            str(tmp_path),
            "--device",
            device,
        ]
    )
    job = jobs.Job("toy", "t", out, tmp_path, tmp_path, device, "fp32", 1)
    return status, jobs.outcome_of(job, status)


def test_a_trial_without_its_device_is_a_lost_gpu(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the user's mistake, whatever is wrong with the driver."""
    machine(f"GPU-cccc, {RTX}, 550.54.14, 8.9", told={})
    monkeypatch.setattr(worker, "ask_torch", lambda: answer(warning="too old"))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    status, outcome = run_worker(Store(tmp_path / "runs"), tmp_path, "cuda")
    assert (status, outcome.state, outcome.kind) == (
        Exit.NOT_MEASURED,
        "failed",
        jobs.FailureKind.gpu_lost,
    )
    assert "needs branch 580" in outcome.message


def test_a_worker_refuses_another_card_than_was_chosen(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(LINES["t400"], LINES["4090"], told={})
    monkeypatch.setattr(
        worker,
        "ask_torch",
        lambda: answer(seen("cccc", RTX, "8.9", 128), seen("dddd", T400, "7.5", 6)),
    )
    monkeypatch.setattr(os, "environ", os.environ.copy() | {gpus.CHOSEN_GPU: "GPU-dddd"})
    status, outcome = run_worker(Store(tmp_path / "runs"), tmp_path, "cuda")
    assert (status, outcome.kind) == (Exit.NOT_MEASURED, jobs.FailureKind.gpu_lost)
    assert "planned on the GPU GPU-dddd" in outcome.message and RTX in outcome.message


SAY = """
import os, sys, time
def main(argv):
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ALBENCH_CHOSEN_GPU")
    values = [os.environ.get(name, "") for name in names]
    print("|".join([argv[argv.index("--device") + 1], *values]))
    return 3
"""


def test_local_trials_get_a_card_each(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(LINES["h100"], LINES["h100 too"], told=answer(seen("aaaa", H100), seen("bbbb", H100)))
    (tmp_path / "say_worker.py").write_text(SAY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    store = Store(tmp_path / "runs")
    asked = [
        jobs.Job(
            str(seed),
            "t",
            store.create(toy_trial(seed), ENVIRONMENT),
            tmp_path,
            tmp_path,
            "cuda",
            "fp32",
            1,
        )
        for seed in range(3)
    ]
    here = LocalExecutor(worker="say_worker")
    here.run(asked, jobs_at_once=2, deadline=None, on_event=lambda *_: None)
    told = [(job.out / "worker.log").read_text().split() for job in asked]
    assert told[0] == ["cuda|GPU-aaaa|PCI_BUS_ID|GPU-aaaa"] and told[1] == [
        "cuda|GPU-bbbb|PCI_BUS_ID|GPU-bbbb"
    ]
    assert told[2][0].count("GPU-") == 2
    assert [here.gpus.take("cuda") for _ in range(2)] == ["GPU-aaaa", "GPU-bbbb"], (
        "every card was given back"
    )


def test_a_process_tells_its_end_once(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    ends: list[int] = []
    job = jobs.Job("toy", "t", tmp_path / "out", tmp_path, tmp_path, "cuda", "fp32", 1)
    process = Spawned("no_such_module", job, [], {}, lambda: ends.append(1))
    while process.poll() is None:
        pass
    process.poll()
    assert ends == [1] and sys.executable


def test_the_quickstart_stays_on_the_cpu_of_a_machine_with_a_gpu(machine: Machine) -> None:
    """Its records are a CPU's. What a suite advises is advice: no trial has another id for it."""
    machine(LINES["h100"], told=answer(seen("aaaa", H100)))
    root = Path(__file__).parents[2]
    settings = Workspace(root / "suites", root, root, root, root, ())

    def device(*suites: str, asked: str = "auto", step: str = "eager") -> str:
        return advised_device(
            settings, Selection([parse_selector(suite) for suite in suites]), asked, step
        )

    assert device("quickstart/digits") == "cpu"
    assert device("quickstart/digits", asked="cuda:0") == "cuda:0"
    assert device("quickstart/digits", step="captured") == "auto"
    assert device("tod/cifar10") == device("quickstart/digits", "tod/cifar10") == "auto"
    suite = load_suite(root / "suites" / "quickstart" / "digits.toml", root / "suites")
    free = replace(
        suite, raw={name: value for name, value in suite.raw.items() if name != "device"}
    )
    assert suite.raw["device"] == "cpu"
    ids = [
        [trial_id(trial) for trial in one.trials("paper", "as_published")] for one in (suite, free)
    ]
    assert ids[0] == ids[1] and ids[0]
