"""The service in ./dev bench: how soon it is there, and what being asked 10,000 times a second costs its jobs."""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from service import Service  # noqa: E402

STARTS = 15
POLLS_PER_SECOND, CLIENTS = 10000, 50
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answered(port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return s.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    except OSError:
        return False


def one_start():
    """Milliseconds from the start of the program to its first answer, and to being ready for jobs."""
    port = free_port()
    service = Service(PORT=port)
    began, times = time.perf_counter(), []
    with open(service.log_path, "wb") as log:
        service.process = subprocess.Popen([os.environ["BODYSCRIPT"], "serve"], stderr=log, env=service.environment)
    try:
        for path in ("/livez", "/readyz"):
            while not answered(port, path):
                time.sleep(0.0005)
            times.append((time.perf_counter() - began) * 1000)
    finally:
        service.__exit__()
    return times


def start(table):
    one_start()  # the page cache is warm from here on
    runs = [one_start() for _ in range(STARTS)]
    rows = [[name, f"{statistics.median(t):.0f}", f"{min(t):.0f}", f"{max(t):.0f}", f"≤ {target}"]
            for name, t, target in zip(("first answer (`/livez`)", "ready for jobs (`/readyz`)"), zip(*runs), (100, 150))]
    return (f"### The service: from the start of the program, in milliseconds\n\n{STARTS} starts with a warm page "
            "cache.\n\n" + table(["", "median", "best", "worst", "target"], rows))


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Polls:
    """The load maker, asking for the status of these jobs."""

    def __init__(self, service, jobs):
        self.service, self.before = service, cpu(service.process.pid)
        self.process = subprocess.Popen(
            [ROOT / "build/bench/load_polls", service.host, str(service.port),
             ",".join(f"/api/status/{job}" for job in jobs), str(CLIENTS), str(POLLS_PER_SECOND)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self):
        told = json.loads(self.process.communicate()[0])
        told["server"] = cpu(self.service.process.pid) - self.before
        return told


def two_jobs(service, clip, polled):
    """Seconds until two jobs that run side by side are done, processor seconds of both, and what the polls told."""
    began = time.perf_counter()
    jobs = [service.upload(clip, interval=1).json()["job_id"] for _ in range(2)]
    polls = Polls(service, jobs) if polled else None
    done = [service.wait(job, 600) for job in jobs]
    took = time.perf_counter() - began
    told = polls.end() if polls else None
    for job, status in zip(jobs, done):
        assert status["status"] == "completed", status
        service.request("DELETE", f"/api/cleanup/{job}")
    return took, sum(status["statistics"]["cpu_seconds"] for status in done), told


def polls(video, rounds, table):
    clip = pathlib.Path(video).read_bytes()
    with Service(MAX_VIDEO_SIZE_MB=1000) as service:
        service.wait_ready()
        two_jobs(service, clip, False)
        alone, polled = [], []
        for _ in range(rounds):
            alone.append(two_jobs(service, clip, False))
            polled.append(two_jobs(service, clip, True))
    told = [run[2] for run in polled]
    answers, asked_seconds = sum(t["answers"] for t in told), sum(t["seconds"] for t in told)
    wall = [statistics.median(run[0] for run in runs) for runs in (alone, polled)]
    own = [statistics.median(run[1] for run in runs) for runs in (alone, polled)]
    server = (sum(t["server"] for t in told)) / answers * 1e6
    maker = sum(t["cpu"] for t in told) / answers * 1e6
    rows = [["two jobs, alone", f"{wall[0]:.2f}", f"{own[0]:.2f}", ""],
            ["two jobs, being asked", f"{wall[1]:.2f}", f"{own[1]:.2f}", f"{answers / asked_seconds:.0f}"],
            ["ratio (target ≤ 1.20)", f"{wall[1] / wall[0]:.2f}", f"{own[1] / own[0]:.2f}", ""]]
    return (f"### The service: two jobs at work while {CLIENTS} clients ask for their status\n\n"
            f"Every frame of {pathlib.Path(video).name}, in turn alone and asked {POLLS_PER_SECOND} times a second over "
            "kept connections. The program that asks runs on the same processors.\n\n"
            + table(["", "seconds", "processor seconds of the jobs", "answers per second"], rows)
            + f"\nA status answer takes {server:.1f} µs of the server's processor time and {maker:.1f} µs of the asking "
            f"program's; answers that were not 200: {sum(t['not_200'] for t in told)}. Of the time from when it was due "
            f"to the answer the median was {statistics.median(t['median_ms'] for t in told):.1f} ms, with every "
            "processor at work.\n")
