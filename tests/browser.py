"""A headless Chromium, driven through the pipes of its DevTools protocol; nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_KEYS = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    " ": (32, " "),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
    "Escape": (27, ""),
}
_TROUBLE = ("Runtime.exceptionThrown", "Log.entryAdded")


class Browser:
    """One page in a browser of its own.

    Attributes
    ----------
    errors: what the console and the page's policy complained about.
    asked_for: the addresses the page asked for.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.asked_for: list[str] = []
        self._number, self._left, self._session = 0, b"", ""
        self._answers: dict[int, dict[str, Any]] = {}
        self._loaded = False

    def __enter__(self) -> Browser:
        assert CHROMIUM is not None
        theirs, self._write = os.pipe()
        self._read, ours = os.pipe()
        high = [fcntl.fcntl(number, fcntl.F_DUPFD, 20) for number in (theirs, ours)]

        def arrange() -> None:  # the protocol is spoken on descriptors 3 and 4
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        command = [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={self._folder.name}", "about:blank"]
        quiet = subprocess.DEVNULL
        streams = {"stdout": quiet, "stderr": quiet}
        # pass_fds keeps numbers and the protocol needs 3 and 4; no thread runs here that could hold a lock
        self._process = subprocess.Popen(command, preexec_fn=arrange, close_fds=False, **streams)  # noqa: PLW1509
        for number in (theirs, ours, *high):
            os.close(number)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Call one method of the protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": name, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wanted, end = self._number, time.monotonic() + 60
        while wanted not in self._answers:
            self._take(end)
        answer = self._answers.pop(wanted)
        assert "error" not in answer, f"{name}: {answer['error']}"
        found: dict[str, Any] = answer["result"]
        return found

    def _take(self, end: float) -> None:
        ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
        data = os.read(self._read, 1 << 20) if ready else b""
        assert data, "the browser does not answer"
        *messages, self._left = (self._left + data).split(b"\0")
        for message in messages:
            self._note(json.loads(message))

    def _note(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        name, given = message.get("method"), message.get("params", {})
        if name == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(given["args"]))
        elif name in _TROUBLE:
            self.errors.append(json.dumps(given))
        elif name == "Network.requestWillBeSent":
            self.asked_for.append(given["request"]["url"])
        elif name == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """Show a page in a window of this size and wait until it has loaded and drawn."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + 60
        while not self._loaded:
            self._take(end)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page; a promise is waited for."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a person would."""
        code, text = _KEYS[key]
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def theme(self, name: str) -> None:
        """Have the system prefer light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path: Path) -> None:
        """Save the whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
