"""The service for end-to-end tests: started on a free port with a folder of its own, stopped and cleaned up after.

    with Service(MAX_VIDEO_SIZE_MB=2) as s:
        s.get("/livez").json()
"""
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import kit

PROGRAM = os.environ.get("BODYSCRIPT", str(pathlib.Path(__file__).resolve().parents[2] / "build" / "bodyscript"))
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def detail(self):
        return self.json()["detail"]


class Service:
    def __init__(self, wrapper=(), stop_within=30, **settings):
        self.wrapper, self.stop_within = list(wrapper), stop_within
        self.folder = tempfile.mkdtemp(prefix="bodyscript-test-")
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "log")
        self.environment = {k: v for k, v in os.environ.items() if k not in ("HOST", "PORT", "API_KEY", "ADMIN_TOKEN")}
        self.environment.update({"DATA_DIR": self.data, "HOST": "127.0.0.1", "PORT": "0"})
        self.environment.update({k: str(v) for k, v in settings.items()})
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        with open(self.log_path, "ab") as log:
            begin = log.tell()
            self.started = time.monotonic()
            self.process = subprocess.Popen(self.wrapper + [PROGRAM, "serve"], stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.folder, env=self.environment)
        while time.monotonic() - self.started < 60:
            found = re.search(rb"listening on http://([0-9.]+):(\d+)", self.log()[begin:])
            if found:
                self.host, self.port = found[1].decode(), int(found[2])
                self.url = f"http://{self.host}:{self.port}"
                return
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}: {self.log().decode()}")
            time.sleep(0.005)
        raise AssertionError("the service does not listen")

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read()

    def stop(self, number=signal.SIGTERM):
        """Ends it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(self.stop_within)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the service does not stop: {self.log()[-2000:].decode()}")
        if -self.process.returncode in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS):
            print("the service's last words:", self.log()[-4000:].decode(errors="replace"), file=sys.stderr)
        return self.process.returncode

    def wait_ready(self, seconds=60):
        until = time.monotonic() + seconds
        while self.get("/readyz").status != 200:
            if time.monotonic() > until:
                raise AssertionError("the service does not get ready: " + self.get("/readyz").body.decode())
            time.sleep(0.01)

    # -- requests

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def upload(self, data, name="video.mp4", headers=None, **fields):
        body, kind = form(data, name, **fields)
        return self.request("POST", "/api/upload", body, {"Content-Type": kind, **(headers or {})})

    def wait(self, job, seconds=120):
        """The status of a job when it is over."""
        until = time.monotonic() + seconds * (5 if kit.sanitized() else 1)
        while True:
            status = self.get(f"/api/status/{job}").json()
            if status["status"] in ("completed", "failed", "cancelled"):
                return status
            if time.monotonic() > until:
                raise AssertionError(f"job {job} does not end: {status}")
            time.sleep(0.05)

    def admin(self):
        with open(os.path.join(self.data, "admin_token"), encoding="ascii") as token:
            return {"Authorization": "Bearer " + token.read().strip()}

    def memory(self):
        """Bytes of all its processes, shared pages counted once."""
        total, waiting = 0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                    total += int(re.search(r"^Pss: +(\d+) kB", rollup.read(), re.M)[1]) * 1024
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                        waiting += [int(child) for child in children.read().split()]
            except (OSError, TypeError):
                continue
        return total


def form(data, name="video.mp4", **fields):
    boundary = "----boundary" + os.urandom(8).hex()
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
             for k, v in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 "Content-Type: video/mp4\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def skip_all(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


_made = {}


def made_video(size="320x240", seconds=1, rate=10, codec=("-c:v", "libx264", "-preset", "ultrafast")):
    """A real video without people, made by ffmpeg."""
    key = (size, seconds, rate, codec)
    if key not in _made:
        with tempfile.NamedTemporaryFile(suffix=".mp4") as out:
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}",
                            "-t", str(seconds), *codec, "-pix_fmt", "yuv420p", out.name], check=True)
            _made[key] = out.read()
    return _made[key]


def sample_video():
    """The project's sample clip with a person, else None."""
    for folder in (os.environ.get("BODYSCRIPT_MEDIA"), pathlib.Path(PROGRAM).parent / "media"):
        if folder and pathlib.Path(folder, "sample.mp4").is_file():
            return pathlib.Path(folder, "sample.mp4").read_bytes()
    return None


def run(module="__main__"):
    if not os.path.exists(PROGRAM):
        skip_all("the program is not built")
    if not shutil.which("ffmpeg"):
        skip_all("ffmpeg, which makes the test videos, is not installed")
    unittest.main(module=module, verbosity=2)
