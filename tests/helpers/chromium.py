"""Debian's Chromium over its debugging pipe: no driver, no port, no package. Only what the page
tests need."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.helpers.waiting import patience

PROGRAM = Path("/usr/bin/chromium")
PATIENCE = 30.0
"""Seconds on an idle machine for an answer of the browser."""
LEAVING = ("navigated or closed", "context was destroyed", "Cannot find context")
"""What the browser answers about a page that another one is just replacing."""


class Browser:
    """One headless browser with one page. Everything the page complains of is collected in
    `complaints`."""

    def __init__(self) -> None:
        # Helpers of the browser outlive it by a moment and still write their caches while the
        # folder is taken away.
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def hand_over() -> None:
            # The debugging pipe is descriptors 3 and 4. Either may be one of ours, so copies are
            # taken out of the way first.
            copies = [
                fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100)
                for descriptor in (to_browser, from_browser)
            ]
            for wanted, copy in zip((3, 4), copies, strict=True):
                os.dup2(copy, wanted)

        self._process = subprocess.Popen(
            [
                str(PROGRAM),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={self._profile.name}",
                "--remote-debugging-pipe",
            ],
            pass_fds=(3, 4),
            preexec_fn=hand_over,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._id, self._session = b"", 0, ""
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._id:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + patience(PATIENCE)
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser is gone"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(
                str(params["exceptionDetails"].get("exception", {}).get("description"))
            )
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file at a window size and in a theme."""
        self.complaints.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait_until(f"document.readyState + location.href === 'complete{path.as_uri()}'")

    def wait_until(self, expression: str) -> None:
        """Return as soon as a JavaScript expression is true, also on a page that a click opens."""
        until = time.monotonic() + patience(4 * PATIENCE)
        while not self._is_true(expression):
            assert time.monotonic() < until, self.run("location.href + document.body?.innerText")
            time.sleep(0.02)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self.run(expression))
        except AssertionError as error:
            if any(words in str(error) for words in LEAVING):
                return False
            raise

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """One key, as the keyboard sends it."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that assistive technology sees."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and "role" in node
        ]

    def close(self) -> None:
        """End the browser."""
        os.killpg(
            self._process.pid, signal.SIGKILL
        )  # with its helpers: it leads a group of its own
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()
