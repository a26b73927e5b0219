"""Environments without torch, and equal to what torch says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.al.training.numerics import prepare
from benchmark.errors import UsageError
from benchmark.executors.base import worker_environment
from benchmark.runs import environment as provenance
from benchmark.runs.events import Environment
from benchmark.runs.variables import ANY_DEVICE, COUNTED, FIXED_NUMBERS, ON_CUDA, numeric_variables
from tests.helpers.runs import ENVIRONMENT

SERVER = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 143
model name	: Intel(R) Xeon(R) Platinum 8480+
flags		: fpu sse sse2 avx fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni avx512_bf16

processor	: 1
flags		: fpu
"""
LAPTOP = (
    "model name\t: AMD Ryzen 5\ncpu family\t: 23\nmodel\t\t: 104\nflags\t\t: sse sse2 sse4_1 avx "
    "fma avx2\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        (
            SERVER,
            {},
            ("Intel(R) Xeon(R) Platinum 8480+, cpu family 6, model 143", "AVX512/AVX512_CORE_BF16"),
        ),
        (SERVER, {"ATEN_CPU_CAPABILITY": "avx2"}, (None, "AVX2/AVX512_CORE_BF16")),
        (
            SERVER,
            {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"},
            (None, "DEFAULT/AVX2"),
        ),
        (SERVER, {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, (None, "AVX512/AVX512_CORE")),
        (SERVER, {"ONEDNN_MAX_CPU_ISA": "ALL"}, (None, "AVX512/AVX512_CORE_BF16")),
        (LAPTOP, {}, ("AMD Ryzen 5, cpu family 23, model 104", "AVX2/AVX2")),
        (LAPTOP, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, (None, "AVX2/AVX2")),
    ],
)
def test_processor(text: str, env: dict[str, str], expected: tuple[str | None, str]) -> None:
    model, isa = provenance.describe_cpu(text, env)
    assert isa == expected[1]
    assert expected[0] is None or model == expected[0]


def test_processor_without_x86_flags() -> None:
    model, isa = provenance.describe_cpu(ARM, {})
    assert model == "0xd40"
    assert isa.split()[1:] == ["asimd", "sve"]
    assert provenance.describe_cpu("", {})[0]


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from benchmark.runs.environment import describe_environment; "
        "describe_environment('cpu'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_agrees_with_torch() -> None:
    import torch

    assert provenance.torch_version() == torch.__version__
    if "ATEN_CPU_CAPABILITY" not in os.environ and os.uname().machine == "x86_64":
        assert provenance.describe_cpu()[1].split("/")[0] == torch.backends.cpu.get_cpu_capability()


def test_command_prints_the_same_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert provenance.main(["--device", "cpu", "--threads", "3", "--precision", "bf16"]) == 0
    printed = Environment.model_validate_json(capsys.readouterr().out)
    assert printed == provenance.describe_environment("cpu", "bf16", 3)
    assert (
        printed.env_id
        != provenance.describe_environment("cpu", "fp32", 3).env_id
        != provenance.describe_environment("cpu").env_id
    )


def test_another_step_is_another_environment() -> None:
    """The plain one is left out of an environment's text, so that ids and records are as before
    there was another."""
    plain, together = (
        provenance.describe_environment("cpu"),
        provenance.describe_environment("cpu", step="together"),
    )
    assert "step" not in plain.model_dump() and '"step"' not in plain.model_dump_json()
    assert (
        Environment.model_validate_json(plain.model_dump_json()) == plain and plain.step == "eager"
    )
    assert Environment.model_validate_json(together.model_dump_json()) == together
    assert len({plain.env_id, together.env_id}) == 2
    with pytest.raises(UsageError, match="CUDA graphs") as refused:
        provenance.describe_environment("cpu", step="captured")
    assert "--step together" in refused.value.remedy


def test_a_layout_by_device_and_precision_is_part_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = provenance.describe_environment("cpu")
    assert before.memory_format == "channels_last"
    monkeypatch.setattr(provenance, "MEMORY_FORMATS", {("cpu", "bf16"): "contiguous"})
    assert provenance.describe_environment("cpu").env_id == before.env_id
    assert provenance.describe_environment("cpu", "bf16").memory_format == "contiguous"
    assert (
        prepare("cpu", "bf16", 1, memory_format="contiguous").memory_format
        == torch.contiguous_format
    )
    assert prepare("cpu", "bf16", 1).memory_format == torch.channels_last


def test_libraries_are_part_of_an_environment() -> None:
    import numpy
    import scipy

    found = provenance.describe_environment("cpu").libraries
    assert (found["numpy"], found["scipy"]) == (numpy.__version__, scipy.__version__)
    assert set(found) == {"numpy", "scipy", "scikit-learn", "torchvision", "pillow"}


@pytest.mark.parametrize("name", ANY_DEVICE)
def test_a_variable_that_moves_numbers_is_part_of_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    plain = provenance.describe_environment("cpu")
    monkeypatch.setenv(name, "1")
    moved = provenance.describe_environment("cpu")
    assert moved.variables == plain.variables | {name: "1"} and moved.env_id != plain.env_id
    assert Environment.model_validate_json(moved.model_dump_json()) == moved
    monkeypatch.setenv(name, "")
    assert provenance.describe_environment("cpu") == plain


def test_a_variable_is_fixed_or_part_of_the_environment_and_never_both() -> None:
    listed = [*FIXED_NUMBERS, *COUNTED, *ANY_DEVICE, *ON_CUDA]
    assert len(listed) == len(set(listed))
    assert worker_environment(3).items() >= {**FIXED_NUMBERS, **dict.fromkeys(COUNTED, "3")}.items()
    given = dict.fromkeys(listed, "7")
    assert set(numeric_variables("cpu", given)) == set(ANY_DEVICE)
    assert set(numeric_variables("cuda", given)) == {*ANY_DEVICE, *ON_CUDA}


def test_the_id_of_a_known_environment() -> None:
    known = "fc7b569562c201e878f4d7960b9d2142c0a4d747300ee4065b2592c6f2838002"
    assert known == ENVIRONMENT.env_id, (
        "what was recorded before belongs to another environment now"
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_unknown_device(name: str) -> None:
    with pytest.raises(UsageError, match="no device"):
        provenance.describe_environment(name)


def test_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBENCH_REVISION", "abc")
    assert provenance.find_revision(tmp_path).commit == "abc"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    clean = provenance.find_revision(tmp_path)
    assert len(clean.commit) == 40
    assert not clean.dirty
    (tmp_path / "a").write_text("2")
    assert provenance.find_revision(tmp_path).dirty


def test_packages() -> None:
    found = provenance.list_packages()
    assert found["pydantic"].split(".")[0] == "2"


def test_a_repository_of_another_owner_is_read_and_one_that_cannot_be_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a CI's container or under sudo; "unknown" and "outside a repository" are two
    answers."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refused = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    assert provenance.find_revision(tmp_path) == provenance.Revision(commit=commit, dirty=False)
    (tmp_path / "file").write_text("2")
    assert provenance.find_revision(tmp_path).dirty
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance.find_revision(tmp_path).commit == "unknown"
    monkeypatch.delenv("ALBENCH_REVISION", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    assert provenance.find_revision(outside).commit == ""
