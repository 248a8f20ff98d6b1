"""HTTP as such: ranges and validators, methods, CORS, and what hostile clients send. After all of it the service still
answers, and holds no more memory, files or room than before."""
import contextlib
import json
import os
import re
import socket
import threading
import time
import unittest
from urllib.parse import unquote

import kit
import service
from service import Service, form, made_video


def raw(s, data, timeout=20, half_close=False):
    """Everything that the service answers to these bytes."""
    with socket.create_connection((s.host, s.port), timeout=timeout) as connection:
        got = b""
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it closed the connection already; what it said is still to be read
        try:
            while piece := connection.recv(65536):
                got += piece
        except (TimeoutError, OSError):
            pass
        return got


def left_behind(s):
    """Uploads on disk that are no job, and room that is set aside."""
    metrics = s.get("/metrics").body.decode()
    return (len(os.listdir(os.path.join(s.data, "jobs", ".incoming"))),
            int(float(re.search(r"^bodyscript_disk_reserved_bytes (\S+)", metrics, re.M)[1])),
            int(float(re.search(r"^bodyscript_http_uploads (\S+)", metrics, re.M)[1])))


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = s = Service(MAX_VIDEO_SIZE_MB=2, CORS_ALLOW_ORIGINS="https://a.example, https://b.example")
        s.start()
        s.wait_ready()
        cls.job = s.upload(made_video(), 'tänzer %221%22 X.mp4').json()["job_id"]
        assert s.wait(cls.job)["status"] == "completed"
        cls.path = f"/api/serve/{cls.job}/pose_data.csv"
        cls.content = s.get(cls.path).body

    @classmethod
    def tearDownClass(cls):
        cls.s.__exit__()

    def tearDown(self):
        until = time.monotonic() + 5
        while left_behind(self.s) != (0, 0, 0) and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(left_behind(self.s), (0, 0, 0))
        self.assertEqual(self.s.get("/livez").status, 200)

    # -- files

    def test_ranges(self):
        n, content = len(self.content), self.content
        for text, status, part, told in (
                ("bytes=0-0", 206, content[:1], f"bytes 0-0/{n}"),
                ("bytes=10-19", 206, content[10:20], f"bytes 10-19/{n}"),
                ("bytes=100-", 206, content[100:], f"bytes 100-{n - 1}/{n}"),
                ("bytes=-7", 206, content[-7:], f"bytes {n - 7}-{n - 1}/{n}"),
                (f"bytes=-{n + 5}", 206, content, f"bytes 0-{n - 1}/{n}"),
                (f"bytes=0-{n * 2}", 206, content, f"bytes 0-{n - 1}/{n}"),
                ("bytes=0-99999999999999999999999999", 206, content, f"bytes 0-{n - 1}/{n}"),
                (f"bytes={n}-", 416, None, f"bytes */{n}"),
                ("bytes=99999999999999999999999999-", 416, None, f"bytes */{n}"),
                ("bytes=-0", 416, None, f"bytes */{n}"),
                ("bytes=9-1", 200, content, None),
                ("bytes=a-b", 200, content, None),
                ("bytes=--5", 200, content, None),
                ("bytes=", 200, content, None),
                ("lines=1-2", 200, content, None),
                ("bytes=0-1,4-5", 200, content, None)):
            answer = self.s.get(self.path, Range=text)
            self.assertEqual(answer.status, status, text)
            self.assertEqual(answer.headers["Content-Range"], told, text)
            if part is not None:
                self.assertEqual(answer.body, part, text)
            else:
                self.assertIn("detail", answer.json())

    def test_validators(self):
        first = self.s.get(self.path)
        tag, date = first.headers["ETag"], first.headers["Last-Modified"]
        self.assertRegex(tag, r'^"[0-9a-f-]+"$')
        self.assertEqual(first.headers["Accept-Ranges"], "bytes")
        for headers, status in (({"If-None-Match": tag}, 304), ({"If-None-Match": "*"}, 304),
                                ({"If-None-Match": f'"x", W/{tag}'}, 304), ({"If-None-Match": '"x"'}, 200),
                                ({"If-Modified-Since": date}, 304),
                                ({"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}, 304),
                                ({"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 200),
                                ({"If-Modified-Since": "Sun Nov  6 08:49:37 1994"}, 200),
                                ({"If-Modified-Since": "yesterday"}, 200),
                                ({"If-Match": tag}, 200), ({"If-Match": "*"}, 200), ({"If-Match": f'"x", {tag}'}, 200),
                                ({"If-Match": '"x"'}, 412), ({"If-Match": f"W/{tag}"}, 412),
                                ({"If-Match": tag, "If-None-Match": tag}, 304),
                                ({"If-Match": tag, "If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
                                ({"If-Unmodified-Since": date}, 200),
                                ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
                                ({"If-Unmodified-Since": "never"}, 200),
                                ({"If-Match": '"x"', "Range": "bytes=0-4"}, 412),
                                ({"If-None-Match": '"x"', "If-Modified-Since": date}, 200),
                                ({"If-Range": tag, "Range": "bytes=0-4"}, 206),
                                ({"If-Range": date, "Range": "bytes=0-4"}, 206),
                                ({"If-Range": '"x"', "Range": "bytes=0-4"}, 200)):
            answer = self.s.request("GET", self.path, headers=headers)
            self.assertEqual(answer.status, status, headers)
            self.assertEqual(answer.headers["ETag"], tag)
            if status == 412:
                self.assertIn("If-Match", answer.detail())
            else:
                self.assertEqual(answer.body, {304: b"", 206: self.content[:5], 200: self.content}[status])

    def test_head_is_get_without_the_body(self):
        for path in (self.path, "/", "/api", f"/api/status/{self.job}", "/livez", "/openapi.json"):
            get, head = self.s.get(path), self.s.request("HEAD", path)
            self.assertEqual((head.status, head.body), (get.status, b""), path)
            self.assertEqual(head.headers["Content-Type"], get.headers["Content-Type"])
            self.assertEqual(head.headers["Content-Length"], get.headers["Content-Length"])

    def test_names_in_headers_are_encoded(self):
        answer = self.s.get(f"/api/download/{self.job}/csv")
        told = answer.headers["Content-Disposition"]
        self.assertRegex(told, r"""^attachment; filename="[A-Za-z0-9_.-]+"; filename\*=UTF-8''[A-Za-z0-9_.%-]+$""")
        self.assertIn("t%C3%A4nzer%20%221%22%20X_pose_data.csv", told)
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")

    def test_files_that_are_not_results(self):
        for name in ("input", "..", "../../jobs.db", "%2e%2e%2fadmin_token", "..%2f..%2fadmin_token", ".pose_data.csv.part",
                     "pose_data.csv%00.mp4", "pose_data.csv/", "frame_000001.jpg", "a" * 300):
            answer = self.s.get(f"/api/serve/{self.job}/{name}")
            self.assertIn(answer.status, (400, 404), name)
            self.assertIn("detail", answer.json())
        for job in ("..", "%2e%2e", "0" * 31, "0" * 33, "G" * 32, self.job.upper() + "0", "x" * 5000):
            self.assertEqual(self.s.get(f"/api/serve/{job}/output.mp4").status, 404)

    # -- methods, CORS

    def test_methods(self):
        for method, path, allow in (("POST", "/livez", "GET, HEAD, OPTIONS"), ("GET", "/api/upload", "POST, OPTIONS"),
                                    ("TRACE", "/api", "GET, HEAD, OPTIONS"), ("BREW", "/", "GET, HEAD, OPTIONS"),
                                    ("PATCH", f"/api/cleanup/{self.job}", "DELETE, OPTIONS")):
            answer = self.s.request(method, path)
            self.assertEqual((answer.status, answer.headers["Allow"]), (405, allow))
            self.assertEqual(answer.detail(), "Method Not Allowed")
        self.assertEqual(self.s.request("OPTIONS", "/api/upload").status, 204)
        answer = self.s.request("OPTIONS", "*")
        self.assertEqual((answer.status, answer.headers["Allow"]), (204, "GET, HEAD, POST, DELETE, OPTIONS"))

    def test_whole_addresses_are_taken_as_paths(self):
        for target, status in ((f"{self.s.url}/livez", 200), ("http://other.example/livez?x=1", 200),
                               ("HTTPS://h/livez", 200), (f"{self.s.url}/nope", 404), ("http://h", 200), ("ftp://h/livez", 404),
                               (f"{self.s.url}{self.path}", 200)):
            answer = self.s.request("GET", target)
            self.assertEqual(answer.status, status, target)

    def test_cors(self):
        allowed = self.s.get("/api", Origin="https://b.example")
        self.assertEqual(allowed.headers["Access-Control-Allow-Origin"], "https://b.example")
        self.assertEqual(allowed.headers["Vary"], "Origin")
        for origin in ("https://c.example", "https://a.example.evil", "null"):
            self.assertIsNone(self.s.get("/api", Origin=origin).headers["Access-Control-Allow-Origin"])
        preflight = self.s.request("OPTIONS", f"/api/cleanup/{self.job}", headers={
            "Origin": "https://a.example", "Access-Control-Request-Method": "DELETE"})
        self.assertEqual(preflight.status, 204)
        self.assertIn("DELETE", preflight.headers["Access-Control-Allow-Methods"])
        self.assertIn("Authorization", preflight.headers["Access-Control-Allow-Headers"])

    def test_pages_of_other_sites_change_nothing_unless_they_are_named(self):
        for site, origin, status in (("cross-site", "https://evil.example", 403), ("cross-site", None, 403),
                                     ("cross-site", "https://a.example", 404), ("same-origin", self.s.url, 404),
                                     ("none", None, 404), (None, None, 404)):
            headers = {"Sec-Fetch-Site": site, "Origin": origin}
            answer = self.s.request("POST", f"/api/cancel/{'0' * 32}", headers={k: v for k, v in headers.items() if v})
            self.assertEqual(answer.status, status, headers)

    def test_kept_status_answers_are_right_for_whoever_asks(self):
        path = f"/api/status/{self.job}"
        plain = self.s.get(path)
        for _ in range(3):  # the second one is the first one's answer
            own, foreign = self.s.get(path), self.s.get(path, Origin="https://a.example")
            self.assertEqual((own.status, own.body), (200, plain.body))
            self.assertEqual((foreign.status, foreign.body), (200, plain.body))
            self.assertIsNone(own.headers["Access-Control-Allow-Origin"])
            self.assertEqual(foreign.headers["Access-Control-Allow-Origin"], "https://a.example")
            self.assertIsNone(self.s.get(path, Origin="https://c.example").headers["Access-Control-Allow-Origin"])
            for answer in (own, foreign):
                self.assertEqual(answer.headers["Vary"], "Origin")
                self.assertEqual(answer.headers["Cache-Control"], "no-store")
                self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
                self.assertEqual(answer.headers["Content-Type"], "application/json")
            head = self.s.request("HEAD", path)
            self.assertEqual((head.body, head.headers["Content-Length"]), (b"", plain.headers["Content-Length"]))

    def test_the_page_needs_nothing_from_outside(self):
        for path in ("/", "/docs", "/app.js", "/app.css", "/docs.js"):
            answer = self.s.get(path)
            self.assertEqual(answer.status, 200)
            self.assertEqual(re.findall(rb"""(?:src|href|url\(|import\(|fetch\()\W{0,2}https?:""", answer.body), [])
            self.assertEqual(self.s.get(path, If_None_Match=answer.headers["ETag"]).status, 304)
        self.assertIn("default-src 'none'", self.s.get("/").headers["Content-Security-Policy"])

    # -- uploads that are not what they say

    def test_too_large_is_told_at_once_and_while_it_arrives(self):
        answer = self.s.upload(made_video() + bytes(3 << 20))
        self.assertEqual(answer.status, 413)
        self.assertIn("2 MB", answer.detail())
        body, kind = form(made_video() + bytes(3 << 20))
        head = (f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n").encode()
        for length in (b"90000000000", b"18446744073709551615"):  # the second is libmicrohttpd's "not told"
            got = raw(self.s, head + b"Content-Length: " + length + b"\r\n\r\n" + body[:1000])
            self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:200])
        # Chunked: no length is told; the answer comes while the body is still being sent, and no end of it is needed.
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 65536]), body[i:i + 65536]) for i in range(0, len(body), 65536))
        got = raw(self.s, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:200])
        self.assertIn("detail", json.loads(got.split(b"\r\n\r\n", 1)[1]))

    def test_chunked_uploads_work(self):
        body, kind = form(made_video())
        answer = self.s.request("POST", "/api/upload", iter([body[:100], body[100:5000], body[5000:]]),
                                {"Content-Type": kind})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(self.s.request("DELETE", f"/api/cleanup/{answer.json()['job_id']}").status, 200)

    def test_a_client_that_closes_its_side_after_the_last_byte_is_answered(self):
        body, kind = form(made_video())
        head = f"POST /api/upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n".encode()
        for _ in range(5):
            got = raw(self.s, head + b"Content-Length: %d\r\n\r\n" % len(body) + body, half_close=True)
            self.assertTrue(got.startswith(b"HTTP/1.1 200"), got[:200])
            job = json.loads(got.split(b"\r\n\r\n", 1)[1])["job_id"]
            self.assertEqual(self.s.wait(job)["status"], "completed")
            self.assertEqual(self.s.request("DELETE", f"/api/cleanup/{job}").status, 200)

    def test_a_length_that_lies(self):
        body, kind = form(made_video())
        head = f"POST /api/upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n".encode()
        longer = raw(self.s, head + b"Content-Length: %d\r\n\r\n" % (len(body) + 1000) + body, half_close=True)
        self.assertNotIn(b"200 OK", longer)
        shorter = raw(self.s, head + b"Content-Length: %d\r\n\r\n" % (len(body) - 1000) + body)
        self.assertTrue(shorter.startswith(b"HTTP/1.1 400"), shorter[:100])
        for wrong in (b"-1", b"abc", b"18446744073709551616", b"0x10", b"1 1"):
            got = raw(self.s, head + b"Content-Length: " + wrong + b"\r\n\r\n" + body[:200], half_close=True, timeout=5)
            self.assertNotIn(b" 200 ", got[:20], wrong)

    def test_malformed_forms(self):
        clip = made_video()
        good, kind = form(clip)
        boundary = kind.split("=")[1].encode()
        cases = {
            "no boundary": (good, "multipart/form-data", 422),
            "empty boundary": (good, "multipart/form-data; boundary=", 422),
            "other boundary": (good, "multipart/form-data; boundary=other", 400),
            "no end": (good[:-8], kind, 400),
            "nothing": (b"", kind, 400),
            "only an end": (b"--" + boundary + b"--\r\n", kind, 422),
            "json": (b"{}", "application/json", 422),
            "no disposition": (b"--" + boundary + b"\r\n\r\nx\r\n--" + boundary + b"--", kind, 400),
            "two files": (good[:-(len(boundary) + 6)] + good, kind, 422),
            "NUL in a header": (good.replace(b'name="file"', b'name="fi\0le"'), kind, 400),
            "long header": (good.replace(b'filename="', b'filename="' + b"a" * 9000), kind, 400),
            "bad mode": (form(clip, mode="warp")[0].replace(b"x", b"x"), None, 422),
            "bad people": (form(clip, people="17")[0], None, 422),
            "bad interval": (form(clip, interval="0")[0], None, 422),
            "empty file": (form(b"")[0], None, 400),
            "text": (form(b"hello " * 100)[0], None, 400),
        }
        for name, (body, content_type, status) in cases.items():
            if content_type is None:
                content_type = "multipart/form-data; boundary=" + body[2:body.index(b"\r\n")].decode()
            answer = self.s.request("POST", "/api/upload", body, {"Content-Type": content_type})
            self.assertEqual(answer.status, status, f"{name}: {answer.body}")
            self.assertIsInstance(answer.detail(), str)

    def test_file_names_stay_names(self):
        for name in ("../../../etc/passwd.mp4", "..\\..\\x.mp4", "/abs.mp4", "a\x01b.mp4", "\xff\xfe.mp4", "x" * 2000,
                     "a\xc2\x9b31mb.mp4",  # a terminal's control sequence in UTF-8
                     "a" + "\xc3\xa9" * 200 + ".mp4"):
            body, kind = form(made_video(), "NAME")
            body = body.replace(b"NAME", name.encode("latin-1"))
            answer = self.s.request("POST", "/api/upload", body, {"Content-Type": kind})
            self.assertEqual(answer.status, 200, answer.body)
            kept = answer.json()["filename"]
            self.assertNotRegex(kept, r"[/\\\x00-\x1f\x7f-\x9f]")
            self.assertLessEqual(len(kept.encode()), 255)
            self.s.wait(answer.json()["job_id"])
            told = self.s.get(f"/api/download/{answer.json()['job_id']}/csv").headers["Content-Disposition"]
            unquote(told.partition("UTF-8''")[2], errors="strict")
            self.assertEqual(self.s.request("DELETE", f"/api/cleanup/{answer.json()['job_id']}").status, 200)

    # -- requests that are none

    def test_what_is_no_http_is_survived(self):
        for data in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000,
                     b"GET " + b"/" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200000 + b"\r\n\r\n",
                     b"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET /api/status/%0d%0aX-Evil:%20yes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                     os.urandom(50000)):
            got = raw(self.s, data, half_close=True, timeout=5)
            self.assertNotIn(b" 200 OK", got[:20], data[:40])
            self.assertNotIn(b"\nX-Evil", got)
            self.assertEqual(self.s.get("/livez").status, 200)

    def test_where_a_request_ends_is_beyond_doubt(self):
        cancel = b"POST /api/cancel/" + b"0" * 32 + b" HTTP/1.1\r\n"
        smuggled = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        for data, statuses in (  # a coding, and no Host: newer libmicrohttpd answers itself, 400 in its own words
                (cancel + b"Host: x\r\nContent-Length: 4\r\nContent-Length: 0\r\n\r\n" + smuggled, [400]),
                (cancel + b"Host: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd" + smuggled, [400]),
                (cancel + b"Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, [400]),
                (cancel + b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, [501, 400]),
                (cancel + b"Host: x\r\nTransfer-Encoding: identity\r\n\r\n" + smuggled, [501, 400]),
                (b"GET /livez HTTP/1.1\r\n\r\n" + smuggled, [400]),
                (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + smuggled, [400])):
            got = raw(self.s, data, timeout=5)
            self.assertIn(got[:13], [b"HTTP/1.1 %d " % status for status in statuses], data)
            self.assertEqual(len(re.findall(rb"HTTP/1\.1 \d\d\d ", got)), 1, data)
            head, body = data.split(b"\r\n\r\n")[0], got.split(b"\r\n\r\n", 1)[1]
            if not (body.startswith(b"<html>") and (b"Transfer-Encoding:" in head or b"Host:" not in head)):
                self.assertIn("detail", json.loads(body))
        length = b"%d" % len(smuggled)
        for header in (b"Content-Length : " + length, b"Content-Length\t: " + length, b"Content-Length:\r\n " + length,
                       b"Transfer-Encoding : chunked", b"Transfer-Encoding:\r\n chunked",
                       b"A: b\r\n Content-Length: " + length, b"A: b\rContent-Length: " + length):
            got = raw(self.s, cancel + b"Host: x\r\n" + header + b"\r\n\r\n" + smuggled, timeout=5)
            self.assertRegex(got, b"^HTTP/1.1 4", header)
            self.assertNotIn(b"alive", got, header)
        self.assertTrue(raw(self.s, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 "))

    def test_a_body_that_nobody_wants_is_bounded(self):
        cancel = b"POST /api/cancel/" + b"0" * 32 + b" HTTP/1.1\r\nHost: x\r\n"
        told = raw(self.s, cancel + b"Content-Length: 200000\r\n\r\n" + bytes(200000), timeout=5)
        chunked = raw(self.s, cancel + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 5 +
                      b"0\r\n\r\n", timeout=5)
        for got in (told, chunked):
            self.assertTrue(got.startswith(b"HTTP/1.1 413 "), got[:200])
            self.assertEqual(json.loads(got.split(b"\r\n\r\n", 1)[1]), {"detail": "The body is larger than 65536 bytes"})

    def test_logs_keep_to_their_lines(self):
        raw(self.s, b"GET /%0a2026-01-01T00:00:00.000Z%20error%20forged HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until = time.monotonic() + 5
        while b"forged" not in self.s.log() and time.monotonic() < until:
            time.sleep(0.01)
        self.assertIn("forged", self.s.log().decode())  # told, but within its line
        self.assertNotRegex(self.s.log().decode(), r"(?m)^2026-01-01T00:00:00.000Z error forged")
        # What is no UTF-8, and what a terminal obeys, is told in ASCII.
        raw(self.s, b"GET /told%ff%c2%9b31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while b"GET /told" not in self.s.log() and time.monotonic() < until + 5:
            time.sleep(0.01)
        self.assertIn(rb"GET /told\xff\u009b31m: 404", self.s.log())

    def test_pipelined_requests_are_answered_in_order(self):
        got = raw(self.s, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 20 +
                  f"GET /api/status/{self.job} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 5 +
                  b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", got), [b"200"] * 25 + [b"404"])

    def test_uploads_that_are_given_up_leave_nothing(self):
        body, kind = form(made_video() * 3)
        head = f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for part in (0, 1, 100, 1000, len(body) - 1):
            with socket.create_connection((self.s.host, self.s.port)) as connection:
                connection.sendall(head + body[:part])


# A job needs more memory than a limit that makes for few connections leaves it.
FEW_CONNECTIONS = "a sanitizer's memory does not fit the small limit that makes for few connections"


class Crowd(unittest.TestCase):
    def test_a_thousand_idle_connections_and_slow_uploads_block_nobody(self):
        with Service() as s:
            s.wait_ready()
            clip = made_video()
            s.wait(s.upload(clip).json()["job_id"])
            before = s.memory()
            idle = []
            try:
                for _ in range(1000):
                    connection = socket.create_connection((s.host, s.port), timeout=20)
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                    idle.append(connection)
                for connection in idle:
                    self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
                body, kind = form(clip)
                slow = [socket.create_connection((s.host, s.port), timeout=20) for _ in range(40)]
                idle += slow
                for connection in slow:
                    connection.sendall(f"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
                                       f"Content-Length: {len(body)}\r\n\r\n".encode())
                stop = threading.Event()

                def dribble():
                    at = 0
                    while not stop.wait(1):
                        for connection in slow:
                            connection.sendall(body[at:at + 1])
                        at += 1

                thread = threading.Thread(target=dribble)
                thread.start()
                try:
                    for _ in range(3):
                        answer = s.upload(clip)
                        self.assertEqual(answer.status, 200, answer.body)
                        self.assertEqual(s.wait(answer.json()["job_id"])["status"], "completed")
                        self.assertEqual(s.get("/livez").status, 200)
                    grown = s.memory() - before
                    # What a connection may take: its buffers, and of the C library and this list a little.
                    if not kit.sanitized():
                        self.assertLess(grown, 1040 * 20 * 1024 + (2 << 20))
                    # The idle ones were not closed to make room.
                    for connection in idle[:1000:100]:
                        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                        self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
                finally:
                    stop.set()
                    thread.join()
            finally:
                for connection in idle:
                    connection.close()

    def test_at_the_limit_of_connections_the_longest_idle_makes_room(self):
        with Service(MEMORY_LIMIT_MB=64) as s:  # a small machine: 256 connections
            s.wait_ready()
            idle = []
            try:
                for _ in range(600):
                    connection = socket.create_connection((s.host, s.port), timeout=20)
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
                    idle.append(connection)
                self.assertEqual(s.get("/livez").status, 200)
                self.assertLessEqual(s.get("/health/memory").json()["connections"], 256)
            finally:
                for connection in idle:
                    connection.close()

    @unittest.skipIf(kit.sanitized(), FEW_CONNECTIONS)
    def test_at_the_limit_of_connections_the_slowest_reader_makes_room(self):
        # Those that take a little of a long answer now and then: libmicrohttpd alone would keep them for hours.
        with Service(MEMORY_LIMIT_MB=64) as s:
            s.wait_ready()
            job = s.upload(made_video()).json()["job_id"]
            s.wait(job)
            os.truncate(os.path.join(s.data, "jobs", job, "output.mp4"), 1 << 30)

            def download():
                connection = socket.socket()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                connection.settimeout(30)
                connection.connect((s.host, s.port))
                connection.sendall(f"GET /api/serve/{job}/output.mp4 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
                return connection

            steady, slow = download(), [download() for _ in range(254)]
            over, waiting = threading.Event(), []

            def read(connections, size, pause):
                while not over.wait(pause):
                    for connection in connections:
                        with contextlib.suppress(OSError):
                            connection.recv(size)

            for connection in slow:
                connection.setblocking(False)
            readers = [threading.Thread(target=read, args=arguments) for arguments in
                       (([steady], 65536, 0.01), (slow, 1500, 1))]
            try:
                for reader in readers:
                    reader.start()
                waiting = [socket.create_connection((s.host, s.port), timeout=30) for _ in range(20)]
                for connection in waiting:  # there is room for one
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                for connection in waiting:
                    self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
                self.assertEqual(s.get("/livez").status, 200)
                self.assertTrue(readers[0].is_alive() and steady.recv(1), "a reader that keeps up was shut")
            finally:
                over.set()
                for reader in readers:
                    reader.join()
                for connection in [steady, *slow, *waiting]:
                    connection.close()

    @unittest.skipIf(kit.sanitized(), FEW_CONNECTIONS)
    def test_event_streams_leave_half_of_the_connections_to_others(self):
        with Service(MEMORY_LIMIT_MB=64, MAX_CONCURRENT_PROCESSING=1) as s:
            s.wait_ready()
            job = s.upload(made_video("1280x720", 10, 30), mode="quality").json()["job_id"]
            streams = []
            try:
                for n in range(129):
                    streams.append(socket.create_connection((s.host, s.port), timeout=30))
                    streams[-1].sendall(f"GET /api/events/{job} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    self.assertIn(b" 200 " if n < 128 else b" 503 ", streams[-1].recv(4096))
                self.assertEqual(s.request("POST", f"/api/cancel/{job}").status, 200)
            finally:
                for connection in streams:
                    connection.close()


if __name__ == "__main__":
    service.run()
