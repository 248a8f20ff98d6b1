#!/usr/bin/env python3
"""What --no-video leaves undecoded changes nothing: the same rows as with the overlay, where packets are not simply frames."""
import kit


class Bits:
    """A NAL unit of H.264 in the making; the names of what is put stand in 7.3 of the standard."""

    def __init__(self, kind, referred_to):
        self.header, self.bits = referred_to << 5 | kind, ""

    def put(self, count, value):
        self.bits += f"{value:0{count}b}"
        return self

    def golomb(self, *values):
        for value in values:
            self.bits += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def align(self, first=""):
        self.bits += first
        self.bits += "0" * (-len(self.bits) % 8)
        return self

    def nal(self):
        self.align("1")
        out = bytearray()
        for byte in int(self.bits, 2).to_bytes(len(self.bits) // 8, "big"):
            out += b"\3" * (byte <= 3 and out.endswith(b"\0\0"))  # emulation prevention
            out.append(byte)
        return b"\0\0\0\1" + bytes([self.header]) + out


SIDE = 4  # macroblocks
SETS = (Bits(7, 3).put(8, 77).put(8, 0).put(8, 30).golomb(0, 0, 0, 4, 4).put(1, 0).golomb(SIDE - 1, SIDE // 2 - 1)
        .put(5, 0b00100).put(1, 0).nal() +
        Bits(8, 3).golomb(0, 0).put(2, 0).golomb(0, 0, 0).put(3, 0).golomb(0, 0, 0).put(3, 0b100).nal())


def picture(number, order, key, referred_to, field):
    """One slice: of a key picture raw grey macroblocks, of others nothing but skipped ones."""
    blocks = SIDE * SIDE // (1 if field is None else 2)
    out = Bits(5 if key else 1, referred_to).golomb(0, 7 if key else 5, 0).put(4, number % 16)
    out.put(1, 0) if field is None else out.put(2, 2 | field)
    if key:
        out.golomb(0)
    out.put(8, order % 256)
    if not key:
        out.put(2, 0)
    if referred_to:
        out.put(2 if key else 1, 0)
    out.golomb(0, 1)
    if not key:
        return Bits(9, 0).put(3, 7).nal() + out.golomb(blocks).nal()
    for _ in range(blocks):
        out.golomb(25).align().put(384 * 8, int.from_bytes(b"\x80" * 384, "big"))
    return Bits(9, 0).put(3, 7).nal() + SETS + out.nal()


def stream(frames, in_fields):
    """Each second frame is one that no other refers to; where `in_fields` says so, a frame is two pictures."""
    out, number = b"", 0
    for i in range(frames):
        key, referred_to = i % 12 == 0, 2 if i % 2 == 0 else 0
        number = 0 if key else number + (i % 2)  # of those referred to so far
        if in_fields(i):
            out += picture(number, i % 12 * 2, key, referred_to, 0)
            out += picture(number, i % 12 * 2 + 1, False, referred_to, 1)
        else:
            out += picture(number, i % 12 * 2, key, referred_to, None)
    return out


class LeftOut(kit.Case):
    def rows_are_the_same(self, clip, frames):
        rows, statistics = [], []
        for options in ([], ["--no-video"]):
            out = self.tmp / f"out{len(rows)}"
            done = kit.run("process", "-q", "-n", 3, "--model", "lite", "--max-video-width", 96, *options, "-o", out, clip)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows.append(kit.rows(out / clip.stem))
            statistics.append(kit.document(out / clip.stem, "metadata.json")["statistics"])
        self.assertEqual(rows[0], rows[1])
        for s in statistics:
            self.assertEqual((s["frames_total"], s["frames_damaged"]), (frames, 0))
        return rows[0]

    def test_h264_whose_fields_are_pictures_of_their_own(self):
        """As camcorders write it (AVCHD): no encoder at hand does."""
        # When each packet is shown, in 50ths of a second: N is its number.
        for name, in_fields, time in (("fields", lambda i: True, "N"),
                                      ("both", lambda i: i % 5 > 2, "10*floor(N/7)+if(lt(mod(N,7),3),2*mod(N,7),mod(N,7)+3)"),
                                      ("later", lambda i: i > 25, "if(lt(N,26),2*N,N+26)")):
            raw = self.tmp / f"{name}.h264"
            raw.write_bytes(stream(48, in_fields))
            for suffix, ticks in ((".ts", 90000), (".mkv", 1000), (".mp4", 1000)):
                with self.subTest(name + suffix):
                    # From the same container: ffmpeg 5 counts the stamps in the output's ticks, 7 in the input's.
                    copied, clip = self.tmp / f"copied{suffix}", self.tmp / (name + suffix)
                    stamps = f"setts=ts=({time})*{ticks // 50}".replace(",", "\\,")
                    kit.ffmpeg("-i", raw, "-c", "copy", "-video_track_timescale", 1000, copied)
                    kit.ffmpeg("-i", copied, "-c", "copy", "-video_track_timescale", 1000, "-bsf:v", stamps, clip)
                    self.assertEqual(float(self.rows_are_the_same(clip, 48)[-1]["timestamp"]), 45 / 25)

    def test_a_transport_stream_whose_time_begins_anew(self):
        clip = self.tmp / "clip.ts"
        kit.ffmpeg("-r", 25, "-i", kit.sample(), "-an", "-s", "180x320", "-frames:v", 75, "-c:v", "libx264", "-preset", "fast", "-x264-params",
                   "keyint=20:scenecut=0:b-adapt=0:bframes=3:b-pyramid=none", clip)
        clip.write_bytes(clip.read_bytes() * 2)
        self.rows_are_the_same(clip, 150)


if __name__ == "__main__":
    kit.main()
