"""The Python service's client flow, as its users write it with `requests`; then what goes on beside it: events, queue,
repeats, the gallery, the administrator, stopping."""
import json
import os
import threading
import time
import unittest

import kit
import service
from service import Service, made_video

try:
    import requests
except ImportError:
    service.skip_all("python3-requests is not installed")


class ClientFlow(unittest.TestCase):
    """Nothing here knows more than the Python service's documentation told."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.service.start()
        cls.service.wait_ready()
        cls.url = cls.service.url

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def upload(self, **data):
        clip = service.sample_video() or made_video()
        answer = requests.post(f"{self.url}/api/upload", files={"file": ("my video.mp4", clip, "video/mp4")}, data=data)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def poll(self, job_id):
        while True:
            status = requests.get(f"{self.url}/api/status/{job_id}").json()
            if status["status"] in ("completed", "failed", "cancelled"):
                return status
            time.sleep(0.1)

    def test_upload_poll_download_cleanup(self):
        job = self.upload()
        self.assertEqual(job["status"], "pending")
        self.assertGreaterEqual(job["file_size_mb"], 0)
        self.assertTrue(job["message"])
        job_id = job["job_id"]
        self.assertEqual(requests.get(f"{self.url}/api/download/{'0' * 32}/csv").status_code, 404)

        status = self.poll(job_id)
        self.assertEqual(status["status"], "completed", status)
        self.assertEqual(status["progress"], 100)
        self.assertEqual(status["filename"], "my video.mp4")
        for name in ("video", "preview", "thumbnail", "csv", "json"):
            self.assertEqual(requests.get(self.url + status["urls"][name]).status_code, 200, name)
        for name in ("created_at", "started_at", "completed_at"):
            self.assertRegex(status[name], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")

        video = requests.get(f"{self.url}/api/download/{job_id}/video")
        self.assertEqual(video.status_code, 200)
        self.assertEqual(video.headers["Content-Type"], "video/mp4")
        self.assertIn("attachment", video.headers["Content-Disposition"])
        self.assertIn(b"ftyp", video.content[:32])
        table = requests.get(f"{self.url}/api/download/{job_id}/csv").text.splitlines()
        self.assertTrue(table[0].startswith("frame_id,timestamp,person_id,landmark_id,landmark_name,x,y,z"))
        self.assertEqual((len(table) - 1) % 33, 0)
        self.assertEqual(len(table) - 1, 33 * status["statistics"]["frames_processed"])
        metadata = requests.get(f"{self.url}/api/serve/{job_id}/metadata.json").json()
        self.assertEqual(metadata["job_id"], job_id)

        answer = requests.delete(f"{self.url}/api/cleanup/{job_id}")
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(requests.get(f"{self.url}/api/status/{job_id}").status_code, 404)
        self.assertFalse(os.path.exists(os.path.join(self.service.data, "jobs", job_id)))

    def test_cancel(self):
        long = made_video("1280x720", 10, 30)
        ids = [requests.post(f"{self.url}/api/upload", files={"file": ("long.mp4", long)}).json()["job_id"]
               for _ in range(4)]
        for job_id in ids:
            if requests.post(f"{self.url}/api/cancel/{job_id}").status_code == 200:
                status = self.poll(job_id)
                self.assertEqual(status["status"], "cancelled", status)
                self.assertEqual(requests.get(f"{self.url}/api/download/{job_id}/csv").status_code, 400)
        for job_id in ids:
            requests.delete(f"{self.url}/api/cleanup/{job_id}")

    def test_health(self):
        health = requests.get(f"{self.url}/health").json()
        self.assertLessEqual({"status", "timestamp", "uptime_seconds", "cold_start", "jobs_in_memory", "service"},
                             set(health))
        memory = requests.get(f"{self.url}/health/memory").json()
        self.assertEqual(memory["status"], "healthy")
        self.assertEqual(memory["recommendations"],
                         {"cleanup_threshold": "400MB", "max_concurrent": 2, "auto_cleanup_age": "60 minutes"})
        for name in ("memory_mb", "memory_percent", "jobs_count", "jobs_pending", "jobs_processing", "jobs_completed",
                     "limit_mb", "reserved_mb"):
            self.assertIsInstance(memory[name], (int, float), name)
        self.assertLessEqual({"server", "zygote"}, {p["role"] for p in memory["processes"]})

    def test_errors_are_one_sentence(self):
        for path, status in (("/api/status/nonsense", 404), ("/nope", 404), ("/api/status/" + "a" * 32, 404)):
            answer = requests.get(self.url + path)
            self.assertEqual(answer.status_code, status)
            self.assertIsInstance(answer.json()["detail"], str)
        answer = requests.post(f"{self.url}/api/upload", files={"file": ("notes.mp4", b"just some text " * 100)})
        self.assertEqual(answer.status_code, 400)
        self.assertEqual(list(answer.json()), ["detail"])
        answer = requests.post(f"{self.url}/api/upload", data={"mode": "fast"}, files={"other": b"x"})
        self.assertEqual(answer.status_code, 422)

    def test_a_file_that_lies_about_itself_is_answered_400(self):
        answer = requests.post(f"{self.url}/api/upload", files={"file": ("a.mp4", b"\0\0\0\x20ftypisom" + bytes(4000))})
        self.assertEqual(answer.status_code, 400, answer.text)
        self.assertEqual([n for n in os.listdir(os.path.join(self.service.data, "jobs")) if len(n) == 32
                          and not requests.get(f"{self.url}/api/status/{n}").ok], [])


def one_byte_off(data):
    return data[:-1] + bytes([data[-1] ^ 1])


class Beside(unittest.TestCase):
    def test_events_tell_of_a_job_until_it_ends(self):
        with Service() as s:
            s.wait_ready()
            job = s.upload(made_video()).json()["job_id"]
            with requests.get(f"{s.url}/api/events/{job}", stream=True, timeout=60) as stream:
                self.assertEqual(stream.headers["Content-Type"], "text/event-stream")
                seen = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith(b"data: ")]
            self.assertEqual(seen[-1]["status"], "completed")
            self.assertEqual(seen[-1], s.get(f"/api/status/{job}").json())
            progress = [event["progress"] for event in seen]
            self.assertEqual(progress, sorted(progress))
            self.assertEqual(s.get(f"/api/events/{'0' * 32}").status, 404)

    def test_a_repeated_upload_is_the_first_job(self):
        with Service() as s:
            s.wait_ready()
            key = {"Idempotency-Key": "walk-1"}
            first = s.upload(made_video(), headers=key).json()["job_id"]
            self.assertEqual(s.upload(made_video(), headers=key).json()["job_id"], first)
            self.assertNotEqual(s.upload(made_video(), headers={"Idempotency-Key": "walk-2"}).json()["job_id"], first)
            self.assertEqual(s.request("GET", "/api/jobs", headers=s.admin()).json()["total"], 2)
            for other in (made_video("160x120"), one_byte_off(made_video())):
                refused = s.upload(other, headers=key)
                self.assertEqual((refused.status, refused.detail()),
                                 (422, "The Idempotency-Key was given with another file before"))
            folders = [n for n in os.listdir(os.path.join(s.data, "jobs")) if len(n) == 32]
            self.assertEqual(len(folders), 2)
            self.assertEqual(s.upload(made_video(), headers={"Idempotency-Key": "k" * 256}).status, 422)

    def test_at_capacity_uploads_are_answered_503_before_they_are_read(self):
        long = made_video("1280x720", 10, 30)
        with Service(MAX_PENDING_JOBS=1, MAX_CONCURRENT_PROCESSING=1, MAX_VIDEO_DURATION_SECONDS=0) as s:
            s.wait_ready()
            ids, refused = [], None
            for number in range(6):
                answer = s.upload(long, interval=1, mode="quality",  # long enough to be at work to the end
                                  headers={"Idempotency-Key": f"long-{number}"})
                if answer.status != 200:
                    refused = answer
                    break
                ids.append(answer.json()["job_id"])
            self.assertIsNotNone(refused)
            self.assertEqual(refused.status, 503)
            self.assertRegex(refused.detail(), "^Server at capacity|^Server memory limit reached")
            self.assertGreater(int(refused.headers["Retry-After"]), 0)
            # Refused by the headers alone: the body is never sent.
            raw = s.request("POST", "/api/upload", None, {"Content-Type": "multipart/form-data; boundary=x",
                                                          "Content-Length": "1000000", "Expect": "100-continue"})
            self.assertEqual(raw.status, 503)
            # A repetition is no further job: its body is read to tell whether it is one.
            again = {"headers": {"Idempotency-Key": "long-0"}}
            self.assertEqual(s.upload(long, **again).json()["job_id"], ids[0])
            self.assertEqual(s.upload(one_byte_off(long), **again).status, 422)
            self.assertEqual(s.upload(made_video(), **again).status, 503)
            for job in ids:
                self.assertEqual(s.request("DELETE", f"/api/cleanup/{job}").status, 200)

    def test_a_full_disk_is_answered_507(self):
        with Service(DISK_LIMIT_MB=1) as s:
            s.wait_ready()
            answer = s.upload(made_video("640x480", 2) + bytes(2 << 20))
            self.assertEqual(answer.status, 507, answer.body)
            self.assertIn("MB", answer.detail())
            self.assertEqual(s.upload(made_video()).status, 200)

    def test_what_never_fits_is_refused_with_the_numbers(self):
        if kit.sanitized():
            self.skipTest("a sanitizer's memory does not fit the limits of the process that probes")
        with Service(MEMORY_LIMIT_MB=64) as s:
            s.wait_ready()
            huge = made_video("7680x4320", 0.2, 10, ("-c:v", "libx264", "-preset", "ultrafast", "-refs", "4"))
            answer = s.upload(huge)
            self.assertEqual(answer.status, 413, answer.body)
            self.assertRegex(answer.detail(), r"\d+(\.\d+)? MB.*\d+(\.\d+)? MB")

    def test_an_api_key_guards_uploads_and_nothing_else(self):
        with Service(API_KEY="secret-key") as s:
            s.wait_ready()
            clip = made_video()
            refused = s.upload(clip)
            self.assertEqual((refused.status, refused.headers["WWW-Authenticate"]), (401, "Bearer"))
            self.assertEqual(s.upload(clip, headers={"X-API-Key": "secret-kez"}).status, 401)
            self.assertEqual(s.upload(clip, headers={"X-API-Key": "secret-key"}).status, 200)
            self.assertEqual(s.upload(clip, headers={"X-API-Key": "secret-key "}).status, 200)
            answer = s.upload(clip, headers={"Authorization": "Bearer secret-key"})
            self.assertEqual(answer.status, 200)
            self.assertEqual(s.get("/api/status/" + answer.json()["job_id"]).status, 200)

    def test_the_gallery_is_the_administrators(self):
        with Service(JOB_MAX_AGE_SECONDS=3600) as s:
            s.wait_ready()
            one, two = (s.upload(made_video()).json()["job_id"] for _ in range(2))
            s.wait(one), s.wait(two)
            post = lambda path, body, headers: s.request("POST", "/api/admin/" + path, json.dumps(body), headers)
            self.assertEqual(post("approve-to-gallery", {"job_id": one}, {}).status, 401)
            self.assertEqual(s.get("/api/jobs").status, 401)
            self.assertEqual(s.get("/api/jobs", Authorization="Bearer wrong").status, 401)
            for job in (one, two):
                answer = post("approve-to-gallery", {"job_id": job, "title": "Läufer"}, s.admin())
                self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual([i["job_id"] for i in s.get("/api/gallery").json()["items"]], [one, two])
            self.assertEqual(post("reorder-gallery", {"job_ids": [two, one]}, s.admin()).status, 200)
            self.assertEqual(post("reorder-gallery", {"job_ids": [two, two]}, s.admin()).status, 409)
            self.assertEqual(s.request("DELETE", f"/api/cleanup/{one}").status, 403)
            self.assertEqual(s.request("POST", f"/api/cancel/{one}").status, 403)
            s.stop()
            s.start()
            s.wait_ready()
            items = s.get("/api/gallery").json()["items"]
            self.assertEqual([(i["job_id"], i["title"]) for i in items], [(two, "Läufer"), (one, "Läufer")])
            self.assertEqual(post("remove-from-gallery", {"job_id": two}, s.admin()).status, 200)
            self.assertEqual(post("remove-from-gallery", {"job_id": two}, s.admin()).status, 404)
            self.assertEqual(post("approve-to-gallery", {"job_id": two}, s.admin()).status, 200)
            self.assertEqual(s.request("DELETE", f"/api/cleanup/{two}", headers=s.admin()).status, 200)
            self.assertEqual([i["job_id"] for i in s.get("/api/gallery").json()["items"]], [one])
            self.assertEqual(post("reorder-gallery", {"job_ids": [one]}, s.admin()).status, 200)  # all that are there
            self.assertEqual(s.request("DELETE", f"/api/cleanup/{one}", headers=s.admin()).status, 200)
            self.assertEqual(s.get("/api/gallery").json(), {"total": 0, "items": []})

    def test_the_admin_token_is_kept_and_private(self):
        with Service() as s:
            s.wait_ready()
            token = s.admin()
            path = os.path.join(s.data, "admin_token")
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            self.assertIn(path.encode(), s.log())
            self.assertNotIn(token["Authorization"][7:].encode(), s.log())
            s.stop()
            s.start()
            self.assertEqual(s.admin(), token)

    def test_it_stops_cleanly_with_streams_and_idle_connections_open(self):
        with Service() as s:
            s.wait_ready()
            job = s.upload(made_video("320x240", 4, 30), interval=1).json()["job_id"]
            session = requests.Session()
            session.get(s.url + "/livez")
            ended = threading.Event()

            def listen():
                try:
                    requests.get(f"{s.url}/api/events/{job}", timeout=60).content
                except requests.RequestException:
                    pass
                ended.set()

            threading.Thread(target=listen, daemon=True).start()
            time.sleep(0.3)  # the stream is open by now
            self.assertEqual(s.stop(), 0)
            self.assertTrue(ended.wait(5))
            s.start()
            s.wait_ready()
            status = s.wait(job)
            self.assertEqual(status["status"], "completed", status["error"])


if __name__ == "__main__":
    service.run()
