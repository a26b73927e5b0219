"""What goes into the images: locks, Dockerfile, compose file, and building from a copy of the
project."""

from __future__ import annotations

import fnmatch
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from benchmark.errors import ExecutorError
from benchmark.executors.docker import image

ROOT = Path(__file__).parents[2]


def versions(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (ROOT / lock).read_text(), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize(
    ("lock", "extra"),
    [
        ("requirements-worker.lock", set()),
        ("requirements-mlflow.lock", {"psycopg2-binary"}),
        (
            "requirements-ray.lock",
            {"jsonschema", "jsonschema-specifications", "msgpack", "ray", "referencing", "rpds-py"},
        ),
        ("requirements-slurm.lock", {"submitit"}),
    ],
)
def test_images_have_the_versions_of_the_project(lock: str, extra: set[str]) -> None:
    own, project = versions(lock), versions("requirements.lock")
    assert set(own) - set(project) == extra
    assert {name: version for name, version in own.items() if name not in extra} == {
        name: project[name] for name in own if name not in extra
    }
    text = (ROOT / lock).read_text()
    assert "://" not in text, "registries are named by the machine"
    pinned = re.findall(r"^[^\s#].*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(pinned) >= len(own)
    assert all("--hash=sha256:" in entry for entry in pinned)


def test_locks_are_of_their_inputs() -> None:
    for name in ("worker", "mlflow", "ray", "slurm"):
        wanted = re.findall(
            r"^[a-z][a-z0-9-]*", (ROOT / f"requirements-{name}.in").read_text(), re.MULTILINE
        )
        assert set(wanted) <= set(versions(f"requirements-{name}.lock"))


def test_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "--mount" not in code, "the classic builder must read it"
    assert "://" not in code.replace("sqlite:////", "")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", code, re.MULTILINE)
    assert {"worker", "mlflow"} <= {name for _, name in stages}
    assert stages[0] == ("${BASE}", "base")
    for name in ("worker", "mlflow"):
        stage = code[code.index(f" AS {name}\n") :].split("\nFROM ")[0]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage, re.MULTILINE)
        assert "org.opencontainers.image.revision" in stage
    assert len(re.findall("--require-hashes", code)) == 3


def test_the_build_sees_the_code_that_is_digested() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    seen = {
        path
        for entry in allowed
        for path in ((ROOT / entry).rglob("*.py") if (ROOT / entry).is_dir() else [ROOT / entry])
    }
    code = {path for path in seen if path.suffix == ".py"}
    assert code == set(image.code_files())
    assert {"requirements-uv.lock", "requirements-worker.lock", "requirements-mlflow.lock"} <= set(
        allowed
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in image.FILES:
        shutil.copyfile(ROOT / name, tmp_path / name)
    for path in image.code_files():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["benchmark/worker.py", "benchmark/al/loop.py", "benchmark/spec/protocol.py", "Dockerfile"],
)
def test_the_digest_follows_what_is_in_the_image(project: Path, name: str) -> None:
    before = image.content_digest(project)
    (project / "benchmark" / "cli.py").write_text("# not in the image")
    (project / "README.md").write_text("neither")
    assert image.content_digest(project) == before == image.content_digest()
    with (project / name).open("a") as file:
        file.write("\n# changed\n")
    assert image.content_digest(project) != before


def test_a_place_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="Dockerfile"):
        image.content_digest(tmp_path)


def client_of(stream: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    told: dict[str, Any] = {}

    def build(**options: Any) -> list[dict[str, Any]]:
        told.update(options)
        return stream

    return SimpleNamespace(api=SimpleNamespace(build=build)), told


def test_building(project: Path) -> None:
    client, told = client_of(
        [{"stream": "Step 1/2 : FROM x\n"}, {"stream": "noise\n"}, {"aux": {"ID": "sha256:made"}}]
    )
    said: list[str] = []
    assert (
        image.build(client, said.append, base="base@sha256:1", network="host", root=project)
        == "sha256:made"
    )
    assert said == ["Step 1/2 : FROM x"]
    assert told["labels"] == {image.CONTENT: image.content_digest(project)}
    assert told["buildargs"]["BASE"] == "base@sha256:1"
    assert (told["target"], told["network_mode"], told["path"]) == ("worker", "host", str(project))


def test_a_build_that_fails(project: Path) -> None:
    client, told = client_of(
        [{"stream": f"line {n}\n"} for n in range(50)] + [{"error": "pull access denied"}]
    )
    with pytest.raises(ExecutorError, match="pull access denied") as caught:
        image.build(client, lambda line: None, root=project)
    said = str(caught.value).splitlines()
    assert said[0] == "the image could not be built: pull access denied", "the reason comes first"
    assert said[-2:] == ["  | line 49", f"  -> {caught.value.remedy}"]
    assert "line 20" not in str(caught.value) and "make_base.sh" in caught.value.remedy
    assert told["rm"] and told["forcerm"], "a failed build leaves no container"
    assert "BASE" not in told["buildargs"]


# ------------------------------------------------------------------------------------------ compose


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_ports_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(fnmatch.fnmatch(port, "127.0.0.1:*:*") for port in ports)


def test_the_tracking_server(compose: dict[str, Any]) -> None:
    service = compose["services"]["mlflow"]
    assert "profiles" not in service
    assert "mlflow:5000" in service["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert service["volumes"] == ["tracking:/tracking"]
    assert "/health" in str(service["healthcheck"]["test"])
    assert service["build"]["target"] == "mlflow"
    assert compose["services"]["postgres"]["profiles"] == ["postgres"]


def test_compose_starts_servers_only(compose: dict[str, Any]) -> None:
    """Trials in containers are the executor's: what compose started gave records of an environment
    nobody had planned."""
    assert set(compose["services"]) == {"mlflow", "mlflow-postgres", "postgres"}


@pytest.mark.parametrize(
    "host", ["localhost:5000", "localhost:8080", "127.0.0.1:5001", "mlflow:5000"]
)
def test_the_server_answers_under_any_forwarded_port_and_no_foreign_name(
    compose: dict[str, Any], host: str
) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    for name in ("mlflow", "mlflow-postgres"):
        allowed = compose["services"][name]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert is_allowed_host_header(allowed, host.replace("mlflow:", f"{name}:"))
        for foreign in (
            "evil.example",
            "localhost.evil.example:80",
            "evil.example:5000",
            "127.0.0.1.evil.example:5000",
        ):
            assert not is_allowed_host_header(allowed, foreign)
