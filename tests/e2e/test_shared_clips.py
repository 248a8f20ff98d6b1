#!/usr/bin/env python3
"""Every clip of shared/media/derived beside the project: read as its MANIFEST.md says it is.

For each: what the header must be told to be, frames in and rows out, the person upright, and time stamps as ffprobe gives
them. Then the counts of metadata.json, held against clips whose faults are made.
"""
import statistics

import kit

# frames; the person is seen in at least this share of them; what video_info must say
CLIPS = {
    "walkers_hevc_hvc1_480p.mp4": (120, 0.7, dict(codec="hevc", bit_depth=8, hdr=False)),
    "walkers_hevc10_hlgtag_480p.mov": (120, 0.7, dict(codec="hevc", bit_depth=10, hdr=True, color_matrix="bt2020")),
    "walkers_av1_480p.mkv": (120, 0.7, dict(codec="av1")),
    "walkers_lowlight_480p.mp4": (120, 0.4, dict(codec="h264")),
    "basketball_mjpeg.avi": (120, 0.9, dict(codec="mjpeg", container="avi")),
    "basketball_xvid.avi": (180, 0.9, dict(codec="mpeg4", container="avi")),
    "basketball_wmv2.wmv": (180, 0.9, dict(codec="wmv2", container="asf")),
    "basketball_mpeg2.ts": (180, 0.9, dict(codec="mpeg2video", container="mpegts")),
    "basketball_vp9.webm": (180, 0.9, dict(codec="vp9")),
    "basketball.gif": (40, 0.9, dict(codec="gif")),
    "basketball_vfr.mp4": (235, 0.8, dict(codec="h264")),
    "basketball_start5s.mkv": (122, 0.9, dict(start=5)),
    "basketball_editlist_copycut.mp4": (92, 0.9, dict(codec="h264")),
    "basketball_rot180.mp4": (120, 0.9, dict(rotation=180, width=640, height=360)),
    "balancing_cam03_rot90.mov": (100, 0.9, dict(width=544, height=960, coded_width=960, coded_height=544)),
    "balancing_cam03_rot270.mov": (100, 0.9, dict(width=544, height=960, coded_width=960, coded_height=544)),
    "basketball_anamorphic_sar4x3.mp4": (120, 0.9, dict(width=640, height=360, coded_width=480, sample_aspect_ratio="4:3")),
    "basketball_interlaced.mp4": (60, 0.9, dict(interlaced=True)),
    "basketball_odd427x241_444.mp4": (120, 0.9, dict(width=427, height=241, pixel_format="yuv444p")),
    "balancing_240fps.mp4": (400, 0.9, dict(fps=240, width=544, height=960)),
    "no_person_testsrc.mp4": (60, 0, {}),
}
NOSE, HIP, ANKLE = 0, 23, 27


class SharedClips(kit.Case):
    def result(self, clip, *words):
        out = self.process("--model", "lite", "--no-video", "--max-video-duration-seconds", 0, *words, clip)
        folder = self.tmp / "results" / clip.stem
        return kit.document(folder, "metadata.json"), kit.rows(folder), out

    def assertUpright(self, rows):
        """The nose above the hip above the ankle: in the median, for people bend."""
        for above, below in ((NOSE, HIP), (HIP, ANKLE)):
            falls = [float(rows[i + below]["y"]) - float(rows[i + above]["y"]) for i in range(0, len(rows), 33) if rows[i]["x"]]
            self.assertGreater(statistics.median(falls), 0)

    def test_every_clip_is_what_it_is_said_to_be(self):
        for name, (frames, share, info) in CLIPS.items():
            with self.subTest(name):
                clip = kit.shared(name)
                meta, rows, _ = self.result(clip, "-n", 5)
                s = meta["statistics"]
                self.assertEqual({k: meta["video_info"][k] for k in info}, info)
                self.assertEqual((s["frames_total"], s["frames_damaged"], s["input_truncated"]), (frames, 0, False))
                self.assertEqual(len(rows), 33 * len(range(0, frames, 5)))
                self.assertEqual(s["frames_detected"] + s["frames_tracked"] + s["frames_missing"], s["frames_processed"])
                self.assertEqual(sum(r["status"] == "missing" for r in rows), 33 * s["frames_missing"])
                self.assertGreaterEqual(s["detection_rate"], share)
                times = [t for t in kit.frame_times(clip)][:frames:5]
                self.assertEqual(len(times), len(rows) // 33)
                for time, row in zip(times, rows[::33]):
                    self.assertAlmostEqual(float(row["timestamp"]), time, delta=0.0011)
                if share:
                    self.assertUpright(rows)

    def test_gaps_in_time_stay(self):
        _, rows, _ = self.result(kit.shared("basketball_vfr.mp4"), "-n", 1)
        times = [float(r["timestamp"]) for r in rows[::33]]
        self.assertGreater(max(b - a for a, b in zip(times, times[1:])), 0.9)

    def test_nobody_is_seen_where_nobody_is(self):
        meta, _, _ = self.result(kit.shared("no_person_testsrc.mp4"), "-n", 1)
        self.assertLessEqual(meta["statistics"]["frames_processed"] - meta["statistics"]["frames_missing"], 2)

    def test_cut_clips_are_said_to_be_cut_or_refused(self):
        meta, rows, out = self.result(kit.shared("basketball_truncated_midstream.mp4"), "-n", 5)
        self.assertTrue(meta["statistics"]["input_truncated"])
        self.assertIn("was cut off", out.stderr)
        self.assertEqual(len(rows), 33 * len(range(0, meta["statistics"]["frames_total"], 5)))
        self.process(kit.shared("basketball_truncated_nomoov.mp4"), code=3)


class MadeUpResults(kit.Case):
    """The counts of metadata.json on clips whose faults are made: from the sample, a man seen whole, from the front."""

    def statistics(self, filters, *words):
        clip = self.tmp / "made.mp4"
        kit.ffmpeg("-i", kit.sample(), "-vf", filters, "-an", "-preset", "ultrafast", "-crf", 12, clip)
        self.process("--no-video", "-n", 1, *words, clip)
        return kit.document(self.tmp / "results/made", "metadata.json")["statistics"]

    def test_a_clip_as_it_is_has_nothing_to_tell(self):
        s = self.statistics("null")
        self.assertEqual(s["advice"], "")
        self.assertEqual(s["frames_missing"], 0)
        self.assertEqual(s["frames_detected"] + s["frames_tracked"], s["frames_processed"])

    def test_feet_outside_the_picture_are_counted_and_told(self):
        s = self.statistics("crop=iw:ih*0.62:0:0")
        self.assertGreater(s["feet_outside"], 0.9)
        self.assertGreater(s["landmarks_outside"], 6 * 0.9 * s["frames_processed"])
        self.assertRegex(s["advice"], r"feet are outside the picture in \d+ % of the frames")

    def test_an_empty_half_is_missing(self):
        s = self.statistics("drawbox=c=green:t=fill:enable='gte(n,60)'")
        self.assertAlmostEqual(s["frames_missing"], s["frames_processed"] - 60, delta=3)
        self.assertAlmostEqual(s["detection_rate"], 60 / s["frames_processed"], delta=0.03)
        self.assertIn("Nobody was found in", s["advice"])


if __name__ == "__main__":
    kit.main()
