#!/usr/bin/env python3
"""The command line's contract: result files, CSV, JSON, metadata, settings, exit codes, and nothing half-written."""
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

import kit

QUICK = ("--model", "lite", "--max-video-duration-seconds", "1")


class Results(kit.Case):
    def test_every_file_is_written_and_nothing_else(self):
        self.process(*QUICK, kit.sample())
        self.assertFiles(self.tmp / "results", {"sample"})
        self.assertFiles(self.tmp / "results/sample", kit.VIDEO_FILES)
        for path in (self.tmp / "results/sample").iterdir():
            self.assertGreater(path.stat().st_size, 500, path.name)

    def test_csv_has_33_rows_for_each_analysed_frame(self):
        self.process(*QUICK, "-n", "5", "--no-video", kit.sample())
        text = (self.tmp / "results/sample/pose_data.csv").read_bytes()
        self.assertNotIn(b"\r", text)
        self.assertEqual(text.split(b"\n")[0].decode().split(","), kit.COLUMNS)
        rows = kit.rows(self.tmp / "results/sample")
        frames = [list(g) for _, g in itertools.groupby(rows, lambda r: r["frame_id"])]
        self.assertEqual([int(f[0]["frame_id"]) for f in frames], list(range(0, 5 * len(frames), 5)))
        names = [r["landmark_name"] for r in frames[0]]
        self.assertEqual((names[0], names[1], names[32]), ("nose", "left_eye_inner", "right_foot_index"))
        for frame in frames:
            self.assertEqual([int(r["landmark_id"]) for r in frame], list(range(33)))
            self.assertEqual([r["landmark_name"] for r in frame], names)
            self.assertEqual(len({r["timestamp"] for r in frame}), 1)
            self.assertRegex(frame[0]["timestamp"], r"^\d+\.\d{6}$")
            for r in frame:
                if r["status"] == "missing":
                    self.assertEqual([r[c] for c in kit.COLUMNS[5:14]], [""] * 9)
                else:
                    self.assertIn(r["status"], ("detected", "tracked"))
                    self.assertTrue(0 <= float(r["visibility"]) <= 1)
        self.assertEqual(frames[0][0]["status"], "detected")

    def test_json_says_the_same_as_csv(self):
        self.process(*QUICK, "--no-video", kit.sample())
        rows, pose = kit.rows(self.tmp / "results/sample"), kit.document(self.tmp / "results/sample", "pose_data.json")
        self.assertEqual(pose["frames_analysed"] * 33, len(rows))
        for frame, first in zip(pose["frames"], range(0, len(rows), 33)):
            self.assertEqual(frame["frame_id"], int(rows[first]["frame_id"]))
            self.assertEqual(frame["status"], rows[first]["status"])
            for person in frame["people"]:
                for i, (l, w) in enumerate(zip(person["landmarks"], person["world_landmarks"])):
                    r = rows[first + i]
                    self.assertEqual(l + w, [float(r[c]) for c in kit.COLUMNS[5:13]])

    def test_metadata_holds_statistics_and_a_receipt(self):
        self.process(*QUICK, kit.sample())
        meta = kit.document(self.tmp / "results/sample", "metadata.json")
        s = meta["statistics"]
        for name in ("frames_processed average_quality detection_rate processing_time processing_mode video_was_trimmed "
                     "video_was_resized original_duration processed_duration peak_memory_mb reserved_memory_mb "
                     "cpu_seconds frames_missing frames_damaged swapped_suspect landmarks_outside").split():
            self.assertIn(name, s)
        self.assertTrue(s["video_was_trimmed"])
        self.assertEqual(s["processing_mode"], "fast")
        self.assertEqual(s["frames_processed"], s["frames_detected"] + s["frames_tracked"] + s["frames_missing"])
        self.assertAlmostEqual(s["processed_duration"], 1, delta=0.05)
        sha = subprocess.run(["sha256sum", kit.sample()], capture_output=True, text=True).stdout.split()[0]
        self.assertEqual(meta["receipt"]["input_sha256"], sha)
        self.assertRegex(meta["receipt"]["model_sha256"], "^[0-9a-f]{64}$")
        self.assertEqual(meta["receipt"]["options"]["model"], "lite")
        self.assertEqual(meta["receipt"]["options"]["interval"], 3)
        self.assertEqual(set(meta["urls"].values()), kit.VIDEO_FILES)
        chosen = meta["receipt"]["options"]
        self.assertIn(chosen["isa"], ("portable", "sse2", "avx2", "avx512", "neon"))
        self.assertGreater(min(chosen["threads"], chosen["encoder_threads"]), 0)

    def test_a_run_with_the_options_of_a_receipt_gives_the_same_bytes(self):
        self.process(*QUICK, kit.sample())
        first = {n: (self.tmp / "results/sample" / n).read_bytes() for n in ("pose_data.csv", "output.mp4")}
        o = kit.document(self.tmp / "results/sample", "metadata.json")["receipt"]["options"]
        self.process("--isa", o["isa"], "--threads", o["threads"], "--mode", o["mode"], "--model", o["model"], "-n", o["interval"],
                     "--people", o["people"], "--max-video-width", o["max_width"], "--max-video-duration-seconds", int(o["max_duration"]),
                     "--min-detection-confidence", o["min_detection_confidence"],
                     "--min-tracking-confidence", o["min_tracking_confidence"], kit.sample())
        for name, content in first.items():
            self.assertEqual((self.tmp / "results/sample" / name).read_bytes(), content, name)

    def test_a_photo_gives_a_picture_in_place_of_videos(self):
        photo = self.tmp / "photo.png"
        kit.ffmpeg("-i", kit.sample(), "-frames:v", 1, photo)
        self.process("--model", "lite", photo)
        self.assertFiles(self.tmp / "results/photo", kit.PHOTO_FILES)
        rows = kit.rows(self.tmp / "results/photo")
        self.assertEqual(len(rows), 33)
        self.assertEqual({r["status"] for r in rows}, {"detected"})

    def test_a_photo_keeps_its_size_or_says_that_it_does_not(self):
        for width, height, limit, resized in ((101, 75, 720, False), (1, 1, 720, False), (301, 201, 151, True)):
            photo = self.tmp / f"{width}x{height}.png"
            kit.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=640x480,scale={width}:{height}", "-frames:v", 1, photo)
            self.process("--model", "lite", "--max-video-width", limit, photo)
            out = kit.ffprobe(self.tmp / "results" / photo.stem / "output.jpg", "stream=width,height")["streams"][0]
            s = kit.document(self.tmp / "results" / photo.stem, "metadata.json")["statistics"]
            self.assertEqual((out["width"], out["height"]), (s["output_width"], s["output_height"]))
            self.assertEqual(s["video_was_resized"], resized)
            if not resized and width > 1:
                self.assertEqual((out["width"], out["height"]), (width, height))

    def test_saved_frames_are_the_analysed_ones(self):
        self.process(*QUICK, "-n", "10", "--save-frames", "--frame-format", "png", "--no-video", kit.sample())
        frames = sorted(p.name for p in (self.tmp / "results/sample/frames").iterdir())
        analysed = sorted({int(r["frame_id"]) for r in kit.rows(self.tmp / "results/sample")})
        self.assertEqual(frames, [f"frame_{i:06d}.png" for i in analysed])

    def test_a_later_run_replaces_all_of_an_earlier_one(self):
        self.process(*QUICK, "--save-frames", kit.sample())
        first = (self.tmp / "results/sample/pose_data.csv").stat().st_ino
        self.process(*QUICK, "--no-video", kit.sample())
        self.assertFiles(self.tmp / "results/sample", kit.VIDEO_FILES - {"output.mp4", "preview.mp4"})
        self.assertNotEqual(first, (self.tmp / "results/sample/pose_data.csv").stat().st_ino)

    def test_export(self):
        self.process(*QUICK, "--no-video", kit.sample())
        pose = self.tmp / "results/sample/pose_data.json"
        for form in ("csv", "trc", "jsonl"):
            out = kit.run("export", pose, "--format", form, "-o", self.tmp / f"pose.{form}")
            self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual((self.tmp / "pose.csv").read_bytes(),
                         (self.tmp / "results/sample/pose_data.csv").read_bytes())
        frames = json.loads(pose.read_text())["frames"]
        self.assertEqual([json.loads(l) for l in (self.tmp / "pose.jsonl").read_text().splitlines()], frames)
        trc = (self.tmp / "pose.trc").read_text().splitlines()
        self.assertEqual(trc[2].split("\t")[2:5], [str(len(frames)), "33", "m"])
        self.assertEqual(len(trc[6].split("\t")), 2 + 99)
        self.assertEqual(float(trc[6].split("\t")[3]), -frames[0]["people"][0]["world_landmarks"][0][1])
        out = kit.run("export", pose, "--format", "trc", "--person", 7, "-o", self.tmp / "nobody.trc")
        self.assertEqual(out.returncode, 2)
        self.assertIn("there is no person 7 in the pose data; the highest number is 0", out.stderr)
        self.assertFalse((self.tmp / "nobody.trc").exists())
        (self.tmp / "half.json").write_bytes(pose.read_bytes()[:5000])
        out = kit.run("export", self.tmp / "half.json", "--format", "trc", "-o", self.tmp / "half.trc")
        self.assertEqual(out.returncode, 3)
        self.assertFalse((self.tmp / "half.trc").exists())

    def test_an_export_replaces_files_alone(self):
        self.process(*QUICK, "--no-video", kit.sample())
        pose, csv = self.tmp / "results/sample/pose_data.json", (self.tmp / "results/sample/pose_data.csv").read_text()
        pipe, link = self.tmp / "pipe", self.tmp / "link.csv"
        os.mkfifo(pipe)
        link.symlink_to("target.csv")
        (self.tmp / "target.csv").touch()
        self.assertEqual(kit.run("export", pose, "-f", "csv", "-o", link).returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual((self.tmp / "target.csv").read_text(), csv)
        export = subprocess.Popen([kit.PROGRAM, "export", pose, "-f", "csv", "-o", pipe], env=kit.ENVIRONMENT)
        self.assertEqual(pipe.read_text(), csv)
        self.assertEqual((export.wait(), pipe.is_fifo()), (0, True))
        before = pose.read_bytes()
        for source, target, code, why in ((pose, pose, 2, "would replace it"), (pose, self.tmp, 1, "is a folder"), (pose, "", 2, "takes the name of a file"),
                                          (pipe, "x.csv", 3, "is not a file"), (self.tmp, "x.csv", 3, "is not a file")):
            out = kit.run("export", source, "-f", "csv", "-o", target, cwd=self.tmp)
            self.assertEqual((out.returncode, len(out.stderr.splitlines())), (code, 1), out.stderr)
            self.assertIn(why, out.stderr)
        self.assertEqual(pose.read_bytes(), before)
        self.assertEqual({p.name for p in self.tmp.iterdir()}, {"results", "pipe", "link.csv", "target.csv"})


class Batches(kit.Case):
    def test_a_bad_file_does_not_stop_the_others(self):
        bad = self.tmp / "bad.mp4"
        bad.write_bytes(b"this is no video" * 100)
        empty = self.tmp / "empty"
        empty.mkdir()
        out = self.process(*QUICK, "--no-video", empty, bad, kit.sample(), self.tmp / "gone.mp4", code=3)
        self.assertFiles(self.tmp / "results", {"sample"})
        self.assertIn("empty' holds no video or photo", out.stderr)
        self.assertIn("bad.mp4", out.stderr)
        self.assertIn("gone.mp4", out.stderr)
        self.assertIn("2 of 3 files failed", out.stderr)

    def test_a_folder_is_its_media_files(self):
        folder = self.tmp / "clips"
        (folder / "deeper").mkdir(parents=True)
        shutil.copy(kit.sample(), folder / "b.MP4")
        shutil.copy(kit.sample(), folder / "a.mov")
        (folder / "notes.txt").write_text("no video")
        self.process(*QUICK, "--no-video", folder)
        self.assertFiles(self.tmp / "results", {"a", "b"})

    def test_the_peak_of_each_file_is_its_own(self):
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")
        photo = self.tmp / "photo.png"
        kit.ffmpeg("-i", kit.sample(), "-frames:v", 1, "-vf", "scale=180:320", photo)
        large = self.tmp / "large.mp4"
        kit.ffmpeg("-i", kit.sample(), "-frames:v", 8, "-vf", "scale=1080:1920", "-preset", "ultrafast", large)
        self.process("--model", "lite", large, photo)
        peaks = {}
        for name in ("large", "photo"):
            s = kit.document(self.tmp / "results" / name, "metadata.json")["statistics"]
            self.assertLessEqual(s["peak_memory_mb"], s["reserved_memory_mb"])
            peaks[name] = s["peak_memory_mb"]
        self.assertLess(peaks["photo"], 0.75 * peaks["large"])

    def test_equal_names_get_folders_of_their_own(self):
        for name in ("walk.mp4", "walk.mov"):
            shutil.copy(kit.sample(), self.tmp / name)
        self.process(*QUICK, "--no-video", self.tmp / "walk.mp4", self.tmp / "walk.mov")
        self.assertFiles(self.tmp / "results", {"walk", "walk-2"})

    def test_json_lines_tell_progress_and_results(self):
        bad = self.tmp / "bad.mp4"
        bad.write_bytes(b"this is no video" * 100)
        out = self.process("--json", *QUICK, kit.sample(), bad, code=3)
        events = [json.loads(line) for line in out.stdout.splitlines()]
        results = [e for e in events if e["event"] == "result"]
        self.assertEqual([r["status"] for r in results], ["completed", "failed"])
        self.assertEqual(results[0]["folder"], str(self.tmp / "results/sample"))
        self.assertEqual(results[1]["exit_code"], 3)
        last = [e for e in events if e["event"] == "progress"][-1]
        self.assertEqual(last["frames_done"], results[0]["statistics"]["frames_total"])

    def test_json_lines_name_the_file_whatever_its_bytes(self):
        name = os.fsencode(self.tmp) + b"/walk\xff.mp4"
        shutil.copy(kit.sample(), name)
        bad = os.fsencode(self.tmp) + b"/bad\xff.mp4"
        with open(bad, "wb") as f:
            f.write(b"this is no video" * 100)
        out = self.process("--json", *QUICK, "--no-video", os.fsdecode(name), os.fsdecode(bad), code=3)
        events = [json.loads(line) for line in out.stdout.splitlines()]
        self.assertEqual({e["file"] for e in events}, {f"{self.tmp}/walk?.mp4", f"{self.tmp}/bad?.mp4"})
        self.assertEqual(events[-2]["folder"], f"{self.tmp}/results/walk?")
        self.assertIn("bad?.mp4", events[-1]["error"])

    def test_json_tells_every_failure(self):
        cases = [(("--json", "-n", "none"), 2), (("-n", "none", "-qj"), 2), (("--json", "--jsno"), 2), (("--json",), 2),
                 (("--json", self.tmp / "gone.mp4"), 3), (("--json", self.tmp), 3), (("--json", "-c", self.tmp / "gone.conf", "x"), 2),
                 (("--json", "--memory-limit-mb", 16, kit.sample()), 4)]
        for command in ("process", "probe"):
            for words, code in cases:
                with self.subTest(command=command, words=words):
                    out = kit.run(command, *words, cwd=self.tmp)
                    self.assertEqual(out.returncode, code, out.stderr)
                    told = [json.loads(line) for line in out.stdout.splitlines()]
                    self.assertTrue(told)
                    self.assertTrue(told[-1]["error"])
                    if self.tmp / "gone.mp4" in words:
                        self.assertEqual(told[-1]["file"], str(self.tmp / "gone.mp4"))
        out = kit.run("process", "--json", "--isa", "portable", "--model", "lite", kit.sample(), cwd=self.tmp,
                      BODYSCRIPT_MODELS=self.tmp)
        self.assertEqual(json.loads(out.stdout.splitlines()[-1])["exit_code"], out.returncode)

    def test_names_of_any_bytes_are_taken_and_shown_on_one_line(self):
        (self.tmp / "in").mkdir()
        for name in (b"two\nlines.mp4", b"-n", b"--json.mp4", b"bell\x07\x1b[31m.mp4", b"walk\xff.mp4", b"a b'c\"d$.mp4"):
            shutil.copy(kit.sample(), os.fsencode(self.tmp / "in") + b"/" + name)
        names = sorted(os.listdir(os.fsencode(self.tmp / "in")))
        out = kit.run("process", "-o", "../out", "--no-video", *QUICK, "--", *map(os.fsdecode, names), cwd=self.tmp / "in")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual(sorted(os.listdir(os.fsencode(self.tmp / "out"))),
                         sorted(n.rsplit(b".", 1)[0] for n in names))
        self.assertNotIn("\x1b", out.stderr)
        self.assertTrue(all(": " in line for line in out.stderr.splitlines()), out.stderr)
        bad = self.tmp / "no\nvideo\x1b[2J.mp4"
        bad.write_bytes(b"this is no video" * 100)
        self.assertEqual(len(self.process(bad, code=3).stderr.splitlines()), 1)

    def test_nothing_of_the_users_own_is_removed(self):
        clip, own = self.tmp / "walk.mp4", self.tmp / "walk"
        shutil.copy(kit.sample(), clip)
        (own / "frames").mkdir(parents=True)
        mine = {own / "notes.txt", own / "thumbnail.png", own / "output.jpg", own / "frames/frame_000001.jpg",
                own / "frames/holiday.jpg", own / ".part.here"}
        for path in mine:
            path.write_text("mine")

        def untouched():
            for path in mine:
                self.assertEqual(path.read_text(), "mine")
        bad = self.tmp / "in/walk.mp4"
        bad.parent.mkdir()
        bad.write_bytes(clip.read_bytes()[:3000])
        for words, code in (((bad,), 3), ((clip, "--memory-limit-mb", 16), 4), ((clip,), 0), ((clip, "--no-video"), 0),
                            ((clip, "--save-frames", "--no-video", "-n", 15), 0), ((clip, "--no-video"), 0)):
            out = kit.run("process", "-o", self.tmp, *QUICK, *words)
            self.assertEqual(out.returncode, code, out.stderr)
            if code:
                self.assertEqual({p for p in own.rglob("*") if p.is_file()}, mine)
            if words[-1] == 15:
                saved = {f"frame_{i:06d}.jpg" for i in sorted({int(r["frame_id"]) for r in kit.rows(own)})}
                self.assertEqual({p.name for p in (own / "frames").iterdir()}, saved | {"holiday.jpg", "frame_000001.jpg"})
                (own / "frames/frame_000001.jpg").unlink()  # the next run would take it for one of these
                mine.remove(own / "frames/frame_000001.jpg")
            untouched()
        self.assertEqual({p.name for p in (own / "frames").iterdir()}, {"holiday.jpg"})

    def test_a_failure_leaves_none_of_the_folders_that_it_made(self):
        (self.tmp / "a").mkdir()
        (self.tmp / "file").write_text("in the way")
        bad = self.tmp / "bad.mp4"
        bad.write_bytes(kit.sample().read_bytes()[:3000])
        for target, code in (("a/b/c", 3), ("a/b//c/", 3), ("./a/../a/b", 3), ("file/b/c", 1), ("a/b/" + 300 * "x" + "/d", 1)):
            with self.subTest(target):
                out = kit.run("process", "-o", target, *QUICK, bad if code == 3 else kit.sample(), cwd=self.tmp)
                self.assertEqual(out.returncode, code, out.stderr)
                self.assertEqual({str(p.relative_to(self.tmp)) for p in self.tmp.rglob("*")}, {"a", "file", "bad.mp4"})

    def test_a_folder_that_cannot_be_written_is_code_1(self):
        folder = "/proc" if os.geteuid() == 0 else self.tmp / "closed"  # into the former not even root writes
        if folder != "/proc":
            folder.mkdir(mode=0o500)
        out = kit.run("process", "-o", folder, *QUICK, kit.sample())
        self.assertEqual(out.returncode, 1, out.stderr)
        self.assertIn("cannot be", out.stderr)

    def test_quiet_says_nothing(self):
        out = self.process("--quiet", "--no-video", *QUICK, kit.sample())
        self.assertEqual((out.stdout, out.stderr), ("", ""))
        self.assertEqual(self.process("-qj", "--no-video", *QUICK, kit.sample()).stderr, "")

    def test_an_input_is_never_replaced_by_its_results(self):
        (self.tmp / "output").mkdir()
        clip = self.tmp / "output/output.mp4"
        shutil.copy(kit.sample(), clip)
        out = kit.run("process", *QUICK, "-o", self.tmp, clip)
        self.assertEqual(out.returncode, 2, out.stderr)
        self.assertIn("would replace it", out.stderr)
        self.assertEqual(clip.read_bytes(), kit.sample().read_bytes())
        self.assertFiles(self.tmp / "output", {"output.mp4"})
        self.process("--no-video", *QUICK, clip)


class Settings(kit.Case):
    def interval(self, *args, config=None, **settings):
        if config:
            (self.tmp / "bodyscript.conf").write_text(config)
        out = kit.run("process", "-o", "results", "--no-video", *QUICK, *args, kit.sample(), cwd=self.tmp, **settings)
        self.assertEqual(out.returncode, 0, out.stderr)
        return kit.document(self.tmp / "results/sample", "metadata.json")["receipt"]["options"]["interval"]

    def test_option_beats_environment_beats_file(self):
        self.assertEqual(self.interval(), 3)
        self.assertEqual(self.interval(config="FRAME_EXTRACTION_INTERVAL=20\n"), 20)
        self.assertEqual(self.interval(FRAME_EXTRACTION_INTERVAL=25), 25)
        self.assertEqual(self.interval("--frame-extraction-interval", "15", FRAME_EXTRACTION_INTERVAL=25), 15)
        self.assertEqual(self.interval("-n10", FRAME_EXTRACTION_INTERVAL=25), 10)
        (self.tmp / "other.conf").write_text("FRAME_EXTRACTION_INTERVAL=12\n")
        for words in (("-c", "other.conf"), ("-cother.conf",), ("--config=other.conf",), ("--config", "other.conf")):
            self.assertEqual(self.interval(*words), 12)

    def test_quality_looks_at_every_frame_unless_told(self):
        self.assertEqual(self.interval("--mode", "quality", "--max-video-duration-seconds", "1"), 1)
        self.assertEqual(self.interval("--mode", "quality", "-n", "10"), 10)

    def test_wrong_usage_is_one_sentence_and_code_2(self):
        clip = kit.sample()
        for args, settings, sentence in (
                (("process",), {}, "usage: bodyscript process"),
                (("process", "--modle", "lite", clip), {}, "did you mean --mode"),
                (("process", "--frame-extraction", "3", clip), {}, "did you mean --frame-extraction-interval?"),
                (("process", "-x", clip), {}, "no option '-x'"),
                (("process", "--mode", "best", clip), {}, "MODE is 'best' (option), but takes ultra_fast, fast"),
                (("process", "-n", "0", clip), {}, "FRAME_EXTRACTION_INTERVAL is '0' (option)"),
                (("process", clip), {"MAX_VIDEO_WIDTH": "wide"}, "MAX_VIDEO_WIDTH is 'wide' (environment variable)"),
                (("process", "--people", "17", clip), {}, "--people is '17', but takes a whole number from 1 to 16"),
                (("process", "--model", "huge", clip), {}, "--model is 'huge', but takes lite, full or heavy"),
                (("process", "--json=yes", clip), {}, "--json takes no value"),
                (("process", "-c", os.devnull, "-c", "x.conf", clip), {}, "--config is given once"),
                (("process", clip, "--output"), {}, "--output needs a value"),
                (("process", "--config", "/nowhere/x.conf", clip), {}, "/nowhere/x.conf"),
                (("export", clip), {}, "--format"),
                (("serve",), {"ADMIN_TOKEN": "a b"}, "ADMIN_TOKEN is '(not shown)', but takes visible ASCII"),
                (("serve",), {"CDN_BASE_URL": "cdn.example.com"}, "CDN_BASE_URL is 'cdn.example.com', but takes"),
                (("dance",), {}, "there is no command 'dance'")):
            out = kit.run(*args, cwd=self.tmp, **settings)
            self.assertEqual(out.returncode, 2, (args, out.stderr))
            self.assertIn(sentence, out.stderr)
            self.assertEqual(out.stderr.count("\n"), 1, out.stderr)
        self.assertEqual(list(self.tmp.iterdir()), [])

    def test_doctor_tells_of_the_processor_where_models_are_missing(self):
        out = kit.run("doctor", cwd=self.tmp, BODYSCRIPT_MODELS=str(self.tmp))
        self.assertEqual(out.returncode, 1)
        self.assertRegex(out.stdout, r"\nprocessor +\d+ cores, kernels: (portable|sse2|avx2|avx512|neon)\n")
        self.assertRegex(out.stdout, r"\nmodels +not usable: no pose models in '.*': BODYSCRIPT_MODELS is to be the folder")

    def test_help_and_version(self):
        self.assertRegex(kit.run("--version").stdout, r"^bodyscript \d+\.\d+\.\d+\n$")
        commands = [line.split()[0] for line in kit.run("--help").stdout.splitlines() if line.startswith("  ")]
        self.assertIn("process", commands)
        for name in commands:
            out = kit.run(name, "--help")
            self.assertEqual(out.returncode, 0)
            self.assertTrue(out.stdout.startswith(f"usage: bodyscript {name}"), out.stdout)


class Refusals(kit.Case):
    def test_an_answer_that_cannot_be_written_is_code_1(self):
        with open("/dev/full", "w") as full:
            for args in (("probe", kit.sample()), ("probe", "--json", kit.sample()), ("doctor",), ("--help",),
                         ("--version",), ("process", "--help")):
                out = subprocess.run([kit.PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                     env=kit.ENVIRONMENT)
                self.assertEqual(out.returncode, 1, args)
                self.assertIn("standard output cannot be written", out.stderr)

    def test_closed_standard_descriptors_reach_no_result(self):
        self.process("--json", "--no-video", *QUICK, kit.sample())
        right = {n: (self.tmp / "results/sample" / n).read_bytes() for n in ("pose_data.csv", "pose_data.json")}
        for closed, code in ((">&-", 1), ("2>&-", 0), ("<&- >&- 2>&-", 1), ("<&- 2>&-", 0)):
            with self.subTest(closed):
                out = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", kit.PROGRAM, "process", "--json", "--no-video", *QUICK,
                                      "-o", self.tmp / "results", kit.sample()], env=kit.ENVIRONMENT, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, timeout=100)
                self.assertEqual(out.returncode, code)
                for name, content in right.items():
                    self.assertEqual((self.tmp / "results/sample" / name).read_bytes(), content, name)

    def test_what_is_no_video_is_code_3(self):
        (self.tmp / "empty.mp4").touch()
        (self.tmp / "text.mp4").write_text("hello\n" * 50)
        for name in ("empty.mp4", "text.mp4", "gone.mp4"):
            self.process(self.tmp / name, code=3)
        self.assertFalse((self.tmp / "results").exists())

    def test_too_large_a_file_is_code_4_where_a_limit_is_set(self):
        clip = self.tmp / "large.mp4"
        shutil.copy(kit.sample(), clip)
        os.truncate(clip, (1 << 20) + 1)
        out = self.process(clip, code=4, MAX_VIDEO_SIZE_MB=1)
        self.assertIn("MAX_VIDEO_SIZE_MB", out.stderr)

    def test_too_little_memory_is_code_4_with_both_numbers(self):
        told = [self.process(kit.sample(), code=4, MEMORY_LIMIT_MB=limit).stderr for limit in (16, 20, 24)]
        numbers = [re.findall(r"needs (\d+) MB.* there are (\d+) MB", text) for text in told]
        self.assertEqual([limit for (_, limit), in numbers], ["16", "20", "24"])
        self.assertEqual(len({need for (need, _), in numbers}), 1)  # the header is read whole in any of them
        self.assertFalse((self.tmp / "results").exists())

    def test_a_folder_that_cannot_be_made_is_code_1(self):
        (self.tmp / "results").write_text("in the way")
        self.assertIn(f"'{self.tmp}/results' is not a folder", self.process(kit.sample(), code=1).stderr)

    def test_the_bar_fits_its_terminal_and_is_made_of_whole_characters(self):
        video = self.tmp / ("ü한" * 20 + ".mp4")
        shutil.copy(kit.sample(), video)
        for width in (10, 21, 37, 200):
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            with subprocess.Popen([kit.PROGRAM, "process", *QUICK, "--no-video", video], cwd=self.tmp, stderr=theirs,
                                  env=kit.ENVIRONMENT) as process:
                os.close(theirs)
                told = b""
                with contextlib.suppress(OSError):  # EIO: the program has ended
                    while piece := os.read(ours, 4096):
                        told += piece
            os.close(ours)
            self.assertEqual(process.returncode, 0, told)
            bars = [part for part in told.decode().split("\r\x1b[K") if "\n" not in part]
            self.assertTrue(any(bars))
            self.assertTrue(all(len(bar) < width for bar in bars), bars)

    def test_probe_tells_the_reservation(self):
        out = kit.run("probe", "--json", kit.sample())
        self.assertEqual(out.returncode, 0, out.stderr)
        probe = json.loads(out.stdout)
        self.assertEqual((probe["video_info"]["width"], probe["video_info"]["height"]), (360, 640))
        self.assertAlmostEqual(sum(probe["memory"].values()), probe["reserved_memory_mb"], delta=0.5)
        self.assertTrue(probe["fits"])
        self.process("--no-video", *QUICK, kit.sample())
        reserved = kit.document(self.tmp / "results/sample", "metadata.json")["statistics"]["reserved_memory_mb"]
        self.assertLess(reserved, probe["reserved_memory_mb"])

    def test_bench_tells_each_job_as_an_object(self):
        out = kit.run("bench", "--json", "--model", "lite", kit.sample())
        self.assertEqual(out.returncode, 0, out.stderr)
        jobs = [json.loads(line) for line in out.stdout.splitlines()]
        self.assertEqual([(j["model"], j["outputs"]) for j in jobs], [("lite", "csv"), ("lite", "everything")])
        self.assertEqual([j["stage_ms"]["encode"] > 0 for j in jobs], [False, True])
        out = kit.run("bench", "--json", self.tmp / "nothing.mp4")
        self.assertEqual((out.returncode, json.loads(out.stdout)["exit_code"]), (3, 3))


class Inputs(kit.Case):
    """What may be named in place of a file, and files that are not what they are called."""

    def fed(self, *words, stdin):
        return subprocess.run([kit.PROGRAM, *map(str, words)], stdin=stdin, capture_output=True, text=True, timeout=30, env=kit.ENVIRONMENT)

    def test_what_is_no_file_is_refused_at_once(self):
        os.mkfifo(self.tmp / "pipe.mp4")
        (self.tmp / "folder").mkdir()
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self.tmp / "socket.mp4"))
            before = set(self.tmp.rglob("*"))
            for name, why in (("pipe.mp4", "is a pipe"), ("folder", "holds no video or photo"), ("socket.mp4", "cannot be opened"),
                              ("/dev/zero", "is not a file"), ("/dev/null", "is not a file"), ("/proc/version", "is empty"), ("-", "is a pipe")):
                for command in ("probe", "process"):
                    read, write = os.pipe()
                    out = self.fed(command, *(["-o", self.tmp / "results"] if command == "process" else []),
                                   name if name == "-" else self.tmp / name, stdin=read)
                    os.close(read), os.close(write)
                    self.assertEqual((out.returncode, len(out.stderr.splitlines())), (3, 1), out.stderr)
                    self.assertIn(why, out.stderr)
            self.assertEqual(set(self.tmp.rglob("*")), before)

    def test_standard_input_is_read_where_it_is_a_file(self):
        self.process("--no-video", *QUICK, kit.sample())
        with open(kit.sample()) as clip:
            out = self.fed("process", "-q", "-o", self.tmp / "results", "--no-video", *QUICK, "-", stdin=clip)
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual(kit.rows(self.tmp / "results/stdin"), kit.rows(self.tmp / "results/sample"))

    def test_a_file_that_grows_is_what_it_was_when_it_was_opened(self):
        clip = self.tmp / "grows.ts"
        kit.ffmpeg("-i", kit.sample(), "-c", "copy", "-frames:v", 40, clip)
        packets, stop = clip.read_bytes(), threading.Event()

        def grow():
            with open(clip, "ab") as f:
                for _ in range(300):
                    f.write(packets)
                    if stop.wait(0.005):
                        break
        writer = threading.Thread(target=grow)
        writer.start()
        try:
            self.process("--no-video", "--model", "lite", "-n", 30, "--max-video-duration-seconds", 0, clip)
        finally:
            stop.set()
            writer.join()
        self.assertTrue(kit.rows(self.tmp / "results/grows"))
        receipt = kit.document(self.tmp / "results/grows", "metadata.json")["receipt"]
        self.assertIn(receipt["input_sha256"], self.hashes(clip, len(packets)))

    def hashes(self, path, step):
        """Of the file at each length that it had between two writes, and in the middle of one."""
        sha, found = hashlib.sha256(), set()
        with open(path, "rb") as f:
            while piece := f.read(4096):
                sha.update(piece)
                found.add(sha.hexdigest())
        sha, whole = hashlib.sha256(), path.read_bytes()
        for at in range(0, len(whole), step):
            sha.update(whole[at:at + step])
            found.add(sha.hexdigest())
        return found

    def test_several_jpeg_pictures_in_a_row_are_a_video_and_one_is_a_photo(self):
        stream = self.tmp / "stream.mjpeg"
        kit.ffmpeg("-i", kit.sample(), "-frames:v", 12, "-c:v", "mjpeg", "-q:v", 2, stream)
        pictures = [b"\xff\xd8\xff" + part for part in stream.read_bytes().split(b"\xff\xd8\xff")[1:]]
        self.assertEqual(len(pictures), 12)
        self.process(*QUICK, stream)
        self.assertFiles(self.tmp / "results/stream", kit.VIDEO_FILES)
        self.assertEqual(sorted({int(r["frame_id"]) for r in kit.rows(self.tmp / "results/stream")}), [0, 3, 6, 9])
        small = self.tmp / "small.mjpeg"  # to libav these are "piped jpeg", by its probe's first few KB
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25,noise=alls=60:allf=t", "-frames:v", 20, "-c:v", "mjpeg", "-q:v", 3, small)
        self.process(*QUICK, "-n", 1, small)
        self.assertEqual(len({r["frame_id"] for r in kit.rows(self.tmp / "results/small")}), 20)
        belongs = b"\xff\xe2\0\x08MPF\0\0\0"  # says that the pictures after it are its own: a preview, a gain map
        for name, content in (("one.mjpeg", pictures[0]), ("phone.jpg", pictures[0][:2] + belongs + pictures[0][2:] + pictures[1])):
            (self.tmp / name).write_bytes(content)
            self.process("--model", "lite", self.tmp / name)
            self.assertFiles(self.tmp / "results" / name.split(".")[0], kit.PHOTO_FILES)

    def test_a_picture_of_another_kind_is_named(self):
        for name, head in (("HEIC", b"\0\0\0\x18ftypheic"), ("AVIF", b"\0\0\0\x18ftypavif"), ("TIFF", b"II*\0"), ("BMP", b"BM"),
                           ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"), ("JPEG XL", b"\xff\x0a")):
            (self.tmp / "photo.jpg").write_bytes(head.ljust(1000, b"\0"))
            self.assertIn(f"is a {name} picture, which cannot be read: photos are JPEG, PNG or WebP", self.process(self.tmp / "photo.jpg", code=3).stderr)

    def test_an_edit_list_that_shows_nothing_is_not_followed(self):
        clip, options = self.tmp / "clip.mp4", ("--no-video", "--model", "lite")
        kit.ffmpeg("-i", kit.sample(), "-an", "-frames:v", 12, "-c:v", "libx264", "-preset", "ultrafast", "-bf", 0, "-use_editlist", 1, clip)
        self.process(*options, clip)
        data = clip.read_bytes()
        edit = data.index(b"elst") + 12  # how long, and from when
        for number, part in enumerate((bytes(8), data[edit:edit + 4] + b"\xff" * 4, data[edit:edit + 4] + b"\x7f\xff\xff\xff")):
            path = self.tmp / f"part{number}.mp4"
            path.write_bytes(data[:edit] + part + data[edit + 8:])
            self.process(*options, path)
            self.assertEqual(kit.rows(self.tmp / "results" / path.stem), kit.rows(self.tmp / "results/clip"))


class Interruption(kit.Case):
    def start(self, *args, video=None, hangup=signal.SIG_DFL):
        """A job that will not end by itself soon, stopped in its midst."""
        process = subprocess.Popen([kit.PROGRAM, "process", "-o", self.tmp / "results", "--model", "heavy",
                                    "-n", "1", "--json", *args, video or kit.sample()], env=kit.ENVIRONMENT, text=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        for line in process.stdout:
            if json.loads(line).get("frames_analysed", 0) > 0:
                return process
        self.fail("the job ended before it could be stopped: " + process.stderr.read())

    def stop(self, process, number):
        process.send_signal(number)
        begun = time.monotonic()
        process.communicate(timeout=60)
        return time.monotonic() - begun

    def test_nothing_is_left_and_the_code_is_130(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.start()
            self.stop(process, number)
            self.assertEqual(process.returncode, 130)
            self.assertFalse((self.tmp / "results").exists())

    def test_under_nohup_a_job_outlives_its_terminal(self):
        process = self.start("--max-video-duration-seconds", "1", hangup=signal.SIG_IGN)
        self.stop(process, signal.SIGHUP)
        self.assertEqual(process.returncode, 0)
        self.assertFiles(self.tmp / "results/sample", kit.VIDEO_FILES)

    def test_an_export_that_is_stopped_leaves_nothing(self):
        pose = self.tmp / "pose.json"
        with open(pose, "w") as f:
            f.write('{"format":"bodyscript-pose","frames":[')
            f.write(",".join('{"frame_id":%d,"timestamp":%d,"people":[]}' % (i, i) for i in range(300000)))
            f.write("]}")
        export = subprocess.Popen([kit.PROGRAM, "export", pose, "-f", "csv", "-o", self.tmp / "pose.csv"], env=kit.ENVIRONMENT)
        while export.poll() is None and not list(self.tmp.glob("pose.csv.part.*")):
            time.sleep(0.001)
        self.stop(export, signal.SIGTERM)
        self.assertEqual((export.returncode, [p.name for p in self.tmp.iterdir()]), (130, ["pose.json"]))

    def test_a_file_that_goes_on_without_pictures_can_be_stopped(self):
        endless = self.tmp / "endless.mpg"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:d=0.5", "-c:v", "mpeg2video", endless)
        os.truncate(endless, 100 << 30)
        process = self.start(video=endless)
        self.stop(process, signal.SIGINT)
        self.assertEqual(process.returncode, 130)
        self.assertFalse((self.tmp / "results").exists())

    def test_results_of_an_earlier_run_stay_whole(self):
        self.process(*QUICK, kit.sample())
        before = {p.name: p.read_bytes() for p in (self.tmp / "results/sample").iterdir()}
        self.stop(self.start(), signal.SIGINT)
        self.assertEqual(before, {p.name: p.read_bytes() for p in (self.tmp / "results/sample").iterdir()})

    def test_what_a_killed_run_left_is_removed_by_the_next(self):
        process = self.start()
        self.stop(process, signal.SIGKILL)
        self.assertEqual([p.name for p in (self.tmp / "results/sample").iterdir()], [f".part.{process.pid}"])
        self.process(*QUICK, "--no-video", kit.sample())
        self.assertFiles(self.tmp / "results/sample", kit.VIDEO_FILES - {"output.mp4", "preview.mp4"})

    def test_a_full_disk_is_said_and_leaves_nothing(self):
        if os.geteuid() != 0 or kit.sanitized():
            self.skipTest("a full disk is tried in the release build, not under a sanitizer")
        small = self.tmp / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], capture_output=True).returncode:
            self.skipTest("a small file system can only be mounted by root")
        try:
            out = kit.run("process", "-o", small / "results", *QUICK, kit.sample())
            self.assertEqual(out.returncode, 1, out.stderr)
            self.assertIn("No space left on device", out.stderr)
            self.assertEqual(list(small.iterdir()), [])
            out = kit.run("process", "-o", small / "results", *QUICK, "--no-video", "--save-frames", "--frame-format", "png", kit.sample())
            self.assertEqual((out.returncode, out.stderr.splitlines()[-1]),
                             (1, "bodyscript: the saved frames cannot be written: No space left on device"))
            self.assertEqual(list(small.iterdir()), [])
        finally:
            subprocess.run(["umount", small], check=True)


if __name__ == "__main__":
    kit.main()
