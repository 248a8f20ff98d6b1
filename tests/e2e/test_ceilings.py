#!/usr/bin/env python3
"""Memory: what a job may take, held by the kernel, and that neither length nor damage adds to it."""
import random

import kit


class Ceilings(kit.Case):
    def setUp(self):
        super().setUp()
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")

    def clip(self, width, height, seconds):
        """The sample, blown up and repeated; with sound."""
        path = self.tmp / f"{width}x{height}.mp4"
        kit.ffmpeg("-stream_loop", -1, "-i", kit.sample(), "-f", "lavfi", "-i", "sine=440", "-t", seconds, "-map", "0:v",
                   "-map", "1:a", "-vf", f"scale={width}:{height},setsar=1", "-c:v", "libx264", "-preset", "veryfast",
                   "-pix_fmt", "yuv420p", "-c:a", "aac", path)
        return path

    def within(self, megabytes, clip):
        with kit.Cgroup(megabytes) as group:
            out = group.run("process", "--json", "--model", "full", "-o", self.tmp / "results", clip)
            kills = group.kills()
        self.assertEqual((out.returncode, kills), (0, 0), out.stderr)
        self.assertFiles(self.tmp / "results" / clip.stem, kit.VIDEO_FILES)

    def test_720p_with_everything_in_64_mb(self):
        self.within(64, self.clip(1280, 720, 10))

    def test_1080p_with_everything_in_80_mb(self):
        self.within(80, self.clip(1920, 1080, 10))

    def peak(self, clip, *options):
        self.process("-q", "--model", "lite", *options, clip, MAX_VIDEO_DURATION_SECONDS=0)
        statistics = kit.document(self.tmp / "results" / clip.stem, "metadata.json")["statistics"]
        self.assertLessEqual(statistics["peak_memory_mb"], statistics["reserved_memory_mb"])
        return statistics["peak_memory_mb"], statistics

    def test_ten_minutes_take_no_more_than_ten_seconds(self):
        short, long = self.tmp / "short.mp4", self.tmp / "long.mp4"
        kit.ffmpeg("-stream_loop", -1, "-i", kit.sample(), "-f", "lavfi", "-i", "sine=440", "-t", 10, "-map", "0:v", "-map", "1:a", "-vf",
                   "scale=180:320,fps=10", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", short)
        kit.ffmpeg("-stream_loop", 59, "-i", short, "-c", "copy", long)
        first, _ = self.peak(short, "-n", 10)
        second, statistics = self.peak(long, "-n", 10)
        self.assertGreater(statistics["processed_duration"], 595)
        self.assertLess(second, first * 1.03)

    def test_damage_in_every_frame_takes_no_more(self):
        """Bits of each packet are turned, behind its header: what is lost there must be concealed, not what kind of frame it is."""
        for name, options, noticed in (("h264.mp4", ("-c:v", "libx264", "-preset", "veryfast"), 0.8), ("mpeg4.avi", ("-c:v", "mpeg4", "-bf", 2), 0.8),
                                       ("intra.mkv", ("-c:v", "libx264", "-g", 1, "-preset", "ultrafast"), 0.8),
                                       ("hevc.mkv", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"), 0)):
            with self.subTest(name):
                clip, damaged = self.tmp / name, self.tmp / f"damaged-{name}"
                kit.ffmpeg("-stream_loop", -1, "-i", kit.sample(), "-t", 10, "-vf", "fps=20", "-an", "-pix_fmt", "yuv420p", *options, clip)
                data, dice = bytearray(clip.read_bytes()), random.Random(4)
                for packet in kit.ffprobe(clip, "packet=pos,size")["packets"]:
                    at, size = int(packet["pos"]), int(packet["size"])
                    for byte in range(at + min(size // 2, 60), at + size, 500):
                        data[byte] ^= 1 << dice.randrange(8)
                damaged.write_bytes(data)
                first, _ = self.peak(clip)
                second, statistics = self.peak(damaged)
                self.assertGreaterEqual(statistics["frames_damaged"], noticed * statistics["frames_total"])
                self.assertLess(second, first * 1.03)

    def test_damaged_headers_are_within_what_was_reserved(self):
        """Bits are turned from the first bytes of each packet on: many a frame misses its references, and the decoder makes up others."""
        for size, how, noticed in (("720:1280", ("libx264", "-preset", "veryfast"), 0.5),
                                   ("1920:1080", ("libx264", "-preset", "faster", "-refs", 4, "-bf", 3), 0.5),
                                   ("1280:720", ("libx265", "-preset", "veryfast", "-x265-params", "log-level=0"), 0)):
            with self.subTest(size):
                clip, damaged = self.tmp / "clip.mp4", self.tmp / "damaged.mp4"
                kit.ffmpeg("-stream_loop", -1, "-i", kit.sample(), "-t", 2.4, "-vf", f"scale={size},setsar=1,fps=25,noise=alls=8:allf=t", "-an", "-pix_fmt",
                           "yuv420p", "-c:v", *how, clip)
                whole, packets = clip.read_bytes(), kit.ffprobe(clip, "packet=pos,size")["packets"]
                for seed in (1, 2):
                    data, dice = bytearray(whole), random.Random(seed)
                    for packet in packets[1:]:
                        at = int(packet["pos"])
                        for byte in range(at + 5, at + int(packet["size"]), 200):
                            data[byte] ^= 1 << dice.randrange(8)
                    damaged.write_bytes(data)
                    for options in ((), ("--no-video", "-n", 1)):
                        _, statistics = self.peak(damaged, *options)
                        self.assertGreaterEqual(statistics["frames_damaged"], noticed * statistics["frames_total"])


if __name__ == "__main__":
    kit.main()
