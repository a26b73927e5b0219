"""The commit that a record's code stands in, where that is known."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache

from benchmark.runs.code_digest import PACKAGE, code_digest

SECONDS = 10.0
"""How long git may take."""


@lru_cache(maxsize=1)
def _present_code() -> tuple[str, str]:
    """Digest of this program's code, and the commit that holds it; empty where files were changed
    since, or without git."""
    git = shutil.which("git")
    if git is None:
        return "", ""
    asked = [["diff", "--quiet", "HEAD", "--", str(PACKAGE)], ["rev-parse", "HEAD"]]
    try:
        changed, head = (
            subprocess.run(
                [git, "-C", str(PACKAGE), *words],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            for words in asked
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    return (
        (code_digest(), head.stdout.strip())
        if not changed.returncode and not head.returncode
        else ("", "")
    )


def find_commit(code: str) -> str:
    """The commit of this program where its code is that of a record (by digest); empty for records
    of other code."""
    digest, commit = _present_code()
    return commit if code and code == digest else ""
