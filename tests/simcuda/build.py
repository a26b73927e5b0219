"""Builds the two small libraries of the pretended device and loads them before torch. Imports no
torch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
REQUIRED = "ALBENCH_REQUIRE_SIMCUDA"
missing = "not loaded: tests/conftest.py does it before torch is imported"
"""Why there is no pretended device; empty where there is one."""
shim: ctypes.CDLL | None = None


def load() -> None:
    """Make torch find them: the linker prefers what was loaded for everybody before torch was."""
    global missing, shim
    try:
        shim, missing = _load(), ""
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        missing = f"no pretended CUDA device: {error}"


def _load() -> ctypes.CDLL:
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported before it")
    if not sys.platform.startswith("linux"):
        raise RuntimeError("built on Linux only")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        raise RuntimeError("this machine has a CUDA driver")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler")
    sources = [HERE / "shim.c", HERE / "libcuda.c"]
    name = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"albench-simcuda-{os.getuid()}-{name}"
    if not (folder / "shim.so").is_file():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            for source in sources:
                subprocess.run(
                    [
                        compiler,
                        "-shared",
                        "-fPIC",
                        "-O1",
                        "-Wl,-soname,libcuda.so.1" if source.stem == "libcuda" else "-s",
                        "-o",
                        f"{made}/{source.stem}.so",
                        str(source),
                    ],
                    check=True,
                    capture_output=True,
                )
            folder.mkdir(mode=0o700, exist_ok=True)
            for stem in ("libcuda", "shim"):
                Path(f"{made}/{stem}.so").replace(folder / f"{stem}.so")
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to somebody else")
    ctypes.CDLL(str(folder / "libcuda.so"), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(folder / "shim.so"), ctypes.RTLD_GLOBAL)
