"""doctor: every check on a machine that is as it should be, and on one that is not, with what to do
about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from benchmark.api import doctor
from benchmark.api.check import BAD, GOOD, HINT
from benchmark.api.doctor import Diagnosis, examine
from benchmark.api.workspace import Workspace
from benchmark.cli import invoke
from benchmark.errors import ExecutorError
from benchmark.executors.docker import engine as docker
from benchmark.executors.docker.engine import Condition
from benchmark.runs import gpus, lock
from benchmark.runs.gpus import Gpu, Problem, Survey
from benchmark.tracking import mlflow as tracking
from tests.helpers.runs import SUITE, write_suite

GPU = Gpu(uuid="GPU-1", name="Toy 9000", driver="1.2", capability="9.0")


@pytest.fixture
def settings(tmp_path: Path) -> Workspace:
    suites = write_suite(tmp_path / "suites")
    return Workspace(
        suites, tmp_path / "runs", tmp_path / "data", tmp_path / "cache", tmp_path / "results", ()
    )


def kinds(found: list[Diagnosis]) -> list[str]:
    return [one.kind for one in found]


def test_what_is_wrong_has_a_remedy() -> None:
    with pytest.raises(ValueError, match="no remedy"):
        Diagnosis(HINT, "something is missing")
    assert str(Diagnosis(BAD, "it is broken", "mend it")) == "it is broken -> mend it"


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> doctor.Findings:
        yield Diagnosis(GOOD, "so far")
        raise OSError("disk on fire")

    (found,) = examine(broken)
    assert (found.kind, found.text) == (BAD, "could not be checked: disk on fire")


def test_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {name: importlib.metadata.version(name) for name in doctor.NEEDED}
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    assert kinds(examine(lambda: doctor.check_packages(lock))) == [GOOD]
    lock.write_text(lock.read_text().replace(f"numpy=={versions['numpy']}", "numpy==0.1"))
    (found,) = examine(lambda: doctor.check_packages(lock))
    assert found.kind == HINT
    assert f"numpy {versions['numpy']} (locked 0.1)" in found.text
    (found,) = examine(lambda: doctor.check_packages(tmp_path / "nowhere"))
    assert found.kind == HINT
    monkeypatch.setattr(doctor, "NEEDED", ("no-such-package",))
    found = examine(lambda: doctor.check_packages(lock))[0]
    assert (found.kind, found.remedy) == (BAD, "run `make setup`")


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(listed=(GPU,), usable=(GPU,)))
    assert "Toy 9000" in examine(doctor.check_device)[1].text
    monkeypatch.setattr(gpus, "survey_gpus", Survey)
    found = examine(doctor.check_device)[1]
    assert found.kind == HINT
    assert "nvidia-smi" in found.remedy
    old = Problem(text="driver 550.1 is too old", remedy="install driver 580")
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(listed=(GPU,), problems=(old,)))
    assert [str(one) for one in examine(doctor.check_device)[1:]] == [
        "driver 550.1 is too old -> install driver 580"
    ]
    other = GPU.model_copy(update={"name": "Toy 1"})
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(usable=(GPU, other)))
    assert "ALBENCH_GPUS=0" in examine(doctor.check_device)[-1].remedy


def test_runs_folder(settings: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kinds(examine(lambda: doctor.check_runs(settings))) == [GOOD]
    monkeypatch.setattr(doctor, "on_network", lambda path: True)
    assert kinds(examine(lambda: doctor.check_runs(settings))) == [GOOD, HINT]
    shutil.rmtree(settings.runs)
    settings.runs.write_text("a file stands in the way")
    (found,) = examine(lambda: doctor.check_runs(settings))
    assert found.kind == BAD
    assert found.remedy


def test_disk(settings: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    assert kinds(examine(lambda: doctor.check_disk(settings))) == [GOOD, GOOD]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**9))
    found = examine(lambda: doctor.check_disk(settings))
    assert kinds(found) == [HINT, HINT]
    assert "--runs" in found[0].remedy


def test_data(settings: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as as_published:
        as_published.setattr(doctor, "data_findings", lambda suite, settings: iter(()))
        assert kinds(examine(lambda: doctor.check_data(settings))) == [GOOD]
    write_suite(settings.suites, "toy/two", SUITE.replace('name = "digits"', 'name = "cifar10"'))
    found = examine(lambda: doctor.check_data(settings))
    assert kinds(found) == [HINT, HINT]
    assert "albench fetch cifar10" in found[1].remedy


def engine(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, gpus: bool = True, image: str = "sha256:1234"
) -> None:
    monkeypatch.setattr(
        docker, "engine_condition", lambda: Condition("20.10", str(folder), gpus, image)
    )


def test_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "survey_gpus", lambda: Survey(listed=(GPU,)))
    engine(monkeypatch, tmp_path)
    assert kinds(examine(doctor.check_docker)) == [GOOD, GOOD, GOOD]
    engine(monkeypatch, tmp_path, gpus=False)
    assert "toolkit" in examine(doctor.check_docker)[1].remedy
    monkeypatch.setattr(doctor, "IMAGE_GB", 1e9)
    engine(monkeypatch, tmp_path, image="")
    *_, image, disk = examine(doctor.check_docker)
    assert "benchmark.executors.docker.engine" in image.remedy
    assert (disk.kind, "data-root" in disk.remedy) == (HINT, True)


def test_docker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    (found,) = examine(doctor.check_docker)
    assert found.kind == HINT
    assert "start the engine" in found.remedy
    with pytest.raises(ExecutorError):
        docker.engine_condition()


def test_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = examine(doctor.check_ray)
    assert found.kind == HINT
    assert "requirements-ray.lock" in found.remedy


def test_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = examine(doctor.check_slurm)
    assert found.kind == HINT
    assert "requirements-slurm.lock" in found.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1.5")
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = examine(doctor.check_slurm)
    assert (found.kind, "no sbatch" in found.text) == (HINT, True)
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    (found,) = examine(doctor.check_slurm)
    assert found.kind == GOOD


def test_what_runs_ask_of_the_system_is_tried(
    settings: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.runs.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    found = examine(lambda: doctor.check_system(settings))
    assert [one.kind for one in found[:2]] == [GOOD, GOOD]
    assert list(settings.runs.iterdir()) == []

    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.delenv("HOME")
    _, sockets, _, home = examine(lambda: doctor.check_system(settings))
    assert (sockets.kind, home.kind) == (HINT, HINT)
    assert "TMPDIR" in sockets.remedy
    assert "HOME" in home.remedy

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    (told,) = examine(lambda: doctor.check_system(settings))
    assert told.kind == BAD
    assert "does not lock files: No locks available" in told.text
    assert "--runs" in told.remedy


def test_the_client_library_is_tried(settings: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise RuntimeError("Could not determine home directory")

    monkeypatch.setattr(tracking, "load", fail)
    (found,) = examine(lambda: doctor.check_tracker(settings, None))
    assert (found.kind, "home directory" in found.text) == (BAD, True)


def test_tracker(settings: Workspace) -> None:
    assert kinds(examine(lambda: doctor.check_tracker(settings, None))) == [GOOD]
    (found,) = examine(lambda: doctor.check_tracker(settings, "http://127.0.0.1:9"))
    assert found.kind == BAD
    assert found.remedy


def test_the_command(
    settings: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    places = [
        "--suites",
        str(settings.suites),
        "--runs",
        str(settings.runs),
        "--data",
        str(settings.data),
    ]
    assert invoke([*places, "doctor"]) == 0
    said = capsys.readouterr().out
    for name in (
        "python",
        "packages",
        "device",
        "runs folder",
        "disk",
        "system",
        "data",
        "docker",
        "ray",
        "slurm",
        "tracker",
    ):
        assert any(line[5:].startswith(name) for line in said.splitlines()), name
    assert invoke([*places, "doctor", "--tracking-uri", "http://127.0.0.1:9"]) == 3
