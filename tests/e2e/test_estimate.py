#!/usr/bin/env python3
"""The estimate: never below the measured peak, never above 1.5 times it, over codec × size × options.

BODYSCRIPT_ALL_CLIPS=1: every codec in every size up to 4K, and more photos."""
import json
import os

import kit

CODECS = {
    "h264.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"],
    "hevc10.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", "-pix_fmt", "yuv420p10le"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-bf", "2", "-b:v", "5M"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"],
    "prores.mov": ["-c:v", "prores_ks"],
    "h264-16.mkv": ["-c:v", "libx264", "-preset", "veryfast", "-refs", "16", "-pix_fmt", "yuv420p"],
    "h264-10.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le"],
    "hevc.mov": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", "-pix_fmt", "yuv420p"],
    "av1.mkv": ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-pix_fmt", "yuv420p"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2", "-b:v", "5M"],
    "wmv2.wmv": ["-c:v", "wmv2", "-b:v", "5M"],
    "flv1.flv": ["-c:v", "flv1", "-b:v", "5M"],
}
RARE = {
    "theora.ogv": ["-c:v", "libtheora", "-b:v", "3M"],
    "ffv1.mkv": ["-c:v", "ffv1"],
    "huffyuv.avi": ["-c:v", "huffyuv"],
    "raw.avi": ["-c:v", "rawvideo", "-pix_fmt", "yuv420p"],
    "gif.gif": [],
    "png.mov": ["-c:v", "png"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-b:v", "3M"],
    "h264-444.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv444p"],
    "baseline.flv": ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline", "-pix_fmt", "yuv420p"],
}
# Each was once far off: pictures that VP9's frames keep, key frames alone, threads that each have a large picture.
LARGE = {
    "vp9.webm": ("3840x2160", CODECS["vp9.webm"]),
    "intra.mp4": ("1920x1080", ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:keyint=1",
                                "-pix_fmt", "yuv420p"]),
    "alpha.mov": ("1920x1080", ["-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"]),
    "vc2.mkv": ("1280x720", ["-c:v", "vc2", "-pix_fmt", "yuv422p10le"]),
    "v210.mov": ("1280x720", ["-c:v", "v210"]),
    "bgra.mkv": ("1280x720", ["-c:v", "ffv1", "-pix_fmt", "bgra"]),
}
PHOTOS = {"jpg": ["-q:v", "3", "-pix_fmt", "yuvj420p"], "png": ["-pix_fmt", "rgb24"], "webp": ["-pix_fmt", "yuv420p"]}
SOUND = ["-c:a", "aac", "-b:a", "128k"]
OPTIONS = [[], ["--no-video"], ["--model", "lite", "-n", "10"], ["--max-video-width", "320"], ["--model", "heavy"]]
ALL = bool(os.environ.get("BODYSCRIPT_ALL_CLIPS"))


def matrix():
    """(name, size, frames, arguments of ffmpeg, options of the program)"""
    for i, (name, how) in enumerate(CODECS.items()):
        for j, size in enumerate(["426x240", "854x480", "1280x720", "1920x1080", "3840x2160"] if ALL
                                 else ["426x240", "854x480"]):
            yield name, size, 40 if j < 3 else 24, how, OPTIONS[(i + j) % len(OPTIONS)]
    for i, (name, how) in enumerate(RARE.items()):
        for size in ["640x360", "1920x1080"] if ALL else ["640x360"]:
            yield name, size, 20, how, OPTIONS[i % 4]
    for i, name in enumerate(["h264.mp4", "hevc.mov", "vp9.webm", "mpeg4.avi", "mjpeg.avi"]):
        yield name, "720x1280", 40, CODECS[name], OPTIONS[i]
        yield "few-" + name, "960x540", 1 + 3 * i, CODECS[name], OPTIONS[(i + 3) % 4]
    for name in ["h264.mp4", "hevc10.mp4"]:
        yield name, "1920x1080", 24, CODECS[name], []
    for name in ["h264.mp4", "vp8.webm"]:
        yield "sound-" + name, "640x360", 75, CODECS[name] + (SOUND if name == "h264.mp4" else ["-c:a", "libvorbis"]), []
    for i, (name, how) in enumerate(PHOTOS.items()):
        for j, size in enumerate(["640x480", "1920x1080", "4000x3000"]):
            for options in [["--model", kind] for kind in ("lite", "full", "heavy")] if ALL \
                    else [[["--model", "heavy"], [], ["--model", "lite"]][(i + j) % 3]]:
                yield "photo." + name, size, 1, how, options
    for options in [["--exact"], ["--save-frames"], ["--save-frames", "--frame-format", "png"], ["--people", "3"]]:
        yield "h264.mp4", "854x480", 40, CODECS["h264.mp4"], options
    lean = ["--no-video", "--model", "lite"]
    yield "huffyuv.avi", "1280x720", 30, RARE["huffyuv.avi"], lean  # packets looked ahead are whole pictures
    for name in ["h264.mp4", "av1.mkv", "vp9.webm"]:
        yield name, "854x480", 40, CODECS[name], [*lean, "--threads", "8"]
    yield "png.mov", "640x360", 20, RARE["png.mov"], [*lean, "--threads", "8"]
    yield "mpeg2.ts", "1280x720", 2, CODECS["mpeg2.ts"], []
    for i, (name, (size, how)) in enumerate(LARGE.items()):
        yield name, size, 10, how, lean if i % 2 else []
    # Margins of narrow pictures; motion of long ones, which are of level 6; components of full size.
    yield "h264.mp4", "96x3200", 20, CODECS["h264.mp4"], []
    yield "huffyuv.avi", "32x8800", 20, RARE["huffyuv.avi"], ["--model", "lite"]
    yield "jpeg2000-444.mkv", "640x360", 20, ["-c:v", "jpeg2000", "-pix_fmt", "yuv444p"], [*lean, "--threads", "4"]
    # Large pictures of few references, whose decoding takes longer than their poses.
    few = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    for options in [lean, [*lean, "-n", "1", "--threads", "1"], ["--threads", "2"]]:
        yield "ultrafast.mp4", "3840x2160", 10, few, options
    yield "intra.mp4", "1920x1080", 10, [*few, "-g", "1"], [*lean, "-n", "1"]
    yield "refs2.mp4", "3840x2160", 10, [*few, "-refs", "2"], [*lean, "-n", "1"]
    # A header that counts the first of many fragments; tables of many threads; a photo's overlay as large as the photo.
    yield "fragments.mp4", "1280x720", 40, ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "frag_every_frame"], []
    yield "mpeg2.ts", "1280x720", 40, CODECS["mpeg2.ts"], [*lean, "--threads", "16"]
    yield "dv.mov", "720x576", 20, ["-c:v", "dvvideo", "-pix_fmt", "yuv420p"], [*lean, "--threads", "16"]
    yield "whole.jpg", "4000x3000", 1, ["-q:v", "3", "-pix_fmt", "yuvj420p"], ["--max-video-width", "0"]
    yield "444.jpg", "4000x3000", 1, ["-q:v", "3", "-pix_fmt", "yuvj444p"], []


class Estimate(kit.Case):
    def make(self, name, size, frames, how):
        """Somebody in motion, so that the landmark model is read too, and noise, so that packets are large."""
        clip = self.tmp / f"{size}-{frames}-{name}"
        if not clip.exists():
            sound = ["-f", "lavfi", "-i", "sine=440:sample_rate=48000", "-shortest"] if name.startswith("sound-") else []
            kit.ffmpeg("-stream_loop", "-1", "-i", kit.sample(), *sound, "-map", "0:v", *(["-map", "1:a"] if sound else []),
                       "-vf", f"fps=25,scale={size.replace('x', ':')},setsar=1,noise=alls=8:allf=t",
                       "-frames:v", frames, *how, clip)
        return clip

    def test_the_peak_lies_below_the_estimate_and_not_far(self):
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")
        count = 0
        for name, size, frames, how, options in matrix():
            clip = self.make(name, size, frames, how)
            with self.subTest(name=name, size=size, frames=frames, options=options):
                probed = kit.run("probe", "--json", *options, clip)
                self.assertEqual(probed.returncode, 0, probed.stderr)
                reserved = json.loads(probed.stdout)["reserved_memory_mb"]
                self.process(*options, clip)
                peak = kit.document(self.tmp / "results" / clip.stem, "metadata.json")["statistics"]["peak_memory_mb"]
                print(f"{name} {size} × {frames} {options}: estimate {reserved}, peak {peak}, {reserved / peak:.2f}",
                      flush=True)
                self.assertLessEqual(peak, reserved)
                self.assertLessEqual(reserved, 1.5 * peak)
                count += 1
        self.assertGreaterEqual(count, 60)

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

    def test_a_strip_of_nobody_counts_all_the_weights(self):
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")
        clip = self.tmp / "strip.mp4"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1600x200:r=25", "-frames:v", 12, *CODECS["h264.mp4"], clip)
        self.process("--mode", "quality", "--frame-extraction-interval", "12", clip)
        told = kit.document(self.tmp / "results" / "strip", "metadata.json")["statistics"]
        self.assertEqual(told["frames_detected"] + told["frames_tracked"], 0)
        self.assertLessEqual(told["peak_memory_mb"], told["reserved_memory_mb"])
        self.assertLessEqual(told["reserved_memory_mb"], 1.5 * told["peak_memory_mb"])

    def test_what_cannot_fit_is_refused_with_both_numbers(self):
        clip = self.tmp / "clip.mp4"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25", "-frames:v", 2, *CODECS["h264-16.mkv"], clip)
        result = self.process(clip, code=4, MEMORY_LIMIT_MB=36)
        self.assertRegex(result.stderr, r"needs \d+ MB of memory, there are 36 MB")
        self.assertFalse((self.tmp / "results" / "clip").exists())


if __name__ == "__main__":
    kit.main()
