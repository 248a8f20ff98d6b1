"""A running service for the end-to-end tests: start, requests, processes, memory, stop."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import uuid

import kit

FINAL = ("completed", "failed", "cancelled")


def multipart(fields, filename, data):
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
             for k, v in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
                 "Content-Type: application/octet-stream\r\n\r\n".encode())
    return b"".join(parts) + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Server:
    """`bodyscript serve` on a free port of its own. Restarts keep the data and the port."""

    def __init__(self, folder, cgroup=None, **settings):
        self.data = pathlib.Path(folder) / "data"
        self.log = pathlib.Path(folder) / "server.log"
        self.cgroup = cgroup
        self.settings = {"HOST": "127.0.0.1", "PORT": 0, "DATA_DIR": self.data, "LOG_LEVEL": "info", **settings}
        self.process = None

    def start(self):
        before = self.log.stat().st_size if self.log.exists() else 0
        enter = None
        if self.cgroup:
            procs = self.cgroup.folder / "cgroup.procs"
            enter = lambda: procs.write_text(str(os.getpid()))
        env = dict(kit.ENVIRONMENT, **{k: str(v) for k, v in self.settings.items()})
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([kit.PROGRAM, "serve"], env=env, stdout=log, stderr=log, preexec_fn=enter,
                                            stdin=subprocess.DEVNULL)
        for _ in range(3000):
            with open(self.log, "rb") as log:
                log.seek(before)
                found = re.search(rb"serving at http://[^ ;]*:(\d+)", log.read())
            if found:
                self.port = self.settings["PORT"] = int(found[1])
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError("the server does not start: " + self.log.read_text()[-2000:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def stop(self, timeout=30):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # -- requests -------------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=None, timeout=60):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, path, method="GET", expect=200):
        status, _, body = self.request(method, path)
        assert status == expect, (path, status, body)
        return json.loads(body)

    def post(self, path, name=None, key=None, **fields):
        """Uploads a file: status, headers, answer."""
        body, kind = multipart(fields, name or pathlib.Path(path).name, pathlib.Path(path).read_bytes())
        headers = {"Content-Type": kind, **({"Idempotency-Key": key} if key else {})}
        status, headers, answer = self.request("POST", "/api/upload", body, headers)
        return status, headers, json.loads(answer)

    def upload(self, path, **more):
        status, _, answer = self.post(path, **more)
        assert status == 200, (status, answer)
        return answer["job_id"]

    def status(self, job):
        return self.json(f"/api/status/{job}")

    def wait(self, job, until=FINAL, timeout=100):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            status = self.status(job)
            if status["status"] in until:
                return status
            time.sleep(0.05)
        raise AssertionError(f"job {job} is still {status}; {self.log.read_text()[-3000:]}")

    def wait_ready(self, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.request("GET", "/readyz")[0] == 200:
                return self
            time.sleep(0.02)
        raise AssertionError("not ready: " + str(self.request("GET", "/readyz")))

    # -- processes ------------------------------------------------------------------------------------

    def processes(self):
        """Process ids of the whole tree by role: server, zygote, job."""
        children = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    children.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                        int(entry.name))
        zygotes = children.get(self.process.pid, [])
        return {"server": [self.process.pid], "zygote": zygotes,
                "job": [job for zygote in zygotes for job in children.get(zygote, [])]}

    def memory(self, anonymous=False):
        """Proportional memory of the whole tree in MB; without what is page cache, where asked for."""
        total = 0
        for pid in sum(self.processes().values(), []):
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(re.search(r"Pss_Anon:\s+(\d+)" if anonymous else r"Pss:\s+(\d+)", text)[1])
        return total / 1024

    # -- files ----------------------------------------------------------------------------------------

    def folders(self):
        """The jobs that have files, with their files."""
        jobs = self.data / "jobs"
        return {p.name: {f.name for f in p.iterdir()} for p in jobs.iterdir() if p.name != ".incoming"}

    def integrity(self):
        import sqlite3
        with contextlib.closing(sqlite3.connect(self.data / "jobs.db")) as db:
            return db.execute("PRAGMA integrity_check").fetchone()[0]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pids, timeout=5):
    """Whether all these processes end within the time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


def send(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def together(*calls):
    """Runs calls at once; their results."""
    results = [None] * len(calls)

    def run(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
