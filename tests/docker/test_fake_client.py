"""The Docker executor against a client that records what it is told and answers as the test
says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker import errors

from benchmark.errors import ExecutorError, UsageError
from benchmark.executors.docker import sandbox
from benchmark.executors.docker.engine import create
from benchmark.executors.docker.executor import ContainerExecutor
from benchmark.executors.docker.sandbox import NOBODY, Limits, container_user, memory_limit
from benchmark.executors.gpus import GpuPool
from benchmark.executors.jobs import FailureKind, Job, JobOutcome, JobStarted
from benchmark.runs import events, gpus
from benchmark.runs.events import TrialFailed, TrialStopped
from benchmark.runs.gpus import DeviceMissing, Gpu, Survey
from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from tests.helpers.runs import ENVIRONMENT, finish, say_started, toy_trial

IMAGE = "sha256:" + "a" * 64


class FakeClient:
    """Containers end at once with what `behave(number, out)` says: a status, a state, or an
    exception to raise."""

    def __init__(self, behave: Callable[[int, Path], Any] = lambda number, out: 0) -> None:
        self.created: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.signals: list[tuple[str, str]] = []
        self.behave, self.there, self.logs = behave, True, b"said\n"
        self.start_error: Exception | None = None
        self.containers, self.images, self.api = self, self, self
        self.image_list: list[Any] = []
        self.build_stream: list[dict[str, Any]] = []
        self.built: dict[str, Any] = {}

    def info(self) -> dict[str, Any]:
        if not self.there:
            raise errors.DockerException("connection refused")
        return {"MemTotal": 1000, "NCPU": 4, "SecurityOptions": ["name=seccomp"]}

    def ping(self) -> bool:
        return self.there

    def get(self, name: str) -> Any:
        raise errors.ImageNotFound(f"no such image {name}")

    def build(self, **options: Any) -> list[dict[str, Any]]:
        self.built = options
        return self.build_stream

    def list(self, **options: Any) -> list[Any]:
        return self.image_list if "all" not in options else []

    def create(self, **options: Any) -> Any:
        self.created.append(options)
        number = len(self.created)
        return SimpleNamespace(
            id=f"{number:064d}",
            start=lambda: self._start(),
            remove=lambda **_: self.removed.append(f"{number:064d}"),
        )

    def _start(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    def inspect_container(self, container: str) -> dict[str, Any]:
        number = int(container)
        mounts = {mount["Target"]: mount["Source"] for mount in self.created[number - 1]["mounts"]}
        answer = self.behave(number, Path(mounts["/out"]).parent)
        if isinstance(answer, Exception):
            raise answer
        plain = {"Status": "exited", "ExitCode": 0, "OOMKilled": False}
        return {"State": plain | (answer if isinstance(answer, dict) else {"ExitCode": answer})}

    def kill(self, container: str, name: str) -> None:
        self.signals.append((container, name))

    def remove_container(self, container: str, **options: Any) -> None:
        assert options == {"force": True, "v": True}
        self.removed.append(container)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the executor must not use {name}")


def answer_logs(client: FakeClient) -> FakeClient:
    client.logs = lambda container, **options: b"said\n"  # type: ignore[assignment]
    return client


def executor(client: FakeClient, **options: Any) -> ContainerExecutor:
    plain: dict[str, Any] = {
        "client": answer_logs(client),
        "image_id": IMAGE,
        "user": (7, 8),
        "limits": Limits(123),
        "gpus": [],
    }
    return create(**plain | {"grace": 1.0, "patience": 0.3} | options)


@pytest.fixture
def job_of(tmp_path: Path) -> Callable[..., Job]:
    store = Store(tmp_path / "runs")
    (tmp_path / "data").mkdir()

    def make(seed: int = 0, **changes: Any) -> Job:
        trial = toy_trial(seed)
        plain: dict[str, Any] = {
            "name": "toy",
            "trial_id": trial_id(trial),
            "out": store.create(trial, ENVIRONMENT),
            "data": tmp_path / "data",
            "cache": tmp_path / "cache",
            "device": "cpu",
            "precision": "fp32",
            "threads": 3,
        }
        return Job(**plain | changes)

    return make


def run(
    chosen: ContainerExecutor, *jobs: Job, at_once: int = 1
) -> tuple[list[JobOutcome], list[Any]]:
    seen: list[Any] = []
    return chosen.run(
        jobs, jobs_at_once=at_once, deadline=None, on_event=lambda _, event: seen.append(event)
    ), seen


def finishes(out: Path, seed: int = 0) -> int:
    """What a worker that finishes leaves."""
    finish(Store(out.parents[1]), toy_trial(seed))
    return 0


# ------------------------------------------------------------------------------------- the contract


def test_every_setting_of_the_contract(job_of: Callable[..., Job], tmp_path: Path) -> None:
    job = job_of()
    client = FakeClient(lambda number, out: finishes(out))
    (end,), _ = run(executor(client), job)
    assert end.state == "finished"
    (made,) = client.created
    assert made.pop("name").startswith(f"albench-{job.trial_id[:12]}-")
    labels = made.pop("labels")
    assert labels["albench"] == "1"
    assert (labels["albench.trial"], labels["albench.env"]) == (
        job.trial_id,
        ENVIRONMENT.env_id[:12],
    )
    assert (labels["albench.out"], labels["albench.user"]) == (str(job.out), str(os.getuid()))
    variables = made.pop("environment")
    assert variables["ALBENCH_IMAGE"] == IMAGE
    assert (variables["HOME"], variables["OMP_NUM_THREADS"], variables["PYTHONHASHSEED"]) == (
        "/tmp",
        "3",
        "0",
    )
    assert variables["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not [name for name in variables if "proxy" in name.lower()]
    assert made == {
        "image": IMAGE,
        "detach": True,
        "init": True,
        "user": "7:8",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 1024,
        "mem_limit": 123,
        "memswap_limit": 123,
        "shm_size": "1g",
        "tmpfs": {"/tmp": "rw,exec,size=4g,uid=7,gid=8"},
        "working_dir": "/tmp",
        "use_config_proxy": False,
        "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
        "mounts": [
            {
                "Type": "bind",
                "Source": str(job.out / "trial.json"),
                "Target": "/in/trial.json",
                "ReadOnly": True,
            },
            {"Type": "bind", "Source": str(job.out / "work"), "Target": "/out", "ReadOnly": False},
            {
                "Type": "bind",
                "Source": str(tmp_path / "cache"),
                "Target": "/cache",
                "ReadOnly": False,
            },
            {"Type": "bind", "Source": str(tmp_path / "data"), "Target": "/data", "ReadOnly": True},
        ],
        "command": [
            "python",
            "-m",
            "benchmark.worker",
            "/in/trial.json",
            "/out",
            "--data",
            "/data",
            "--cache",
            "/cache",
            "--device",
            "cpu",
            "--precision",
            "fp32",
            "--threads",
            "3",
        ],
    }
    assert client.removed == ["1".zfill(64)]


def test_gpus_are_shared_evenly(
    job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "survey_gpus", Survey)
    client = FakeClient(lambda number, out: {"Status": "running"} if len(client.created) < 4 else 3)
    run(
        executor(client, gpus=["0", " 1"]),
        *(job_of(seed, device="cuda") for seed in range(4)),
        at_once=4,
    )
    given = [made["device_requests"] for made in client.created[:4]]
    assert given[0] == [{"device_ids": ["0"], "capabilities": [["gpu", "compute", "utility"]]}]
    assert [request[0]["device_ids"][0] for request in given] == ["0", "1", "0", "1"]
    assert (
        client.created[1]["command"][client.created[1]["command"].index("--device") + 1] == "cuda"
    )


def gpu(uuid: str, name: str = "H200") -> Gpu:
    return Gpu(uuid=uuid, name=name, driver="1", capability="9.0")


def test_choosing_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALBENCH_GPUS", raising=False)
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(usable=(gpu("GPU-a"), gpu("GPU-b"))))
    chosen = GpuPool()
    assert chosen.take("cpu") is None
    assert chosen.take("cuda:1") == "GPU-b"
    assert chosen.take("cuda") == "GPU-a"
    chosen.give_back("GPU-b")
    assert chosen.take("cuda") == "GPU-b"
    assert [chosen.slots(device) for device in ("cpu", "cuda", "cuda:1")] == [0, 2, 1]
    with pytest.raises(DeviceMissing, match="only 2"):
        chosen.take("cuda:2")
    assert GpuPool(["1"]).take("cuda") == "GPU-b"
    assert GpuPool(["GPU-b", "GPU-a"]).ids("cuda") == ["GPU-b", "GPU-a"]
    assert GpuPool(["5"]).take("cuda") == "5", "an engine may be on another machine"
    monkeypatch.setattr(
        gpus, "survey_gpus", lambda: Survey(usable=(gpu("GPU-a"), gpu("GPU-b", "T4")))
    )
    with pytest.raises(ExecutorError, match="H200, T4") as unlike:
        GpuPool().take("cuda")
    assert "--device cuda:0" in unlike.value.remedy
    assert GpuPool().ids("cuda:1") == ["GPU-b"] and GpuPool(["1"]).slots("cuda") == 1


def test_a_container_is_told_its_gpu_and_gets_a_part_of_the_memory(
    job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(usable=(gpu("GPU-a"), gpu("GPU-b"))))
    client = FakeClient(lambda number, out: {"Status": "running"} if len(client.created) < 2 else 3)
    chosen = executor(client, gpus=[], limits=Limits(900, divided=True))
    assert chosen.slots("cuda", 4) == 2
    run(chosen, *(job_of(seed, device="cuda") for seed in range(2)), at_once=2)
    for made, uuid in zip(client.created[:2], ("GPU-a", "GPU-b"), strict=True):
        assert made["environment"]["ALBENCH_CHOSEN_GPU"] == uuid
        assert made["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert (made["mem_limit"], made["memswap_limit"]) == (450, 450)


def test_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert container_user(None) == NOBODY
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    assert container_user(None) == (1000, 100)
    assert container_user(None, rootless=True) == (0, 0)
    assert container_user("5:6") == (5, 6)
    assert container_user("5") == (5, 5)
    with pytest.raises(UsageError):
        container_user("me")


def test_amounts_of_memory() -> None:
    assert memory_limit(None, 1000) == 900
    assert memory_limit("2g", 1000) == 2 * 1024**3
    assert memory_limit("100000K", 1000) == 102_400_000
    assert memory_limit("77000000", 1000) == 77_000_000
    for wrong in ("much", "1m", "-2g", "nang", "infg", "1e400", "0", "g"):
        with pytest.raises(UsageError) as caught:
            memory_limit(wrong, 1000)
        assert caught.value.where == "ALBENCH_DOCKER_MEMORY" and caught.value.remedy


def test_numbers_of_cores() -> None:
    assert sandbox.cpu_limit(None, 4) is sandbox.cpu_limit("", 4) is None
    assert sandbox.cpu_limit("2.5", 4) == 2.5
    for wrong in ("many", "0", "-1", "nan", "inf", "4.5"):
        with pytest.raises(UsageError) as caught:
            sandbox.cpu_limit(wrong, 4)
        assert caught.value.where == "ALBENCH_DOCKER_CPUS" and caught.value.remedy


def test_essence_of_a_command() -> None:
    assert sandbox.command_identity(["w", "--fresh", "--time-limit", "9", "--threads", "1"]) == [
        "w",
        "--threads",
        "1",
    ]
    assert sandbox.command_identity(["w", "--threads", "1"]) == ["w", "--threads", "1"]


# --------------------------------------------------------------------------------- how a trial ends


def fails_first(kind: str, message: str) -> Callable[[int, Path], int]:
    def behave(number: int, out: Path) -> int:
        if number > 1:
            return finishes(out)
        events.append_event(
            out / "work" / "events.jsonl", TrialFailed(time=1.0, kind=kind, message=message)
        )
        return 3

    return behave


def test_a_lost_gpu_is_tried_once_more(job_of: Callable[..., Job]) -> None:
    client = FakeClient(fails_first("RuntimeError", "CUDA error: unknown error"))
    job = job_of()
    (end,), seen = run(executor(client), job)
    assert end == JobOutcome(job, "finished")
    assert [event for event in seen if isinstance(event, JobOutcome)] == [end]
    assert sum(isinstance(event, JobStarted) for event in seen) == 2

    always = FakeClient(lambda number, out: fails_first("RuntimeError", "GPU is lost")(1, out))
    (end,), seen = run(executor(always), job_of(1))
    assert (end.state, end.kind) == ("failed", FailureKind.gpu_lost)
    assert len(always.created) == len(always.removed) == 2
    assert [event for event in seen if isinstance(event, JobOutcome)] == [end]


def test_a_failing_program_is_not_tried_again(job_of: Callable[..., Job]) -> None:
    client = FakeClient(fails_first("ValueError", "bad"))
    (end,), _ = run(executor(client), job_of())
    assert (end.state, end.kind, end.log) == ("failed", FailureKind.program, ("said",))
    assert len(client.created) == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_fresh_start_is_repeated_only_if_it_did_not_happen(
    job_of: Callable[..., Job], begun: bool
) -> None:
    def behave(number: int, out: Path) -> Any:
        if number > 1:
            return finishes(out)
        if begun:
            say_started(out, toy_trial(0))
        events.append_event(
            out / "work" / "events.jsonl",
            TrialFailed(time=1.0, kind="RuntimeError", message="GPU is lost"),
        )
        return 3

    client = FakeClient(behave)
    run(executor(client), job_of(fresh=True))
    assert ["--fresh" in made["command"] for made in client.created] == [True, not begun]


def test_an_engine_that_is_away_for_a_moment(job_of: Callable[..., Job]) -> None:
    answers = [
        requests.ConnectionError("gone"),
        requests.ReadTimeout("slow"),
        {"Status": "running"},
        0,
    ]

    def behave(number: int, out: Path) -> Any:
        answer = answers.pop(0)
        return finishes(out) if answer == 0 else answer

    (end,), _ = run(executor(FakeClient(behave), patience=5.0), job_of())
    assert end.state == "finished"


def test_an_engine_that_stays_away(job_of: Callable[..., Job]) -> None:
    client = FakeClient(lambda number, out: requests.ConnectionError("gone"))
    chosen = executor(client)
    client.there = False
    (end,), seen = run(chosen, job_of())
    assert (end.state, end.kind) == ("failed", FailureKind.daemon)
    assert seen[-1] == end


def test_an_engine_that_ends_a_container(job_of: Callable[..., Job]) -> None:
    answers: list[Any] = [requests.ConnectionError("gone"), 137, 0]

    def behave(number: int, out: Path) -> Any:
        answer = answers.pop(0)
        return finishes(out) if answer == 0 else answer

    (end,), _ = run(executor(FakeClient(behave), patience=5.0), job_of())
    assert end.state == "finished"
    assert not answers


def test_stopped_by_itself_or_by_others(job_of: Callable[..., Job]) -> None:
    def late(number: int, out: Path) -> int:
        events.append_event(
            out / "work" / "events.jsonl", TrialStopped(time=1.0, reason="time_limit")
        )
        return 75

    (end,), _ = run(executor(FakeClient(late)), job_of())
    assert (end.state, end.kind) == ("stopped", None)

    def asked(number: int, out: Path) -> int:
        events.append_event(out / "work" / "events.jsonl", TrialStopped(time=1.0, reason="signal"))
        return 75 if number == 1 else finishes(out, 1)

    (end,), _ = run(executor(FakeClient(asked)), job_of(1))
    assert end.state == "finished"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"ExitCode": 137, "OOMKilled": True}, FailureKind.oom),
        (137, FailureKind.program),
        (127, FailureKind.image),
        (errors.NotFound("no such container"), FailureKind.cancelled),
        (0, FailureKind.program),
    ],
)
def test_kinds(job_of: Callable[..., Job], answer: Any, kind: FailureKind) -> None:
    (end,), _ = run(executor(FakeClient(lambda number, out: answer)), job_of())
    assert (end.state, end.kind) == ("failed", kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ImageNotFound("gone"), FailureKind.image),
        (
            errors.APIError(
                "x", explanation='could not select device driver "" with capabilities: [[gpu]]'
            ),
            FailureKind.gpu_lost,
        ),
        (
            errors.APIError("x", explanation='exec: "python": executable file not found in $PATH'),
            FailureKind.image,
        ),
        (errors.APIError("x", explanation="no space left on device"), FailureKind.daemon),
        (requests.ConnectionError("refused"), FailureKind.daemon),
    ],
)
def test_containers_that_do_not_start_are_removed(
    job_of: Callable[..., Job], error: Exception, kind: FailureKind
) -> None:
    client = FakeClient()
    client.start_error = error
    (end,), _ = run(executor(client), job_of())
    assert (end.state, end.kind) == ("failed", kind)
    assert len(client.removed) == len(client.created) > 0


def test_errors_of_ours_leave_no_container(job_of: Callable[..., Job]) -> None:
    client = FakeClient(lambda number, out: {"Status": "running"})
    client.stop = lambda container, timeout: client.signals.append((container, "stop"))  # type: ignore[attr-defined]

    def broken(job: Job, event: Any) -> None:
        raise RuntimeError("the display broke")

    with pytest.raises(RuntimeError):
        executor(client).run([job_of()], jobs_at_once=1, deadline=None, on_event=broken)
    assert client.removed == ["1".zfill(64)]


# --------------------------------------------------------------------------------- engine and image


def test_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(ExecutorError, match="does not answer") as caught:
        create(build=False)
    assert "DOCKER_HOST" in str(caught.value)
    assert len(caught.value.message.splitlines()) == 1


def test_images_are_found_named_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    with pytest.raises(ExecutorError, match="no image"):
        create(client=client, build=False)
    client.image_list = [
        SimpleNamespace(id="sha256:old", attrs={"Created": "2026-01-01"}),
        SimpleNamespace(id="sha256:new", attrs={"Created": "2026-02-01"}),
    ]
    found = create(client=client, build=False)
    assert found.place.image == "sha256:new"
    assert found.place.limits.memory == 900
    monkeypatch.setenv("ALBENCH_DOCKER_IMAGE", "mine:1")
    with pytest.raises(ExecutorError, match="mine:1"):
        create(client=client)
    client.get = lambda name: SimpleNamespace(id=f"id of {name}")  # type: ignore[method-assign]
    assert create(client=client).place.image == "id of mine:1"


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"MEMORY": "1g", "CPUS": "2.5", "USER": "11:12"}
    for name, value in values.items():
        monkeypatch.setenv(f"ALBENCH_DOCKER_{name}", value)
    monkeypatch.setenv("ALBENCH_GPUS", "0,1")
    place = create(client=FakeClient(), image_id=IMAGE).place
    assert (place.limits.memory, place.limits.cpus, place.user) == (1024**3, 2.5, (11, 12))
    assert sandbox.container_options(place, None, 1, {})["nano_cpus"] == 2_500_000_000


def test_asking_the_image_what_it_is() -> None:
    client = answer_logs(FakeClient())
    chosen = create(client=client, image_id=IMAGE)
    said = {True: b"a warning\n" + ENVIRONMENT.model_dump_json().encode() + b"\n", False: b""}
    client.logs = lambda container, stdout, **options: said[stdout]  # type: ignore[assignment]
    client.wait = lambda container, timeout: {"StatusCode": 0}  # type: ignore[attr-defined]
    assert chosen.environment("cpu", "fp32", 2) == ENVIRONMENT
    assert chosen.environment("cpu", "fp32", 2) == ENVIRONMENT
    (made,) = client.created
    assert made["command"] == [
        "python",
        "-m",
        "benchmark.runs.environment",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--threads",
        "2",
    ]
    assert "mounts" not in made
    assert made["network_mode"] == "none"
    assert client.removed == ["1".zfill(64)]
    said = {True: b"", False: b"Traceback\nNo module named benchmark\n"}
    with pytest.raises(ExecutorError, match="No module named benchmark"):
        chosen.environment("cpu", "bf16", 2)
    assert len(client.removed) == 2
