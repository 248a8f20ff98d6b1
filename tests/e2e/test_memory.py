"""The service inside real memory cgroups, idle, over many jobs, and with what cannot fit.

BODYSCRIPT_LONG=1: 50 uploads in each cgroup in place of 4, 1,000 jobs in place of 60."""
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

import kit
import service
from server import Server, end_within
from service import made_video

LONG = bool(os.environ.get("BODYSCRIPT_LONG"))
UPLOADS = 50 if LONG else 4
JOBS = 1000 if LONG else 60


def people(width, height):
    """Ten seconds of people in motion, of this size."""
    clip = kit.shared("pexels_group_exercise_720p.mp4")
    if (width, height) == (1280, 720):
        return clip.read_bytes()
    with tempfile.NamedTemporaryFile(suffix=".mp4") as out:
        kit.ffmpeg("-i", clip, "-t", 10, "-vf", f"scale={width}:{height}", "-preset", "veryfast", "-threads", 2, out.name)
        return out.read()


class Memory(unittest.TestCase):
    def ceiling(self, megabytes, video, at_once):
        """Every upload is completed in a cgroup of that size, and as many as are asked for run at once."""
        with kit.Cgroup(megabytes) as cgroup:
            server = Server(cgroup, MAX_CONCURRENT_PROCESSING=at_once, MAX_PENDING_JOBS=UPLOADS)
            with server:
                server.wait_ready()
                jobs, seen, most = [server.submit(video) for _ in range(UPLOADS)], 0, 0
                for job in jobs:
                    while server.status(job)["status"] in ("pending", "processing"):
                        seen = max(seen, server.get("/health/memory").json()["jobs_processing"])
                        most = max(most, server.own_memory())
                        time.sleep(0.1)
                    status = server.status(job)
                    self.assertEqual((status["status"], status["error"], status["attempts"]), ("completed", None, 1))
                print(f"{UPLOADS} uploads in {megabytes} MB: {seen} at once, {most:.1f} MB of their own at most", end=" ")
                self.assertEqual(seen, at_once)
                self.assertEqual(cgroup.kills(), 0)

    def test_two_720p_at_a_time_in_96_mb(self):
        self.ceiling(96, people(1280, 720), 2)

    def test_two_1080p_at_a_time_in_128_mb(self):
        self.ceiling(128, people(1920, 1080), 2)

    def test_one_at_a_time_in_64_mb(self):
        self.ceiling(64, people(1280, 720), 1)

    def test_an_8k_upload_beside_a_running_job_is_refused_without_its_memory(self):
        """Reading its header takes little: no job is killed for it, in a cgroup that has just room for the job."""
        huge = made_video("7680x4320", 0.2, 10, ("-c:v", "libx264", "-preset", "ultrafast", "-refs", "4"))
        with kit.Cgroup(64) as cgroup:
            with Server(cgroup, MAX_CONCURRENT_PROCESSING=1) as server:
                server.wait_ready()
                job = server.submit(people(1280, 720))
                server.wait_for(job, "processing")
                refused = 0
                while server.status(job)["status"] == "processing":
                    answer = server.upload(huge)
                    self.assertEqual(answer.status, 413, answer.body)
                    self.assertRegex(answer.detail(), r"needs \d+ MB of memory, there are \d+ MB")
                    refused += 1
                status = server.status(job)
                self.assertEqual((status["status"], status["error"], status["attempts"]), ("completed", None, 1))
                print(f"{refused} refused", end=" ")
                self.assertGreater(refused, 0)
                self.assertEqual(cgroup.kills(), 0)

    def test_idle_with_models_ready_it_takes_at_most_24_mb(self):
        with Server() as server:
            server.wait_ready()
            time.sleep(1)  # what the start needed is given back: an idle server is measured
            own, all_pages = server.own_memory(), server.memory() / 2**20
            print(f"{own:.1f} MB of its own, {all_pages:.1f} MB with its share of code and weights", end=" ")
            self.assertLessEqual(own, 24)

    def test_memory_after_many_jobs_is_that_after_ten(self):
        video = made_video("160x120", 1, 10)
        with Server(JOB_MAX_AGE_SECONDS=5) as server:
            server.wait_ready()
            after = {}
            for number in range(1, JOBS + 1):
                self.assertEqual(server.wait(server.submit(video))["status"], "completed")
                if number in (10, JOBS):
                    self.assertTrue(end_within(server.processes()["job"]))
                    time.sleep(0.5)  # the server has taken note of the end, and freed what it held for the job
                    after[number] = server.own_memory()
            print(", ".join(f"{size:.2f} MB after {number}" for number, size in after.items()), end=" ")
            self.assertLess(abs(after[JOBS] - after[10]), 1)

    def test_what_cannot_fit_is_refused_with_the_numbers(self):
        video = made_video("3840x2160", 0.1, 25)
        with Server(MEMORY_LIMIT_MB=64) as server:
            server.wait_ready()
            answer = server.upload(video)
            self.assertEqual(answer.status, 413)
            self.assertRegex(answer.detail(), r"needs \d+ MB of memory, there are \d+ MB")
            needed, there = map(int, re.findall(r"(\d+) MB", answer.detail()))
            self.assertLess(there, needed)
            self.assertLess(there, 64)  # what the service itself takes is not there
            self.assertEqual(server.folders(), {})

    def test_a_job_that_takes_more_than_it_was_given_fails_alone(self):
        """The store is told that the job needs little: its process meets its limit, and another job does not notice."""
        with Server(MAX_CONCURRENT_PROCESSING=1) as server:
            server.wait_ready()
            clips = [made_video("1280x720", 10, 30), made_video("1920x1080", 2, 25), made_video()]
            first = server.submit(clips[0], mode="quality")  # long, so that the others wait until it is cancelled
            greedy, modest = server.submit(clips[1]), server.submit(clips[2])
            subprocess.run([sys.executable, "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
                            "db.execute('UPDATE jobs SET reserved_memory = shared_memory + (1 << 20), memory_limit = 0 "
                            "WHERE id = ?', (sys.argv[2],)); db.commit()",
                            os.path.join(server.data, "jobs.db"), greedy], check=True)
            self.assertEqual(server.request("POST", f"/api/cancel/{first}").status, 200)
            status = server.wait(greedy)
            self.assertEqual(status["status"], "failed", status)
            self.assertIn("more memory than the", status["error"])
            status = server.wait(modest)
            self.assertEqual(status["status"], "completed", status)


if __name__ == "__main__":
    if kit.sanitized():
        service.skip_all("a sanitizer's memory is not the program's own")
    service.run()
