#!/usr/bin/env python3
"""The estimate: never below the measured peak, never above 1.5 times it. BODYSCRIPT_ALL_CLIPS=1: the whole matrix."""
import json
import os
import subprocess

import kit

CODECS = {
    "h264.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"],
    "hevc10.mp4": ["-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=0", "-pix_fmt", "yuv420p10le"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-bf", "2", "-b:v", "5M"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"],
    "prores.mov": ["-c:v", "prores_ks"],
    "h264-16.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-refs", "16", "-pix_fmt", "yuv420p"],
    "h264-10.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le"],
    "hevc.mov": ["-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=0", "-pix_fmt", "yuv420p"],
    "av1.mkv": ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-pix_fmt", "yuv420p"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2", "-b:v", "5M"],
    "wmv2.wmv": ["-c:v", "wmv2", "-b:v", "5M"],
    "flv1.flv": ["-c:v", "flv1", "-b:v", "5M"],
}
OPTIONS = [[], ["--no-video"], ["--model", "lite", "-n", "10"], ["--max-video-width", "320"], ["--model", "heavy"]]
FEW = [("h264.mp4", "1280x720", 0), ("h264.mp4", "426x240", 1), ("h264.mp4", "854x480", 3), ("hevc10.mp4", "854x480", 0),
       ("mpeg2.ts", "1280x720", 2), ("vp9.webm", "854x480", 0), ("mjpeg.avi", "1280x720", 1), ("prores.mov", "854x480", 4)]


def matrix():
    if not os.environ.get("BODYSCRIPT_ALL_CLIPS"):
        return FEW
    sizes = ["426x240", "854x480", "1280x720", "1920x1080", "3840x2160"]
    return [(c, s, (i + j) % len(OPTIONS)) for i, c in enumerate(CODECS) for j, s in enumerate(sizes)]


class Estimate(kit.Case):
    def test_the_peak_lies_below_the_estimate_and_not_far(self):
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")
        for codec, size, index in matrix():
            clip = self.tmp / f"{size}-{codec}"
            if not clip.exists():
                kit.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25,noise=alls=8:allf=t", "-frames:v", 40,
                           *CODECS[codec], clip)
            with self.subTest(codec=codec, size=size, options=OPTIONS[index]):
                probed = kit.run("probe", "--json", *OPTIONS[index], clip)
                self.assertEqual(probed.returncode, 0, probed.stderr)
                reserved = json.loads(probed.stdout)["reserved_memory_mb"]
                self.process(*OPTIONS[index], clip)
                peak = kit.document(self.tmp / "results" / clip.stem, "metadata.json")["statistics"]["peak_memory_mb"]
                print(f"{codec} {size} {OPTIONS[index]}: estimate {reserved}, peak {peak}, {reserved / peak:.2f}")
                self.assertLessEqual(peak, reserved)
                self.assertLessEqual(reserved, 1.5 * peak)

    def test_probe_reserves_what_process_reserves(self):
        clip = self.tmp / "clip.mp4"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x480:r=25", "-frames:v", 10, *CODECS["h264.mp4"], clip)
        for options in ([], ["--no-video"], ["--save-frames"], ["--save-frames", "--frame-format", "png", "--exact"]):
            with self.subTest(options=options):
                probed = json.loads(kit.run("probe", "--json", *options, clip).stdout)["reserved_memory_mb"]
                self.process(*options, clip)
                told = kit.document(self.tmp / "results" / "clip", "metadata.json")["statistics"]["reserved_memory_mb"]
                self.assertEqual(probed, told)

    def test_the_peak_of_a_picture_of_nobody_counts_all_the_weights(self):
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")
        photo = self.tmp / "photo.png"
        kit.ffmpeg("-f", "lavfi", "-i", "color=gray:s=320x240", "-frames:v", 1, photo)
        self.process("--model", "heavy", photo)
        told = kit.document(self.tmp / "results" / "photo", "metadata.json")["statistics"]
        self.assertGreater(told["peak_memory_mb"], 27)
        self.assertLessEqual(told["peak_memory_mb"], told["reserved_memory_mb"])
        self.assertLessEqual(told["reserved_memory_mb"], 1.5 * told["peak_memory_mb"])

    def test_what_cannot_fit_is_refused_with_both_numbers(self):
        clip = self.tmp / "clip.mp4"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25", "-frames:v", 2, *CODECS["h264-16.mp4"], clip)
        result = self.process(clip, code=4, MEMORY_LIMIT_MB=48)
        self.assertRegex(result.stderr, r"needs \d+ MB of memory, there are 48 MB")
        self.assertFalse((self.tmp / "results" / "clip").exists())


if __name__ == "__main__":
    kit.main()
