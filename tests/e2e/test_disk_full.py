"""The disk becomes full at every stage of a job's way: what cannot go on says so, nothing is lost or left, and with room
again everything goes on."""
import contextlib
import os
import socket
import subprocess
import tempfile
import time
import unittest

import service
from server import FINAL, Server
from service import form, made_video


class DiskFull(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="bodyscript-test-")
        self.addCleanup(os.rmdir, self.folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", self.folder], capture_output=True).returncode:
            self.skipTest("a small file system cannot be mounted here (that needs root)")
        self.addCleanup(subprocess.run, ["umount", "-l", self.folder])
        self.video = made_video("640x360", 3, 25)

    def serve(self, **settings):
        server = Server(DATA_DIR=self.folder + "/data", **settings)
        server.data = self.folder + "/data"
        self.addCleanup(server.__exit__)
        server.start()
        server.wait_ready()
        return server

    def fill(self):
        with contextlib.suppress(OSError), open(self.folder + "/filler", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(1 << 16))
        with contextlib.suppress(OSError), open(self.folder + "/filler", "ab", buffering=0) as rest:
            while True:
                rest.write(bytes(1))

    def make_room(self):
        os.unlink(self.folder + "/filler")

    def assertGoesOn(self, server, kept=()):
        """A job is completed, nothing is left of those that were not, and the store is sound."""
        job = server.submit(self.video)
        self.assertEqual(server.wait(job)["status"], "completed")
        self.assertEqual(set(server.folders()), {job, *kept})
        self.assertEqual(server.incoming(), [])
        self.assertEqual(server.integrity(), "ok")
        self.assertEqual(server.request("DELETE", f"/api/cleanup/{job}").status, 200)

    def test_at_the_start(self):
        self.fill()
        with self.assertRaisesRegex(AssertionError, "(?i)ended with 1: .*(full|no space)"):
            self.serve()
        self.make_room()
        self.assertGoesOn(self.serve())

    def test_before_and_while_an_upload_arrives(self):
        server = self.serve()
        body, kind = form(self.video)
        head = f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        middle = len(body) // 2
        with socket.create_connection((server.host, server.port), timeout=30) as arriving:  # of a length not told
            arriving.sendall(head.encode() + b"%x\r\n%s\r\n" % (middle, body[:middle]))
            time.sleep(0.3)  # the first half has been written
            self.fill()
            self.assertEqual(server.upload(self.video).status, 507)
            with contextlib.suppress(OSError):
                arriving.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - middle, body[middle:]))
            answer = arriving.recv(4096)
        # The size that an upload may have was set aside when it began: it may well be stored, and not be queued.
        self.assertRegex(answer, rb"^HTTP/1.1 (507|503|200) ")
        for path in ("/livez", "/health", "/api/gallery", "/metrics"):
            self.assertEqual(server.get(path).status, 200, path)
        self.make_room()
        for status in server.get("/api/jobs", **server.admin()).json()["jobs"]:
            server.wait(status["job_id"])
            server.request("DELETE", f"/api/cleanup/{status['job_id']}")
        self.assertGoesOn(server)

    def test_while_a_job_waits_runs_and_ends(self):
        server = self.serve()
        kept = server.submit(self.video)
        self.assertEqual(server.wait(kept)["status"], "completed")
        whole = server.get(f"/api/serve/{kept}/pose_data.csv").body
        ends = {}
        for moment in (0, 0.1, 0.3, 0.6, 0.9, 1.2):
            job = server.submit(self.video, save_frames="true")
            time.sleep(moment)
            self.fill()
            until = time.monotonic() + 6
            while server.status(job)["status"] not in FINAL and time.monotonic() < until:
                self.assertEqual(server.get("/livez").status, 200)
                time.sleep(0.1)
            self.assertEqual(server.get(f"/api/serve/{kept}/pose_data.csv").body, whole)
            self.make_room()
            status = server.wait(job)
            ends[moment] = status["status"]
            if status["status"] == "completed":
                csv = server.get(f"/api/serve/{job}/pose_data.csv")
                self.assertEqual((csv.status, csv.body), (200, whole))
            else:
                self.assertEqual(status["status"], "failed", status)
                self.assertRegex(status["error"], "(?i)space|disk|room")
            self.assertEqual(server.request("DELETE", f"/api/cleanup/{job}").status, 200)
            self.assertGoesOn(server, [kept])
        # The job alone is ended: the process that starts jobs, on which all others depend, goes on.
        self.assertFalse(b"the zygote" in server.log(), "the zygote was started again")
        print(ends, end=" ")

    def test_while_it_stops(self):
        server = self.serve()
        job = server.submit(self.video)
        server.wait_for(job, "processing")
        self.fill()
        self.assertEqual(server.stop(), 0)
        self.make_room()
        server.start()
        server.wait_ready()
        self.assertIn(server.wait(job)["status"], ("completed", "failed"))
        server.request("DELETE", f"/api/cleanup/{job}")
        self.assertGoesOn(server)


if __name__ == "__main__":
    service.run()
