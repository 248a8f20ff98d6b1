"""The way of a job: through the queue, its process and its end; stopping, dying and starting again; what is left behind."""
import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest

import service
from server import FINAL, Server, alive, end_within, kill
from service import made_video

RESULTS = {"output.mp4", "preview.mp4", "thumbnail.jpg", "pose_data.csv", "pose_data.json", "metadata.json"}


def long_video():
    """Takes seconds to process: enough time to be interrupted in."""
    return made_video("1280x720", 10, 30)


class Jobs(unittest.TestCase):
    def serve(self, **settings):
        server = Server(**settings)
        self.addCleanup(server.__exit__)
        server.start()
        server.wait_ready()
        return server

    def test_a_finished_job_leaves_its_results_and_nothing_else(self):
        server = self.serve()
        job = server.submit(made_video())
        status = server.wait(job)
        self.assertEqual((status["status"], status["error"]), ("completed", None), server.log().decode())
        self.assertEqual(server.folders_settled({job: RESULTS}), {job: RESULTS})
        self.assertTrue(end_within(server.processes()["job"]))
        self.assertEqual(server.incoming(), [])
        if "build-" not in service.PROGRAM:  # a sanitizer's memory is not the job's
            self.assertGreaterEqual(status["reserved_memory_mb"], status["statistics"]["peak_memory_mb"])

    def test_analysed_frames_are_kept_where_asked_for(self):
        server = self.serve(SAVE_FRAMES="true")
        job = server.submit(made_video("320x240", 1, 25))
        status = server.wait(job)
        self.assertEqual(status["status"], "completed", status)
        frames = {name for name in server.folders()[job] if name.startswith("frame_")}
        self.assertEqual(frames, {f"frame_{i:06d}.jpg" for i in range(0, 25, 3)})

    def test_frames_and_progress_that_are_reported_at_the_same_time_do_not_mix(self):
        server = self.serve(FRAME_FORMAT="png", JOB_MAX_ATTEMPTS=1)
        clip = made_video("1280x720", 4, 25)
        for _ in range(2):
            job = server.submit(clip, save_frames="true", interval=1, model="lite", no_video="true")
            status = server.wait(job)
            self.assertEqual(status["status"], "completed", status)
            frames = {name for name in server.folders()[job] if name.startswith("frame_")}
            self.assertEqual(frames, {f"frame_{i:06d}.png" for i in range(100)})
            self.assertTrue(server.get(f"/api/serve/{job}/frame_000099.png").body.endswith(b"IEND\xaeB`\x82"))

    def test_jobs_give_way_to_the_server(self):
        server = self.serve()
        server.wait_for(server.submit(long_video()), "processing")
        until = time.monotonic() + 20
        own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
        job = own
        while job == own and time.monotonic() < until:
            for pid in server.processes()["job"]:
                with contextlib.suppress(ProcessLookupError):  # it was the one that looked at the file, and is done
                    job = os.getpriority(os.PRIO_PROCESS, pid)
            time.sleep(0.01)
        self.assertEqual(job, min(own + 5, 19))

    def test_cancelling_stops_a_running_job_within_a_second(self):
        server = self.serve()
        job = server.submit(long_video())
        server.wait_for(job, "processing")
        until = time.monotonic() + 20
        while not (running := server.processes()["job"]) and time.monotonic() < until:
            time.sleep(0.01)
        begin = time.monotonic()
        self.assertEqual(server.request("POST", f"/api/cancel/{job}").status, 200)
        if time.monotonic() - begin < 1:  # the answer waits for the end, but not longer
            self.assertEqual(server.status(job)["status"], "cancelled")
        self.assertEqual(server.wait(job)["status"], "cancelled")
        self.assertTrue(end_within(running))
        self.assertLess(time.monotonic() - begin, 5)  # far above a second only on a machine that stands still
        self.assertEqual(server.folders_settled({}), {})

    def test_cancelling_a_pending_job_ends_it_at_once(self):
        server = self.serve(MAX_CONCURRENT_PROCESSING=1)
        first, second = server.submit(long_video()), server.submit(made_video())
        self.assertEqual(server.status(second)["status"], "pending")
        self.assertEqual(server.request("POST", f"/api/cancel/{second}").status, 200)
        self.assertEqual(server.status(second)["status"], "cancelled")
        self.assertEqual(set(server.folders()), {first})
        self.assertEqual(server.request("DELETE", f"/api/cleanup/{first}").status, 200)
        self.assertEqual(server.get(f"/api/status/{first}").status, 404)
        self.assertEqual(server.folders_settled({}), {})
        self.assertTrue(end_within(server.processes()["job"]))

    def test_a_job_that_takes_too_long_is_stopped_and_says_so(self):
        server = self.serve(JOB_TIMEOUT_SECONDS=1)
        status = server.wait(server.submit(long_video(), mode="quality"))
        self.assertEqual(status["status"], "failed")
        self.assertIn("JOB_TIMEOUT_SECONDS", status["error"])
        self.assertEqual(server.folders_settled({}), {})

    def test_at_sigterm_running_jobs_finish_and_waiting_ones_run_at_the_next_start(self):
        server = self.serve(MAX_CONCURRENT_PROCESSING=1)
        video = made_video("640x360", 2, 25)
        jobs = [server.submit(video) for _ in range(3)]
        server.wait_for(jobs[0], "processing")
        everyone = sum(server.processes().values(), [])
        self.assertEqual(server.stop(), 0)
        self.assertTrue(end_within(everyone))
        server.start()
        for job in jobs:
            status = server.wait(job)
            self.assertEqual((status["status"], status["attempts"]), ("completed", 1))
        self.assertEqual(server.integrity(), "ok")

    def test_a_second_signal_sends_running_jobs_back_to_the_queue(self):
        server = self.serve()
        job = server.submit(long_video())
        server.wait_for(job, "processing")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # it waits for the job by now
        self.assertEqual(server.stop(), 0)
        shown = server.jobs("show", job).stdout
        self.assertIn("pending", shown)
        self.assertIn("attempts   0", shown)
        server.start()
        self.assertEqual(server.wait(job)["status"], "completed")

    def test_a_killed_server_takes_its_processes_along_and_its_jobs_run_again(self):
        server = self.serve()
        job = server.submit(long_video())
        server.wait_for(job, "processing")
        everyone = sum(server.processes().values(), [])
        server.kill()
        self.assertTrue(end_within(everyone))
        shutil.copytree(pathlib.Path(server.data, "jobs", job), pathlib.Path(server.data, "jobs", "0" * 32))
        pathlib.Path(server.data, "jobs", ".incoming", "half.part").write_bytes(b"half an upload")
        server.start()
        status = server.wait(job)
        self.assertEqual((status["status"], status["attempts"]), ("completed", 1))  # no fault of the job's
        self.assertEqual(server.folders_settled({job: RESULTS}), {job: RESULTS})
        self.assertEqual(server.incoming(), [])

    def test_jobs_that_are_there_whenever_the_server_dies_run_alone(self):
        server = self.serve(MAX_CONCURRENT_PROCESSING=2)
        jobs = [server.submit(long_video()) for _ in range(2)]
        for _ in range(2):
            for job in jobs:
                server.wait_for(job, "processing")
            server.kill()
            server.start()
        while (states := [server.status(job)["status"] for job in jobs])[1] != "completed":
            self.assertNotEqual(states, ["processing", "processing"])
            time.sleep(0.02)
        self.assertEqual([(s["status"], s["attempts"]) for s in map(server.status, jobs)], [("completed", 1)] * 2)
        self.assertIn(f"job {jobs[1]} waits: a job that ran each time the service was killed runs alone".encode(), server.log())

    def refused(self, server, command, **settings):
        """What a second one says on the same files."""
        environment = dict(server.environment, PORT="0", **settings)
        second = subprocess.run([service.PROGRAM, command], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(second.returncode, 1, second.stderr)
        return second.stderr.splitlines()[-1]

    def test_a_second_server_on_the_same_folder_is_refused_and_takes_nothing_away(self):
        server = self.serve(MAX_PENDING_JOBS=1000)
        video, jobs, over = made_video("160x120", 1, 10), [], threading.Event()

        def upload():
            while not over.is_set():
                jobs.append(server.submit(video, mode="ultra_fast"))
                time.sleep(0.1)  # a steady stream, not as many as there can be

        clients = [threading.Thread(target=upload) for _ in range(2)]
        for client in clients:
            client.start()
        for command in ("worker", "serve"):
            said = self.refused(server, command)
            self.assertIn(f"another server or worker (process {server.process.pid}) owns '{server.data}/lock'", said)
            self.assertEqual(server.jobs("list").returncode, 0)  # the administrator is no second server
        over.set()
        for client in clients:
            client.join()
        for job in jobs:
            self.assertEqual(server.wait(job)["status"], "completed")
        self.assertEqual(server.incoming(), [])
        server.kill()
        server.start()  # what a killed one owned is free

    def test_a_database_and_a_storage_folder_have_one_server_whatever_the_data_folder(self):
        with tempfile.TemporaryDirectory(prefix="bodyscript-test-") as folder:
            database, storage = f"sqlite:{folder}/jobs.db", f"file:{folder}/files"
            server = self.serve(DATABASE_URL=database, STORAGE_URL=storage)
            other = {"DATA_DIR": folder + "/other", "DATABASE_URL": "sqlite:" + folder + "/other.db",
                     "STORAGE_URL": f"file:{folder}/others"}
            self.assertIn("jobs.db.lock'", self.refused(server, "worker", **dict(other, DATABASE_URL=database)))
            self.assertIn("files/.lock'", self.refused(server, "worker", **dict(other, STORAGE_URL=storage)))
            mine = self.serve()  # what DATA_DIR has is another one's to name, and not to have
            os.symlink(f"{mine.data}/jobs.db", f"{folder}/link.db")
            for setting, url, lock in (("DATABASE_URL", f"sqlite:{mine.data}/jobs.db", "jobs.db.lock'"),
                                       ("DATABASE_URL", f"sqlite:{folder}/link.db", "jobs.db.lock'"),
                                       ("STORAGE_URL", f"file:{mine.data}/jobs", "jobs/.lock'")):
                self.assertIn(lock, self.refused(server, "worker", **dict(other, **{setting: url})))
            self.assertEqual(server.wait(server.submit(made_video()))["status"], "completed")
            self.assertEqual(server.stop(), 0)

    def test_a_killed_zygote_is_replaced_and_its_jobs_run_again(self):
        server = self.serve()
        job = server.submit(long_video())
        server.wait_for(job, "processing")
        running = server.processes()
        kill(running["zygote"][0])
        self.assertTrue(end_within(running["zygote"] + running["job"]))
        status = server.wait(job)
        self.assertEqual((status["status"], status["attempts"]), ("completed", 1))  # no fault of the job's

    def test_a_zygote_that_hangs_is_replaced_and_holds_up_uploads_only(self):
        server = self.serve(MAX_CONCURRENT_PROCESSING=1)
        first, waiting, jobs = server.submit(long_video()), server.submit(made_video()), []
        server.wait_for(first, "processing")
        stuck = server.processes()["zygote"]
        os.kill(stuck[0], signal.SIGSTOP)
        uploads = [threading.Thread(target=lambda: jobs.append(server.submit(made_video()))) for _ in range(3)]
        for upload in uploads:
            upload.start()  # each waits for its probe, which the next zygote starts
        while server.get("/metrics").body.count(b"bodyscript_http_uploads 3") == 0:
            time.sleep(0.01)
        began = time.monotonic()
        self.assertEqual(server.request("POST", f"/api/cancel/{waiting}").json()["status"], "cancelled")
        self.assertLess(time.monotonic() - began, 5)  # not until the zygote is given up, after 10 s
        server.request("POST", f"/api/cancel/{first}")
        for upload in uploads:
            upload.join()
        self.assertEqual([server.wait(job)["status"] for job in jobs], ["completed"] * 3)
        self.assertTrue(end_within(stuck))

    def test_a_zygote_that_hangs_is_replaced_even_where_its_job_is_done(self):
        """Nobody hears that the process has ended; what it made is kept."""
        server = self.serve()
        job = server.submit(made_video("640x360", 3, 25))
        server.wait_for(job, "processing")
        zygote = server.processes()["zygote"][0]
        os.kill(zygote, signal.SIGSTOP)
        self.assertEqual(server.wait(job, 60)["status"], "completed")
        self.assertFalse(alive(zygote))

    def test_a_job_whose_process_always_dies_fails_after_the_last_attempt(self):
        server = self.serve(JOB_MAX_ATTEMPTS=2)
        job = server.submit(long_video())
        killed = set()
        while (status := server.status(job))["status"] not in FINAL:
            for pid in server.processes()["job"]:
                if status["status"] == "processing" and pid not in killed:
                    killed.add(pid)
                    kill(pid)
            time.sleep(0.01)
        self.assertEqual((status["status"], status["attempts"]), ("failed", 2))
        self.assertIn("killed from outside (signal 9), in each of its 2 attempts", status["error"])
        self.assertEqual(server.folders_settled({}), {})

    def test_what_is_older_than_its_age_goes(self):
        server = self.serve(JOB_MAX_AGE_SECONDS=1)
        jobs = [server.submit(made_video()) for _ in range(2)]
        for job in jobs:
            server.wait(job)
        with contextlib.closing(sqlite3.connect(os.path.join(server.data, "jobs.db"), timeout=10)) as db, db:
            db.execute("UPDATE jobs SET completed_us = completed_us + 1000000000000000 WHERE id = ?", jobs[:1])  # a clock was wrong
        time.sleep(1.1)  # their age is JOB_MAX_AGE_SECONDS now
        until = time.monotonic() + 20
        while any(server.get(f"/api/status/{job}").status != 404 for job in jobs) and time.monotonic() < until:
            server.get("/")
            time.sleep(0.05)
        self.assertEqual(server.folders_settled({}), {})
        self.assertEqual([server.get(f"/api/status/{job}").status for job in jobs], [404, 404])

    def assert_no_secret_in(self, pid):
        for what in ("environ", "cmdline"):
            self.assertNotIn(b"to-look-for", pathlib.Path(f"/proc/{pid}/{what}").read_bytes())
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                where, rights = line.split()[:2]
                if rights.startswith("rw"):
                    begin, end = (int(x, 16) for x in where.split("-"))
                    memory.seek(begin)
                    self.assertNotIn(b"to-look-for", memory.read(end - begin), line)

    @unittest.skipIf("build-" in service.PROGRAM, "skipped: a sanitizer's memory is too large to be searched")
    def test_job_processes_know_no_secrets(self):
        """Neither those that are given in the environment nor as options, in the first zygote or one that took its place."""
        server = Server(ADMIN_TOKEN="a-token-to-look-for")
        server.wrapper = ["sh", "-c", 'exec "$@" --api-key a-key-to-look-for', "sh"]
        self.addCleanup(server.__exit__)
        server.start()
        server.wait_ready()
        first = server.processes()["zygote"][0]
        self.assert_no_secret_in(first)
        kill(first)
        self.assertTrue(end_within([first]))
        server.wait(server.submit(made_video(), headers={"X-API-Key": "a-key-to-look-for"}))
        self.assert_no_secret_in(server.processes()["zygote"][0])

    def test_a_damaged_store_is_said_at_start(self):
        server = self.serve()
        server.wait(server.submit(made_video("320x240", 1, 25)))
        self.assertEqual(server.stop(), 0)
        with open(os.path.join(server.data, "jobs.db"), "r+b") as store:
            store.seek(4096)
            store.write(bytes(range(256)) * 32)
        with self.assertRaisesRegex(AssertionError, "(?s)ended with 1: .*jobs.db' is damaged"):
            server.start()

    def test_without_its_storage_folder_it_is_alive_and_not_ready(self):
        server = self.serve()
        shutil.rmtree(server.data)
        answer = server.get("/readyz")
        self.assertEqual((answer.status, answer.detail()),
                         (503, "The storage folder was removed: start the server again"))
        self.assertEqual(server.upload(made_video("320x240", 1, 25)).status, 503)
        self.assertEqual(server.get("/livez").status, 200)

    def test_cleaning_up_makes_room_on_a_full_disk(self):
        small = tempfile.mkdtemp(prefix="bodyscript-test-")
        self.addCleanup(os.rmdir, small)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", small])
        server = self.serve(DATA_DIR=small + "/data")
        job = server.submit(made_video("320x240", 1, 25))
        self.assertEqual(server.wait(job)["status"], "completed")
        with contextlib.suppress(OSError), open(small + "/rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        self.assertEqual(server.upload(made_video("320x240", 1, 25)).status, 507)
        answer = server.request("DELETE", f"/api/cleanup/{job}")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(server.get(f"/api/status/{job}").status, 404)

    def test_the_administrator_lists_shows_cancels_and_removes(self):
        server = self.serve(MAX_CONCURRENT_PROCESSING=1)
        running = server.submit(long_video(), name="one.mp4", mode="quality")
        waiting = server.submit(made_video(), name="two.mp4")
        server.wait_for(running, "processing")
        listed = server.jobs("list").stdout
        self.assertIn(running, listed)
        self.assertIn("two.mp4", listed)
        self.assertIn("queue      1 of 1", server.jobs("show", waiting).stdout)
        for job in (waiting, running):  # the other way round the waiting one could begin, and end, in between
            answer = server.jobs("cancel", job)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertEqual(server.status(job)["status"], "cancelled")
        self.assertEqual(server.jobs("cleanup", running).returncode, 0)
        time.sleep(0.6)  # another process changed the store: the server's answers are up to half a second old
        self.assertEqual(server.get(f"/api/status/{running}").status, 404)
        unknown = server.jobs("show", "0" * 32)
        self.assertEqual(unknown.returncode, 2)
        self.assertIn("there is no job", unknown.stderr)
        for mistyped in (("--data-dir", "./nowhere"), ("--database-url", "sqlite:./nowhere")):
            nothing = server.jobs("list", *mistyped)
            self.assertEqual(nothing.returncode, 2, nothing.stdout)
            self.assertIn("there is no database './nowhere", nothing.stderr)
            self.assertFalse(pathlib.Path("nowhere").exists())
        self.assertEqual(server.folders_settled({}), {})


if __name__ == "__main__":
    service.run()
