"""Everything at once: uploads, repeats, polls, event streams, downloads, cancelling, removing, the gallery, what is no
upload, dying processes, and a stop in the middle of it. Small clips and the smallest model, so that it can run where
every access is watched: this is the service's test under ThreadSanitizer and (test_memcheck_service) Valgrind.

BODYSCRIPT_LONG=1: ten times as much of it."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import service
from server import FINAL, Server, end_within, kill
from service import Service, form, made_video

ROUNDS = 20 if os.environ.get("BODYSCRIPT_LONG") else 2
CLIP = ("160x120", 1, 10)
SETTINGS = {"MODE": "ultra_fast", "MAX_PENDING_JOBS": max(50, 4 * ROUNDS), "MAX_VIDEO_SIZE_MB": 1}


class Clients:
    """Threads that all begin at the same moment; the first failure is raised at the end."""

    def __init__(self, server):
        self.server, self.clip, self.failure = server, made_video(*CLIP), None
        self.jobs, self.over, self.patient = [], threading.Event(), True

    def run(self, *clients):
        begin = threading.Barrier(len(clients))

        def one(client):
            begin.wait()
            try:
                client()
            except Exception as failure:  # for the main thread to tell
                if self.patient or not isinstance(failure, (OSError, http.client.HTTPException)):
                    self.failure = self.failure or failure

        threads = [threading.Thread(target=one, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        return threads

    def finish(self, threads):
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive(), "a client is stuck"
        if self.failure:
            raise self.failure

    # -- what a client does

    def upload(self, **headers):
        job = self.server.submit(self.clip, headers={k.replace("_", "-"): v for k, v in headers.items()})
        self.jobs.append(job)
        return job

    def works(self):
        for _ in range(ROUNDS):
            job = self.upload()
            status = self.server.wait(job, 300)
            assert status["status"] == "completed", status
            for name in ("video", "csv", "json"):
                whole = self.server.get(f"/api/download/{job}/{name}")
                part = self.server.get(f"/api/download/{job}/{name}", Range="bytes=10-99")
                assert (whole.status, part.status, part.body) == (200, 206, whole.body[10:100]), name
            assert self.server.request("DELETE", f"/api/cleanup/{job}").status == 200
            assert self.server.get(f"/api/status/{job}").status == 404

    def cancels(self):
        for number in range(2 * ROUNDS):
            job = self.upload()
            time.sleep(0.1 * (number % 4))  # before it runs, and at several moments of its run
            answer = self.server.request("POST", f"/api/cancel/{job}")
            status = self.server.wait(job, 60)
            assert (answer.status, status["status"]) in ((200, "cancelled"), (409, "completed")), (answer.body, status)

    def removes(self):
        for number in range(2 * ROUNDS):
            job = self.upload()
            time.sleep(0.1 * (number % 4))  # before it runs, and at several moments of its run
            assert self.server.request("DELETE", f"/api/cleanup/{job}").status == 200
            assert self.server.get(f"/api/status/{job}").status == 404

    def listens(self):
        for _ in range(ROUNDS):
            stream = self.server.get(f"/api/events/{self.upload()}").body
            last = json.loads(stream.rsplit(b"data: ", 1)[1])
            assert last["status"] == "completed", last

    def asks(self):
        paths = ("/", "/health", "/health/memory", "/metrics", "/readyz", "/livez", "/api/gallery", "/openapi.json")
        while not self.over.is_set():
            for path in (*paths, *(f"/api/status/{job}" for job in self.jobs[-5:])):
                assert self.server.get(path).status in (200, 404, 503), path
            assert self.server.get("/api/jobs", **self.server.admin()).status == 200

    def curates(self):
        job = self.upload()
        self.server.wait(job, 300)
        for _ in range(5 * ROUNDS):
            for action in ("approve-to-gallery", "remove-from-gallery"):
                answer = self.server.request("POST", f"/api/admin/{action}", json.dumps({"job_id": job}),
                                             self.server.admin())
                assert answer.status == 200, answer.body

    def errs(self):
        body, kind = form(self.clip)
        head = f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(3 * ROUNDS):
            with socket.create_connection((self.server.host, self.server.port), timeout=60) as given_up:
                given_up.sendall(head.encode() + body[:len(body) // 2])
            assert self.server.upload(b"no video " * 100).status == 400
            assert self.server.upload(self.clip[:5000]).status == 400
            assert self.server.upload(self.clip + bytes(2 << 20)).status == 413
            assert self.server.upload(self.clip, mode="warp").status == 422


class Concurrent(unittest.TestCase):
    def serve(self, **settings):
        server = Server(**{**SETTINGS, **settings})
        self.addCleanup(server.__exit__)
        server.start()
        server.wait_ready()
        return server

    def left_behind(self, server, jobs):
        metrics = server.get("/metrics").body.decode()
        return (server.incoming(), set(server.folders()) - set(jobs),
                [re.search(rf"^bodyscript_{name} (\S+)$", metrics, re.M)[1]
                 for name in ("memory_reserved_bytes", "disk_reserved_bytes", "http_uploads")])

    def assertClean(self, server, jobs):
        """Only these jobs have files, all of them whole, and nothing is set aside for anybody."""
        clean = ([], set(), ["0", "0", "0"])
        until = time.monotonic() + 20
        while (left := self.left_behind(server, jobs)) != clean and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(left, clean)
        for job, files in server.folders().items():
            self.assertFalse([name for name in files if name == "input" or name.startswith(".")], job)
        self.assertEqual(server.integrity(), "ok")

    def test_clients_do_not_disturb_each_other(self):
        server = self.serve()
        clients = Clients(server)
        asking = clients.run(clients.asks)
        clients.finish(clients.run(clients.works, clients.works, clients.cancels, clients.removes, clients.listens,
                                   clients.curates, clients.errs))
        clients.over.set()
        clients.finish(asking)
        self.assertClean(server, [job for job in clients.jobs if server.get(f"/api/status/{job}").status == 200])
        self.assertEqual(server.stop(), 0)

    def test_the_same_upload_sent_at_the_same_moment_is_one_job(self):
        server = self.serve()
        clients = Clients(server)
        for number in range(2 * ROUNDS):
            clients.jobs.clear()
            clients.finish(clients.run(*[lambda: clients.upload(Idempotency_Key=f"walk-{number}")] * 4))
            self.assertEqual(len(clients.jobs), 4)
            self.assertEqual(len(set(clients.jobs)), 1)
            self.assertEqual(server.wait(clients.jobs[0], 300)["status"], "completed")
        self.assertEqual(server.get("/api/jobs", **server.admin()).json()["total"], 2 * ROUNDS)
        self.assertEqual(len(server.folders()), 2 * ROUNDS)

    def test_processes_that_die_under_load_lose_no_job(self):
        server = self.serve(JOB_MAX_ATTEMPTS=10)
        clients = Clients(server)
        clients.jobs = [server.submit(clients.clip) for _ in range(4 * ROUNDS)]
        asking = clients.run(clients.asks)
        for number in range(2 * ROUNDS):
            running = server.processes()
            for pid in running["job" if number % 2 else "zygote"][:1]:
                kill(pid)
            time.sleep(0.5)  # the next one dies at work, not while its predecessor is replaced
        for job in clients.jobs:
            self.assertEqual(server.wait(job, 300)["status"], "completed")
        clients.over.set()
        clients.finish(asking)
        self.assertClean(server, clients.jobs)

    def test_a_stop_in_the_middle_of_everything_leaves_the_queue_as_it_was(self):
        server = self.serve()
        clients = Clients(server)
        clients.patient = False  # the connection may end
        clients.jobs = [server.submit(clients.clip) for _ in range(6)]
        everybody = clients.run(clients.asks, clients.works, clients.listens, clients.errs)
        time.sleep(0.5)  # everybody is in the middle of something
        everyone = sum(server.processes().values(), [])
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # it is stopping by now
        self.assertEqual(server.stop(), 0)  # the second signal: nobody wants to wait
        clients.over.set()
        for thread in everybody:
            thread.join(60)
        self.assertTrue(end_within(everyone))
        self.assertEqual(server.integrity(), "ok")
        server.start()
        server.wait_ready()
        for job in clients.jobs[:6]:
            self.assertEqual(server.wait(job, 300)["status"], "completed")
        for status in server.get("/api/jobs", **server.admin()).json()["jobs"]:
            if status["status"] not in FINAL:
                server.wait(status["job_id"], 300)
        self.assertEqual(server.incoming(), [])


class FrozenDisk:
    """A small ext4 of its own whose writers can be made to wait; skips where none can be mounted."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="bodyscript-test-")
        self.frozen, image = False, self.folder + "/image"
        self.path = self.folder + "/disk"
        os.mkdir(self.path)
        with open(image, "wb") as disk:
            disk.truncate(64 << 20)
        for command in (["mkfs.ext4", "-q", "-F", image], ["mount", "-o", "loop", image, self.path]):
            if not shutil.which(command[0]) or subprocess.run(command, capture_output=True).returncode:
                shutil.rmtree(self.folder)
                raise unittest.SkipTest("a file system that can be frozen cannot be mounted here")

    def freeze(self, frozen):
        if self.frozen != frozen:
            subprocess.run(["fsfreeze", "-f" if frozen else "-u", self.path], check=True)
        self.frozen = frozen

    def close(self):
        self.freeze(False)
        subprocess.run(["umount", "-l", self.path], check=True)
        shutil.rmtree(self.folder)


class Stalled(unittest.TestCase):
    def test_a_disk_that_stands_still_holds_up_uploads_and_nobody_else(self):
        disk = FrozenDisk()
        self.addCleanup(disk.close)
        with Service(STORAGE_URL=f"file:{disk.path}/files", MAX_PENDING_JOBS=100) as s:
            s.wait_ready()
            clip, answers = made_video("160x120", 1, 10), []
            done = s.upload(clip).json()["job_id"]
            s.wait(done)
            kept = [http.client.HTTPConnection(s.host, s.port, timeout=20) for _ in range(8)]
            for connection in kept:
                connection.request("GET", "/livez")
                connection.getresponse().read()
            disk.freeze(True)
            try:
                uploads = [threading.Thread(target=lambda: answers.append(s.upload(clip).status)) for _ in range(6)]
                for upload in uploads:
                    upload.start()
                body, kind = form(clip)
                for _ in range(4):  # begun, and given up
                    with socket.create_connection((s.host, s.port), timeout=20) as left:
                        left.sendall(f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
                                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:5000])
                for _ in range(5):
                    for connection in kept:
                        connection.request("GET", "/livez")
                        self.assertEqual(connection.getresponse().read(), b'{"status":"alive"}')
                    for path in ("/livez", f"/api/status/{done}", "/health"):
                        self.assertEqual(s.get(path).status, 200)
                    time.sleep(0.1)
                self.assertEqual(answers, [])
            finally:
                disk.freeze(False)
            for upload in uploads:
                upload.join()
            self.assertEqual(answers, [200] * 6)
            for connection in kept:
                connection.close()
            until = time.monotonic() + 20
            while os.listdir(disk.path + "/files/.incoming") and time.monotonic() < until:
                time.sleep(0.05)
            self.assertEqual(os.listdir(disk.path + "/files/.incoming"), [])


if __name__ == "__main__":
    service.run()
