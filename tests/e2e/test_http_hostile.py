"""Damaged media through the API: the server never dies, answers /livez throughout, and nothing is left behind.

HOSTILE_FILES=1000 for the long form, BODYSCRIPT=build-asan/bodyscript for the server under AddressSanitizer."""
import http.client
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import service
from service import Service, made_video

FILES = int(os.environ.get("HOSTILE_FILES", "60"))


def originals():
    """One small file of each of several formats."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "source.mp4")
        with open(source, "wb") as out:
            out.write(service.sample_video() or made_video())
        for name, arguments in (("a.mp4", ["-t", "1", "-vf", "scale=192:-2", "-c:v", "libx264", "-preset", "ultrafast"]),
                                ("a.mkv", ["-t", "1", "-vf", "scale=160:-2", "-c:v", "mpeg4"]),
                                ("a.avi", ["-t", "1", "-vf", "scale=160:-2", "-c:v", "mjpeg"]),
                                ("a.ts", ["-t", "1", "-vf", "scale=160:-2", "-c:v", "mpeg2video"]),
                                ("a.webm", ["-t", "0.5", "-vf", "scale=96:-2", "-c:v", "libvpx-vp9", "-deadline", "realtime"]),
                                ("a.jpg", ["-frames:v", "1"]), ("a.png", ["-frames:v", "1", "-vf", "scale=160:-2"]),
                                ("a.webp", ["-frames:v", "1", "-vf", "scale=160:-2"])):
            path = os.path.join(folder, name)
            run = subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, "-an", *arguments, path],
                                 capture_output=True)
            if run.returncode == 0:
                with open(path, "rb") as done:
                    made.append((name, done.read()))
    return made


def damaged(data, chance):
    """The same bytes with a few of them wrong, missing, doubled or cut off."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 64))):
        at = chance.randrange(16, len(out))
        kind = chance.randrange(6)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at:at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif kind == 2:
            del out[at:at + chance.randrange(1, 200)]
        elif kind == 3:
            out[at:at] = out[max(16, at - 300):at]
        elif kind == 4:
            out[at:at + 32] = chance.randbytes(32)
        elif chance.random() < 0.2:
            del out[at:]
        if len(out) < 64:
            break
    return bytes(out)


BARE_SERVER = """
import socket
s = socket.create_server(("127.0.0.1", 0), backlog=64)
print(s.getsockname()[1], flush=True)
while True:
    c = s.accept()[0]
    c.recv(4096)
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    c.close()
"""


class Watch(threading.Thread):
    """Asks for /livez twenty times a second, on a new connection each time."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.took, self.trouble = port, threading.Event(), [], []

    def run(self):
        while not self.over.wait(0.05):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request("GET", "/livez")
                if (status := connection.getresponse().status) != 200:
                    self.trouble.append(f"/livez is {status}")
            except OSError as failure:
                self.trouble.append(f"/livez: {failure}")
            connection.close()
            self.took.append((time.monotonic() - began) * 1000)

    def end(self):
        self.over.set()
        self.join()
        took = sorted(self.took)
        late = sum(t > 100 for t in took)
        return (f"{len(took)} times, in ms: median {took[len(took) // 2]:.1f}, 99 % within {took[len(took) * 99 // 100]:.1f}, "
                f"99.9 % within {took[len(took) * 999 // 1000]:.1f}, worst {took[-1]:.1f}, over 100: {late}")


class Hostile(unittest.TestCase):
    def test_damaged_files_leave_the_service_as_it_was(self):
        chance = random.Random(20260711)
        files = originals()
        self.assertGreaterEqual(len(files), 4)
        with Service(MAX_PENDING_JOBS=100, JOB_TIMEOUT_SECONDS=60) as s:
            s.wait_ready()
            zygote = [p["pid"] for p in s.get("/health/memory").json()["processes"] if p["role"] == "zygote"]
            # A server that does nothing, asked at the same moments, tells what of a late answer is the machine's doing.
            bare = subprocess.Popen([sys.executable, "-c", BARE_SERVER], stdout=subprocess.PIPE, text=True)
            watches = [Watch(s.port), Watch(int(bare.stdout.readline()))]
            for watch in watches:
                watch.start()
            told = {}
            try:
                for number in range(FILES):
                    name, data = files[number % len(files)]
                    answer = s.upload(damaged(data, chance), name, mode=chance.choice(("ultra_fast", "fast")))
                    told[answer.status] = told.get(answer.status, 0) + 1
                    self.assertIn(answer.status, (200, 400, 413), answer.body)
                    if answer.status != 200:
                        self.assertTrue(answer.detail())
                        continue
                    job = answer.json()["job_id"]
                    status = s.wait(job)
                    told[status["status"]] = told.get(status["status"], 0) + 1
                    if status["status"] == "failed":
                        self.assertTrue(status["error"])
                    self.assertEqual(s.request("DELETE", f"/api/cleanup/{job}").status, 200)
            finally:
                seen = [watch.end() for watch in watches]
                bare.kill()
                bare.communicate()
            print(f"{FILES} files: {told}\n/livez {seen[0]}\na bare server {seen[1]}")  # told, not judged: others run beside
            self.assertEqual(watches[0].trouble, [])
            self.assertIsNone(s.process.poll())
            until = time.monotonic() + 10  # under a sanitizer a process takes its time to exit
            while True:
                processes = s.get("/health/memory").json()["processes"]
                left = [p["role"] for p in processes if p["role"] not in ("server", "zygote")]
                if not left or time.monotonic() > until:
                    break
                time.sleep(0.1)
            self.assertEqual(left, [])
            self.assertEqual([p["pid"] for p in processes if p["role"] == "zygote"], zygote)
            self.assertEqual([n for n in os.listdir(os.path.join(s.data, "jobs")) if n[0] != "."], [])
            self.assertEqual(os.listdir(os.path.join(s.data, "jobs", ".incoming")), [])
            metrics = s.get("/metrics").body.decode()
            for name in ("memory_reserved_bytes", "disk_reserved_bytes"):
                self.assertEqual(float(re.search(rf"^bodyscript_{name} (\S+)", metrics, re.M)[1]), 0, name)
            self.assertEqual(s.stop(), 0)
            self.assertNotRegex(s.log().decode(errors="replace"), "AddressSanitizer|runtime error|ThreadSanitizer")


if __name__ == "__main__":
    service.run()
