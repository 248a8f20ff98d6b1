"""Start-up and privacy: the service answers at once, opens no outgoing connection ever, and is small when idle."""
import os
import re
import shutil
import subprocess
import time
import unittest

import service
from service import Service, made_video


class Private(unittest.TestCase):
    def test_no_outgoing_connection_is_ever_opened(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True)
        if probe.returncode:
            self.skipTest("strace is not permitted here")
        with Service(wrapper=["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,socket", "-o", "trace"]) as s:
            # The process that was started is strace; its child is the service.
            s.wait_ready()
            job = s.upload(service.sample_video() or made_video()).json()["job_id"]
            self.assertEqual(s.wait(job)["status"], "completed")
            for path in ("/", "/docs", "/openapi.json", "/metrics", "/health/memory", f"/api/download/{job}/video"):
                self.assertEqual(s.get(path).status, 200)
            self.assertEqual(s.request("DELETE", f"/api/cleanup/{job}").status, 200)
            with open(f"/proc/{s.process.pid}/task/{s.process.pid}/children", encoding="ascii") as children:
                for child in children.read().split():
                    os.kill(int(child), 15)
            s.process.wait(30)
            with open(os.path.join(s.folder, "trace"), encoding="utf-8", errors="replace") as trace:
                calls = trace.read()
            self.assertIn("socket(", calls)
            self.assertEqual(re.findall(r".*\bconnect\(.*sa_family=AF_(?!UNIX).*", calls), [])
            self.assertEqual(re.findall(r".*\bsend(?:to|msg)\(.*sa_family=AF_INET.*", calls), [])
            self.assertEqual(re.findall(r".*\bsocket\(AF_(?:INET6?|PACKET).*SOCK_DGRAM.*", calls), [])

    def test_it_answers_and_gets_ready(self):
        with Service() as s:
            answered = time.monotonic() - s.started
            self.assertEqual(s.get("/livez").status, 200)
            s.wait_ready()
            ready = time.monotonic() - s.started
            print(f"first answer after {answered * 1000:.0f} ms, ready after {ready * 1000:.0f} ms, "
                  f"{s.memory() / 1048576:.1f} MB idle")  # told, not judged: other programs run beside the tests

    def test_the_platforms_port_is_listened_on_from_outside(self):
        with Service() as s:
            s.stop()
            del s.environment["HOST"]
            s.start()
            self.assertEqual(s.host, "0.0.0.0")
            self.assertEqual(s.get("/livez").status, 200)

    def test_a_port_that_is_taken_is_said_in_one_sentence(self):
        with Service() as s:
            again = subprocess.run([service.PROGRAM, "serve"], capture_output=True, text=True, timeout=60, cwd=s.folder,
                                   env={**s.environment, "DATA_DIR": os.path.join(s.folder, "other"),
                                        "PORT": str(s.port)})
            self.assertEqual(again.returncode, 1)
            self.assertIn(f"cannot listen on 127.0.0.1 port {s.port}", again.stderr)


if __name__ == "__main__":
    service.run()
