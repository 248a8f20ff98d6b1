#!/usr/bin/env python3
"""Damaged files of every container: exit code 0, 3 or 4, within the limit and the time, nothing left behind.

Eight variants of each; BODYSCRIPT_DAMAGED=200 makes 200. The damage is the same in every run.
"""
import os
import random
import subprocess

import kit

VARIANTS = int(os.environ.get("BODYSCRIPT_DAMAGED", "8"))
LIMIT_MB, SECONDS = 96, 30
CLIPS = {
    "h264.mp4": ["-c:v", "libx264"], "h264.mkv": ["-c:v", "libx264"], "h264.flv": ["-c:v", "libx264"],
    "mpeg2.ts": ["-c:v", "mpeg2video"], "mpeg4.avi": ["-c:v", "mpeg4"], "vp9.webm": ["-c:v", "libvpx-vp9"],
    "wmv2.wmv": ["-c:v", "wmv2"], "gif.gif": [], "hevc.mov": ["-c:v", "libx265", "-x265-params", "log-level=0"],
}


def damage(data, seed):
    rng, data = random.Random(seed), bytearray(data)
    kind = seed % 4
    if kind == 0:                                   # cut off
        return bytes(data[:rng.randrange(1, len(data))])
    if kind == 1:                                   # flipped bits
        for _ in range(rng.choice((1, 10, 200))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:                                 # blocks of zeros
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data))
            data[at:at + 512] = bytes(len(data[at:at + 512]))
    else:                                           # a lost head or tail: that is where indexes are
        size = max(1, len(data) // rng.choice((8, 16, 64)))
        at = rng.choice((0, len(data) - size))
        data[at:at + size] = bytes(size)
    return bytes(data)


class Damage(kit.Case):
    def try_one(self, path):
        results = self.tmp / "results"
        result = kit.run("process", "-q", "--model", "lite", "-n", 30, "--max-video-width", 96, "-o", results, path,
                         timeout=SECONDS, MEMORY_LIMIT_MB=LIMIT_MB)
        self.assertIn(result.returncode, (0, 3, 4), result.stderr)
        if result.returncode:
            self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
            self.assertFalse((results / path.stem).exists())
        else:
            statistics = kit.document(results / path.stem, "metadata.json")["statistics"]
            self.assertFiles(results / path.stem, kit.VIDEO_FILES)
            self.assertLessEqual(statistics["peak_memory_mb"], LIMIT_MB)
            subprocess.run(["rm", "-r", results / path.stem], check=True)
        return result.returncode

    def test_every_container(self):
        for name, options in CLIPS.items():
            clip = self.tmp / name
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=2", *options, clip)
            data, codes = clip.read_bytes(), []
            for seed in range(VARIANTS):
                with self.subTest(clip=name, seed=seed):
                    path = self.tmp / f"{seed}-{name}"
                    path.write_bytes(damage(data, seed))
                    codes.append(self.try_one(path))
            print(name, {code: codes.count(code) for code in sorted(set(codes))})

    def test_a_photo_that_was_cut_off_is_said_to_be(self):
        photo = self.tmp / "photo.jpg"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", 1, photo)
        data = photo.read_bytes()
        for name, content, cut in (("half", data[:len(data) // 2], True), ("whole", data, False),
                                   ("trailer", data + b"\xff\xda\0\x08 a film of the moment", False)):
            with self.subTest(name):
                path = self.tmp / f"{name}.jpg"
                path.write_bytes(content)
                self.process(path)
                statistics = kit.document(self.tmp / "results" / name, "metadata.json")["statistics"]
                self.assertEqual(statistics["input_truncated"], cut)

    def test_more_streams_than_are_read_are_refused_by_their_number(self):
        clip, crowd = self.tmp / "clip.mkv", self.tmp / "crowd.mkv"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-c:v", "mpeg4", clip)
        kit.ffmpeg("-i", clip, *["-map", "0:v"] * 200, "-c", "copy", crowd)
        self.assertIn("more than the 128 streams", self.process(crowd, code=4).stderr)


if __name__ == "__main__":
    kit.main()
