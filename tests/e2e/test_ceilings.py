#!/usr/bin/env python3
"""Memory: what a job may take, held by the kernel, and that its length adds nothing."""
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

    def test_length_adds_nothing(self):
        short, long = self.clip(360, 640, 10), self.tmp / "long.mp4"
        kit.ffmpeg("-stream_loop", 29, "-i", short, "-c", "copy", long)  # 300 s
        peaks = []
        for clip in (short, long):
            self.process("--model", "lite", "-n", "30", clip, MAX_VIDEO_DURATION_SECONDS=0)
            s = kit.document(self.tmp / "results" / clip.stem, "metadata.json")["statistics"]
            peaks.append(s["peak_memory_mb"])
        self.assertGreater(s["processed_duration"], 295)
        self.assertLess(peaks[1], peaks[0] * 1.03, peaks)


if __name__ == "__main__":
    kit.main()
