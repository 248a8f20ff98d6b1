"""SIGKILL of server, zygote and job processes at random moments under a steady load: what got a job_id ends completed, or
failed with the true reason; no result is served that is not whole; nothing is left behind.

BODYSCRIPT_LONG=1: 200 kills in place of 15. BODYSCRIPT_SEED repeats a run."""
import http.client
import os
import random
import threading
import time
import unittest

import service
from server import FINAL, Server, alive, end_within, kill
from service import made_video

KILLS = 200 if os.environ.get("BODYSCRIPT_LONG") else 15
ATTEMPTS = 6
SEED = int(os.environ.get("BODYSCRIPT_SEED", time.time_ns() % 1000000))


class Load(threading.Thread):
    """Uploads whenever fewer than `at_once` of its jobs are under way, until told to end."""

    def __init__(self, server, video, at_once=4):
        super().__init__(daemon=True)
        self.server, self.video, self.at_once = server, video, at_once
        self.jobs, self.over, self.failure = [], threading.Event(), None

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    self.step()
                except (OSError, http.client.HTTPException):
                    time.sleep(0.02)  # the server is dead just now
        except Exception as failure:  # for the main thread to tell
            self.failure = failure

    def step(self):
        under_way = [job for job in self.jobs[-3 * self.at_once:] if self.server.status(job)["status"] not in FINAL]
        if len(under_way) >= self.at_once:
            time.sleep(0.05)
            return
        answer = self.server.upload(self.video)
        if answer.status == 200:
            self.jobs.append(answer.json()["job_id"])
        elif answer.status not in (503, 507):
            raise AssertionError((answer.status, answer.body))


class Faults(unittest.TestCase):
    def check_results(self, job, expected):
        for name, whole in expected.items():
            answer = self.server.get(f"/api/serve/{job}/{name}")
            self.assertEqual(answer.status, 200, (job, name))
            self.assertEqual(len(answer.body), int(answer.headers["Content-Length"]))
            if whole is not None:
                self.assertTrue(answer.body == whole, f"{job}/{name} is not what an undisturbed run makes")

    def undisturbed(self, video):
        """What a job on the video makes, where nobody interferes. Encoders may differ in bytes; tables may not."""
        job = self.server.submit(video)
        self.assertEqual(self.server.wait(job)["status"], "completed")
        return {"pose_data.csv": self.server.get(f"/api/serve/{job}/pose_data.csv").body,
                "output.mp4": None, "preview.mp4": None, "thumbnail.jpg": None, "metadata.json": None}

    def strike(self, chance, seen):
        time.sleep(chance.uniform(0.0, 1.5))  # any moment of a job's life
        processes = self.server.processes()
        seen.update(sum(processes.values(), []))
        role = chance.choice([role for role in processes if processes[role]])
        if role == "server":
            self.server.kill()
            self.assertTrue(end_within(sum(processes.values(), [])), "orphans of a killed server")
            self.server.start()
        else:
            kill(chance.choice(processes[role]))
        return role

    def test_nothing_is_lost_and_nothing_is_left(self):
        chance, seen, struck = random.Random(SEED), set(), {"server": 0, "zygote": 0, "job": 0}
        self.server = Server(MAX_PENDING_JOBS=20, JOB_MAX_ATTEMPTS=ATTEMPTS)
        self.addCleanup(self.server.__exit__)
        self.server.start()
        self.server.wait_ready()
        video = made_video("320x240", 3, 25)
        expected = self.undisturbed(video)
        load = Load(self.server, video)
        load.start()
        for _ in range(KILLS):
            struck[self.strike(chance, seen)] += 1
            self.assertTrue(load.is_alive(), load.failure)
        load.over.set()
        load.join(60)
        self.assertIsNone(load.failure)

        ended = {state: 0 for state in FINAL}
        for job in load.jobs:
            status = self.server.wait(job, 300)
            ended[status["status"]] += 1
            if status["status"] == "completed":
                self.check_results(job, expected)
            else:
                self.assertEqual(status["status"], "failed", status)
                if "of its" in status["error"]:
                    self.assertIn(f"killed from outside (signal 9), in each of its {ATTEMPTS} attempts", status["error"])
                    self.assertEqual(status["attempts"], ATTEMPTS)
                else:  # not its own process but the zygote, or the server
                    self.assertRegex(status["error"], "was killed (while it ran, 10 times|10 times while it ran)$")
        print(f"seed {SEED}: killed {struck}; {len(load.jobs)} jobs: {ended}")
        self.assertGreater(ended["completed"], 0)

        seen.update(sum(self.server.processes().values(), []))
        self.assertEqual(self.server.integrity(), "ok")
        self.assertEqual(self.server.stop(), 0)
        self.assertTrue(end_within(seen), [pid for pid in seen if alive(pid)])
        self.server.start()
        self.server.wait_ready()
        self.assertEqual(self.server.integrity(), "ok")
        self.assertEqual(self.server.incoming(), [])
        for job, files in self.server.folders().items():
            self.assertEqual(self.server.status(job)["status"], "completed", job)
            self.assertFalse([name for name in files if name == "input" or name.endswith(".part")], job)


if __name__ == "__main__":
    service.run()
