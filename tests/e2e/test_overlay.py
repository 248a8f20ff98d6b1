#!/usr/bin/env python3
"""The overlay video: upright, in time, with its sound, playable from its first bytes; and the rows' times with it."""
import math
import struct
import re
import subprocess

import kit

FAST = ("--model", "lite", "--max-video-duration-seconds", "2", "--max-video-width", "0")


def boxes(path):
    """The names of an MP4's outermost boxes, in order."""
    data, at, names = path.read_bytes(), 0, []
    while at + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        size = struct.unpack(">Q", data[at + 8:at + 16])[0] if size == 1 else size
        names.append(name.decode())
        at += size or len(data)
    return names


def hip(rows, width, height):
    """Where the middle of the hips is in each found frame, in pixels."""
    by_frame = {}
    for r in rows:
        if r["landmark_id"] in ("23", "24") and r["x"]:
            by_frame.setdefault(int(r["frame_id"]), []).append((float(r["x"]) * width, float(r["y"]) * height))
    return {f: tuple(sum(c) / 2 for c in zip(*p)) for f, p in by_frame.items() if len(p) == 2}


class Overlay(kit.Case):
    def result(self, clip, *args, **settings):
        self.process(*FAST, *args, clip, **settings)
        return self.tmp / "results" / clip.stem

    def assertTimes(self, clip, folder):
        """The overlay's frames and the rows have the input's own times."""
        source = [t for t in kit.frame_times(clip) if t < 2]
        shown = kit.frame_times(folder / "output.mp4")
        self.assertEqual(len(shown), len(source))
        self.assertLess(max(abs(a - b) for a, b in zip(shown, source)), 0.002)
        for r in kit.rows(folder)[::33]:
            self.assertAlmostEqual(float(r["timestamp"]), source[int(r["frame_id"])], delta=2e-6)

    def test_both_videos_are_h264_with_the_index_first(self):
        folder = self.result(kit.sample())
        for name in ("output.mp4", "preview.mp4"):
            order = boxes(folder / name)
            self.assertLess(order.index("moov"), order.index("mdat"))
            stream = kit.ffprobe(folder / name, "stream=codec_name,pix_fmt")["streams"][0]
            self.assertEqual((stream["codec_name"], stream["pix_fmt"]), ("h264", "yuv420p"))

    def test_the_preview_is_small_and_three_seconds(self):
        self.process("--model", "lite", kit.sample())
        clip = self.tmp / "results/sample/preview.mp4"
        self.assertAlmostEqual(kit.frame_times(clip)[-1], 3, delta=0.1)
        stream = kit.ffprobe(clip, "stream=width,height")["streams"][0]
        self.assertEqual((stream["width"], stream["height"]), (180, 320))
        self.assertEqual(len(kit.frame_times(clip)), 45)

    def test_the_overlay_is_at_most_as_wide_as_asked(self):
        for width, size in ((200, (200, 354)), (0, (360, 640)), (720, (360, 640))):
            folder = self.result(kit.sample(), "--max-video-width", width)
            s = kit.ffprobe(folder / "output.mp4", "stream=width,height")["streams"][0]
            self.assertEqual(s["width"], size[0])
            self.assertAlmostEqual(s["height"], size[1], delta=2)

    def test_frames_and_rows_are_in_time(self):
        self.assertTimes(kit.sample(), self.result(kit.sample()))

    def test_variable_frame_rate_is_kept(self):
        clip = self.tmp / "vfr.mp4"
        kit.ffmpeg("-i", kit.sample(), "-vf", "select='not(eq(mod(n,5),1))*not(between(n,20,38))'", "-vsync", "vfr", "-an",
                   clip)
        steps = kit.frame_times(clip)
        self.assertGreater(len({round(b - a, 3) for a, b in zip(steps, steps[1:])}), 2)
        self.assertTimes(clip, self.result(clip))

    def test_shared_vfr_and_late_clips_are_in_time(self):
        for name in ("basketball_vfr.mp4", "basketball_start5s.mkv"):
            clip = kit.shared(name)
            self.assertTimes(clip, self.result(clip))

    def test_every_rotation_comes_out_upright(self):
        plain = hip(kit.rows(self.result(kit.sample(), "--no-video")), 360, 640)
        for degrees in (90, 180, 270):
            # Stored turned, with the display matrix that turns it back.
            turned, clip = self.tmp / "turned.mp4", self.tmp / f"rot{degrees}.mp4"
            turn = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}[degrees]
            kit.ffmpeg("-i", kit.sample(), "-an", "-vf", turn, "-qp", 0, "-t", 2.2, turned)
            kit.ffmpeg(*self.rotate(turned, degrees), clip)
            if kit.ffprobe(clip, "stream_side_data=rotation")["streams"][0].get("side_data_list") is None:
                self.skipTest("this ffmpeg writes no display matrix")
            folder = self.result(clip)
            s = kit.ffprobe(folder / "output.mp4", "stream=width,height")["streams"][0]
            self.assertEqual((s["width"], s["height"]), (360, 640))
            found = hip(kit.rows(folder), 360, 640)
            self.assertGreater(len(found), 0.9 * len(plain))
            apart = sorted(math.dist(found[f], plain[f]) for f in found if f in plain)
            self.assertLess(apart[len(apart) // 2], 3)  # pixels of 360: the same man at the same place

    def rotate(self, path, degrees):
        """ffmpeg's words to copy `path`, to be shown turned clockwise: an input option from 6.0 on, metadata before."""
        words = subprocess.run([kit.need("ffmpeg"), "-h", "long"], capture_output=True, text=True).stdout
        if "-display_rotation" in words:
            return ("-display_rotation", -degrees, "-i", path, "-c", "copy")
        return ("-i", path, "-c", "copy", "-metadata:s:v", f"rotate={360 - degrees}")

    def test_sound_is_kept_and_in_time(self):
        clip = self.tmp / "sound.mp4"
        kit.ffmpeg("-i", kit.sample(), "-f", "lavfi", "-i", "aevalsrc='sin(2000*PI*t)*gt(sin(2*PI*t),0)':d=4", "-map", "0:v",
                   "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-shortest", clip)
        folder = self.result(clip)
        kept = kit.ffprobe(folder / "output.mp4", "stream=codec_name,start_time,duration", "a:0")["streams"]
        self.assertEqual(kept[0]["codec_name"], "aac")
        self.assertAlmostEqual(float(kept[0]["start_time"]), 0, delta=0.03)
        self.assertAlmostEqual(float(kept[0]["duration"]), 2, delta=0.15)
        before, after = ([(p["pts_time"], p["size"]) for p in kit.ffprobe(path, "packet=pts_time,size", "a:0")["packets"]
                          if float(p["pts_time"]) >= 0]  # the encoder's run-up, which nobody hears, may be left out
                         for path in (clip, folder / "output.mp4"))
        self.assertEqual([s for _, s in after], [s for _, s in before][:len(after)])
        self.assertLess(max(abs(float(a) - float(b)) for (a, _), (b, _) in zip(after, before)), 0.003)

    def test_sound_that_is_longer_than_the_pictures_is_kept(self):
        clip = self.tmp / "long.mp4"
        kit.ffmpeg("-t", 2, "-i", kit.sample(), "-f", "lavfi", "-i", "sine=440:d=6", "-map", "0:v", "-map", "1:a", "-c:v", "copy",
                   "-c:a", "aac", clip)
        sound = float(kit.ffprobe(clip, "stream=duration", "a:0")["streams"][0]["duration"])
        for seconds, expected in ((0, sound), (1, 1)):
            out = self.result(clip, "--max-video-duration-seconds", seconds) / "output.mp4"
            kept = float(kit.ffprobe(out, "stream=duration", "a:0")["streams"][0]["duration"])
            self.assertAlmostEqual(kept, expected, delta=0.08)
            self.assertAlmostEqual(float(kit.ffprobe(out, "format=duration")["format"]["duration"]), expected, delta=0.08)

    def test_sound_that_starts_before_or_after_the_pictures_stays_in_time(self):
        """A beep on a white flash: they come together in the output wherever each stream begins."""
        def flash(at):
            return f"color=black:s=160x96:r=25:d={at + 2},drawbox=c=white:t=fill:enable='between(t,{at},{at + 0.16})'"

        def beep(at):
            return f"aevalsrc='0.5*sin(2000*PI*t)*between(t,{at},{at + 0.16})':d={at + 2}"
        for container in ("mp4", "mkv", "ts", "mov", "flv"):
            for name, video, sound in (("sound first", 0.52, 0), ("pictures first", 0, 0.52), ("together", 0, 0)):
                with self.subTest(container=container, name=name):
                    clip = self.tmp / f"{name.replace(' ', '-')}.{container}"
                    kit.ffmpeg("-itsoffset", video, "-f", "lavfi", "-i", flash(2 - video), "-itsoffset", sound, "-f", "lavfi", "-i",
                               beep(2 - sound), "-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-bf", 2, "-c:a", "aac", clip)
                    self.assertLess(abs(self.flash(clip) - self.beep(clip)), 0.06, "the clip itself")
                    out = self.result(clip, "--max-video-duration-seconds", 0) / "output.mp4"
                    self.assertLess(abs(self.flash(out) - self.beep(out)), 0.06)

    def test_sound_of_avi_with_b_frames_stays_in_time(self):
        """AVI has no times but places in order of decoding: the first frame seen belongs to the first place."""
        for codec in ("libx264", "mpeg4"):
            with self.subTest(codec=codec):
                clip = self.tmp / f"{codec}.avi"
                kit.ffmpeg("-f", "lavfi", "-i", "color=black:s=160x96:r=25:d=2,drawbox=c=white:t=fill:enable='between(t,1,1.16)'", "-f",
                           "lavfi", "-i", "aevalsrc='0.5*sin(2000*PI*t)*between(t,1,1.16)':d=2", "-c:v", codec, "-bf", 2, "-c:a",
                           "pcm_s16le", clip)
                out = self.result(clip) / "output.mp4"
                self.assertLess(abs(self.flash(out) - self.beep(out)), 0.02)

    def test_sound_that_browsers_do_not_play_from_mp4_becomes_aac_in_time(self):
        """A beep on each of two white flashes, with a pause of the sound between them that the file says by its time stamps."""
        on = "between(t,0.8,0.96)+between(t,3,3.16)"
        for codec, container, video in (("ac3", "mkv", "libx264"), ("pcm_s16le", "mkv", "libx264"), ("libvorbis", "webm", "libvpx"),
                                        ("mp2", "ts", "mpeg2video"), ("wmav2", "wmv", "wmv2")):
            with self.subTest(codec=codec):
                clip = self.tmp / f"{codec}.{container}"
                kit.ffmpeg("-f", "lavfi", "-i", f"color=black:s=160x96:r=25:d=4,drawbox=c=white:t=fill:enable='{on}'", "-f", "lavfi", "-i",
                           f"aevalsrc='0.5*sin(2000*PI*t)*({on})':d=4,aselect='not(between(t,1.2,2.6))'", "-c:v", video, "-c:a", codec,
                           "-ac", "6" if codec == "ac3" else "2", clip)
                out = self.result(clip, "--max-video-duration-seconds", 0) / "output.mp4"
                kept = kit.ffprobe(out, "stream=codec_name,channels", "a:0")["streams"]
                self.assertEqual([(a["codec_name"], a["channels"]) for a in kept], [("aac", 2)])
                flashes, beeps = self.flashes(out)[:2], self.beeps(out)[:2]  # ffmpeg tells the end as well
                self.assertLess(max(abs(a - b) for a, b in zip(flashes, [0.8, 3])), 0.05)
                self.assertLess(max(abs(a - b) for a, b in zip(beeps, [0.8, 3])), 0.05)

    def test_sound_of_joined_files_stays_in_time(self):
        """Where time begins anew, sound goes on by as much as the pictures do, however long it was in the part before."""
        part, clip = self.tmp / "part.ts", self.tmp / "joined.ts"
        kit.ffmpeg("-f", "lavfi", "-i", "color=black:s=160x96:r=25:d=1.2,drawbox=c=white:t=fill:enable='between(t,0.8,0.96)'", "-f",
                   "lavfi", "-i", "aevalsrc='0.5*sin(2000*PI*t)*between(t,0.8,0.96)':d=1.27", "-c:v", "libx264", "-bf", 2, "-c:a",
                   "aac", part)
        clip.write_bytes(part.read_bytes() * 4)
        out = self.result(clip, "--max-video-duration-seconds", 0) / "output.mp4"
        flashes, beeps = self.flashes(out), self.beeps(out)
        self.assertEqual(len(flashes), len(beeps))
        self.assertGreaterEqual(len(flashes), 4)  # and where either ends, which ffmpeg may tell as well
        self.assertLess(max(abs(a - b) for a, b in zip(flashes[:4], beeps)), 0.05)

    @classmethod
    def flash(cls, path):
        return min(cls.flashes(path))

    @classmethod
    def beep(cls, path):
        return min(cls.beeps(path))

    @staticmethod
    def flashes(path):
        told = subprocess.run(["ffmpeg", "-nostdin", "-copyts", "-i", path, "-vf", "blackdetect=d=0.1:pic_th=0.9", "-an", "-f", "null", "-"],
                              capture_output=True, text=True).stderr
        return [float(t) for t in re.findall(r"black_end:([\d.]+)", told)]

    @staticmethod
    def beeps(path):
        told = subprocess.run(["ffmpeg", "-nostdin", "-copyts", "-i", path, "-af", "silencedetect=n=0.05:d=0.3", "-vn", "-f", "null", "-"],
                              capture_output=True, text=True).stderr
        return [float(t) for t in re.findall(r"silence_end: ([\d.]+)", told)]

    def test_the_skeleton_is_where_the_rows_say(self):
        """Between two analysed frames too: the overlay differs from the input near the hips, and not far away."""
        folder = self.result(kit.sample(), "-n", "6")
        differences = self.difference(folder / "output.mp4", 360, 640)
        places = hip(kit.rows(folder), 360, 640)
        for before, after in zip(sorted(places), sorted(places)[1:]):
            if after >= len(differences):
                break
            middle = (before + after) // 2
            x, y = ((a + b) / 2 for a, b in zip(places[before], places[after]))
            self.assertGreater(self.changed(differences[middle], 360, x, y), 0.05, f"frame {middle}")
            self.assertLess(self.changed(differences[middle], 360, 20, 20), 0.01, f"frame {middle}")

    def difference(self, overlay, width, height):
        raw = subprocess.run([kit.need("ffmpeg"), "-v", "error", "-i", str(overlay), "-i", str(kit.sample()), "-filter_complex",
                              "[0][1]blend=all_mode=difference:shortest=1,format=gray", "-t", "1.5", "-f", "rawvideo", "-"],
                             capture_output=True, check=True).stdout
        size = width * height
        return [raw[i:i + size] for i in range(0, len(raw), size)]

    def changed(self, gray, width, x, y, reach=12):
        """The share of pixels around (x, y) that something was drawn on."""
        x, y = round(x), round(y)
        values = [gray[v * width + u] for v in range(max(0, y - reach), y + reach) for u in range(max(0, x - reach), x + reach)]
        return sum(v > 40 for v in values) / len(values)


if __name__ == "__main__":
    kit.main()
