#!/usr/bin/env python3
"""Damaged files of every container: exit code 0, 3 or 4, within the limit and the time, nothing left behind.

Seven variants of each, one of every kind of damage; BODYSCRIPT_DAMAGED=200 makes 200. The damage is the same in every
run. The limit is the program's own, and that of a memory cgroup a little above it in which nothing may be killed.
"""
import os
import random
import shutil
import struct

import kit

VARIANTS = int(os.environ.get("BODYSCRIPT_DAMAGED", "7"))
LIMIT_MB, CGROUP_MB, SECONDS = 96, 112, 30
SOUND = ["-f", "lavfi", "-i", "sine=440:d=2"]
CLIPS = {
    "h264.mp4": [*SOUND, "-c:v", "libx264", "-c:a", "aac"], "h264.mkv": [*SOUND, "-c:v", "libx264", "-c:a", "aac"],
    "h264.flv": ["-c:v", "libx264"], "fragmented.mp4": ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"],
    "h264.ts": [*SOUND, "-c:v", "libx264", "-c:a", "aac"], "mpeg2.ts": ["-c:v", "mpeg2video"], "mpeg1.mpg": ["-c:v", "mpeg1video", "-r", "25"],
    "mpeg4.avi": ["-c:v", "mpeg4"], "mjpeg.avi": ["-c:v", "mjpeg"], "vp9.webm": ["-c:v", "libvpx-vp9"], "vp8.webm": ["-c:v", "libvpx"],
    "av1.mkv": ["-c:v", "libsvtav1", "-preset", "11"], "wmv2.wmv": ["-c:v", "wmv2"], "h263.3gp": ["-c:v", "h263", "-s", "176x144"],
    "gif.gif": [], "hevc.mov": ["-c:v", "libx265", "-x265-params", "log-level=0"], "prores.mov": ["-c:v", "prores_ks"],
    "theora.ogv": ["-c:v", "libtheora"], "dv.avi": ["-c:v", "dvvideo", "-s", "720x576", "-r", "25", "-pix_fmt", "yuv420p", "-t", "0.4"],
}


def damage(data, seed):
    rng, data = random.Random(seed), bytearray(data)
    kind = seed % 7
    if kind == 0:                                   # cut off
        return bytes(data[:rng.randrange(1, len(data))])
    if kind in (1, 2):                              # flipped bits: some, or some in every kilobyte
        for _ in range(rng.choice((1, 10, 200)) if kind == 1 else max(1, len(data) * rng.choice((1, 8)) // 1024)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 3:                                 # blocks of zeros
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data))
            data[at:at + 512] = bytes(len(data[at:at + 512]))
    elif kind == 4:                                 # a lost head or tail: that is where indexes are
        size = max(1, len(data) // rng.choice((8, 16, 64)))
        at = rng.choice((0, len(data) - size))
        data[at:at + size] = bytes(size)
    elif kind == 5:                                 # blocks that changed places, as on a broken disk
        size = rng.choice((64, 512, 4096))
        for _ in range(rng.randrange(1, 5)):
            a, b = (rng.randrange(max(1, len(data) - size)) for _ in range(2))
            data[a:a + size], data[b:b + size] = data[b:b + size], data[a:a + size]
    else:                                           # numbers of the headers made huge
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(min(len(data), 1024))
            data[at:at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"))
    return bytes(data)


class Damage(kit.Case):
    def try_one(self, run, path):
        results = self.tmp / "results"
        result = run("process", "-q", "--model", "lite", "-n", 30, "--max-video-width", 96, "-o", results, path,
                     timeout=SECONDS, MEMORY_LIMIT_MB=LIMIT_MB)
        self.assertIn(result.returncode, (0, 3, 4), result.stderr)
        if result.returncode:
            self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
            self.assertFalse(results.exists())
        else:
            statistics = kit.document(results / path.stem, "metadata.json")["statistics"]
            self.assertFiles(results / path.stem, kit.VIDEO_FILES)
            self.assertLessEqual(statistics["peak_memory_mb"], LIMIT_MB)
            shutil.rmtree(results)
        return result.returncode

    def test_every_container(self):
        if kit.sanitized():  # which needs memory of its own
            return self.try_all(kit.run)
        with kit.Cgroup(CGROUP_MB) as cgroup:
            self.try_all(cgroup.run)
            self.assertEqual(cgroup.kills(), 0)

    def try_all(self, run):
        for name, options in CLIPS.items():
            clip = self.tmp / name
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=2", *options, "-threads", 1, clip)
            data, codes = clip.read_bytes(), []
            for seed in range(VARIANTS):
                with self.subTest(clip=name, seed=seed):
                    path = self.tmp / f"{seed}-{name}"
                    path.write_bytes(damage(data, seed))
                    codes.append(self.try_one(run, path))
                    path.unlink()
            print(name, {code: codes.count(code) for code in sorted(set(codes))})

    def test_a_video_that_was_cut_off_is_said_to_be(self):
        for name, options in CLIPS.items():
            if name in ("h264.mp4", "hevc.mov", "prores.mov", "h263.3gp"):
                options = [*options, "-movflags", "+faststart"]  # else the index goes, and nothing can be read
            clip = self.tmp / name
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=2", *options, "-threads", 1, clip)
            data = clip.read_bytes()
            for size, cut in ((len(data), False), (len(data) - 100, True), (len(data) * 3 // 5 // 188 * 188 + 77, True)):
                with self.subTest(clip=name, size=size, of=len(data)):
                    path = self.tmp / f"part{size}{clip.suffix}"
                    path.write_bytes(data[:size])
                    out = self.process("--model", "lite", "-n", 30, "--no-video", path)
                    statistics = kit.document(self.tmp / "results" / path.stem, "metadata.json")["statistics"]
                    self.assertEqual(statistics["input_truncated"], cut)
                    self.assertEqual("was cut off" in out.stderr, cut)

    def test_what_was_recorded_live_is_said_to_be_cut_off_where_it_is(self):
        """A browser's recording does not say how long it is, nor do the parts of it that hold the packets."""
        clip = self.tmp / "clip.webm"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=2", "-c:v", "libvpx", "-deadline", "realtime", "-live", 1, clip)
        data = clip.read_bytes()
        for name, content, cut in (("whole", data, False), ("twice", data * 2, False), ("less3", data[:-3], True),
                                   ("half", data[:len(data) // 2], True)):
            with self.subTest(name):
                path = self.tmp / f"{name}.webm"
                path.write_bytes(content)
                self.process("--model", "lite", "-n", 30, "--no-video", path)
                self.assertEqual(kit.document(self.tmp / "results" / name, "metadata.json")["statistics"]["input_truncated"], cut)

    def test_a_dv_tape_that_was_cut_within_a_frame_is_said_to_be(self):
        for name, size, rate, pixels in (("pal", "720x576", 25, "yuv420p"), ("ntsc", "720x480", "30000/1001", "yuv411p")):
            clip = self.tmp / f"{name}.dv"
            kit.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}", "-frames:v", 4, "-c:v", "dvvideo", "-pix_fmt", pixels, clip)
            whole = clip.read_bytes()
            for content, cut in ((whole, False), (whole[:-1000], True)):
                with self.subTest(name, cut=cut):
                    clip.write_bytes(content)
                    self.process("--model", "lite", "-n", 30, "--no-video", clip)
                    self.assertEqual(kit.document(self.tmp / "results" / name, "metadata.json")["statistics"]["input_truncated"], cut)

    def test_what_knows_its_pieces_is_said_to_be_cut_off_where_it_is(self):
        """Formats whose demuxers take the end for the end wherever it is, or for an error."""
        tape = ["-s", "720x576", "-r", "25", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"]
        for name, options in {"clip.y4m": ["-pix_fmt", "yuv422p10", "-strict", -1], "clip.mjpeg": [], "clip.gxf": tape,
                              "op1a.mxf": ["-r", 25, "-c:v", "mpeg2video"],
                              "atom.mxf": [*tape, "-f", "mxf_opatom"], "clip.roq": ["-s", "128x128", "-r", 30, "-c:v", "roqvideo"],
                              "clip.drc": ["-c:v", "vc2", "-strict", -2, "-pix_fmt", "yuv420p"],
                              "clip.amv": ["-f", "lavfi", "-i", "sine=r=22050", "-t", 0.5, "-s", "160x96", "-ac", 1, "-block_size",
                                           1470]}.items():
            clip = self.tmp / name
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=161x97:r=15:d=0.5", *options, clip)
            whole = clip.read_bytes()
            for content, cut in ((whole, False), (whole[:len(whole) * 2 // 3], True)):
                with self.subTest(name, cut=cut):
                    clip.write_bytes(content)
                    self.process("--model", "lite", "-n", 30, "--no-video", clip)
                    self.assertEqual(kit.document(self.tmp / "results" / clip.stem, "metadata.json")["statistics"]["input_truncated"], cut)

    def test_a_whole_video_is_not_said_to_be_cut_off(self):
        """Phones append notes of their own; some demuxers call the end an error; joined files have faults where they meet."""
        clip, roq, joined = (self.tmp / name for name in ("clip.mp4", "clip.roq", "clip.ts"))
        parts = []
        for seconds in (1, 0.8):
            kit.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x96:r=15:d={seconds}", "-c:v", "libx264", joined)
            parts.append(joined.read_bytes())
        joined.write_bytes(b"".join(parts))
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=1", "-c:v", "libx264", clip)
        clip.write_bytes(clip.read_bytes() + b"\x7f\xff\xee\x99\x03\xffSEFH" + bytes(range(200)))
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x128:r=30:d=1", "-c:v", "roqvideo", roq)
        for path in (clip, roq, joined):
            with self.subTest(path.name):
                self.process("--model", "lite", "-n", 30, "--no-video", path)
                self.assertFalse(kit.document(self.tmp / "results" / "clip", "metadata.json")["statistics"]["input_truncated"])

    def test_an_encrypted_video_is_said_to_be(self):
        def made(name, *options):
            clip = self.tmp / name
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=1", *options, clip)
            return clip.read_bytes()

        mp4, ts, wmv = made("clip.mp4", "-c:v", "libx264"), bytearray(made("clip.ts", "-c:v", "libx264")), made("clip.wmv", "-c:v", "wmv2")
        entry = mp4.index(b"avc1", mp4.index(b"stsd"))
        files = {f"{kind}.mp4": mp4[:entry] + kind.encode() + mp4[entry + 4:] for kind in ("encv", "drmi")}  # the common one, and FairPlay's
        for at in range(0, len(ts), 188):
            if ts[at + 1] & 0x1f == 1 and ts[at + 2] == 0:  # ffmpeg's first video
                begins = at + 4 + (1 + ts[at + 4] if ts[at + 3] & 0x20 else 0)
                ts[at + 3] |= 0x80
                ts[begins:at + 188] = bytes(b ^ (0x5a + 31 * i) & 0xff for i, b in enumerate(ts[begins:at + 188]))
        files["scrambled.ts"] = bytes(ts)
        told = b"".join(struct.pack("<I", len(text)) + text for text in (b"secret", b"DRM\0", b"KEY\0", b"-\0"))
        told = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<Q", 24 + len(told)) + told
        size, objects = struct.unpack_from("<QI", wmv, 16)
        files["drm.wmv"] = wmv[:16] + struct.pack("<QI", size + len(told), objects + 1) + wmv[28:30] + told + wmv[30:]
        for name, content in files.items():
            with self.subTest(name):
                path = self.tmp / name
                path.write_bytes(content)
                self.assertIn("is encrypted", self.process(path, code=3).stderr)

    def test_a_transport_stream_that_was_cut_between_two_packets_is_said_to_be(self):
        """Where the packets of its sound say how long they are: those of video seldom do."""
        clip = self.tmp / "clip.ts"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=2", *SOUND, "-c:v", "libx264", "-c:a", "aac", "-b:a", "128k", clip)
        data = clip.read_bytes()
        sound = [at for at in range(0, len(data), 188) if data[at + 1] & 0x1f == 1 and data[at + 2] == 1]
        begins = [at for at in sound if data[at + 1] & 0x40]
        last = [at for at in sound if at > begins[-1]]
        self.assertGreater(len(last), 2)
        for end, cut in ((len(data), False), (last[-1], True), (last[0], True)):
            with self.subTest(end=end, of=len(data)):
                path = self.tmp / f"part{end}.ts"
                path.write_bytes(data[:end])
                self.process("--model", "lite", "-n", 30, "--no-video", path)
                self.assertEqual(kit.document(self.tmp / "results" / path.stem, "metadata.json")["statistics"]["input_truncated"], cut)

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

    def test_a_packet_of_a_length_beyond_reason_is_damage_and_no_lack_of_memory(self):
        clip = self.tmp / "clip.ivf"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=15:d=1", "-c:v", "libvpx", "-deadline", "realtime", clip)
        data, at = bytearray(clip.read_bytes()), 32
        for _ in range(5):
            at += 12 + struct.unpack_from("<I", data, at)[0]
        data[at:at + 4] = b"\xff" * 4
        clip.write_bytes(data)
        self.process("--model", "lite", "-n", 1, "--no-video", clip)
        self.assertEqual(kit.document(self.tmp / "results" / "clip", "metadata.json")["statistics"]["frames_processed"], 5)

    def test_a_frame_that_claims_another_size_is_damage_and_a_stream_of_them_is_not(self):
        clip = self.tmp / "clip.mov"
        kit.ffmpeg("-stream_loop", -1, "-i", kit.sample(), "-an", "-s", "180x320", "-frames:v", 30, "-c:v", "png", clip)
        packets, whole = [int(packet["pos"]) for packet in kit.ffprobe(clip, "packet=pos")["packets"]], clip.read_bytes()
        for name, which, code in (("one", [20], 0), ("tail", range(15, 30), 4), ("first", range(30), 4)):
            with self.subTest(name):
                data = bytearray(whole)
                for number in which:
                    at = packets[number] + 16  # behind the signature and the first chunk's length and name
                    self.assertEqual(struct.unpack_from(">II", data, at), (180, 320))
                    struct.pack_into(">I", data, at, 64640)
                path = self.tmp / f"{name}.mov"
                path.write_bytes(data)
                done = self.process("--model", "lite", "--no-video", "-n", 1, path, code=code)
                if code:
                    self.assertIn("a side has at most 32767", done.stderr)
                else:
                    statistics = kit.document(self.tmp / "results" / name, "metadata.json")["statistics"]
                    self.assertEqual((statistics["frames_total"], statistics["frames_damaged"]), (29, 1))

    def test_more_streams_than_are_read_are_refused_by_their_number(self):
        clip, crowd = self.tmp / "clip.mkv", self.tmp / "crowd.mkv"
        kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-c:v", "mpeg4", clip)
        kit.ffmpeg("-i", clip, *["-map", "0:v"] * 200, "-c", "copy", crowd)
        self.assertIn("more than the 128 streams", self.process(crowd, code=4).stderr)


if __name__ == "__main__":
    kit.main()
