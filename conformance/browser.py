"""Debian's Chromium without a window, driven over a pipe by its DevTools protocol: nothing but Python's own library.

    with Browser() as browser:
        page = browser.open("file:///…/report.html", "#rollouts")
        page.evaluate("document.title")
"""
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

NAMES = ["chromium", "chromium-browser", "google-chrome"]
# No process of the browser may reach a network, whatever a page asks for; what it asks for is recorded all the same.
FLAGS = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"]


class Browser:
    def __init__(self, timeout=60):
        executable = next((path for path in map(shutil.which, NAMES) if path), None)
        if executable is None:
            raise SystemExit(f"found none of {', '.join(NAMES)}; make browser installs Debian's chromium")
        self.timeout, self.numbers, self.events, self.pending = timeout, itertools.count(1), [], b""
        self.profile = tempfile.mkdtemp(prefix="crux-browser-")
        to_browser, self.output = os.pipe()
        self.input, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4.
        flags = FLAGS + [f"--user-data-dir={self.profile}"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self.process = subprocess.Popen(["bash", "-c", script, "browser", executable, *flags, "about:blank"], pass_fds=[to_browser, from_browser],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser), os.close(from_browser)
        os.set_blocking(self.input, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.output), os.close(self.input)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, session=None, **parameters):
        """Sends a command and waits for its answer; events that come first are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.output, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.timeout
        while True:
            answer = self.receive(end)
            if answer.get("id") != number:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def receive(self, end):
        while b"\0" not in self.pending:
            if time.monotonic() > end:
                raise TimeoutError(f"the browser has not answered for {self.timeout} s")
            try:
                piece = os.read(self.input, 1 << 20)
                if not piece:
                    raise RuntimeError("the browser has ended")
                self.pending += piece
            except BlockingIOError:
                time.sleep(0.002)
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, fragment="", width=1280, height=900, dark=False):
        """A tab with the file, when its program says that it is ready."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ["Page", "Runtime", "Log", "Network"]:
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Page.navigate", url=pathlib.Path(path).resolve().as_uri() + fragment)
        page.wait("document.documentElement?.dataset.ready === 'true'")
        return page


class Page:
    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression):
        """The value of an expression, a promise's when it is kept."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails'].get('exception', {}).get('description', found['exceptionDetails'])}")
        return found["result"].get("value")

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {seconds} s: {condition}")
            time.sleep(0.005)

    def press(self, key, code=None):
        text = {"text": key} if len(key) == 1 else {}
        for kind in ["keyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code or key, **(text if kind == "keyDown" else {}))

    def type(self, text):
        self.call("Input.insertText", text=text)

    def screenshot(self, path):
        import base64
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def requests(self):
        """Addresses that were asked for, but for the page's own."""
        found = [event["params"] for event in self.mine("Network.requestWillBeSent")]
        return [one["request"]["url"] for one in found if one["type"] != "Document"]

    def complaints(self):
        """What the console and the log say that is worse than information, and exceptions."""
        console = [event["params"]["args"] for event in self.mine("Runtime.consoleAPICalled") if event["params"]["type"] in ["error", "warning", "assert"]]
        log = [event["params"]["entry"]["text"] for event in self.mine("Log.entryAdded") if event["params"]["entry"]["level"] in ["error", "warning"]]
        thrown = [event["params"]["exceptionDetails"] for event in self.mine("Runtime.exceptionThrown")]
        return console + log + thrown

    def mine(self, method):
        # Asking for anything brings home what is still under way.
        self.evaluate("0")
        return [event for event in self.browser.events if event.get("sessionId") == self.session and event.get("method") == method]
