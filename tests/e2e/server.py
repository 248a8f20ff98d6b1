"""The service as a set of processes and files: to be killed, looked into, and started again on what it left."""
import contextlib
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time

from service import PROGRAM, Service

FINAL = ("completed", "failed", "cancelled")


class Server(Service):
    """`Service` that runs in a memory cgroup where one is given. Restarts keep data and port."""

    def __init__(self, cgroup=None, **settings):
        procs = str(cgroup.folder / "cgroup.procs") if cgroup else None
        wrapper = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', procs) if cgroup else ()
        super().__init__(wrapper, **settings)
        self.pids = set()  # of the server, over all its starts

    def start(self):
        super().start()
        self.pids.add(self.process.pid)
        self.environment["PORT"] = str(self.port)

    def __exit__(self, *exception):
        self.kill()
        log = self.log()
        super().__exit__(*exception)
        # libav's own threads are not instrumented: what ThreadSanitizer says of job processes is about them.
        for report in re.finditer(rb"ERROR: AddressSanitizer|runtime error:|ThreadSanitizer: [^\n]*pid=(\d+)", log):
            ours = report[1] is None or int(report[1]) in self.pids
            assert not ours, log[max(report.start() - 200, 0):report.end() + 4000].decode(errors="replace")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # -- jobs

    def submit(self, data, **more):
        answer = self.upload(data, **more)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()["job_id"]

    def status(self, job):
        return self.get(f"/api/status/{job}").json()

    def wait_for(self, job, state, seconds=60):
        until = time.monotonic() + seconds
        while (status := self.status(job))["status"] != state:
            assert status["status"] not in FINAL and time.monotonic() < until, (status, self.log()[-3000:].decode())
            time.sleep(0.01)
        return status

    def jobs(self, *words):
        """`bodyscript jobs` on this store."""
        return subprocess.run([PROGRAM, "jobs", *words], env=self.environment, capture_output=True, text=True, timeout=60)

    # -- processes

    def processes(self):
        """Process ids of the whole tree: {"server": [...], "zygote": [...], "job": [...]}."""
        children = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
        zygotes = children.get(self.process.pid, [])
        return {"server": [self.process.pid], "zygote": zygotes,
                "job": [job for zygote in zygotes for job in children.get(zygote, [])]}

    def own_memory(self):
        """Megabytes of all its processes, page cache left out."""
        total = 0
        for pid in sum(self.processes().values(), []):
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(re.search(r"Pss_Anon: +(\d+)", text)[1]) + int(re.search(r"Pss_Shmem: +(\d+)", text)[1])
        return total / 1024

    # -- files

    def folders(self):
        """The jobs that have files, and their names."""
        return {p.name: {f.name for f in p.iterdir()} for p in pathlib.Path(self.data, "jobs").iterdir()
                if p.name[0] != "."}

    def folders_settled(self, expected, seconds=5):
        """The folders once they are as expected: a job's status is told just before its files go."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(FileNotFoundError):  # gone while it was looked at
                found = self.folders()
                if found == expected or time.monotonic() > until:
                    return found
            time.sleep(0.01)

    def incoming(self):
        return list(pathlib.Path(self.data, "jobs", ".incoming").iterdir())

    def integrity(self):
        with contextlib.closing(sqlite3.connect(os.path.join(self.data, "jobs.db"))) as db:
            return db.execute("PRAGMA integrity_check").fetchone()[0]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def end_within(pids, seconds=5):
    until = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
