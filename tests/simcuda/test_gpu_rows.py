"""The script for the first half hour on a GPU, from start to end on the pretended device: every row
is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simcuda.kit import needs_simcuda

ROWS = """machine; captured, bf16; together, bf16; eager, bf16; eager, fp32, NHWC; eager, fp32,
NCHW; eager, tf32, NHWC; eager, tf32, NCHW; bits, captured, bf16; bits, captured,
fp32; images alone, bf16; graph alone, bf16; LL4AL, captured, bf16; LL4AL, eager,
bf16; DIAM network, fp32, NHWC; DIAM network, fp32, NCHW; DIAM network, bf16, NHWC; 1
at once, captured, bf16; 2 at once, captured, bf16; 3 at once, captured, bf16"""
"""What is measured first, in this order."""


@needs_simcuda
@pytest.mark.slow
def test_every_row(tmp_path: Path) -> None:
    out, root = tmp_path / "rows.jsonl", Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "tests.bench.gpu_rows",
        "--pretended",
        "--tiny",
        "--no-tests",
        "--out",
        str(out),
    ]
    command += ["--seconds", "inf"]  # of the clock, of which a busy machine gives little
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [row for row in rows if "error" in row]
    names = [row["row"] for row in rows]
    assert names[: len(ROWS.split(";"))] == [" ".join(name.split()) for name in ROWS.split(";")]
    assert {"a small trial", "trial over its pure steps, captured"} <= set(names)
    assert all(
        row["same_bits"] and row["largest_difference_to_together"] == 0
        for row in rows
        if "bits" in row["row"]
    )
