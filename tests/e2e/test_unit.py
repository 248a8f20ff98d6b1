"""The systemd unit: no line of it is unknown to this systemd, and it lets the service do all that it does. (A call that
the filter does not allow is answered EPERM there, and jobs that cannot lock themselves in do not run.)"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import kit
import service
from service import Service, made_video

UNIT = kit.ROOT / "packaging" / "bodyscript.service"


def groups():
    """What systemd's names for groups of system calls stand for."""
    found, name = {}, None
    for line in subprocess.check_output(["systemd-analyze", "syscall-filter"], text=True).splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif line.startswith("    ") and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def allowed(words, known):
    return {call for word in words for call in (allowed(known[word], known) if word.startswith("@") else [word])}


class Unit(unittest.TestCase):
    def test_systemd_knows_every_line_of_it(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder, UNIT.name)
            unit.write_text(UNIT.read_text().replace("/usr/bin/bodyscript", str(pathlib.Path(service.PROGRAM).resolve())))
            told = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
            self.assertEqual((told.returncode, told.stdout + told.stderr), (0, ""))

    def test_its_filter_allows_what_server_zygote_and_jobs_do(self):
        if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
            self.skipTest("strace is not permitted here")
        with Service(wrapper=["strace", "-f", "-qq", "-o", "trace"]) as s:
            s.wait_ready()
            for fields in ({}, {"save_frames": "true", "mode": "smart"}):
                job = s.upload(made_video(), **fields).json()["job_id"]
                self.assertEqual(s.wait(job)["status"], "completed")
            for path in ("/", "/metrics", "/health/memory", f"/api/download/{job}/video"):
                self.assertEqual(s.get(path).status, 200)
            self.assertEqual(s.request("DELETE", f"/api/cleanup/{job}").status, 200)
            children = pathlib.Path(f"/proc/{s.process.pid}/task/{s.process.pid}/children")
            for child in children.read_text().split():  # the service, of which strace is the parent
                os.kill(int(child), 15)
            s.process.wait(60)
            trace = pathlib.Path(s.folder, "trace").read_text(errors="replace")
        used = set(re.findall(r"^\d+ +(\w+)\(", trace, re.M))
        self.assertIn("seccomp", used)
        words = [word for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.M) for word in line.split()]
        self.assertEqual(used - allowed(words, groups()), set())


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        service.skip_all("systemd-analyze is not installed")
    service.run()
