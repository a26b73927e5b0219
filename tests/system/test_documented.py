"""Commands of the documentation, executed, with a look at what they do. Those of `make` are in
test_setup.py."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from benchmark.cli.group import VERBS, albench, hoist

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every `albench` command line of the console blocks, with its page; prompts and comments
    removed."""
    found = []
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                text = re.sub(r"\s+#.*", "", re.sub(r"^\w+\$\s+", "", line)).strip()
                for part in text.split(" && "):
                    words = shlex.split(part)
                    while words and re.fullmatch(r"\w+=\S*", words[0]):
                        words.pop(0)
                    if words and Path(words[0]).name == "albench":
                        found.append((page.name, shlex.join(words[1:])))
    return found


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_documented_command_lines_are_valid(page: str, line: str) -> None:
    """Verbs and options exist, and values are of their kinds; nothing is run."""
    context = albench.make_context("albench", hoist(shlex.split(line)), resilient_parsing=False)
    with context:
        name, *rest = [*getattr(context, "_protected_args", []), *context.args]
        assert name in VERBS
        command = albench.get_command(context, name)
        assert isinstance(command, click.Command)
        command.make_context(name, rest, parent=context)


def test_there_are_documented_commands() -> None:
    assert len(commands()) > 15


# ----------------------------------------------------------------------------------------- clusters


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def allocation(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A clone's folder and a PATH as Slurm gives them: no `ray` outside .venv, stand-ins for srun
    and scontrol."""
    clone, home, tools = tmp_path / "clone", tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    script(tools / "srun", '#!/bin/sh\nexec "$@"\n')
    script(tools / "scontrol", "#!/bin/sh\nprintf 'node1\\nnode2\\n'\n")
    # As ray's own launcher does: `ray` is looked for in the PATH by the first one, and the command
    # runs in between.
    script(
        clone / ".venv" / "bin" / "ray",
        '#!/bin/sh\necho "ray $*" "auth=$RAY_AUTH_MODE" >> "$LOG"\n[ "$1" = symmetric-run ] || '
        "exit 0\n"
        'ray start || exit 9\nwhile [ "$1" != -- ]; do shift; done; shift; "$@"; code=$?\nray '
        "stop; exit $code\n",
    )
    script(
        clone / ".venv" / "bin" / "albench",
        '#!/bin/sh\necho "albench $*" >> "$LOG"; exit "${ENDS:-0}"\n',
    )
    (clone / "job.sh").write_text(blocks(ROOT / "docs" / "clusters.md", "bash")[0])
    variables = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(home),
        "LOG": str(tmp_path / "log"),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
    }
    return clone, variables


def test_the_slurm_script(allocation: tuple[Path, dict[str, str]]) -> None:
    clone, variables = allocation
    done = subprocess.run(
        ["bash", "job.sh"], cwd=clone, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = "albench run tod/cifar10 --executor ray --time-limit 11.5h"
    log = Path(variables["LOG"]).read_text().splitlines()
    assert log == [
        f"ray symmetric-run --address node1:6379 --min-nodes 2 -- {run} auth=token",
        "ray start auth=token",
        run,
        "ray stop auth=token",
    ]
    token = Path(variables["HOME"]) / ".ray" / "auth_token"
    assert re.fullmatch(r"[0-9a-f]{64}\n", token.read_text())
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    before = token.read_text()
    done = subprocess.run(
        ["bash", "job.sh"], cwd=clone, env=variables | {"ENDS": "3"}, capture_output=True, text=True
    )
    assert done.returncode == 3, "the run's own exit code is the job's"
    assert token.read_text() == before


@pytest.mark.slow
def test_rays_own_launcher_takes_the_script(
    tmp_path: Path, allocation: tuple[Path, dict[str, str]]
) -> None:
    """The same with the real ray of this environment, one node, and a command that asks the
    cluster."""
    if not os.environ.get("ALBENCH_REQUIRE_RAY"):
        pytest.importorskip(
            "ray", reason="ray is an optional extra: uv pip install -r requirements-ray.lock"
        )
    clone, variables = allocation
    script(tmp_path / "tools" / "scontrol", "#!/bin/sh\necho 127.0.0.1\n")
    real = Path(sys.executable).with_name("ray")
    script(clone / ".venv" / "bin" / "ray", f'#!/bin/sh\nexec "{real}" "$@"\n')
    asks = "import ray; ray.init(logging_level=40); print('nodes', len(ray.nodes()))"
    script(clone / ".venv" / "bin" / "albench", f'#!/bin/sh\nexec "{sys.executable}" -c "{asks}"\n')
    text = (clone / "job.sh").read_text().replace(":6379", ":6394")
    (clone / "job.sh").write_text(text)
    done = subprocess.run(
        ["bash", "job.sh"],
        cwd=clone,
        env=variables | {"SLURM_JOB_NUM_NODES": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nodes 1" in done.stdout


FIELDS = {
    "RayJob": {
        "entrypoint",
        "submissionMode",
        "backoffLimit",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
        "rayClusterSpec",
    },
    "cluster": {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"},
    "head": {"rayStartParams", "template"},
    "workers": {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    },
    "pod": {"automountServiceAccountToken", "securityContext", "containers", "volumes"},
    "container": {"name", "image", "env", "resources", "ports", "volumeMounts"},
}
"""Fields of KubeRay's API (ray.io/v1, API reference of 1.5) and of Kubernetes' pods that the
manifest may use."""


@pytest.fixture
def manifest() -> dict[str, Any]:
    found = list(yaml.safe_load_all((ROOT / "deploy" / "rayjob.yaml").read_text()))
    assert [one["kind"] for one in found] == [
        "PersistentVolumeClaim",
        "PersistentVolumeClaim",
        "RayJob",
    ]
    return {one["metadata"]["name"]: one for one in found}


def test_the_manifest_has_rays_fields(manifest: dict[str, Any]) -> None:
    job = manifest["albench"]
    assert job["apiVersion"] == "ray.io/v1"
    assert set(job["spec"]) <= FIELDS["RayJob"]
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) <= FIELDS["cluster"]
    assert set(cluster["headGroupSpec"]) <= FIELDS["head"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"ray=={cluster['rayVersion']} " in (ROOT / "requirements-ray.lock").read_text()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups[1:]:
        assert set(group) <= FIELDS["workers"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert set(pod) <= FIELDS["pod"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert set(container) <= FIELDS["container"]
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims <= set(manifest)
        assert pod["securityContext"]["runAsUser"] == 10001


def test_the_manifests_command_finds_what_it_names(manifest: dict[str, Any]) -> None:
    """The entry point is a valid command; what it writes to and reads from are volumes of the pods
    where that happens."""
    words = shlex.split(manifest["albench"]["spec"]["entrypoint"])
    assert words[0] == "albench"
    with albench.make_context("albench", hoist(words[1:])) as context:
        folders = {str(context.params["runs"]), str(context.params["data"])}
    cluster = manifest["albench"]["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert folders <= {mount["mountPath"] for mount in head["volumeMounts"]}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        named = {entry["name"]: entry["value"] for entry in container["env"]}
        assert named["ALBENCH_RAY_DATA"] in {
            mount["mountPath"] for mount in container["volumeMounts"]
        }
    assert len(cluster["workerGroupSpecs"]) == 1
    shared = manifest["albench-data"]["spec"]["accessModes"]
    assert shared == ["ReadWriteMany"], "all pods mount the data"


def test_the_clusters_image_has_what_a_run_needs() -> None:
    """Everything the build copies exists and is not ignored, and the packages are those of the
    locks."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    allowed = {
        line[1:]
        for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    copied = set(re.search(r"^COPY (.*) /locks/$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    assert copied == {"requirements-uv.lock", "requirements.lock", "requirements-ray.lock"}
    assert copied <= allowed
    assert {"benchmark", "suites", "results", "pyproject.toml", "README.md"} <= allowed
    assert all((ROOT / name).exists() for name in allowed)
    assert text.count("--require-hashes") == 3
