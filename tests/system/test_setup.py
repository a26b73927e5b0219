"""The Makefile's set-up repairs itself, whatever was interrupted, moved, copied or configured;
values reach the shell as one word.

Python and uv are stand-ins that write down what they are asked for; `.ci/fresh_clone` does it for
real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = "python -m venv .venv"
PIP = "-m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock"

PYTHON = """#!/bin/sh
echo "python $*" >> "$LOG"
[ -n "$PYTHONHOME$PIP_TARGET" ] && exit 8
[ "$2" = venv ] || exit 0
mkdir -p .venv/bin
[ "$BREAK" = ensurepip ] && { echo broken > .venv/bin/python; exit 1; }
cat > .venv/bin/python <<'END'
#!/bin/sh
echo "venv $* user=$PIP_USER" >> "$LOG"
[ "$1" = -I ] && { [ "$(cat .venv/place)" = "$PWD" ]; exit $?; }
[ "$PIP_USER" = 0 ] || exit 1
cp "$STUBS/uv" .venv/bin/uv
END
chmod +x .venv/bin/python
"""
UV = """#!/bin/sh
echo "uv $2" >> "$LOG"
[ "$BREAK" = "$2" ] && exit 1
pwd -P > .venv/place
printf '#!/bin/sh\\nfor word; do echo "<$word>"; done\\n' > .venv/bin/albench
chmod +x .venv/bin/albench
"""


class Clone:
    """A clone with the project's Makefile, at a path with a space."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "a clone", folder / "log"
        self.stubs = folder / "stubs"
        self.folder.mkdir()
        self.stubs.mkdir()
        for name in ("Makefile", "requirements.lock", "requirements-uv.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        for name, text in (("python", PYTHON), ("uv", UV)):
            (self.stubs / name).write_text(text)
            (self.stubs / name).chmod(0o755)

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        env = {
            "PATH": f"{self.stubs}:/usr/bin:/bin",
            "LOG": str(self.log),
            "STUBS": str(self.stubs),
            "PIP_USER": "1",
            "PIP_TARGET": "/elsewhere",
            "PYTHONHOME": "/elsewhere",
        }
        command = ["make", "PYTHON=python", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=env | variables, capture_output=True, text=True
        )

    @property
    def said(self) -> list[str]:
        return [
            line
            for line in self.log.read_text().splitlines()
            if " -I " not in line and not line.startswith("python -c")
        ]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    if shutil.which("make") is None:
        pytest.skip("no make")
    return Clone(tmp_path)


def test_it_is_done_once(clone: Clone) -> None:
    """Also with pip told to install elsewhere by its user (PIP_USER, PIP_TARGET) and a
    PYTHONHOME."""
    done = clone.make("setup")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(" user")[0] for line in clone.said] == [
        MADE,
        f"venv {PIP}",
        "uv sync",
        "uv install",
    ]
    assert clone.make("setup").returncode == 0
    assert clone.said == []


@pytest.mark.parametrize("broken", ["ensurepip", "sync", "install"])
def test_interrupted_anywhere_it_is_made_anew(clone: Clone, broken: str) -> None:
    assert clone.make("setup", BREAK=broken).returncode != 0
    done = clone.make("setup")
    assert done.returncode == 0, done.stdout + done.stderr
    assert MADE in clone.said


def test_what_does_not_work_here_is_made_anew(clone: Clone) -> None:
    clone.make("setup")
    (clone.folder / ".venv" / "bin" / "albench").unlink()
    assert clone.make("setup").returncode == 0
    assert MADE in clone.said

    moved = clone.folder.with_name("moved clone")
    clone.folder.rename(moved)
    clone.folder = moved
    assert clone.make("setup").returncode == 0
    assert MADE in clone.said, "its scripts name the old place"

    copied = moved.with_name("copied")
    shutil.copytree(moved, copied, symlinks=True)
    clone.folder = copied
    assert clone.make("setup").returncode == 0
    assert MADE in clone.said, "its packages are the other clone's"

    (copied / ".venv" / "bin" / "python").write_text("#!/nowhere/python\n")
    assert clone.make("setup").returncode == 0
    assert MADE in clone.said, "the Python below it was removed"


def test_a_new_lock_brings_a_working_one_up_to_date(clone: Clone) -> None:
    clone.make("setup")
    later = (clone.folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(clone.folder / "requirements.lock", (later, later))
    assert clone.make("setup").returncode == 0
    assert MADE not in clone.said
    assert "uv sync" in clone.said


def test_values_are_words_whatever_is_in_them(clone: Clone) -> None:
    clone.make("setup")
    done = clone.make(
        "plan",
        "METHODS=random(2),diam(2)",
        "SEEDS=0-2",
        "SUITE=tod/* bal/cifar10-small",
        "DATA=my data; $$(exit 7)",
        "RUNS=it's",
    )
    assert done.returncode == 0, done.stderr
    words = [line[1:-1] for line in done.stdout.splitlines() if line.startswith("<")]
    assert words == [
        "--data",
        "my data; $(exit 7)",
        "--runs",
        "it's",
        "plan",
        "tod/*",
        "bal/cifar10-small",
        "--profile",
        "paper",
        "--variant",
        "as_published",
        "--methods",
        "random(2),diam(2)",
        "--seeds",
        "0-2",
    ]


@pytest.mark.parametrize(
    ("suite", "first"), [("frozen/cifar10", "features 'frozen/cifar10'"), ("tod/*", "run 'tod/*'")]
)
def test_reproduce_begins_with_what_its_suite_needs(suite: str, first: str) -> None:
    done = subprocess.run(
        ["make", "-n", "reproduce", f"SUITE={suite}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (begin,) = [line for line in done.stdout.splitlines() if "bin/albench" in line][:1]
    assert first in begin
